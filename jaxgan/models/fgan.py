"""f-GAN: Nowozin, Cseke and Tomioka 2016 (arXiv 1606.00709), the perceptrons of its MNIST runs."""

import math
from functools import partial
from typing import Any

from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import symmetric_uniform
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator"]

_weights = symmetric_uniform(0.05)


class Generator(nn.Module):
  """Two hidden layers with batch norm from a latent to a picture.

  The paper's latents are uniform, U(-1, 1), of dimension 100.

  Attributes:
    resolution: height and width of the pictures, any.
    channels: of the pictures.
    width: of the hidden layers.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> g = Generator(resolution=28, width=8)
  >>> z = jax.numpy.zeros([2, 100])
  >>> g.apply(g.init(jax.random.key(0), z, train=False), z, train=False).shape
  (2, 28, 28, 1)
  """

  resolution: int = 28
  channels: int = 1
  width: int = 1200
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents to pictures in [-1, 1], float32 at least."""
    dense = partial(nn.Dense, kernel_init=_weights, dtype=self.dtype)
    x = z
    for _ in range(2):
      norm = layers.BatchNorm(
        use_running_average=not train, momentum=0.9, axis_name=self.axis_name, dtype=self.dtype
      )
      x = nn.relu(norm(dense(self.width)(x)))
    shape = (self.resolution, self.resolution, self.channels)
    x = at_least_float32(dense(math.prod(shape))(x)).reshape(-1, *shape)
    return 2.0 * nn.sigmoid(x) - 1.0


class Discriminator(nn.Module):
  """The variational function: two hidden layers with ELU from a picture to a number.

  Attributes:
    width: of the hidden layers.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d = Discriminator(width=8)
  >>> x = jax.numpy.zeros([2, 28, 28, 1])
  >>> d.apply(d.init(jax.random.key(0), x, train=False), x, train=False).shape
  (2,)
  """

  width: int = 240
  dtype: Any = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, " batch"]:
    """Maps pictures in [-1, 1] to V(x), before the output activation; float32 at least."""
    del train  # nothing here differs
    x = ((images + 1.0) / 2.0).reshape(images.shape[0], -1)
    for _ in range(2):
      x = nn.elu(nn.Dense(self.width, kernel_init=_weights, dtype=self.dtype)(x))
    return at_least_float32(nn.Dense(1, kernel_init=_weights, dtype=self.dtype)(x)[:, 0])
