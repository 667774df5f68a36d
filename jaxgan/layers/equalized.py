"""Layers of equalised learning rate: Karras et al. 2017 (arXiv 1710.10196), section 4.1.

Adam's steps are of one size whatever a parameter's scale, so that weights of different scales learn
at different speeds. Here all are N(0, 1) and get their scale, He's, when they are used.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array
from jaxtyping import Float

from jaxgan.layers._channels import add_bias
from jaxgan.layers.convolution.geometry import pair
from jaxgan.layers.modulated import resampled_conv
from jaxgan.layers.resampling import BINOMIAL

__all__ = ["EqualizedConv", "EqualizedDense", "scaled_leaky_relu"]


def scaled_leaky_relu(
  x: Float[Array, "..."], *, slope: float = 0.2, gain: float = math.sqrt(2.0)
) -> Float[Array, "..."]:
  """Leaky ReLU times a gain that keeps the variance of normal inputs, about.

  StyleGAN2 (Karras et al. 2019, arXiv 1912.04958) has the gain here, ProGAN in the weights.

  Args:
    x: any shape.
    slope: below 0.
    gain: factor of the result.

  Returns:
    The shape and dtype of `x`.

  >>> scaled_leaky_relu(jnp.array([-1.0, 2.0]), gain=10.0)
  Array([-2., 20.], dtype=float32)
  """
  return gain * nn.leaky_relu(x, slope)


class _Equalized(nn.Module):
  """Parameters of a layer whose weights are scaled when they are used."""

  def _weights(
    self, shape: tuple[int, ...], gain: float, multiplier: float, bias: float | None, dtype: Any
  ) -> tuple[Array, Array | None]:
    """Kernel `[..., in, out]` and bias `[out]` as the layer uses them."""
    if not multiplier > 0.0:
      raise ValueError(f"lr_multiplier={multiplier} must be positive; 1 leaves the rate as it is")
    normal = nn.initializers.normal(1.0 / multiplier)
    kernel = self.param("kernel", normal, shape, dtype)
    kernel = kernel * (gain * multiplier / math.sqrt(math.prod(shape[:-1])))
    if bias is None:
      return kernel, None
    constant = nn.initializers.constant(bias / multiplier)
    return kernel, self.param("bias", constant, shape[-1:], dtype) * multiplier


class EqualizedDense(_Equalized):
  """Dense layer whose weights are N(0, 1) and scaled by `gain / sqrt(fan_in)` when used.

  Karras et al. 2017 (arXiv 1710.10196), section 4.1, and for the multiplier Karras et al. 2018
  (arXiv 1812.04948), appendix C.

  Attributes:
    features: of the result.
    gain: factor of the weights' scale: sqrt(2) before a (leaky) ReLU without a gain of its own.
    lr_multiplier: m, of the rate at which weights and bias learn: they are stored 1/m times as
      large as they are used; the mapping networks of styles have 0.01.
    use_bias: whether to add a bias.
    bias: its first value.
    dtype: of the computation; by default that of inputs and parameters together.
    param_dtype: of the parameters.

  >>> import jax
  >>> layer = EqualizedDense(2, bias=1.0)
  >>> layer.apply({"params": {"kernel": jnp.ones([4, 2]), "bias": jnp.ones(2)}}, jnp.ones([1, 4]))
  Array([[3., 3.]], dtype=float32)
  """

  features: int
  _: dataclasses.KW_ONLY
  gain: float = 1.0
  lr_multiplier: float = 1.0
  use_bias: bool = True
  bias: float = 0.0
  dtype: Any = None
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, inputs: Float[Array, "... c"]) -> Float[Array, "... features"]:
    """Maps the last axis of `inputs`."""
    first = self.bias if self.use_bias else None
    kernel, bias = self._weights(
      (inputs.shape[-1], self.features), self.gain, self.lr_multiplier, first, self.param_dtype
    )
    x, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
    y = x @ kernel
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


class EqualizedConv(_Equalized):
  """Convolution whose weights are N(0, 1) and scaled by `gain / sqrt(fan_in)` when used.

  Karras et al. 2017 (arXiv 1710.10196), section 4.1. It may enlarge or reduce through a low-pass
  filter, as StyleGAN2's does (Karras et al. 2019, arXiv 1912.04958); see `resampled_conv`.

  Attributes:
    features: channels of the result.
    kernel_size: odd height and width of the kernel.
    up: factor of enlargement.
    down: factor of reduction; one of the two is 1.
    filter: that of either, weights along one axis.
    gain: factor of the weights' scale: sqrt(2) before a (leaky) ReLU without a gain of its own.
    lr_multiplier: of the rate at which weights and bias learn, see `EqualizedDense`.
    use_bias: whether to add a bias, which starts at 0.
    dtype: of the computation; by default that of inputs and parameters together.
    param_dtype: of the parameters.

  >>> import jax
  >>> layer, images = EqualizedConv(8, down=2), jnp.ones([2, 16, 16, 3])
  >>> variables = layer.init(jax.random.key(0), images)
  >>> layer.apply(variables, images).shape
  (2, 8, 8, 8)
  """

  features: int
  kernel_size: Sequence[int] = (3, 3)
  _: dataclasses.KW_ONLY
  up: int = 1
  down: int = 1
  filter: Sequence[float] = BINOMIAL
  gain: float = 1.0
  lr_multiplier: float = 1.0
  use_bias: bool = True
  dtype: Any = None
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, inputs: Float[Array, "n h w c"]) -> Float[Array, "n H W features"]:
    """Convolves `inputs`; borders are zero."""
    shape = (*pair("kernel_size", self.kernel_size), inputs.shape[-1], self.features)
    first = 0.0 if self.use_bias else None
    kernel, bias = self._weights(shape, self.gain, self.lr_multiplier, first, self.param_dtype)
    x, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
    y = resampled_conv(x, kernel, up=self.up, down=self.down, filter=self.filter)
    return y if bias is None else add_bias(y, bias)
