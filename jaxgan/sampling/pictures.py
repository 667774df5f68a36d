"""Pictures of samples: to uint8, into a grid, onto disk."""

import os

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxgan._files import replacing

__all__ = ["grid", "neighbour_grid", "pair_grid", "same_channels", "save_png", "to_uint8"]


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


def same_channels(
  *several: UInt8[np.ndarray, "_ _ _ _"],
) -> tuple[UInt8[np.ndarray, "_ _ _ c"], ...]:
  """Sets of pictures for one grid: grey ones in three channels where others are in colour.

  >>> [x.shape[-1] for x in same_channels(np.zeros([1, 8, 8, 1]), np.zeros([2, 8, 8, 3]))]
  [3, 3]
  """
  most = max(images.shape[-1] for images in several)
  return tuple(np.repeat(x, most, -1) if x.shape[-1] < most else x for x in several)


def pair_grid(
  above: UInt8[np.ndarray, "n h w c"],
  below: UInt8[np.ndarray, "n h w c"],
  columns: int = 8,
  *,
  gap: int = 2,
) -> UInt8[np.ndarray, "height width c"]:
  """Tiles pairs, one picture above the other: a picture and its reconstruction, say.

  Args:
    above: the first of each pair.
    below: the second.
    columns: pairs in a row.
    gap: as in `grid`; twice as much between the rows of pairs.

  >>> pair_grid(*np.zeros([2, 3, 8, 8, 1], np.uint8), columns=2, gap=1).shape
  (38, 19, 1)
  """
  if above.shape != below.shape or columns < 1:
    raise ValueError(
      f"above {above.shape} and below {below.shape} must have the same shape, and "
      f"columns={columns} be at least 1"
    )
  columns = min(columns, len(above))
  parts = []
  for start in range(0, len(above), columns):
    empty = np.full((columns, *above.shape[1:]), 128, np.uint8)
    for pictures in (above, below):
      row = empty.copy()
      row[: len(pictures) - start] = pictures[start : start + columns]
      parts.append(row)
  rows = [
    grid(np.concatenate(pair), columns, gap=gap)
    for pair in zip(parts[::2], parts[1::2], strict=True)
  ]
  return np.concatenate(rows)


def neighbour_grid(
  samples: UInt8[np.ndarray, "n h w c"],
  data: UInt8[np.ndarray, "m h w c"],
  indices: Int[np.ndarray, "n k"],
  *,
  gap: int = 2,
) -> UInt8[np.ndarray, "height width c"]:
  """A row for each sample: the sample and, behind a wider gap, its neighbours in the data.

  Args:
    samples: the pictures on the left.
    data: where the neighbours are taken from.
    indices: rows of `data`, nearest first, as `jaxgan.metrics.nearest_neighbours` finds them.
    gap: as in `grid`.

  >>> data = np.zeros([9, 8, 8, 3], np.uint8)
  >>> neighbour_grid(data[:4], data, np.zeros([4, 5], int), gap=1).shape
  (37, 56, 3)
  """
  if indices.ndim != 2 or len(indices) != len(samples) or samples.shape[1:] != data.shape[1:]:
    raise ValueError(
      f"indices {indices.shape} must be [{len(samples)}, k], and samples {samples.shape} and data "
      f"{data.shape} pictures of one shape"
    )
  if indices.size and not (indices.min() >= 0 and indices.max() < len(data)):
    raise ValueError(f"indices must be rows of data, from 0 to {len(data) - 1}")
  neighbours = np.asarray(data[indices.ravel()])
  return np.concatenate(
    [grid(samples, 1, gap=gap), grid(neighbours, indices.shape[1], gap=gap)], axis=1
  )


def save_png(path: str | os.PathLike[str], image: UInt8[np.ndarray, "h w c"]) -> None:
  """Writes one picture; the file appears whole or not at all. Folders are made."""
  from PIL import Image

  with replacing(path) as temporary:
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(temporary, "png")
