"""Drop-in forms of `flax.linen.Conv` and `ConvTranspose` for images.

Dilated and masked convolutions and other paddings stay Flax's.
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
from jaxgan.layers.convolution import trio
from jaxgan.layers.convolution.geometry import Padding, pair, resolve_transpose

__all__ = ["Conv", "ConvTranspose"]

_lecun_normal = nn.initializers.lecun_normal()


def _kernel_size(value: Sequence[int]) -> tuple[int, int]:
  if isinstance(value, int):
    raise ValueError(f"kernel_size={value}: give height and width, ({value}, {value}).")
  return pair("kernel_size", value)


def _flatten(inputs: Array) -> Array:
  """One batch axis, as in Flax, which allows none or several."""
  if inputs.ndim < 3:
    raise ValueError(f"inputs have shape {inputs.shape}: [..., height, width, channels] is needed.")
  return inputs.reshape(math.prod(inputs.shape[:-3]), *inputs.shape[-3:])


class Conv(nn.Module):
  """Convolution of images, with the parameters, names and results of `flax.linen.Conv`.

  Attributes:
    features: channels of the result.
    kernel_size: height and width of the kernel.
    strides: one or two positive integers.
    padding: "SAME", "VALID", an integer, or an integer or `(low, high)` pair an axis.
    feature_group_count: groups of channels that are convolved apart.
    use_bias: whether to add a bias.
    dtype: of the computation; by default that of inputs and parameters together.
    param_dtype: of the parameters.
    kernel_init: initializer of the kernel `[kh, kw, in / groups, features]`.
    bias_init: initializer of the bias `[features]`.

  >>> import jax
  >>> layer = Conv(8, (4, 4), strides=2)
  >>> images = jax.numpy.ones([2, 32, 32, 3])
  >>> variables = layer.init(jax.random.key(0), images)
  >>> layer.apply(variables, images).shape
  (2, 16, 16, 8)
  """

  features: int
  kernel_size: Sequence[int]
  strides: int | Sequence[int] | None = 1
  padding: Padding = "SAME"
  _: dataclasses.KW_ONLY
  feature_group_count: int = 1
  use_bias: bool = True
  dtype: Any = None
  param_dtype: Any = jnp.float32
  kernel_init: nn.initializers.Initializer = _lecun_normal
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()

  @nn.compact
  def __call__(self, inputs: Float[Array, "... H W c"]) -> Float[Array, "... h w o"]:
    """Convolves `inputs`."""
    channels, groups = inputs.shape[-1], self.feature_group_count
    if groups < 1 or channels % groups or self.features % groups:
      raise ValueError(
        f"feature_group_count={groups} must divide the inputs' {channels} channels and "
        f"features={self.features}"
      )
    shape = (*_kernel_size(self.kernel_size), channels // groups, self.features)
    kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
    bias = None
    if self.use_bias:
      bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
    x, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
    y = trio.conv(
      _flatten(x),
      kernel,
      strides=pair("strides", self.strides),
      padding=self.padding,
      groups=groups,
    )
    if bias is not None:
      y = add_bias(y, bias)
    return y.reshape(*inputs.shape[:-3], *y.shape[1:])


class ConvTranspose(nn.Module):
  """Transposed convolution, with the parameters and results of `flax.linen.ConvTranspose`.

  Attributes:
    features: channels of the result.
    kernel_size: height and width of the kernel.
    strides: one or two positive integers, the factor of enlargement.
    padding: "SAME" (enlarges by `strides`), "VALID", or Flax's integers: the padding of the
      stride-dilated input.
    use_bias: whether to add a bias.
    dtype: of the computation; by default that of inputs and parameters together.
    param_dtype: of the parameters.
    kernel_init: initializer of the kernel.
    bias_init: initializer of the bias `[features]`.
    transpose_kernel: whether the kernel is that of the convolution this is the adjoint of,
      `[kh, kw, features, in]`, as in TensorFlow and PyTorch, rather than its mirror image,
      `[kh, kw, in, features]`.

  >>> import jax
  >>> layer = ConvTranspose(3, (4, 4), strides=2)
  >>> features = jax.numpy.ones([2, 16, 16, 8])
  >>> variables = layer.init(jax.random.key(0), features)
  >>> layer.apply(variables, features).shape
  (2, 32, 32, 3)
  """

  features: int
  kernel_size: Sequence[int]
  strides: int | Sequence[int] | None = None
  padding: Padding = "SAME"
  _: dataclasses.KW_ONLY
  use_bias: bool = True
  dtype: Any = None
  param_dtype: Any = jnp.float32
  kernel_init: nn.initializers.Initializer = _lecun_normal
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
  transpose_kernel: bool = False

  @nn.compact
  def __call__(self, inputs: Float[Array, "... h w o"]) -> Float[Array, "... H W c"]:
    """Convolves `inputs`."""
    size = _kernel_size(self.kernel_size)
    channels = (inputs.shape[-1], self.features)
    shape = (*size, *(channels[::-1] if self.transpose_kernel else channels))
    kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
    bias = None
    if self.use_bias:
      bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
    y, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
    y = _flatten(y)
    geometry = resolve_transpose(y.shape[1:3], size, pair("strides", self.strides), self.padding)
    if not self.transpose_kernel:
      kernel = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    x = trio.conv_transpose_by_geometry(geometry, y, kernel)
    if bias is not None:
      x = add_bias(x, bias)
    return x.reshape(*inputs.shape[:-3], *x.shape[1:])
