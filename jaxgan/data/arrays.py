"""Pictures held as arrays: NumPy archives and IDX files."""

import abc
import functools
import gzip
import math
import pathlib
import re
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, Shaped, UInt8

from jaxgan._archives import Header, check_size, headers
from jaxgan.data.errors import DataError
from jaxgan.data.sources import Picture, Source, unknown_split

__all__ = ["IDX_NAME", "ArraySource", "IdxSource", "NpzSource"]

_CLASSES = 1 << 16  # most; a stray label would otherwise name as many as it is large


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
    self._check_labels(Header(labels.dtype, labels.shape))
    if labels.min() < 0 or labels.max() >= _CLASSES:
      raise DataError(
        f"'{self.path}' has labels from {labels.min()} to {labels.max()}: there must be one whole "
        f"number of at least 0 for each picture, and below {_CLASSES:,}"
      )
    return labels.reshape(-1).astype(np.int32)

  def _check_labels(self, header: Header) -> None:
    if math.prod(header.shape) != len(self) or header.dtype.kind not in "iu":
      raise DataError(
        f"'{self.path}' holds {len(self)} pictures and labels {header.dtype}{list(header.shape)}: "
        "there must be one whole number of at least 0 for each picture"
      )

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


class NpzSource(ArraySource):
  """Arrays of a NumPy archive."""

  def __init__(self, path: pathlib.Path, key: str | None, split: str):
    self.path, self.name = path, path.stem
    try:
      shapes = headers(path)
    except Exception as error:  # a damaged archive can raise nearly anything
      raise self._unreadable(error) from error
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
    if self.label_key is not None and not shapes[self.label_key].dtype.hasobject:
      self._check_labels(shapes[self.label_key])
    self.identity = ("npz", *_stamp(path), self.key, self.label_key)

  def _find(self, shapes: dict[str, Header], split: str) -> str:
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
    reason = f"{error}".partition("\n")[0]
    return DataError(
      f"cannot read '{self.path}' as a NumPy archive ({type(error).__name__}: {reason}). "
      "Save it again with numpy.savez(path, images=..., labels=...)"
    )

  def _load(self, key: str) -> Shaped[np.ndarray, "..."]:
    try:
      with np.load(self.path, allow_pickle=False) as archive:
        return archive[key]
    except Exception as error:  # see above
      raise self._unreadable(error) from error

  def _load_images(self) -> Shaped[np.ndarray, "..."]:
    return self._load(self.key)

  def _load_labels(self) -> Int[np.ndarray, "..."] | None:
    return self._load(self.label_key) if self.label_key else None


def _listed(shapes: dict[str, Header]) -> str:
  return ", ".join(f"'{name}' {dtype}{list(shape)}" for name, (dtype, shape) in shapes.items())


IDX_NAME = re.compile(r"(?P<split>.+)[-.]images[-.]idx3-ubyte(\.gz)?")


class IdxSource(ArraySource):
  """A pair of IDX files, as MNIST's: `*-images-idx3-ubyte` and `*-labels-idx1-ubyte` beside it."""

  def __init__(self, path: pathlib.Path):
    self.path, self.name = path, path.resolve().parent.name
    self.shape = self._header(path, 3)
    base = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    beside = (path.with_name(base), path.with_name(base + ".gz"))
    self.label_path = next((path for path in beside if path.exists()), None)
    self.identity = ("idx", *(_stamp(path) for path in (path, self.label_path) if path))

  def _open(self, path: pathlib.Path) -> Any:
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")

  def _header(self, path: pathlib.Path, rank: int) -> tuple[int, ...]:
    start = 4 * (1 + rank)
    try:
      with self._open(path) as file:
        magic, *shape = np.frombuffer(file.read(start), ">u4").tolist()
      if magic != 0x800 + rank or len(shape) != rank or 0 in shape:
        raise ValueError(f"its first bytes are not those of a rank {rank} uint8 array")
      size, stored = start + math.prod(shape), path.stat().st_size
      if path.suffix != ".gz" and size != stored:
        raise ValueError(f"it has {stored:,} bytes and not {size:,}")
      check_size(size, stored)
    except Exception as error:  # of gzip and zlib, beside those above
      raise self._unreadable(path, error) from error
    return tuple(shape)

  def _unreadable(self, path: pathlib.Path, error: object) -> DataError:
    return DataError(f"cannot read '{path}' as an IDX file: {error}. Fetch it again")

  def _load(self, path: pathlib.Path, rank: int) -> UInt8[np.ndarray, "..."]:
    shape = self._header(path, rank)
    try:
      with self._open(path) as file:
        file.read(4 * (1 + rank))
        # One byte more than there should be, but not all that a file may unpack to.
        return np.frombuffer(file.read(math.prod(shape) + 1), np.uint8).reshape(shape)
    except Exception as error:  # see above
      raise self._unreadable(path, error) from error

  def _load_images(self) -> UInt8[np.ndarray, "..."]:
    return self._load(self.path, 3)

  def _load_labels(self) -> UInt8[np.ndarray, "..."] | None:
    if self.label_path is None:
      return None
    self._check_labels(Header(np.dtype(np.uint8), self._header(self.label_path, 1)))
    return self._load(self.label_path, 1)
