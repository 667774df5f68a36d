"""The convolution and its adjoints on a CPU, as matrix products where XLA's own are slower.

Every strided convolution is one of stride 1 over blocks: cut the padded image into blocks of
`stride x stride` positions and move the positions of a block to its channels. What remains has
`taps = ceil(kernel / stride)` taps an axis and needs no padding. Of the forms that then compute it
the fastest is chosen by the number of taps and of channels, the smaller of the two (2-core CPUs,
float32):

- one tap (1x1, a kernel as large as its stride or its image): one product, 3 times XLA's speed;
- two or three taps: minimal filtering, from 64 channels for the images (1.2 to 2 times XLA's speed
  at 128 and more; XLA's leads by as much at 16 and 32) and from 16 for the kernel;
- what is left of the convolution, and so of its transpose for stride 1, is XLA's;
- the transpose for larger strides is one product to all taps, which are added where they overlap;
- the kernel gradient of few channels takes four positions of a row at a time, so that its products
  have more rows and columns: more arithmetic, in a quarter to four fifths of the time mostly;
- that of more gathers windows of the side with fewer channels into one product, or takes one
  product a tap where both have many. XLA's own is 4 to 30 times slower, and where it is not, with
  few channels, it still is 10 to 100 times slower in a loop.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from jaxgan.layers.convolution import minimal_filtering, xla
from jaxgan.layers.convolution.geometry import Geometry
from jaxgan.layers.convolution.products import product, product_over_positions

__all__ = ["conv", "conv_transpose", "in_single", "kernel_gradient", "mirror", "mirrored"]

# Channels from which minimal filtering's saved products outweigh its additions.
_MANY = 64
_MANY_FOR_KERNEL = 16
# Channels, on either side, up to which a row's positions are taken together, and how many.
_FEW = 32
_TOGETHER = 4


class Axis(NamedTuple):
  """One image axis cut into blocks.

  Attributes:
    size: positions of the image.
    low: padding before them.
    kernel: positions of the kernel.
    stride: positions a block spans.
    kept: those of them that the kernel reaches.
    taps: blocks a window spans.
    outputs: of the convolution, rounded up to the tile.
  """

  size: int
  low: int
  kernel: int
  stride: int
  kept: int
  taps: int
  outputs: int

  @property
  def blocks(self) -> int:
    return self.outputs + self.taps - 1

  @property
  def pad(self) -> tuple[int, int, int]:
    return self.low, self.blocks * self.stride - self.size - self.low, 0


def _axes(geometry: Geometry, tile: bool) -> tuple[Axis, Axis]:
  axes = []
  for size, kernel, stride, (low, _), count in zip(*geometry, geometry.output, strict=True):
    if count == 1:
      stride = kernel  # one window: a dense layer
    taps = math.ceil(kernel / stride)
    if tile:
      step = minimal_filtering.TILE[taps]
      count = math.ceil(count / step) * step
    axes.append(Axis(size, low, kernel, stride, min(kernel, stride), taps, count))
  return axes[0], axes[1]


_KEEP = (0, 0, 0)


def _pad(x: Array, rows: tuple[int, int, int], columns: tuple[int, int, int]) -> Array:
  return lax.pad(x, jnp.zeros((), x.dtype), (_KEEP, rows, columns, _KEEP))


def _to_blocks(x: Array, axes: tuple[Axis, Axis]) -> Array:
  n, c = x.shape[0], x.shape[3]
  a, b = axes
  x = _pad(x, a.pad, b.pad).reshape(n, a.blocks, a.stride, b.blocks, b.stride, c)
  x = x[:, :, : a.kept, :, : b.kept].transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, a.blocks, b.blocks, a.kept * b.kept * c)


def _from_blocks(z: Array, axes: tuple[Axis, Axis]) -> Array:
  """Adjoint of `_to_blocks`."""
  n, c = z.shape[0], z.shape[3]
  a, b = axes
  c //= a.kept * b.kept
  z = z.reshape(n, a.blocks, b.blocks, a.kept, b.kept, c).transpose(0, 1, 3, 2, 4, 5)
  rest = (0, a.stride - a.kept, 0), (0, b.stride - b.kept, 0)
  z = lax.pad(z, jnp.zeros((), z.dtype), (_KEEP, _KEEP, rest[0], _KEEP, rest[1], _KEEP))
  z = z.reshape(n, a.blocks * a.stride, b.blocks * b.stride, c)
  return _pad(z, *((-low, -high, 0) for low, high, _ in (a.pad, b.pad)))


def _kernel_to_blocks(w: Array, axes: tuple[Axis, Axis]) -> Array:
  i, o = w.shape[2:]
  a, b = axes
  rest = [(0, axis.taps * axis.kept - axis.kernel) for axis in axes]
  w = jnp.pad(w, (*rest, (0, 0), (0, 0))).reshape(a.taps, a.kept, b.taps, b.kept, i, o)
  return w.transpose(0, 2, 1, 3, 4, 5).reshape(a.taps, b.taps, a.kept * b.kept * i, o)


def _kernel_from_blocks(v: Array, axes: tuple[Axis, Axis]) -> Array:
  """Adjoint of `_kernel_to_blocks`."""
  a, b = axes
  i, o = v.shape[2] // (a.kept * b.kept), v.shape[3]
  v = v.reshape(a.taps, b.taps, a.kept, b.kept, i, o).transpose(0, 2, 1, 3, 4, 5)
  return v.reshape(a.taps * a.kept, b.taps * b.kept, i, o)[: a.kernel, : b.kernel]


def _offsets(taps: tuple[int, int]) -> list[tuple[int, int]]:
  return [(i, j) for i in range(taps[0]) for j in range(taps[1])]


def _windows(z: Array, taps: tuple[int, int]) -> Array:
  """`[n, h, w, taps * c]`, the taps of each window side by side."""
  h, w = z.shape[1] - taps[0] + 1, z.shape[2] - taps[1] + 1
  views = [z[:, i : i + h, j : j + w] for i, j in _offsets(taps)]
  return views[0] if len(views) == 1 else jnp.concatenate(views, -1)


def _overlap_add(u: Array, v: Array) -> Array:
  """One product to all taps, added where they overlap."""
  (r, s), c = v.shape[:2], v.shape[2]
  spread = product(u, v.reshape(-1, v.shape[3]), transpose=True)
  pieces = [
    _pad(spread[..., k * c : (k + 1) * c], (i, r - 1 - i, 0), (j, s - 1 - j, 0))
    for k, (i, j) in enumerate(_offsets((r, s)))
  ]
  return functools.reduce(jnp.add, pieces)


def _per_tap(z: Array, u: Array, taps: tuple[int, int]) -> Array:
  """The kernel's adjoint by one product a tap, which copies one window at a time."""
  h, w = u.shape[1:3]
  rows = [product_over_positions(z[:, i : i + h, j : j + w], u) for i, j in _offsets(taps)]
  return jnp.stack(rows).reshape(*taps, z.shape[3], u.shape[3])


