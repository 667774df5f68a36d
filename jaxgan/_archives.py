"""NumPy archives that anybody may have made: sizes are checked before memory is taken.

Nothing in them is run (no pickles), and nothing is written by the names of their members.
"""

import math
import os
import zipfile
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Header", "check_size", "headers", "read_arrays"]

_ALWAYS = 1 << 30  # bytes that any file may unpack to
_RATIO = 100  # and per byte of the file; deflate could reach 1,032, pictures and weights do not


class Header(NamedTuple):
  """What an array of an archive will be.

  Attributes:
    dtype: of its numbers.
    shape: of the array.
  """

  dtype: np.dtype[Any]
  shape: tuple[int, ...]


def check_size(size: int, stored: int) -> None:
  """Refuses to unpack a bomb.

  Args:
    size: bytes that would be taken.
    stored: bytes of the file.

  Raises:
    ValueError: no honest file holds so much.

  >>> check_size(1 << 40, 1000)
  Traceback (most recent call last):
  ...
  ValueError: 1,000 bytes would unpack to 1,099.5 GB; if that is meant, save it uncompressed
  """
  if size > max(_ALWAYS, _RATIO * stored):
    raise ValueError(
      f"{stored:,} bytes would unpack to {size / 1e9:,.1f} GB; if that is meant, save it "
      "uncompressed"
    )


def headers(path: str | os.PathLike[str]) -> dict[str, Header]:
  """Types and shapes of an archive's arrays, which are not read.

  Args:
    path: an `.npz`.

  Raises:
    Exception: it is damaged, in one of the many ways of `zipfile` and NumPy; `ValueError` if an
      array is not as long as its header says, or is a bomb.
  """
  read_header = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }
  found = {}
  with zipfile.ZipFile(path) as archive:
    for name in archive.namelist():
      if not name.endswith(".npy"):
        continue
      member = archive.getinfo(name)
      if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"'{name}' is compressed as NumPy does not")
      check_size(member.file_size, member.compress_size)
      with archive.open(name) as file:
        shape, _, dtype = read_header[np.lib.format.read_magic(file)](file)
        size = file.tell() + math.prod(shape) * dtype.itemsize
      if min(shape, default=1) < 0 or (size != member.file_size and not dtype.hasobject):
        raise ValueError(f"'{name}' has {member.file_size:,} bytes and not {size:,}")
      found[name.removesuffix(".npy")] = Header(dtype, shape)
  return found


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """All arrays of an archive.

  Args:
    path: an `.npz`.

  Raises:
    Exception: as `headers` does.
  """
  sizes = (math.prod(shape) * dtype.itemsize for dtype, shape in headers(path).values())
  check_size(sum(sizes), os.path.getsize(path))
  with np.load(path, allow_pickle=False) as archive:
    return {name: archive[name] for name in archive.files}
