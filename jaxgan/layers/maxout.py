"""Maxout: Goodfellow et al. 2013 (arXiv 1302.4389)."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

__all__ = ["Maxout"]


class Maxout(nn.Module):
  """Each feature is the largest of several affine functions of the input.

  Goodfellow et al. 2013 (arXiv 1302.4389), section 3: `h_i = max_j (x W_ij + b_ij)`, the hidden
  layers of the first GAN's discriminator (arXiv 1406.2661).

  Attributes:
    features: number of results.
    pieces: affine functions a feature, k in the paper.
    dtype: of the result; by default that of inputs and parameters together.
    param_dtype: of the parameters.
    kernel_init: initializer of the kernel `[inputs, pieces * features]`, whose column
      `j * features + i` is piece j of feature i.
    bias_init: initializer of the bias `[pieces * features]`.

  >>> import jax
  >>> layer = Maxout(1, pieces=2, kernel_init=lambda *_: jnp.array([[-1.0, 1.0]]))
  >>> x = jnp.array([[-3.0], [2.0]])
  >>> layer.apply(layer.init(jax.random.key(0), x), x)[:, 0]  # the absolute value
  Array([3., 2.], dtype=float32)
  """

  features: int
  pieces: int = 5
  _: dataclasses.KW_ONLY
  dtype: Any = None
  param_dtype: Any = jnp.float32
  kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()

  @nn.compact
  def __call__(self, inputs: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
    """Maps the last axis to `features`."""
    if self.features < 1 or self.pieces < 1:
      raise ValueError(f"features={self.features} and pieces={self.pieces} must be positive.")
    x = nn.Dense(
      self.pieces * self.features,
      dtype=self.dtype,
      param_dtype=self.param_dtype,
      kernel_init=self.kernel_init,
      bias_init=self.bias_init,
      name="dense",
    )(inputs)
    pieces = jnp.split(x, self.pieces, axis=-1)
    # Not by one reduction: its gradient divides by how many entries equal the maximum, none where
    # the compiler computes them once more and rounds in another way.
    return functools.reduce(jnp.maximum, pieces)
