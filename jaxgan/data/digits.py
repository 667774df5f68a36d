"""The digits that scikit-learn carries."""

import numpy as np
from jaxtyping import Int32, UInt8

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
  stored = require("sklearn.datasets", "the data set 'digits'").load_digits()
  small = np.rint(stored.images * (255 / 16)).astype(np.uint8)
  labels = stored.target.astype(np.int32)
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
