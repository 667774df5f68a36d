"""GAN: Goodfellow et al. 2014 (arXiv 1406.2661), the fully connected networks of its MNIST runs.

No convolution and no batch norm: ReLU in the generator; maxout (arXiv 1302.4389) with dropout in
the discriminator, where the dropout also acts while the generator learns through it.
"""

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


class Generator(nn.Module):
  """Two hidden layers from a latent to a picture.

  The paper's latents are uniform with unit variance, U(-3^.5, 3^.5), of dimension 100.

  Attributes:
    resolution: height and width of the pictures, any.
    channels: of the pictures.
    width: of the hidden layers.
    mean: of the data, in (-1, 1), at which all pixels start (the paper's code starts each at its
      own). None starts them grey, at 0.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> g = Generator(resolution=28, width=8)
  >>> z = jax.numpy.zeros([2, 100])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 28, 28, 1)
  """

  resolution: int = 28
  channels: int = 1
  width: int = 1200
  mean: float | None = None
  dtype: Any = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents to pictures in [-1, 1], float32 at least."""
    del train  # nothing here differs
    mean = 0.0 if self.mean is None else self.mean
    if not -1.0 < mean < 1.0:
      raise ValueError(f"mean={mean} must lie within (-1, 1)")
    dense = partial(nn.Dense, kernel_init=symmetric_uniform(0.05), dtype=self.dtype)
    x = z
    for _ in range(2):
      x = nn.relu(dense(self.width)(x))
    # The logit of the mean in [0, 1], (1 + mean) / 2.
    bias = nn.initializers.constant(2.0 * math.atanh(mean))
    shape = (self.resolution, self.resolution, self.channels)
    x = at_least_float32(dense(math.prod(shape), bias_init=bias)(x))
    return 2.0 * nn.sigmoid(x).reshape(-1, *shape) - 1.0


class Discriminator(nn.Module):
  """Two maxout layers from a picture to a logit.

  In training it draws from the rng stream "dropout".

  Attributes:
    width: of the hidden layers.
    pieces: affine pieces of each hidden unit, whose greatest it is.
    dropout_input: rate at which pixels are dropped in training.
    dropout_hidden: rate at which hidden units are.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis that the batch is split over.

  >>> import jax
  >>> d = Discriminator(width=8)
  >>> x = jax.numpy.zeros([2, 28, 28, 1])
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))[0].shape
  (2,)
  """

  width: int = 240
  pieces: int = 5
  dropout_input: float = 0.2
  dropout_hidden: float = 0.5
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, " batch"]:
    """Maps pictures in [-1, 1] to logits, float32 at least."""
    weights = symmetric_uniform(0.005)
    # In [0, 1], as the paper has them, a dropped pixel is a black one.
    x = (images.reshape(images.shape[0], -1) + 1.0) / 2.0
    rate = self.dropout_input
    for _ in range(2):
      x = layers.Dropout(rate, axis_name=self.axis_name)(x, train=train)
      x = layers.Maxout(self.width, self.pieces, kernel_init=weights, dtype=self.dtype)(x)
      rate = self.dropout_hidden
    x = layers.Dropout(rate, axis_name=self.axis_name)(x, train=train)
    return at_least_float32(nn.Dense(1, kernel_init=weights, dtype=self.dtype)(x)[:, 0])
