"""Noise inside of networks, keyed by the example's index in the global batch.

So 1, 2 and 8 devices draw the same: see `jaxgan.latents.example_keys`. (`flax.linen.Dropout` gives
all shards of a batch one mask.)
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxgan.latents import AxisName, example_keys
from jaxgan.types import Key

__all__ = ["Dropout", "GaussianNoise"]


def _draw(
  module: nn.Module, draw: Callable[[Key], Array], n: int, axis_name: AxisName | None
) -> Array:
  axis_name = None if module.is_initializing() else axis_name
  return jax.vmap(draw)(example_keys(module.make_rng("dropout"), n, axis_name=axis_name))


class Dropout(nn.Module):
  """Sets a random part of the features to 0 and enlarges the others to the same expectation.

  Hinton et al. 2012 (arXiv 1207.0580), with the scale at training instead of at test time.

  Attributes:
    rate: probability with which a feature is dropped, in [0, 1).
    axis_name: mapped axis, or axes, over which the batch is split. The key must be equal on all
      devices.

  >>> layer = Dropout(0.5)
  >>> y = layer.apply({}, jnp.ones([2, 8]), train=True, rngs={"dropout": jax.random.key(0)})
  >>> sorted(set(y.ravel().tolist()))
  [0.0, 2.0]
  >>> bool((layer.apply({}, y, train=False) == y).all())
  True
  """

  rate: float
  axis_name: AxisName | None = None

  @nn.compact
  def __call__(self, x: Float[Array, "n ..."], *, train: bool) -> Float[Array, "n ..."]:
    """Drops features of `x` while training, by the rng `"dropout"`."""
    if not 0.0 <= self.rate < 1.0:
      raise ValueError(f"rate={self.rate} must be in [0, 1)")
    if not train or self.rate == 0.0:
      return x
    keep = 1.0 - self.rate
    mask = _draw(
      self, lambda key: jax.random.bernoulli(key, keep, x.shape[1:]), len(x), self.axis_name
    )
    return jnp.where(mask, x / keep, jnp.zeros_like(x))


class GaussianNoise(nn.Module):
  """Adds normal noise while training.

  As between the layers of the discriminators of Salimans et al. 2016 (arXiv 1606.03498).

  Attributes:
    stddev: of the noise, 0 or more.
    axis_name: mapped axis, or axes, over which the batch is split. The key must be equal on all
      devices.

  >>> layer = GaussianNoise(0.1)
  >>> y = layer.apply({}, jnp.zeros([4, 500]), train=True, rngs={"dropout": jax.random.key(0)})
  >>> bool(abs(y.std() - 0.1) < 0.005)
  True
  """

  stddev: float
  axis_name: AxisName | None = None

  @nn.compact
  def __call__(self, x: Float[Array, "n ..."], *, train: bool) -> Float[Array, "n ..."]:
    """Adds noise to `x` while training, by the rng `"dropout"`."""
    if not self.stddev >= 0.0:
      raise ValueError(f"stddev={self.stddev} must be 0 or more")
    if not train or self.stddev == 0.0:
      return x
    noise = _draw(
      self, lambda key: jax.random.normal(key, x.shape[1:], x.dtype), len(x), self.axis_name
    )
    return x + self.stddev * noise
