"""The convolution and its adjoints as XLA's convolutions, for accelerators.

None has a dilated left side and contracts over the batch, the form that automatic differentiation
makes of a transposed convolution's kernel gradient: the kernel gradient dilates its right side, as
that of an ordinary convolution does.
"""

import jax.numpy as jnp
from jax import Array, lax

from jaxgan.layers.convolution.geometry import Geometry

__all__ = ["conv", "conv_transpose", "kernel_gradient"]


def conv(geometry: Geometry, x: Array, w: Array, *, groups: int = 1) -> Array:
  """`[n, *size, c] x [*kernel, c / groups, o] -> [n, *output, o]`."""
  return lax.conv_general_dilated(
    x,
    w,
    geometry.strides,
    geometry.padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def conv_transpose(geometry: Geometry, y: Array, w: Array, *, groups: int = 1) -> Array:
  """`[n, *output, o] x [*kernel, c / groups, o] -> [n, *size, c]`."""
  padding = [
    (kernel - 1 - low, size + low - (output - 1) * stride - 1)
    for size, kernel, stride, (low, _), output in zip(*geometry, geometry.output, strict=True)
  ]
  if groups > 1:  # [*kernel, c, o / groups]: here the groups are parts of c
    w = w.reshape(*w.shape[:3], groups, -1)
    w = w.transpose(0, 1, 3, 2, 4).reshape(*w.shape[:2], -1, w.shape[4])
  return lax.conv_general_dilated(
    y,
    jnp.flip(w, (0, 1)),
    (1, 1),
    padding,
    lhs_dilation=geometry.strides,
    dimension_numbers=("NHWC", "HWOI", "NHWC"),
    feature_group_count=groups,
  )


def kernel_gradient(geometry: Geometry, x: Array, y: Array, *, groups: int = 1) -> Array:
  """`[n, *size, c] x [n, *output, o] -> [*kernel, c / groups, o]`."""
  padding = [
    (low, kernel + (output - 1) * stride - size - low)
    for size, kernel, stride, (low, _), output in zip(*geometry, geometry.output, strict=True)
  ]
  return lax.conv_general_dilated(
    x,
    y,
    (1, 1),
    padding,
    rhs_dilation=geometry.strides,
    dimension_numbers=("CHWN", "IHWO", "HWNC"),
    batch_group_count=groups,
  )
