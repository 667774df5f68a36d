"""Instance normalisation: Ulyanov et al. 2016 (arXiv 1607.08022)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import canonicalize_dtype
from jax import Array, lax
from jaxtyping import Float

from jaxgan._arrays import at_least_float32

__all__ = ["InstanceNorm"]


class InstanceNorm(nn.Module):
  """Normalises each channel of each example over its pixels, while training and later alike.

  Ulyanov et al. 2016 (arXiv 1607.08022), equation 4. It keeps no running statistics, so that an
  example is never told of others: a batch norm that sees one example at a time. What a convolution
  before it adds as a bias, it takes away again.

  Attributes:
    epsilon: added to the variance.
    use_scale: whether to multiply by a learned gain; CycleGAN's layers have neither.
    use_bias: whether to add a learned bias.
    dtype: of the result; by default that of inputs and parameters together. Statistics and
      arithmetic are float32 at least.
    param_dtype: of the parameters.
    bias_init: initializer of the bias `[channels]`.
    scale_init: initializer of the gain `[channels]`.

  >>> import jax
  >>> images = 3.0 + jax.random.normal(jax.random.key(0), [2, 8, 8, 1])
  >>> InstanceNorm().apply({}, images).std((1, 2)).round(3).ravel()
  Array([1., 1.], dtype=float32)
  """

  _: dataclasses.KW_ONLY
  epsilon: float = 1e-5
  use_scale: bool = False
  use_bias: bool = False
  dtype: Any = None
  param_dtype: Any = jnp.float32
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
  scale_init: nn.initializers.Initializer = nn.initializers.ones_init()

  @nn.compact
  def __call__(self, inputs: Float[Array, "n ... channels"]) -> Float[Array, "n ... channels"]:
    """Normalises `inputs` over all axes but the first and the last.

    Raises:
      ValueError: there are no such axes, or but one pixel, which would become 0 whatever it is.
    """
    pixels = tuple(range(1, inputs.ndim - 1))
    if inputs[:1, ..., :1].size < 2 and len(inputs):
      raise ValueError(
        f"inputs have shape {inputs.shape}: two pixels or more are needed, since one, less its "
        "mean, is 0; leave the norm out there"
      )
    wide = at_least_float32(inputs)
    centred = wide - wide.mean(pixels, keepdims=True)
    y = centred * lax.rsqrt(jnp.square(centred).mean(pixels, keepdims=True) + self.epsilon)
    shape, along = inputs.shape[-1:], (1,) * (inputs.ndim - 1) + (-1,)
    types = [inputs]
    if self.use_scale:
      scale = self.param("scale", self.scale_init, shape, self.param_dtype)
      types.append(scale)
      y = y * scale.reshape(along)
    if self.use_bias:
      bias = self.param("bias", self.bias_init, shape, self.param_dtype)
      types.append(bias)
      y = y + bias.reshape(along)
    return y.astype(canonicalize_dtype(*types, dtype=self.dtype))
