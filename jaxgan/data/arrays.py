"""Pictures held as arrays: NumPy archives and IDX files."""

import abc
import functools
import gzip
import pathlib
import re
import zipfile
import zlib
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, Shaped, UInt8

from jaxgan.data.errors import DataError
from jaxgan.data.sources import Picture, Source, unknown_split

__all__ = ["IDX_NAME", "ArraySource", "IdxSource", "NpzSource"]


class ArraySource(Source):
  """Pictures, and labels if any, held as arrays in files."""

  path: pathlib.Path
  shape: tuple[int, ...]  # of the stored array, [n, H, W] or [n, H, W, C]

  @abc.abstractmethod
  def _load_images(self) -> Shaped[np.ndarray, "..."]:
    """Reads the pictures."""

  @abc.abstractmethod
  def _load_labels(self) -> Int[np.ndarray, "..."] | None:
    """Reads the labels."""

  @functools.cached_property
  def images(self) -> Shaped[np.ndarray, "records height width channels"]:
    """All pictures, read when first asked for."""
    return self._load_images().reshape(*self.shape[:3], self._channels)

  @functools.cached_property
  def labels(self) -> Int32[np.ndarray, "records"] | None:
    """All labels, read when first asked for."""
    labels = self._load_labels()
    if labels is None:
      return None
    if labels.size != len(self) or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
      raise DataError(
        f"'{self.path}' holds {len(self)} pictures and labels {labels.dtype}{list(labels.shape)}: "
        "there must be one whole number of at least 0 for each picture"
      )
    return labels.reshape(-1).astype(np.int32)

  @property
  def _channels(self) -> int:
    return (*self.shape, 1)[3]

  @property
  def classes(self) -> tuple[str, ...]:
    """The numbers of the classes."""
    return () if self.labels is None else tuple(map(str, range(self.labels.max(initial=-1) + 1)))

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, index: int) -> Picture:
    return self.images[index], None if self.labels is None else int(self.labels[index])

  def __getstate__(self) -> dict[str, Any]:
    return {key: value for key, value in vars(self).items() if key not in ("images", "labels")}

  def survey(self, channels: int | None) -> tuple[tuple[int, int] | None, int]:
    """See `Source`."""
    return (self.shape[1], self.shape[2]), channels or min(self._channels, 3)


def _stamp(path: pathlib.Path) -> tuple[str, int, int]:
  status = path.stat()
  return str(path.resolve()), status.st_size, status.st_mtime_ns


_UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


