"""The common networks of Lucic et al. 2017 (arXiv 1711.10337), "Are GANs created equal?".

Their generator is InfoGAN's, `jaxgan.models.infogan.Generator`, from latents of 64 uniform entries.
Their discriminator is its trunk, with or without batch norm.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models.infogan import Generator
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator"]

_STD, _WIDTH = 0.02, 64  # the paper's


class Discriminator(nn.Module):
  """Two convolutions and two dense layers from a picture to a logit.

  Attributes:
    width: features at half the resolution; the paper's is 64. Weights start with a deviation of
      0.02 there, and otherwise so that layers have as much gain.
    norm: given `train`, makes the normalisation layer of the second and third layer. None for none,
      as a penalty on the gradient wants it.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d = Discriminator(width=2)
  >>> x = jax.numpy.zeros([2, 28, 28, 1])
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))[0].shape
  (2,)
  """

  width: int = 64
  norm: Callable[[bool], Callable[[Array], Array]] | None = None
  dtype: Any = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, " batch"]:
    """Maps pictures in [-1, 1] to logits, float32 at least."""
    convolution = partial(layers.Conv, kernel_size=(4, 4), strides=(2, 2), dtype=self.dtype)
    first = nn.initializers.normal(_STD)
    # Narrower layers have fewer inputs: this gives them the gain of the paper's.
    weights = nn.initializers.normal(_STD * math.sqrt(_WIDTH / self.width))
    dense = partial(nn.Dense, kernel_init=weights, dtype=self.dtype)

    def normed(x: Array) -> Array:
      return x if self.norm is None else self.norm(train)(x)

    x = (images + 1.0) / 2.0  # in [0, 1], as in the paper; the border's zeros are black
    x = nn.leaky_relu(convolution(self.width, kernel_init=first)(x), 0.2)
    x = nn.leaky_relu(normed(convolution(2 * self.width, kernel_init=weights)(x)), 0.2)
    x = x.reshape(x.shape[0], -1)
    x = nn.leaky_relu(normed(dense(16 * self.width)(x)), 0.2)
    return at_least_float32(dense(1)(x)[:, 0])
