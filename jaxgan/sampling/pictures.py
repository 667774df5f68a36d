"""Pictures of samples: to uint8, into a grid, onto disk."""

import os

import numpy as np
from jaxtyping import Float, UInt8

from jaxgan._files import replacing

__all__ = ["grid", "save_png", "to_uint8"]


def to_uint8(images: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
  """Quantises pictures in [-1, 1]; values outside are clipped.

  >>> to_uint8(np.array([-1.0, 0.0, 1.0, 7.0]))
  array([  0, 128, 255, 255], dtype=uint8)
  """
  return np.clip(np.rint((np.asarray(images, np.float32) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def grid(
  images: UInt8[np.ndarray, "n h w c"], columns: int | None = None, *, gap: int = 2
) -> UInt8[np.ndarray, "height width c"]:
  """Tiles pictures row by row on a grey ground.

  Args:
    images: `[n, h, w, c]` with c 1 or 3.
    columns: pictures in a row, by default about the square root of n.
    gap: pixels between neighbours and around.

  >>> grid(np.zeros([6, 8, 8, 1], np.uint8), columns=3, gap=1).shape
  (19, 28, 1)
  """
  if images.ndim != 4 or images.shape[-1] not in (1, 3):
    raise ValueError(f"images {images.shape} must be [n, h, w, 1 or 3]")
  n, h, w, c = images.shape
  columns = columns or int(np.ceil(np.sqrt(n)))
  rows = -(-n // columns)
  canvas = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 128, np.uint8)
  for i, picture in enumerate(images):
    top, left = ((h + gap) * (i // columns) + gap, (w + gap) * (i % columns) + gap)
    canvas[top : top + h, left : left + w] = picture
  return canvas


def save_png(path: str | os.PathLike[str], image: UInt8[np.ndarray, "h w c"]) -> None:
  """Writes one picture; the file appears whole or not at all. Folders are made."""
  from PIL import Image

  with replacing(path) as temporary:
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(temporary, "png")
