"""Layer normalisation as critics have it."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

__all__ = ["LayerNorm"]


class LayerNorm(nn.Module):
  """Normalises each example over all its features and pixels, so that examples do not mix.

  Ba et al. 2016 (arXiv 1607.06450), in place of batch norm under a gradient penalty: Gulrajani et
  al. 2017 (arXiv 1704.00028), section 4. Gain and bias are one a channel, not one a pixel.
  `flax.linen.LayerNorm` by default normalises each pixel by itself.

  Attributes:
    epsilon: added to the variance, so that derivatives are finite where an example is constant.
    dtype: of the result; by default that of inputs and parameters together. Statistics are float32
      at least.
    param_dtype: of the parameters.
    bias_init: initializer of the bias `[channels]`.
    scale_init: initializer of the gain `[channels]`.

  >>> import jax
  >>> layer = LayerNorm()
  >>> images = 3.0 + jax.random.normal(jax.random.key(0), [2, 8, 8, 4])
  >>> variables = layer.init(jax.random.key(1), images)
  >>> jax.tree.map(jnp.shape, variables)
  {'params': {'bias': (4,), 'scale': (4,)}}
  >>> layer.apply(variables, images).std((1, 2, 3)).round(3)
  Array([1., 1.], dtype=float32)
  """

  _: dataclasses.KW_ONLY
  epsilon: float = 1e-5
  dtype: Any = None
  param_dtype: Any = jnp.float32
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
  scale_init: nn.initializers.Initializer = nn.initializers.ones_init()

  @nn.compact
  def __call__(self, inputs: Float[Array, "n ... channels"]) -> Float[Array, "n ... channels"]:
    """Normalises `inputs` over all axes but the first."""
    if inputs.ndim < 2:
      raise ValueError(f"inputs have shape {inputs.shape}: [n, ..., channels] is needed.")
    layer = nn.LayerNorm(
      epsilon=self.epsilon,
      dtype=self.dtype,
      param_dtype=self.param_dtype,
      bias_init=self.bias_init,
      scale_init=self.scale_init,
      reduction_axes=tuple(range(1, inputs.ndim)),
      # As fast, and right also where the mean is far greater than the deviation.
      use_fast_variance=False,
    )
    nn.share_scope(self, layer)
    return layer(inputs)