def _by_rows(z: Array, u: Array, taps: tuple[int, int]) -> Array:
  """The kernel's adjoint by products of `_TOGETHER` positions of a row with the windows over them.

  Such a product holds every tap once for each position, on its block diagonals, which are added,
  and products that belong to no tap.
  """
  n, h, w, o = u.shape
  c, span = z.shape[3], _TOGETHER + taps[1] - 1
  groups = -(-w // _TOGETHER)
  u = _pad(u, (0, 0, 0), (0, groups * _TOGETHER - w, 0)).reshape(n * h * groups, _TOGETHER * o)
  shifts = range(0, span, _TOGETHER)
  wanted = (groups + len(shifts) - 1) * _TOGETHER
  z = _pad(z, (0, 0, 0), (0, max(wanted - z.shape[2], 0), 0))
  shifted = [
    z[:, :, shift : shift + groups * _TOGETHER].reshape(n, -1, groups, _TOGETHER, c)
    for shift in shifts
  ]
  windows = jnp.concatenate(shifted, 3)[:, :, :, :span]
  rows = []
  for i in range(taps[0]):
    products = product_over_positions(windows[:, i : i + h].reshape(len(u), span * c), u)
    products = products.reshape(span, c, _TOGETHER, o)
    diagonals = [sum(products[k + j, :, k] for k in range(_TOGETHER)) for j in range(taps[1])]
    rows.append(jnp.stack(diagonals))
  return jnp.stack(rows)


def _few(c: int, o: int) -> bool:
  return max(c, o) <= _FEW and c * o < _FEW**2


def _taps(geometry: Geometry) -> int:
  return max(axis.taps for axis in _axes(geometry, tile=False))


def _minimal(geometry: Geometry, channels: Sequence[int], many: int) -> bool:
  return _taps(geometry) in (2, 3) and min(channels) >= many


def mirrored(geometry: Geometry) -> Geometry:
  """The convolution with the mirrored kernel that is the adjoint of one of stride 1."""
  pads = [
    (kernel - 1 - low, size - output + low)
    for size, kernel, output, (low, _) in zip(
      geometry.size, geometry.kernel, geometry.output, geometry.padding, strict=True
    )
  ]
  return Geometry(geometry.output, geometry.kernel, (1, 1), (pads[0], pads[1]))


def mirror(w: Array) -> Array:
  """The kernel of the adjoint of a convolution of stride 1."""
  return jnp.flip(w, (0, 1)).swapaxes(2, 3)


def in_single(function: Callable[..., Array]) -> Callable[..., Array]:
  """Half precision is computed in float32: its sums would lose the little it carries."""

  @functools.wraps(function)
  def computed(geometry: Geometry, a: Array, b: Array) -> Array:
    dtype = jnp.promote_types(a.dtype, jnp.float32)
    return function(geometry, a.astype(dtype), b.astype(dtype)).astype(a.dtype)

  return computed


def _filter(geometry: Geometry, x: Array, w: Array, transpose: bool = False) -> Array:
  axes = _axes(geometry, tile=True)
  z, v = _to_blocks(x, axes), _kernel_to_blocks(w, axes)
  out = minimal_filtering.correlate(z, v, transpose)
  return out[:, : geometry.output[0], : geometry.output[1]]


@in_single
def conv(geometry: Geometry, x: Array, w: Array) -> Array:
  """`[n, *size, c] x [*kernel, c, o] -> [n, *output, o]`."""
  if _minimal(geometry, w.shape[2:], _MANY):
    return _filter(geometry, x, w)
  if _taps(geometry) == 1:
    axes = _axes(geometry, tile=False)
    return product(_to_blocks(x, axes), _kernel_to_blocks(w, axes)[0, 0])
  return xla.conv(geometry, x, w)


@in_single
def conv_transpose(geometry: Geometry, y: Array, w: Array) -> Array:
  """`[n, *output, o] x [*kernel, c, o] -> [n, *size, c]`."""
  if geometry.strides == (1, 1) and _taps(geometry) > 1:
    opposite = mirrored(geometry)
    if _minimal(opposite, w.shape[2:], _MANY) and 1 not in opposite.output:  # else it has blocks
      return _filter(opposite, y, jnp.flip(w, (0, 1)), transpose=True)
    # Behind a barrier, because XLA otherwise folds the mirroring into its convolution, which in a
    # loop then takes 10 to 70 times as long.
    return conv(opposite, y, lax.optimization_barrier(mirror(w)))
  minimal = _minimal(geometry, w.shape[2:], _MANY)
  axes = _axes(geometry, minimal)
  adjoint = minimal_filtering.correlate_adjoint if minimal else _overlap_add
  z = adjoint(_pad(y, *_to_tiles(geometry, axes)), _kernel_to_blocks(w, axes))
  return _from_blocks(z, axes)


@in_single
def kernel_gradient(geometry: Geometry, x: Array, y: Array) -> Array:
  """`[n, *size, c] x [n, *output, o] -> [*kernel, c, o]`."""
  c, o = x.shape[3], y.shape[3]
  minimal = not _few(c, o) and _minimal(geometry, (c, o), _MANY_FOR_KERNEL)
  if geometry.strides == (1, 1) and o < c and not minimal and _taps(geometry) > 1:
    return mirror(_kernel_gradient(mirrored(geometry), y, x, minimal=False))
  return _kernel_gradient(geometry, x, y, minimal)


def _kernel_gradient(geometry: Geometry, x: Array, y: Array, minimal: bool) -> Array:
  axes = _axes(geometry, minimal)
  z = _to_blocks(x, axes)
  if minimal:
    v = minimal_filtering.kernel_adjoint(z, _pad(y, *_to_tiles(geometry, axes)))
  else:
    taps = axes[0].taps, axes[1].taps
    if _few(x.shape[3], y.shape[3]) and math.prod(taps) > 1:
      v = _by_rows(z, y, taps)
    elif z.shape[3] < 2 * _MANY_FOR_KERNEL:
      v = product_over_positions(_windows(z, taps), y).reshape(*taps, z.shape[3], y.shape[3])
    else:
      v = _per_tap(z, y, taps)
  return _kernel_from_blocks(v, axes)


def _to_tiles(geometry: Geometry, axes: tuple[Axis, Axis]) -> list[tuple[int, int, int]]:
  """Padding of the output's two axes to whole tiles."""
  return [(0, axis.outputs - n, 0) for axis, n in zip(axes, geometry.output, strict=True)]