class NpzSource(ArraySource):
  """Arrays of a NumPy archive."""

  def __init__(self, path: pathlib.Path, key: str | None, split: str):
    self.path, self.name = path, path.stem
    shapes = self._shapes()
    self.key = key or self._find(shapes, split)
    if self.key not in shapes:
      raise DataError(f"'{path}' has no array '{self.key}', only {_listed(shapes)}")
    dtype, self.shape = shapes[self.key]
    if len(self.shape) not in (3, 4) or self._channels not in (1, 3, 4) or 0 in self.shape:
      raise DataError(
        f"array '{self.key}' of '{path}' has the shape {list(self.shape)}: "
        "give pictures as [count, height, width] or [count, height, width, 1, 3 or 4]"
      )
    if dtype not in (np.uint8, np.uint16, np.bool_):
      raise DataError(
        f"array '{self.key}' of '{path}' is {dtype}: convert it to uint8, 0 to 255, and save again"
      )
    own = (self.key.replace("images", "labels"), re.sub("^x", "y", self.key), "labels", "y")
    self.label_key = next((name for name in own if name in shapes and name != self.key), None)
    self.identity = ("npz", *_stamp(path), self.key, self.label_key)

  def _shapes(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Types and shapes of the arrays, from their headers alone."""
    read_header = {
      (1, 0): np.lib.format.read_array_header_1_0,
      (2, 0): np.lib.format.read_array_header_2_0,
    }
    shapes = {}
    try:
      with zipfile.ZipFile(self.path) as archive:
        for member in archive.namelist():
          with archive.open(member) as file:
            shape, _, dtype = read_header[np.lib.format.read_magic(file)](file)
          shapes[member.removesuffix(".npy")] = dtype, shape
    except _UNREADABLE as error:
      raise self._unreadable(error) from error
    return shapes

  def _find(self, shapes: dict[str, tuple[np.dtype, tuple[int, ...]]], split: str) -> str:
    for name in (f"{split}_images", f"x_{split}"):
      if name in shapes:
        return name
    if split != "train":
      raise unknown_split(split, str(self.path), ["train"])
    for name in ("images", "x"):
      if name in shapes:
        return name
    found = [
      name for name, (dtype, shape) in shapes.items() if dtype == np.uint8 and len(shape) in (3, 4)
    ]
    if len(found) == 1:
      return found[0]
    raise DataError(
      f"'{self.path}' has {'several arrays' if found else 'no array'} that could be the pictures: "
      f"it holds {_listed(shapes)}. Name one after the path, "
      f"'{self.path}#{(found or ['name'])[0]}', or call it 'images'"
    )

  def _unreadable(self, error: Exception) -> DataError:
    return DataError(
      f"cannot read '{self.path}' as a NumPy archive ({type(error).__name__}: {error}). "
      "Save it again with numpy.savez(path, images=..., labels=...)"
    )

  def _load(self, key: str) -> Shaped[np.ndarray, "..."]:
    try:
      with np.load(self.path, allow_pickle=False) as archive:
        return archive[key]
    except _UNREADABLE as error:
      raise self._unreadable(error) from error

  def _load_images(self) -> Shaped[np.ndarray, "..."]:
    return self._load(self.key)

  def _load_labels(self) -> Int[np.ndarray, "..."] | None:
    return self._load(self.label_key) if self.label_key else None


def _listed(shapes: dict[str, tuple[np.dtype, tuple[int, ...]]]) -> str:
  return ", ".join(f"'{name}' {dtype}{list(shape)}" for name, (dtype, shape) in shapes.items())


IDX_NAME = re.compile(r"(?P<split>.+)[-.]images[-.]idx3-ubyte(\.gz)?")


class IdxSource(ArraySource):
  """A pair of IDX files, as MNIST's: `*-images-idx3-ubyte` and `*-labels-idx1-ubyte` beside it."""

  def __init__(self, path: pathlib.Path):
    self.path, self.name = path, path.resolve().parent.name
    with self._open(path) as file:
      self.shape = self._header(path, file, 3)
    base = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    beside = (path.with_name(base), path.with_name(base + ".gz"))
    self.label_path = next((path for path in beside if path.exists()), None)
    self.identity = ("idx", *(_stamp(path) for path in (path, self.label_path) if path))

  def _open(self, path: pathlib.Path) -> Any:
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")

  def _header(self, path: pathlib.Path, file: Any, rank: int) -> tuple[int, ...]:
    try:
      magic, *shape = np.frombuffer(file.read(4 * (1 + rank)), ">u4").tolist()
    except _UNREADABLE as error:
      raise self._unreadable(path, error) from error
    if magic != 0x800 + rank or len(shape) != rank or 0 in shape:
      raise self._unreadable(path, f"its first bytes are not those of a rank {rank} uint8 array")
    return tuple(shape)

  def _unreadable(self, path: pathlib.Path, error: object) -> DataError:
    return DataError(f"cannot read '{path}' as an IDX file: {error}. Fetch it again")

  def _load(self, path: pathlib.Path, rank: int) -> UInt8[np.ndarray, "..."]:
    with self._open(path) as file:
      shape = self._header(path, file, rank)
      try:
        return np.frombuffer(file.read(), np.uint8).reshape(shape)
      except _UNREADABLE as error:
        raise self._unreadable(path, error) from error

  def _load_images(self) -> UInt8[np.ndarray, "..."]:
    return self._load(self.path, 3)

  def _load_labels(self) -> UInt8[np.ndarray, "..."] | None:
    return self._load(self.label_path, 1) if self.label_path else None
