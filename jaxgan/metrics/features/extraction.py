"""Features of many pictures: batch by batch, on all devices."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Shaped, UInt8

from jaxgan.metrics.features import preprocessing
from jaxgan.metrics.features.network import Features, Outputs, check_images
from jaxgan.types import Array, Key

__all__ = ["extract", "extract_all", "generated"]

_FAR = 16.0  # no generator of pictures in [-1, 1] goes there; pictures in [0, 255] do


def extract(
  features: Features,
  images: Shaped[np.ndarray, "n h w c"] | Iterable[Shaped[Array, "b h w c"]],
  *,
  batch_size: int = 64,
  mesh: Mesh | None = None,
) -> Iterator[Outputs]:
  """Features of any number of pictures, batch by batch, on all devices.

  Every batch is filled up to one size, so there is one compilation, and no more than two batches
  are in memory. With several processes each extracts the pictures that it is given.

  Args:
    features: the network.
    images: an array, mapped or in memory, or an iterable of arrays `[b, h, w, c]`, which may differ
      in b. Uint8, or floating in [-1, 1], which is quantised; all of one shape.
    batch_size: pictures at a time over all devices, rounded up to a multiple of their number.
    mesh: whose devices share a batch; None for all of this process.

  Yields:
    Numpy arrays, float32, in the order of the pictures.

  Raises:
    ValueError: pictures are not `[b, h, w, 1 or 3]`, differ in shape, are not finite or far
      outside [-1, 1].
    TypeError: they are neither uint8 nor floating.

  >>> from jaxgan.metrics.features import of_function
  >>> mean = of_function("mean", lambda x: x.mean((1, 2)), dimension=1)
  >>> pictures = np.ones([5, 8, 8, 1], np.uint8)
  >>> [len(outputs.features) for outputs in extract(mean, pictures, batch_size=8)]
  [5]
  """
  if batch_size < 1:
    raise ValueError(f"batch_size={batch_size} must be at least 1")
  if mesh is None:
    devices = jax.local_devices()
    mesh = jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)
  over_batch = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
  variables = features.variables
  if features.compiled:
    variables = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    batch_size = math.ceil(batch_size / mesh.size) * mesh.size

  def run(batch: np.ndarray) -> Outputs:
    placed = jax.device_put(batch, over_batch) if features.compiled else batch
    return features.run(variables, placed)

  # The device works on one batch while the host prepares the next.
  waiting: tuple[Outputs, int] | None = None
  for batch, count in _batches(images, batch_size):
    outputs = run(batch)
    if waiting is not None:
      yield _on_host(*waiting)
    waiting = outputs, count
  if waiting is not None:
    yield _on_host(*waiting)


def extract_all(
  features: Features,
  images: Shaped[np.ndarray, "n h w c"] | Iterable[Shaped[Array, "b h w c"]],
  *,
  batch_size: int = 64,
  mesh: Mesh | None = None,
) -> Outputs:
  """`extract` in one piece: the pictures pass by, their features stay.

  Args:
    features: the network.
    images: see `extract`.
    batch_size: see `extract`.
    mesh: see `extract`.

  Returns:
    Numpy arrays, float32: features `[n, d]`, and probabilities if there are classes.

  Raises:
    ValueError: see `extract`; or there are no pictures.
    TypeError: see `extract`.

  >>> from jaxgan.metrics.features import of_function
  >>> mean = of_function("mean", lambda x: x.mean((1, 2)), dimension=1)
  >>> extract_all(mean, np.ones([5, 8, 8, 1], np.uint8)).features.shape
  (5, 1)
  """
  parts = list(extract(features, images, batch_size=batch_size, mesh=mesh))
  if not parts:
    raise ValueError("images are empty: features need at least one picture")
  columns: list[Any] = [
    None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True)
  ]
  return Outputs(*columns)


def generated(
  generate: Callable[[Key, int], Shaped[Array, "b h w c"]],
  key: Key,
  n: int,
  *,
  batch_size: int = 64,
) -> Iterator[Shaped[Array, "b h w c"]]:
  """Samples for `extract`, never more than a batch at a time.

  Args:
    generate: from a key and a number to as many pictures, typically jitted with the number static.
    key: batch i is drawn with `fold_in(key, i)`, so other batch sizes give other samples.
    n: number of samples.
    batch_size: asked of `generate` each time; the last batch is cut.

  Yields:
    Pictures, n in all.

  >>> draw = lambda key, n: jax.random.uniform(key, [n, 8, 8, 3], minval=-1.0)
  >>> [len(x) for x in generated(draw, jax.random.key(0), 10, batch_size=4)]
  [4, 4, 2]
  """
  if n < 1 or batch_size < 1:
    raise ValueError(f"n={n} and batch_size={batch_size} must be at least 1")
  for index, start in enumerate(range(0, n, batch_size)):
    yield generate(jax.random.fold_in(key, index), batch_size)[: n - start]


def _quantised(images: Any) -> UInt8[np.ndarray, "b h w c"]:
  check_images(images)
  if images.dtype == np.uint8:
    return np.asarray(images)
  if not jnp.issubdtype(images.dtype, jnp.floating):
    raise TypeError(f"images are {images.dtype}: give uint8, or floating in [-1, 1]")
  images = np.asarray(images, np.float32)
  furthest = np.abs(images).max(initial=0.0)
  if not furthest <= _FAR:  # nor where it is NaN
    raise ValueError(
      f"floating images reach {furthest}: they must be finite and in [-1, 1]; make pictures in "
      "[0, 255] uint8"
    )
  return np.asarray(preprocessing.to_uint8(images))


def _slices(images: Any, batch_size: int) -> Iterator[Any]:
  check_images(images)
  for start in range(0, images.shape[0], batch_size):
    yield images[start : start + batch_size]


def _batches(
  images: Any, batch_size: int
) -> Iterator[tuple[UInt8[np.ndarray, "batch h w c"], int]]:
  """Batches of one size, the last one filled up, and how many of their pictures count."""
  parts = _slices(images, batch_size) if hasattr(images, "shape") else images
  shape: tuple[int, ...] | None = None
  batch, filled = np.zeros(0, np.uint8), 0
  for part in parts:
    if not hasattr(part, "shape"):
      raise TypeError(
        f"images are an iterable of {type(part).__name__}: give arrays [b, height, width, channels]"
      )
    part = _quantised(part)
    shape = shape or part.shape[1:]
    if part.shape[1:] != shape:
      raise ValueError(f"images of the shapes {shape} and {part.shape[1:]}: resize them to one")
    while len(part):
      if not filled:
        # A new one each time: the device may still use the memory of the last.
        batch = np.zeros((batch_size, *shape), np.uint8)
      taken = min(batch_size - filled, len(part))
      batch[filled : filled + taken] = part[:taken]
      part, filled = part[taken:], filled + taken
      if filled == batch_size:
        yield batch, filled
        filled = 0
  if filled:
    yield batch, filled


def _on_host(outputs: Outputs, count: int) -> Outputs:
  arrays: list[Any] = [None if x is None else np.asarray(x, np.float32)[:count] for x in outputs]
  return Outputs(*arrays)
