"""The convolution and its adjoints as XLA's convolutions, for accelerators.

None has a dilated left side and contracts over the batch, the form that automatic differentiation
makes of a transposed convolution's kernel gradient: the kernel gradient dilates its right side, as
that of an ordinary convolution does.
"""

import jax.numpy as jnp
from jax import Array, lax

from jaxgan.layers.convolution.geometry import Geometry

__all__ = ["conv", "conv_transpose", "kernel_gradient"]


def conv(geometry: Geometry, x: Array, w: Array) -> Array:
  """`[n, *size, c] x [*kernel, c, o] -> [n, *output, o]`."""
  return lax.conv_general_dilated(
    x, w, geometry.strides, geometry.padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def conv_transpose(geometry: Geometry, y: Array, w: Array) -> Array:
  """`[n, *output, o] x [*kernel, c, o] -> [n, *size, c]`."""
  padding = [
    (kernel - 1 - low, size + low - (output - 1) * stride - 1)
    for size, kernel, stride, (low, _), output in zip(*geometry, geometry.output, strict=True)
  ]
  return lax.conv_general_dilated(
    y,
    jnp.flip(w, (0, 1)),
    (1, 1),
    padding,
    lhs_dilation=geometry.strides,
    dimension_numbers=("NHWC", "HWOI", "NHWC"),
  )


def kernel_gradient(geometry: Geometry, x: Array, y: Array) -> Array:
  """`[n, *size, c] x [n, *output, o] -> [*kernel, c, o]`."""
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
  )
