"""What the measures ask of their arguments: shapes, counts, finite values; errors name them."""

import numpy as np

from jaxgan.types import Array

__all__ = ["AnyArray", "feature_matrix", "host_array", "label_vector", "same_width"]

AnyArray = np.ndarray | Array

_LARGEST = 1e15  # in size: 1e8 squares of a difference of two still have a sum in float32


def host_array(name: str, x: AnyArray) -> np.ndarray:
  """Copies an array to the host, from wherever its pieces are, as float32 or float64.

  Raises:
    TypeError: it has no real numbers.
    ValueError: other processes hold a part of it.
  """
  if not getattr(x, "is_fully_addressable", True) and not getattr(x, "is_fully_replicated", False):
    raise ValueError(
      f"{name} has parts on other processes: gather it first, with "
      "jax.experimental.multihost_utils.process_allgather(x, tiled=True)"
    )
  array = np.asarray(x)
  if array.dtype in (np.float32, np.float64):
    return array
  # numpy does not count bfloat16 among its floats
  if array.dtype.name != "bfloat16" and array.dtype.kind not in "iuf":
    raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
  return array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)


def feature_matrix(name: str, x: AnyArray, *, at_least: int = 1) -> np.ndarray:
  """`host_array` of a matrix `[n, d]` of finite numbers with enough rows.

  Raises:
    TypeError: it has no real numbers.
    ValueError: another shape, fewer rows, or a value that is not finite or too large.
  """
  array = host_array(name, x)
  if array.ndim != 2 or not array.shape[1]:
    raise ValueError(
      f"{name} must be [n, d] with one row for each example, got {list(array.shape)}: "
      "flatten it with x.reshape(len(x), -1)"
    )
  if len(array) < at_least:
    raise ValueError(f"{name} has {len(array)} examples, this measure needs {at_least} or more")
  finite = np.isfinite(array).all(axis=1)
  if not finite.all():
    raise ValueError(
      f"{name} must be finite, but {(~finite).sum()} of {len(array)} examples are not (the first "
      f"is number {int(np.argmin(finite))}): look at the network that made them"
    )
  if len(array) and (largest := max(array.max(), -array.min())) > _LARGEST:
    raise ValueError(
      f"{name} must be at most {_LARGEST:g}, got {largest:.3g}, whose distances overflow float32: "
      "scale the features of all sets by one number"
    )
  return array


def same_width(**named: np.ndarray) -> None:
  """Raises ValueError if the matrices' second axes differ."""
  if len({x.shape[1] for x in named.values()}) > 1:
    shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in named.items())
    raise ValueError(f"dimensions must match, got {shapes}: use one feature function for all")


def label_vector(name: str, x: AnyArray, n: int) -> np.ndarray:
  """Whole numbers `[n]` on the host.

  Raises:
    TypeError: the dtype is not an integer's.
    ValueError: another shape.
  """
  array = np.asarray(x)
  if array.shape != (n,):
    raise ValueError(f"{name} must be [{n}], one label for each example, got {list(array.shape)}")
  if array.dtype.kind not in "iu":
    raise TypeError(f"{name} must be integers, got dtype {array.dtype}: take argmax of scores")
  return array
