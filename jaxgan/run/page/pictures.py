"""Pictures as parts of a page: PNGs in data URIs, within a budget of bytes."""

import base64
import io
import pathlib
import struct
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from jaxgan._files import ordinary
from jaxgan.run.page.findings import Frame

__all__ = ["Picture", "embedded", "strip"]

_FILE = 64 << 20  # bytes of a file, at most
_PIXELS = 1 << 26  # of a picture, at most
_DECODED = 1 << 26  # pixels that a strip decodes, at most
_FRAMES = 32  # of a strip, at most
_FEW = 5  # before they are made smaller
_SIDE = 1100  # pixels: an 8x8 grid of 128 with its gaps


class Picture(NamedTuple):
  """A picture in a page.

  Attributes:
    step: that it shows.
    uri: the PNG itself.
    width: in pixels.
    height: in pixels.
  """

  step: int
  uri: str
  width: int
  height: int


def embedded(path: pathlib.Path, step: int = 0, *, side: int = _SIDE) -> Picture | None:
  """A PNG file as it is, or made smaller where its longer side has more than `side` pixels.

  Returns:
    None if it is no PNG, damaged, or out of all bounds.
  """
  try:
    with ordinary(path) as file:
      content = file.read(_FILE + 1)
    width, height = _size(content)
    if len(content) > _FILE or not 0 < width * height <= _PIXELS:
      return None
    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
      picture.verify()
    if max(width, height) > side:
      content, width, height = _smaller(content, side)
  except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError):
    return None
  uri = "data:image/png;base64," + base64.b64encode(content).decode()
  return Picture(step, uri, width, height)


def strip(frames: Sequence[Frame], budget: int) -> list[Picture]:
  """Frames spread evenly over a training, the last one among them, as large as the budget allows.

  Args:
    frames: by step.
    budget: characters of all URIs together.
  """
  width, height, size = next(filter(None, map(_told, reversed(frames))), (0, 0, 0))
  if not size:
    return []
  side, length = min(max(width, height), _SIDE), max(width, height)
  most = min(_FRAMES, max(_FEW, _DECODED // (width * height)), len(frames))

  def each() -> float:
    return 4 / 3 * size * (side / length) ** 2

  # Fewer frames first, then smaller ones.
  while most > _FEW and most * each() > budget:
    most -= 1
  while side > 256 and most * each() > budget:
    side //= 2
  last = len(frames) - 1
  chosen = sorted({round(i * last / max(most - 1, 1)) for i in range(most)} | {last})
  pictures: list[Picture] = []
  for i in reversed(chosen):
    picture = embedded(frames[i].path, frames[i].step, side=side)
    if picture is None:
      continue
    budget -= len(picture.uri)
    if budget < 0:
      break
    pictures.append(picture)
  return pictures[::-1]


def _told(frame: Frame) -> tuple[int, int, int] | None:
  """Width, height and bytes of a picture, as its file tells them; None if it is out of bounds."""
  try:
    with ordinary(frame.path) as file:
      width, height = _size(file.read(32))
      size = file.seek(0, io.SEEK_END)
  except (OSError, ValueError, struct.error):
    return None
  return (width, height, size) if 0 < width * height <= _PIXELS and size <= _FILE else None


def _size(content: bytes) -> tuple[int, int]:
  """Width and height as a PNG tells them, before anything is decoded."""
  if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR":
    raise ValueError("no PNG")
  width, height = struct.unpack(">II", content[16:24])
  return width, height


def _smaller(content: bytes, side: int) -> tuple[bytes, int, int]:
  with Image.open(io.BytesIO(content), formats=["PNG"]) as file:
    picture = file.convert("RGB" if file.mode in ("P", "RGBA", "RGB") else "L")
    scale = side / max(picture.size)
    width, height = (max(1, round(scale * x)) for x in picture.size)
  made = io.BytesIO()
  picture.resize((width, height), Image.Resampling.BOX).save(made, "PNG")
  return made.getvalue(), width, height
