"""Weights from PyTorch files, read without PyTorch and without running what a pickle says.

Past 300 lines because each bound on what a stranger's file may ask for stands where it is read.
"""

import io
import math
import os
import pathlib
import pickle
import sys
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from jaxgan._archives import check_size

__all__ = ["WeightsError", "fold_batch_norm", "match", "read_torch"]

_MOST_PICKLE = 1 << 20  # bytes of names and shapes; each may take some hundred in memory
_MAGIC = 0x1950A86A20F9469CFC6C  # opens a file of the form before PyTorch 1.6
_PROTOCOL = 1001

_DTYPES = {
  "DoubleStorage": np.dtype(np.float64),
  "FloatStorage": np.dtype(np.float32),
  "HalfStorage": np.dtype(np.float16),
  "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
  "LongStorage": np.dtype(np.int64),
  "IntStorage": np.dtype(np.int32),
  "ShortStorage": np.dtype(np.int16),
  "CharStorage": np.dtype(np.int8),
  "ByteStorage": np.dtype(np.uint8),
  "BoolStorage": np.dtype(np.bool_),
}


class WeightsError(Exception):
  """Weights cannot be had or do not fit; the message says why and what to do about it."""


class _Storage(NamedTuple):
  key: str
  dtype: str
  size: int


class _Tensor(NamedTuple):
  """A view of a storage whose numbers may not have been read yet."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def array(self, storages: Mapping[str, np.ndarray]) -> np.ndarray:
    numbers = (self.offset, *self.shape, *self.strides)
    if len(self.shape) != len(self.strides) or any(type(n) is not int or n < 0 for n in numbers):
      raise ValueError("a tensor of impossible shape or strides")
    values = storages[self.storage.key]
    if values.dtype != _DTYPES[self.storage.dtype]:
      raise ValueError(f"storage {self.storage.key} has two types")
    # PyTorch would refuse it too; here a view that reaches out would read other memory.
    last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
    if math.prod(self.shape) and self.offset + last >= values.size:
      raise ValueError(f"a tensor reaches out of storage {self.storage.key}")
    if not math.prod(self.shape):
      return np.empty(self.shape, values.dtype)
    strides = [stride * values.itemsize for stride in self.strides]
    return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides).copy()


# What a pickle may call. A pickle can set attributes of what it names, the defaults of a function
# among them: these have none to set.
class _Names(dict[Any, Any]):
  """An OrderedDict, without the attributes that PyTorch gives one."""

  __slots__ = ()

  def __setstate__(self, state: object) -> None:
    pass


class _NewNames:
  __slots__ = ()

  def __call__(self) -> _Names:  # of no arguments, which could be copied again and again
    return _Names()


class _RebuildTensor:
  __slots__ = ()

  def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> _Tensor:
    if not isinstance(storage, _Storage):
      raise ValueError("a tensor without storage")
    if max(len(shape), len(strides)) > 64:
      raise ValueError("a tensor of too many dimensions")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
  __slots__ = ()

  def __call__(self, tensor: Any, *_: object) -> Any:
    return tensor


_GLOBALS: dict[tuple[str, str], Any] = {
  ("collections", "OrderedDict"): _NewNames(),
  ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
  ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
  ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
  **{("torch", name): name for name in _DTYPES},
}


class _Short:
  """A file that ends after so many bytes as a pickle may have."""

  def __init__(self, file: BinaryIO) -> None:
    self._file, self._left = file, _MOST_PICKLE

  def read(self, size: int) -> bytes:
    return self._taken(self._file.read(min(size, self._left)))

  def readline(self) -> bytes:
    line = self._taken(self._file.readline(self._left))
    if not line.endswith(b"\n"):
      raise EOFError("it ends in the middle of a line")
    return line

  def _taken(self, data: bytes) -> bytes:
    self._left -= len(data)
    return data


# The one in Python: that in C takes memory for as many memos as a number in the file says.
class _Unpickler(pickle._Unpickler):
  """Knows the names above and no others."""

  def __init__(self, file: BinaryIO) -> None:
    # PyTorch writes its text, from Python 2 in old files, as UTF-8.
    super().__init__(_Short(file), encoding="utf-8")
    self.storages: dict[str, _Storage] = {}

  def find_class(self, module: str, name: str) -> Any:
    try:
      return _GLOBALS[module, name]
    except KeyError:
      raise WeightsError(
        f"the file names {f'{module}.{name}':.200}, which a file of weights has no need of and "
        "which is not run: save a state_dict of plain tensors"
      ) from None

  def persistent_load(self, pid: Any) -> _Storage:
    kind, dtype, key, _, count, *view = pid
    known = kind == "storage" and isinstance(dtype, str) and dtype in _DTYPES
    if not (known and isinstance(key, str | int) and type(count) is int and count >= 0):
      raise ValueError("an unknown reference")
    if view and view[0] is not None:
      raise ValueError("views of storages, which PyTorch wrote before 0.4 only")
    return self.storages.setdefault(str(key), _Storage(str(key), dtype, count))


def read_torch(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Reads a `state_dict` that `torch.save` wrote, in the zip form or the one before PyTorch 1.6.

  Nothing in the file is run: a pickle that names anything but tensors is refused.

  Args:
    path: the file, `.pth` or `.pt`.

  Returns:
    Contiguous arrays by name; bfloat16 as `ml_dtypes.bfloat16`.

  Raises:
    WeightsError: there is no such file, it is damaged, names something that is not a tensor, or
      holds other things than a flat mapping of names to tensors.
  """
  path = pathlib.Path(path)
  try:
    with path.open("rb") as file:
      zipped = file.read(4) == b"PK\x03\x04"
      file.seek(0)
      content, storages = _read_zip(file) if zipped else _read_legacy(file)
    if not isinstance(content, Mapping) or not all(
      isinstance(name, str) and isinstance(value, _Tensor) for name, value in content.items()
    ):
      raise WeightsError("it holds other things than tensors by name: save a state_dict")
    sizes = (math.prod(x.shape) * _DTYPES[x.storage.dtype].itemsize for x in content.values())
    check_size(sum(sizes), path.stat().st_size)  # tensors may share a storage, or repeat it
    return {name: tensor.array(storages) for name, tensor in content.items()}
  except WeightsError as error:
    raise WeightsError(f"cannot read the weights '{path}': {error}") from error
  except OSError as error:
    raise WeightsError(
      f"cannot read the weights '{path}' ({error}): check the path and its permissions"
    ) from error
  except Exception as error:  # a damaged pickle can raise nearly anything
    raise WeightsError(
      f"the weights '{path}' are damaged or not of PyTorch ({type(error).__name__}: {error}): "
      "fetch the file again"
    ) from error


