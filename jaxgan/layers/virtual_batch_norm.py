"""Virtual batch normalisation: Salimans et al. 2016 (arXiv 1606.03498), section 3.5."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import canonicalize_dtype
from jax import Array, lax
from jaxtyping import Float

from jaxgan._arrays import at_least_float32

__all__ = ["VirtualBatchNorm"]


def _moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
  """Mean and variance over `axes`, which stay as axes of one."""
  mean = x.mean(axes, keepdims=True)
  return mean, lax.square(x - mean).mean(axes, keepdims=True)


class VirtualBatchNorm(nn.Module):
  """Normalises each example by itself and a fixed reference batch, so that examples do not mix.

  Salimans et al. 2016 (arXiv 1606.03498), section 3.5. The reference batch, chosen once, travels
  through the network in front of the examples: `[reference_size + n, ..., channels]`. It is
  normalised by its own statistics. Each other example has the mean and the mean of squares of a
  batch of the reference and itself, with weights B / (B + 1) and 1 / (B + 1), over its positions.
  Drop the reference after the last layer: `x[reference_size:]`.

  Over several devices each holds the whole reference, and nothing has to be communicated.

  Attributes:
    reference_size: number of examples, B, in front that are the reference.
    epsilon: added to the variance.
    dtype: of the result; by default that of inputs and parameters together. Statistics and
      arithmetic are float32 at least.
    param_dtype: of the parameters.
    bias_init: initializer of the bias `[channels]`.
    scale_init: initializer of the gain `[channels]`; the authors' code has N(1, 0.02).

  >>> import jax
  >>> layer = VirtualBatchNorm(reference_size=8)
  >>> reference, images = jax.random.normal(jax.random.key(0), [2, 8, 4, 4, 3])
  >>> x = jnp.concatenate([reference, images])
  >>> y = layer.apply(layer.init(jax.random.key(1), x), x)
  >>> y.shape, bool(abs(y[:8].mean()) < 1e-5)
  ((16, 4, 4, 3), True)
  """

  reference_size: int
  _: dataclasses.KW_ONLY
  epsilon: float = 1e-5
  dtype: Any = None
  param_dtype: Any = jnp.float32
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
  scale_init: nn.initializers.Initializer = nn.initializers.ones_init()

  @nn.compact
  def __call__(
    self, inputs: Float[Array, "batch ... channels"]
  ) -> Float[Array, "batch ... channels"]:
    """Normalises the reference and the examples behind it."""
    size, shape = self.reference_size, inputs.shape
    if inputs.ndim < 2 or not 1 <= size <= shape[0]:
      raise ValueError(
        f"inputs have shape {shape}, reference_size={size}: [reference_size + n, ..., channels]"
        " with an example or more of reference is needed."
      )
    scale = self.param("scale", self.scale_init, shape[-1:], self.param_dtype)
    bias = self.param("bias", self.bias_init, shape[-1:], self.param_dtype)
    dtype = canonicalize_dtype(inputs, scale, bias, dtype=self.dtype)
    reference, examples = jnp.split(at_least_float32(inputs), [size])
    positions = tuple(range(1, inputs.ndim - 1))
    mean, var = _moments(reference, (0, *positions))
    own_mean, own_var = _moments(examples, positions)

    def normalize(x: Array, mean: Array, var: Array) -> Array:
      along = (1,) * (x.ndim - 1) + (-1,)
      y = (x - mean) * (lax.rsqrt(var + self.epsilon) * scale.reshape(along))
      return (y + bias.reshape(along)).astype(dtype)

    weight, apart = 1.0 / (size + 1.0), own_mean - mean
    # The mean of squares less the square of the mean, in a form that no rounding makes negative.
    both_var = weight * own_var + (1.0 - weight) * (var + weight * lax.square(apart))
    both = normalize(examples, mean + weight * apart, both_var)
    return jnp.concatenate([normalize(reference, mean, var), both])
