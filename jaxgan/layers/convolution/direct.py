"""The trio on a CPU in programs that `jaxgan.compilation.jit` compiles.

Each is one convolution of XLA's, unless the matrix products of `forms.py` and `grouped.py` take
less time. Its axes stand in the order that XLA's library takes (images NHWC, kernels HWIO), by
transposition where needed: with any other order XLA finds the library outside of loops and branches
alone, and within takes 30 times as long.
"""

import math

from jax import Array, lax

from jaxgan.layers.convolution import forms, grouped, xla
from jaxgan.layers.convolution.geometry import Geometry

__all__ = ["conv", "conv_transpose", "kernel_gradient"]

_AXES = ("NHWC", "HWIO", "NHWC")

# From so many channels on, in and out, filtering with fewer multiplications wins; of kernel
# gradients from `_MOST` on, or where there are few positions.
_MANY = 256
_MOST = 512
_POSITIONS = 32
_GROUPED_POSITIONS = 128
_LARGEST = 4  # bytes of a number


def _possible(padding: tuple[tuple[int, int], ...], *arrays: Array) -> bool:
  """Whether XLA's library takes it: no cropping, and no double precision."""
  return min(map(min, padding)) >= 0 and all(x.dtype.itemsize <= _LARGEST for x in arrays)


def conv(geometry: Geometry, groups: int, x: Array, w: Array) -> Array:
  """`[n, *size, c] x [*kernel, c / groups, o] -> [n, *output, o]`."""
  if groups > 1:
    return grouped.conv(geometry, groups, x, w)
  many = min(w.shape[2:]) >= _MANY
  if many or math.prod(geometry.kernel) == 1 or not _possible(geometry.padding, x, w):
    return forms.conv(geometry, x, w)
  return forms.in_single(xla.conv)(geometry, x, w)


def conv_transpose(geometry: Geometry, groups: int, y: Array, w: Array) -> Array:
  """`[n, *output, o] x [*kernel, c / groups, o] -> [n, *size, c]`."""
  if groups > 1:
    return grouped.conv_transpose(geometry, groups, y, w)
  if geometry.strides != (1, 1) or math.prod(geometry.kernel) == 1:
    return forms.conv_transpose(geometry, y, w)
  mirrored = forms.mirrored(geometry)
  if min(w.shape[2:]) >= _MANY or not _possible(mirrored.padding, y, w):
    return forms.conv_transpose(geometry, y, w)
  return forms.in_single(xla.conv)(mirrored, y, lax.optimization_barrier(forms.mirror(w)))


def kernel_gradient(geometry: Geometry, groups: int, x: Array, y: Array) -> Array:
  """`[n, *size, c] x [n, *output, o] -> [*kernel, c / groups, o]`."""
  fewest, positions = min(x.shape[3], y.shape[3]), math.prod(geometry.output)
  padding = tuple(
    (low, kernel + (output - 1) * stride - size - low)
    for size, kernel, stride, (low, _), output in zip(*geometry, geometry.output, strict=True)
  )
  possible = _possible(padding, x, y) and math.prod(geometry.kernel) > 1
  if groups > 1:
    if not possible or positions < _GROUPED_POSITIONS:
      return grouped.kernel_gradient(geometry, groups, x, y)
  elif not possible or fewest >= _MOST or (fewest >= _MANY and positions < _POSITIONS):
    return forms.kernel_gradient(geometry, x, y)

  def transposed(geometry: Geometry, x: Array, y: Array) -> Array:
    n, height, width, c = x.shape
    # The batch is what is summed over; groups of channels become groups of it.
    x = x.reshape(n, height, width, groups, c // groups).transpose(4, 1, 2, 3, 0)
    gradient = lax.conv_general_dilated(
      x.reshape(c // groups, height, width, groups * n),
      y.transpose(1, 2, 0, 3),
      (1, 1),
      padding,
      rhs_dilation=geometry.strides,
      dimension_numbers=_AXES,
      feature_group_count=groups,
    )
    return gradient.transpose(1, 2, 0, 3)

  # Between barriers, because XLA otherwise fuses what makes `x` and `y` into the transpositions,
  # which then read it in the wrong order.
  return forms.in_single(transposed)(geometry, *lax.optimization_barrier((x, y)))
