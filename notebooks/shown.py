"""How the notebooks show pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxgan import sampling


def pictures(
  images: Shaped[np.ndarray, "n h w c"] | Sequence[Shaped[np.ndarray, "h w c"]],
  columns: int | None = None,
  *,
  scale: int = 3,
) -> Any:
  """A grid of pictures, to be the last value of a cell.

  Args:
    images: uint8, or floats in [-1, 1]; values outside are clipped.
    columns: pictures in a row, by default about the square root of their number.
    scale: screen pixels to one of a picture.

  Returns:
    A Pillow image.
  """
  from PIL import Image

  given = np.asarray(images)
  whole = sampling.grid(given if given.dtype == np.uint8 else sampling.to_uint8(given), columns)
  shown = Image.fromarray(whole.squeeze(-1) if whole.shape[-1] == 1 else whole)
  size = (scale * shown.width, scale * shown.height)
  return shown.resize(size, Image.Resampling.NEAREST)
