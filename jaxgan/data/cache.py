"""Processed pictures on disk, as arrays that are mapped into memory."""

import contextlib
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int32, UInt8

from jaxgan.data.errors import DataError

__all__ = ["default_folder", "key", "opened", "write"]

_VERSION = 1  # of the processing: a change of what `pictures` computes makes old caches stale

Arrays = tuple[UInt8[np.ndarray, "records H W C"], Int32[np.ndarray, "records"] | None]


def default_folder() -> pathlib.Path:
  """Where caches lie unless told otherwise: `$XDG_CACHE_HOME/jaxgan/data`, or below `~/.cache`."""
  base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(base).expanduser() / "jaxgan" / "data"


def key(name: str, *content: object) -> str:
  """The name of a cache: readable, and different for different content.

  Args:
    name: of the data set.
    content: all that decides what the arrays hold, with a complete `repr`.

  Returns:
    A file name.
  """
  digest = hashlib.sha256(repr((_VERSION, *content)).encode()).hexdigest()[:16]
  readable = "".join(letter if letter.isalnum() else "_" for letter in name)[:40]
  return f"{readable}-{digest}"


def opened(folder: pathlib.Path, count: int, labelled: bool) -> Arrays | None:
  """Maps a cache into memory.

  Args:
    folder: the cache.
    count: how many pictures it must hold.
    labelled: whether it must hold labels.

  Returns:
    Pictures and labels, or None where there is no sound cache.
  """
  try:
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    # Mapped too, since a map cannot be longer than its file, whatever the header says.
    labels = np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False) if labelled else None
  except (OSError, ValueError, EOFError):
    return None
  if images.dtype != np.uint8 or images.ndim != 4 or len(images) != count:
    return None
  if labels is not None and (labels.dtype != np.int32 or labels.shape != (count,)):
    return None
  return images, None if labels is None else np.array(labels)


def write(
  folder: pathlib.Path,
  records: Iterator[tuple[UInt8[np.ndarray, "H W C"], int | None]],
  shape: tuple[int, int, int, int],
  labelled: bool,
) -> None:
  """Writes a cache; readers, and others who write the same one, never see half of it.

  Args:
    folder: the cache; what lies there is replaced.
    records: pictures and labels.
    shape: of all pictures together.
    labelled: whether there are labels.

  Raises:
    DataError: the disk is full or may not be written to.
  """
  labels = np.empty(shape[:1], np.int32)
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
      dir=folder.parent, prefix=f".{folder.name}-", ignore_cleanup_errors=True
    ) as temporary:
      new = pathlib.Path(temporary) / "new"
      new.mkdir()
      # Written in order, not through a map: a full disk then is an error and not a crash.
      with open(new / "images.npy", "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for index, (picture, label) in enumerate(records):
          file.write(picture.tobytes())
          labels[index] = -1 if label is None else label
      if labelled:
        np.save(new / "labels.npy", labels, allow_pickle=False)
      _put_in_place(new, folder, pathlib.Path(temporary) / "old")
  except OSError as error:
    raise DataError(
      f"cannot write the cache '{folder}' ({error}): give another cache_dir=, free "
      f"{np.prod(shape) / 1e9:.1f} GB, or read without a cache by cache_limit=0"
    ) from error


def _put_in_place(new: pathlib.Path, folder: pathlib.Path, old: pathlib.Path) -> None:
  if folder.exists():
    with contextlib.suppress(OSError):  # another process may have moved it
      os.replace(folder, old)
  try:
    os.replace(new, folder)
  except OSError:
    if not folder.is_dir():  # or else another process was faster
      raise
