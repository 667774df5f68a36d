"""One picture at a time: from a file or an array to square uint8 of the wanted size."""

import pathlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from jaxtyping import Shaped, UInt8

from jaxgan.data.errors import DataError, require

if TYPE_CHECKING:
  from PIL import Image

__all__ = ["SUFFIXES", "decode", "fit", "pad", "read", "survey"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})

# Whatever a file is called, Pillow goes by its content, and would hand PostScript to Ghostscript.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_MOST_PIXELS = 1 << 26  # several are decoded at once

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "F"})


def _open(file: pathlib.Path | BinaryIO) -> "Image.Image":
  picture = require("PIL.Image", "reading pictures").open(file, formats=_FORMATS)
  if picture.width * picture.height > _MOST_PIXELS:
    picture.close()
    raise ValueError(f"{picture.width} x {picture.height} pixels are too many: shrink it")
  return picture


def _damaged(path: pathlib.Path, error: Exception) -> DataError:
  return DataError(
    f"cannot read the picture '{path}' ({type(error).__name__}: {error}). "
    "Replace it or take it out of the folder; python -m jaxgan.data.prepare leaves such files out"
  )


def survey(path: pathlib.Path) -> tuple[tuple[int, int], int]:
  """The size and channels of a picture, from its header alone.

  Args:
    path: a file of one of the kinds in `SUFFIXES`.

  Returns:
    `((height, width), channels)`; one channel for grey, with alpha or without, else three.

  Raises:
    DataError: the file is not a readable picture.
  """
  try:
    with _open(path) as picture:
      return (picture.height, picture.width), 1 if picture.mode in _GREY_MODES else 3
  except DataError:
    raise
  except Exception as error:  # decoders raise OSError, SyntaxError, ValueError and others
    raise _damaged(path, error) from error


def read(path: pathlib.Path) -> UInt8[np.ndarray, "height width channels"]:
  """Decodes a picture file, upright and without transparency.

  Args:
    path: a file of one of the kinds in `SUFFIXES`; the first frame counts if it moves.

  Returns:
    One channel for grey and three for colour; transparent parts show white; 16-bit grey is scaled
    to 8 bits.

  Raises:
    DataError: the file is damaged.
  """
  try:
    return decode(path)
  except DataError:
    raise
  except Exception as error:  # decoders raise OSError, SyntaxError, ValueError and others
    raise _damaged(path, error) from error


def decode(file: pathlib.Path | BinaryIO) -> UInt8[np.ndarray, "height width channels"]:
  """As `read`, of an open file too, but with the errors of the decoders.

  Raises:
    Exception: the file is damaged, in one of the many ways of Pillow.
  """
  image_ops = require("PIL.ImageOps", "reading pictures")
  with _open(file) as picture:
    return _to_array(image_ops.exif_transpose(picture))


def _to_array(picture: "Image.Image") -> UInt8[np.ndarray, "height width channels"]:
  grey = picture.mode in _GREY_MODES
  if picture.mode.startswith("I"):  # Pillow's own conversion would cut off at 255
    wide = np.asarray(picture).clip(0, 65535).astype(np.uint16)
    clear = picture.info.get("transparency", -1)  # the one value that is
    return np.where(wide == clear, np.uint8(255), _to_uint8(wide))[..., None]
  if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
    colour = _on_white(np.asarray(picture.convert("RGBA")))
    return colour[..., :1] if grey else colour
  array = np.asarray(picture.convert("L" if grey else "RGB"))
  return array[..., None] if grey else array


def _on_white(
  picture: UInt8[np.ndarray, "height width 4"],
) -> UInt8[np.ndarray, "height width 3"]:
  colour, alpha = np.split(picture.astype(np.uint32), [3], axis=-1)
  return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _to_uint8(array: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
  if array.dtype == np.uint8:
    return array
  if array.dtype == np.uint16:
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
  if array.dtype == np.bool_:
    return array.astype(np.uint8) * 255
  raise DataError(
    f"pictures must be uint8, uint16 or bool, got {array.dtype}. Convert them to uint8, 0 to 255"
  )


def fit(
  picture: Shaped[np.ndarray, "height width from_channels"],
  resolution: int | None = None,
  channels: int | None = None,
) -> UInt8[np.ndarray, "side side channels"]:
  """Crops the centre square and resizes it with antialiasing (Lanczos).

  Args:
    picture: uint8, uint16 or bool with 1 channel (grey), 3 (colour) or 4 (colour and alpha).
    resolution: side of the result; None keeps the square as it is.
    channels: 1 or 3 to convert; None keeps grey grey and colour colour.

  Returns:
    The picture; untouched where it already fits.

  Raises:
    DataError: the type is none of the above.

  >>> fit(np.zeros([4, 6, 3], np.uint8), resolution=2, channels=1).shape
  (2, 2, 1)
  """
  picture = _to_uint8(picture)
  height, width = picture.shape[:2]
  side = min(height, width)
  top, left = (height - side) // 2, (width - side) // 2
  picture = picture[top : top + side, left : left + side]
  if picture.shape[-1] == 4:
    picture = _on_white(picture)
  channels = channels or picture.shape[-1]
  resolution = resolution or side
  if picture.shape == (resolution, resolution, channels):
    return picture
  image = require("PIL.Image", "resizing pictures")
  drawn = image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
  drawn = drawn.convert("L" if channels == 1 else "RGB")
  if side != resolution:
    drawn = drawn.resize((resolution, resolution), image.Resampling.LANCZOS)
  return np.asarray(drawn).reshape(resolution, resolution, channels)


def pad(
  picture: UInt8[np.ndarray, "height width channels"], resolution: int
) -> UInt8[np.ndarray, "side side channels"]:
  """Resizes the whole picture with antialiasing (Lanczos) and fills up to a square with white.

  Args:
    picture: with 1 channel (grey) or 3 (colour).
    resolution: side of the result, which is that of the longer side of the picture.

  >>> pad(np.zeros([4, 8, 1], np.uint8), 4)[..., 0].tolist()
  [[255, 255, 255, 255], [0, 0, 0, 0], [0, 0, 0, 0], [255, 255, 255, 255]]
  """
  image = require("PIL.Image", "resizing pictures")
  height, width, channels = picture.shape
  longer = max(height, width)
  # Shrunk first: the square around a long strip could be larger than the memory.
  size = tuple(max(1, round(side * resolution / longer)) for side in (width, height))
  drawn = image.fromarray(picture[..., 0] if channels == 1 else picture)
  if drawn.size != size:
    drawn = drawn.resize(size, image.Resampling.LANCZOS)
  square = image.new(drawn.mode, (resolution, resolution), "white")
  square.paste(drawn, ((resolution - size[0]) // 2, (resolution - size[1]) // 2))
  return np.asarray(square).reshape(resolution, resolution, channels)