def _read_legacy(file: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
  if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _PROTOCOL:
    raise ValueError("it does not begin as PyTorch's files do")
  little = _Unpickler(file).load()["little_endian"]
  unpickler = _Unpickler(file)
  content = unpickler.load()
  storages = {}
  for key in _Unpickler(file).load():
    storage = unpickler.storages[key]
    count = int.from_bytes(_exactly(file, 8), "little" if little else "big", signed=True)
    _check_count(storage, count)
    data = _exactly(file, count * _DTYPES[storage.dtype].itemsize)
    storages[key] = _numbers(data, storage, little)
  return content, storages


def _exactly(file: BinaryIO, size: int) -> bytes:
  data = file.read(size)
  if len(data) != size:
    raise EOFError(f"it ends {size - len(data)} bytes too early")
  return data


def _read_zip(file: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
  with zipfile.ZipFile(file) as archive:
    names = archive.namelist()
    (pickled,) = (name for name in names if name.endswith("/data.pkl") and name.count("/") == 1)
    folder = pickled.removesuffix("data.pkl")
    order = f"{folder}byteorder"
    little = order not in names or archive.open(order).read(9) == b"little"
    with archive.open(pickled) as opened:
      unpickler = _Unpickler(io.BytesIO(opened.read(_MOST_PICKLE)))
    content = unpickler.load()
    storages = {}
    for key, storage in unpickler.storages.items():
      member = archive.getinfo(f"{folder}data/{key}")
      _check_count(storage, member.file_size / _DTYPES[storage.dtype].itemsize)
      check_size(member.file_size, member.compress_size)
      storages[key] = _numbers(archive.read(member), storage, little)
  return content, storages


def _check_count(storage: _Storage, count: float) -> None:
  if count != storage.size:
    raise ValueError(f"storage {storage.key} has {count:g} elements and not {storage.size}")


def _numbers(data: bytes, storage: _Storage, little: bool) -> np.ndarray:
  values = np.frombuffer(data, _DTYPES[storage.dtype])
  _check_count(storage, values.size)
  return values if little == (sys.byteorder == "little") else values.byteswap()


def match(
  weights: Mapping[str, np.ndarray],
  shapes: Mapping[str, tuple[int, ...]],
  what: str,
  *,
  ignore: Callable[[str], bool] = lambda name: name.endswith("num_batches_tracked"),
) -> None:
  """Checks that weights are those of a network.

  Args:
    weights: arrays by name.
    shapes: the shapes that the network needs, by name.
    what: the network, to open the message.
    ignore: names that may be there or not.

  Raises:
    WeightsError: the message lists names that are missing, unknown or of another shape.

  >>> match({"w": np.zeros([2, 3])}, {"w": (2, 4), "b": (4,)}, "a layer")
  Traceback (most recent call last):
  ...
  jaxgan.metrics.features.weights.WeightsError: these are not the weights of a layer: missing b;
  of another shape w [2, 3] and not [2, 4]. Give the file that belongs to it
  """
  given = {name: array.shape for name, array in weights.items() if not ignore(name)}
  found = {
    "missing": [name for name in shapes if name not in given],
    "unknown": [name for name in given if name not in shapes],
    "of another shape": [
      f"{name} {list(given[name])} and not {list(shape)}"
      for name, shape in shapes.items()
      if given.get(name, shape) != shape
    ],
  }
  parts = []
  for fault, names in found.items():
    if names:
      more = f" and {len(names) - 8} more" if len(names) > 8 else ""
      parts.append(f"{fault} {', '.join(names[:8])}{more}")
  if parts:
    raise WeightsError(
      f"these are not the weights of {what}: {'; '.join(parts)}. Give the file that belongs to it"
    )


def fold_batch_norm(
  weights: Mapping[str, np.ndarray], convolution: str, norm: str, *, epsilon: float = 1e-3
) -> dict[str, np.ndarray]:
  """A convolution without bias and the batch norm after it as one convolution with a bias.

  `gamma (w * x - mean) / sqrt(var + epsilon) + beta` is linear in x: the factor
  `gamma / sqrt(var + epsilon)` goes to the kernel, and what does not depend on x is the bias.

  Args:
    weights: arrays by PyTorch's names.
    convolution: name of the convolution, whose `weight` is `[out, in / groups, h, w]`.
    norm: name of the batch norm.
    epsilon: of the batch norm.

  Returns:
    "kernel" `[h, w, in / groups, out]` and "bias" `[out]`, float32, computed in float64.
  """
  kernel = weights[f"{convolution}.weight"].astype(np.float64)
  gamma, beta, mean, variance = (
    weights[f"{norm}.{name}"].astype(np.float64)
    for name in ("weight", "bias", "running_mean", "running_var")
  )
  factor = gamma / np.sqrt(variance + epsilon)
  return {
    "kernel": (kernel.transpose(2, 3, 1, 0) * factor).astype(np.float32),
    "bias": (beta - mean * factor).astype(np.float32),
  }
