"""Conditional GAN: Mirza and Osindero 2014 (arXiv 1411.1784), section 4.1, its MNIST networks.

Those of the first GAN with the label as a second input of both players. Initial weights are not
published; here they are the first GAN's.
"""

import math
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import check_condition, split_latent, symmetric_uniform
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator"]


class Generator(nn.Module):
  """Noise and label, each through a hidden layer of its own and then one in common, to a picture.

  In training it draws from the rng stream "dropout".

  Attributes:
    classes: number of classes; the last entries of a latent are the one-hot label. The paper's
      noise is uniform of dimension 100.
    resolution: height and width of the pictures, any.
    channels: of the pictures.
    noise_width: of the noise's hidden layer.
    label_width: of the label's.
    width: of the common one.
    dropout: rate at which hidden units are dropped in training.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis that the batch is split over.

  >>> import jax
  >>> g = Generator(classes=10, width=8)
  >>> z = jnp.zeros([2, 110])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 28, 28, 1)
  """

  classes: int
  resolution: int = 28
  channels: int = 1
  noise_width: int = 200
  label_width: int = 1000
  width: int = 1200
  dropout: float = 0.5
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents `[batch, noise + classes]` to pictures in [-1, 1], float32 at least."""
    dense = partial(nn.Dense, kernel_init=symmetric_uniform(0.05), dtype=self.dtype)

    def hidden(x: Array, width: int) -> Array:
      x = nn.relu(dense(width)(x))
      return layers.Dropout(self.dropout, axis_name=self.axis_name)(x, train=train)

    noise, label = split_latent(z, self.classes)
    parts = [hidden(noise, self.noise_width), hidden(label, self.label_width)]
    x = hidden(jnp.concatenate(parts, -1), self.width)
    shape = (self.resolution, self.resolution, self.channels)
    x = at_least_float32(dense(math.prod(shape))(x))
    return 2.0 * nn.sigmoid(x).reshape(-1, *shape) - 1.0


class Discriminator(nn.Module):
  """Picture and label, each through a maxout layer of its own and then one in common, to a logit.

  In training it draws from the rng stream "dropout".

  Attributes:
    classes: number of classes.
    width: of the picture's hidden layer and of the common one.
    label_width: of the label's.
    pieces: affine pieces of each unit of the first layers.
    common_pieces: of the common layer.
    dropout: rate at which hidden units are dropped in training.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis that the batch is split over.

  >>> import jax
  >>> d = Discriminator(classes=10, width=8)
  >>> x, labels = jnp.zeros([2, 28, 28, 1]), jax.nn.one_hot(jnp.arange(2), 10)
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, labels, train=False))[0].shape
  (2,)
  """

  classes: int
  width: int = 240
  label_width: int = 50
  pieces: int = 5
  common_pieces: int = 4
  dropout: float = 0.5
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self,
    images: Float[Array, "batch height width channels"],
    condition: Float[Array, "batch classes"],
    *,
    train: bool,
  ) -> Float[Array, " batch"]:
    """Maps pictures in [-1, 1] and one-hot labels to logits, float32 at least."""
    check_condition(condition, images.shape[0], self.classes)
    weights = symmetric_uniform(0.005)

    def hidden(x: Array, width: int, pieces: int) -> Array:
      x = layers.Maxout(width, pieces, kernel_init=weights, dtype=self.dtype)(x)
      return layers.Dropout(self.dropout, axis_name=self.axis_name)(x, train=train)

    pixels = (images.reshape(images.shape[0], -1) + 1.0) / 2.0  # in [0, 1], as in the paper
    x = hidden(pixels, self.width, self.pieces)
    y = hidden(condition, self.label_width, self.pieces)
    x = hidden(jnp.concatenate([x, y], -1), self.width, self.common_pieces)
    return at_least_float32(nn.Dense(1, kernel_init=weights, dtype=self.dtype)(x)[:, 0])
