"""Minimal filtering: convolutions with fewer multiplications than the direct form.

Winograd 1980; Lavin and Gray 2016 (arXiv 1509.09308), equation 8: outputs `A^T [(G g) * (B^T d)]`
of a filter `g` over a tile of data `d`, nested over rows and columns. `F(m, r)` gives `m` outputs
of `r` taps for `m + r - 1` products, so F(2,2) over two axes takes 9 where the direct form takes
16, and F(2,3) takes 16 where it takes 36. In channels-last layout every product is one matrix
product `[tiles, channels_in] x [channels_in, channels_out]`.

All three functions here are of stride 1 without padding and share one trilinear form: they are
the correlation and its two adjoints.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from jaxgan.layers.convolution.products import product, product_over_positions

__all__ = ["TILE", "correlate", "correlate_adjoint", "kernel_adjoint"]

Grid = list[list[Array]]  # by row and column of the tile


class Filtering(NamedTuple):
  """The three transforms of F(tile, taps): `output @ ((kernel @ g) * (data @ d))`."""

  data: np.ndarray
  kernel: np.ndarray
  output: np.ndarray

  @property
  def tile(self) -> int:
    """Outputs a tile."""
    return self.output.shape[0]


_ONE = np.ones([1, 1])
FILTERING = {  # by taps
  1: Filtering(_ONE, _ONE, _ONE),
  2: Filtering(
    data=np.array([[1, -1, 0], [0, 1, 0], [0, 1, -1]]),
    kernel=np.array([[1, 0], [1, 1], [0, 1]]),
    output=np.array([[1, 1, 0], [0, 1, -1]]),
  ),
  3: Filtering(
    data=np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    kernel=np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
    output=np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
  ),
}
TILE = {taps: filtering.tile for taps, filtering in FILTERING.items()}


def _combine(matrix: np.ndarray, arrays: Sequence[Array]) -> list[Array]:
  """`matrix @ arrays`, as the additions that its few entries ask for."""
  rows = []
  for row in matrix.tolist():
    terms = [(f, f * a if abs(f) != 1 else a) for f, a in zip(row, arrays, strict=True) if f]
    (first, total), *others = terms
    total = -total if first == -1 else total
    for factor, term in others:
      total = total - term if factor == -1 else total + term
    rows.append(total)
  return rows


def _transform(rows: np.ndarray, columns: np.ndarray, grid: Grid) -> Grid:
  """`rows @ grid @ columns.T`."""
  by_column = [_combine(rows, column) for column in zip(*grid, strict=True)]
  return [_combine(columns, row) for row in zip(*by_column, strict=True)]


def _map(function: Callable[..., Array], *grids: Grid) -> Grid:
  return [
    [function(*items) for items in zip(*rows, strict=True)] for rows in zip(*grids, strict=True)
  ]


def _deal(x: Array, steps: tuple[int, int], spans: tuple[int, int], tiles: tuple[int, int]) -> Grid:
  """The `spans` strided views of `x` that start at each position of a tile."""

  def view(i: int, j: int) -> Array:
    rows, columns = (i + (tiles[0] - 1) * steps[0] + 1, j + (tiles[1] - 1) * steps[1] + 1)
    return lax.slice(x, (0, i, j, 0), (x.shape[0], rows, columns, x.shape[3]), (1, *steps, 1))

  return [[view(i, j) for j in range(spans[1])] for i in range(spans[0])]


def _interleave(grid: Grid) -> Array:
  """Inverse of dealing without overlap."""
  n, h, w, c = grid[0][0].shape
  rows = jnp.stack([jnp.stack(row, 3) for row in grid], 2)
  return rows.reshape(n, h * len(grid), w * len(grid[0]), c)


def _kernel_grid(v: Array) -> Grid:
  return [[v[i, j] for j in range(v.shape[1])] for i in range(v.shape[0])]


def correlate(
  z: Float[Array, "n H W c"], v: Float[Array, "r s c o"], transpose: bool = False
) -> Float[Array, "n h w o"]:
  """Correlation of stride 1 without padding; `h = H - r + 1` and `w` are multiples of `TILE`.

  `transpose` takes `v` as `[r, s, o, c]`.
  """
  rows, columns = (FILTERING[taps] for taps in v.shape[:2])
  tiles = (
    (z.shape[1] - v.shape[0] + 1) // rows.tile,
    (z.shape[2] - v.shape[1] + 1) // columns.tile,
  )
  steps = (rows.tile, columns.tile)
  data = _deal(z, steps, (rows.data.shape[1], columns.data.shape[1]), tiles)
  data = _transform(rows.data, columns.data, data)
  kernels = _transform(rows.kernel, columns.kernel, _kernel_grid(v))
  products = _map(functools.partial(product, transpose=transpose), data, kernels)
  return _interleave(_transform(rows.output, columns.output, products))


def correlate_adjoint(
  u: Float[Array, "n h w o"], v: Float[Array, "r s c o"]
) -> Float[Array, "n H W c"]:
  """The adjoint of `correlate` in `z`; `h` and `w` are multiples of `TILE`."""
  rows, columns = (FILTERING[taps] for taps in v.shape[:2])
  steps = (rows.tile, columns.tile)
  tiles = (u.shape[1] // rows.tile, u.shape[2] // columns.tile)
  cotangents = _transform(rows.output.T, columns.output.T, _deal(u, steps, steps, tiles))
  kernels = _transform(rows.kernel, columns.kernel, _kernel_grid(v))
  products = _map(functools.partial(product, transpose=True), cotangents, kernels)
  pieces = _transform(rows.data.T, columns.data.T, products)
  by_column = [_overlap_add(column, 1, rows.tile) for column in zip(*pieces, strict=True)]
  z = _interleave([_overlap_add(row, 2, columns.tile) for row in zip(*by_column, strict=True)])
  return z[:, : u.shape[1] + v.shape[0] - 1, : u.shape[2] + v.shape[1] - 1]


def _overlap_add(pieces: Sequence[Array], axis: int, tile: int) -> list[Array]:
  """Adds piece `tile + k` to piece `k` of the next tile; `tile` pieces remain."""
  if len(pieces) == tile:
    return list(pieces)

  def shift(x: Array, low: int) -> Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (low, 1 - low)
    return jnp.pad(x, widths)

  sums = [shift(piece, 0) for piece in pieces[:tile]]
  for k, piece in enumerate(pieces[tile:]):
    sums[k] = sums[k] + shift(piece, 1)
  return sums


def kernel_adjoint(
  z: Float[Array, "n H W c"], u: Float[Array, "n h w o"]
) -> Float[Array, "r s c o"]:
  """The adjoint of `correlate` in `v`; `h` and `w` are multiples of `TILE`."""
  rows, columns = (FILTERING[z.shape[axis] - u.shape[axis] + 1] for axis in (1, 2))
  steps = (rows.tile, columns.tile)
  tiles = (u.shape[1] // rows.tile, u.shape[2] // columns.tile)
  data = _deal(z, steps, (rows.data.shape[1], columns.data.shape[1]), tiles)
  data = _transform(rows.data, columns.data, data)
  cotangents = _transform(rows.output.T, columns.output.T, _deal(u, steps, steps, tiles))
  products = _map(product_over_positions, data, cotangents)
  taps = _transform(rows.kernel.T, columns.kernel.T, products)
  return jnp.stack([jnp.stack(row) for row in taps])
