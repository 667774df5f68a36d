"""Sums and minima over all pairs of rows of two matrices, in tiles of bounded size.

A tile is a block of rows of one matrix against a block of rows of the other. Its shape does not
depend on the number of devices, and each device computes whole tiles of its own, so that 1 and 8
devices add the same numbers in the same order: a score does not change with the hardware's count.
What a tile leaves is merged on the host, sums in float64.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxgan.types import Array, PyTree

__all__ = ["Columns", "centred", "dot", "squared_distances", "sweep"]

ROWS, COLUMNS = 1024, 4096  # the largest tile: 16 MB in float32

Columns = Mapping[str, np.ndarray]  # what a tile knows of each example; all have the same length
Tile = Callable[..., tuple[PyTree, PyTree]]


def dot(a: Array, b: Array) -> Array:
  """All scalar products in float32; the default precision of GPUs and TPUs is less."""
  return jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)


def squared_distances(rows: Mapping[str, Array], columns: Mapping[str, Array]) -> Array:
  """All |a - b|^2 of what `centred` has prepared, by |a|^2 + |b|^2 - 2ab."""
  norms = rows["norm"][:, None] + columns["norm"][None, :]
  return jnp.maximum(norms - 2.0 * dot(rows["x"], columns["x"]), 0.0)


def centred(x: np.ndarray, centre: np.ndarray) -> dict[str, np.ndarray]:
  """Float32 `x - centre` and its squared norms, from float64.

  The expansion of |a - b|^2 loses digits in proportion to |a|^2 / |a - b|^2, which is large where
  features have a large common mean. About the mean the ratio is of order 1 except for near
  copies, and float32 gives distances to about 1e-6 of the features' spread.
  """
  moved = np.empty(x.shape, np.float32)
  norm = np.empty(len(x), np.float32)
  for start in range(0, len(x), ROWS):
    part = slice(start, start + ROWS)
    difference = x[part].astype(np.float64) - centre
    moved[part] = difference
    norm[part] = (difference**2).sum(1)
  return {"x": moved, "norm": norm}


def sweep(
  tile: Tile,
  rows: Columns,
  columns: Columns,
  *arguments: np.ndarray,
  like: tuple[Any, ...] = (),
  largest: int = 0,
  **options: Any,
) -> Iterator[tuple[slice, slice, PyTree, PyTree]]:
  """Runs a function over all tiles and yields what they leave.

  Args:
    tile: a module's function `tile(rows, columns, *arguments, **options) -> (row_part,
      column_part)`; it gets the mappings below cut to a tile, each with an added `index` (int32,
      -1 where the tile is filled up), and returns trees of arrays that begin with the tile's rows
      and columns.
    rows: arrays with one entry for each row.
    columns: arrays with one entry for each column.
    *arguments: small arrays that every tile reads.
    like: arrays whose devices share the work; by default JAX's default device does it.
    largest: the largest set of the measure's other sweeps. Tiles then have one shape, and a pair
      that occurs in two sweeps gets the same bits.
    **options: hashable constants of the tile.

  Yields:
    Which rows, which columns, `row_part` of these rows, and `column_part` with a leading axis to
    reduce over: a device's block of rows each.
  """
  n, m = (len(part["x"]) for part in (rows, columns))
  size = max(8, 1 << (max(n, m, largest) - 1).bit_length())
  devices = _devices(like)
  tall, wide = min(ROWS, size), min(COLUMNS, size)
  split, whole = _shardings(devices)
  right = [
    (part, jax.device_put(_cut(columns, part, wide), whole)) for part in _parts(m, wide, wide)
  ]
  for part in _parts(n, tall * len(devices), tall * len(devices)):
    block = _cut(rows, part, tall * len(devices))
    block = {k: x.reshape(len(devices), tall, *x.shape[1:]) for k, x in block.items()}
    left = jax.device_put(block, split)
    made = [
      (other, _apply(left, c, arguments, tile=tile, options=tuple(options.items())))
      for other, c in right
    ]
    for other, (row_part, column_part) in made:
      height, width = part.stop - part.start, other.stop - other.start
      yield (
        part,
        other,
        jax.tree.map(functools.partial(_joined, count=height), row_part),
        jax.tree.map(lambda x, width=width: np.asarray(x)[:, :width], column_part),
      )


@functools.partial(jax.jit, static_argnames=("tile", "options"))
def _apply(
  rows: Any, columns: Any, arguments: Any, *, tile: Tile, options: tuple[tuple[str, Any], ...]
) -> tuple[PyTree, PyTree]:
  return jax.vmap(lambda r: tile(r, columns, *arguments, **dict(options)))(rows)


def _joined(x: Array, count: int) -> np.ndarray:
  array = np.asarray(x)
  return array.reshape(-1, *array.shape[2:])[:count]


def _parts(n: int, size: int, step: int) -> list[slice]:
  return [slice(start, min(start + size, n)) for start in range(0, n, step)]


def _cut(values: Columns, part: slice, size: int) -> dict[str, np.ndarray]:
  """The part of every array and its indices, filled up to `size` entries."""
  count = part.stop - part.start
  cut = {}
  for name, x in values.items():
    filled = np.zeros((size, *x.shape[1:]), x.dtype)
    filled[:count] = x[part]
    cut[name] = filled
  index = np.full(size, -1, np.int32)
  index[:count] = np.arange(part.start, part.stop, dtype=np.int32)
  return cut | {"index": index}


def _devices(like: tuple[Any, ...]) -> list[jax.Device]:
  """The devices that hold the arrays: the largest set, in order of their numbers."""
  held = [x.sharding.device_set for x in like if isinstance(x, jax.Array)]
  largest = max(held, key=len, default=None)
  local = jax.local_devices()
  # A replicated array of several processes is scored by each process, on its own devices.
  mine = [d for d in largest if d in local] if largest else []
  return sorted(mine, key=lambda d: d.id) or list(jnp.zeros(()).devices())


def _shardings(devices: list[jax.Device]) -> tuple[jax.sharding.Sharding, jax.sharding.Sharding]:
  if len(devices) == 1:
    single = SingleDeviceSharding(devices[0])
    return single, single
  mesh = Mesh(np.asarray(devices), ("devices",))
  return NamedSharding(mesh, PartitionSpec("devices")), NamedSharding(mesh, PartitionSpec())
