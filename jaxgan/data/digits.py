"""The digits that scikit-learn carries."""

import importlib.util
import pathlib

import numpy as np
from jaxtyping import Float, Int32, UInt8

from jaxgan.data.errors import require

__all__ = ["digits"]


def digits(
  resolution: int | None,
) -> tuple[UInt8[np.ndarray, "1797 side side 1"], Int32[np.ndarray, "1797"]]:
  """Scikit-learn's 8x8 digits, bright on black, enlarged and framed as MNIST's are.

  Args:
    resolution: side of the pictures, of which the digit's box fills 28/32; None for the bare 8x8.

  Returns:
    Pictures and labels.
  """
  stored = _stored()
  small = np.rint(stored[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
  labels = stored[:, -1].astype(np.int32)
  if resolution is None:
    return small[..., None], labels
  image = require("PIL.Image", "the data set 'digits'")
  # Bicubic: of Pillow's filters the one that leaves neither blocks nor the ripples of Lanczos.
  reach = 4 * 32 / 28  # the frame is interpolated with the digit, so that strokes end softly
  box = (5 - reach, 5 - reach, 5 + reach, 5 + reach)
  images = [
    image.fromarray(digit).resize((resolution, resolution), image.Resampling.BICUBIC, box)
    for digit in np.pad(small, [(0, 0), (1, 1), (1, 1)])
  ]
  return np.stack([np.asarray(picture) for picture in images])[..., None], labels


def _stored() -> Float[np.ndarray, "1797 65"]:
  """Pixels and class by row, from scikit-learn's file: importing it takes longer than all else."""
  spec = importlib.util.find_spec("sklearn")
  path = pathlib.Path((spec and spec.origin) or "").parent / "datasets/data/digits.csv.gz"
  if path.exists():
    return np.loadtxt(path, delimiter=",")
  found = require("sklearn.datasets", "the data set 'digits'").load_digits()
  return np.column_stack([found.data, found.target])
