"""AC-GAN: Odena, Olah and Shlens 2016 (arXiv 1610.09585), appendix A, its CIFAR-10 networks.

The discriminator is not shown the label: it also names the class.
"""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import check_images, split_latent, stages
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator", "Outputs"]

_weights = nn.initializers.normal(0.02)


class Outputs(NamedTuple):
  """What the discriminator tells of pictures.

  Attributes:
    logit: real or fake, `[batch]`.
    classes: logits of the classes, `[batch, classes]`.
  """

  logit: Float[Array, " batch"]
  classes: Float[Array, "batch classes"]


def _norm(train: bool, axis_name: str | None, dtype: Any) -> layers.BatchNorm:
  return layers.BatchNorm(
    use_running_average=not train, momentum=0.9, epsilon=1e-5, axis_name=axis_name, dtype=dtype
  )


class Generator(nn.Module):
  """A dense layer and transposed 5x5 convolutions from a latent to a picture.

  Convolutions that batch norm follows have no bias, which that would take away.

  Attributes:
    classes: number of classes; the last entries of a latent are the one-hot label. The paper's
      latent has 100 entries of noise before it.
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    channels: of the pictures.
    width: features at half the resolution; they double towards 4x4, at 32 pixels 384, 192, 96.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> g = Generator(classes=10, width=8)
  >>> z = jnp.zeros([2, 110])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 32, 32, 3)
  """

  classes: int
  resolution: int = 32
  channels: int = 3
  width: int = 96
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents `[batch, noise + classes]` to pictures in [-1, 1], float32 at least."""
    split_latent(z, self.classes)  # refuses what has no room for the label
    count = stages(self.resolution)
    deconvolution = partial(
      layers.ConvTranspose,
      kernel_size=(5, 5),
      strides=(2, 2),
      kernel_init=_weights,
      dtype=self.dtype,
    )
    features = self.width << (count - 1)
    x = nn.relu(nn.Dense(16 * features, kernel_init=_weights, dtype=self.dtype)(z))
    x = x.reshape(-1, 4, 4, features)
    for stage in reversed(range(count - 1)):
      x = deconvolution(self.width << stage, use_bias=False)(x)
      x = nn.relu(_norm(train, self.axis_name, self.dtype)(x))
    return jnp.tanh(at_least_float32(deconvolution(self.channels)(x)))


class Discriminator(nn.Module):
  """Six convolutions from a picture to a logit and the logits of its class.

  3x3 kernels, every other one with stride 2, so that the last features have an eighth of the
  resolution; leaky ReLU, and dropout after each. In training it draws from the rng stream
  "dropout". Convolutions that batch norm follows have no bias.

  Attributes:
    classes: number of classes.
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    width: features of the first convolution; each next one has twice as many.
    dropout: rate at which features are dropped in training.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> d = Discriminator(classes=10, width=2)
  >>> x = jnp.zeros([2, 32, 32, 3])
  >>> out, _ = jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))
  >>> out.logit.shape, out.classes.shape
  ((2,), (2, 10))
  """

  classes: int
  resolution: int = 32
  width: int = 16
  dropout: float = 0.5
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Outputs:
    """Maps pictures in [-1, 1] to `Outputs`, float32 at least."""
    stages(self.resolution)
    check_images(images, self.resolution)
    x = images
    for stage in range(6):
      x = layers.Conv(
        self.width << stage,
        (3, 3),
        strides=1 if stage % 2 else 2,
        use_bias=stage == 0,
        kernel_init=_weights,
        dtype=self.dtype,
      )(x)
      if stage:
        x = _norm(train, self.axis_name, self.dtype)(x)
      x = nn.leaky_relu(x, 0.2)
      x = layers.Dropout(self.dropout, axis_name=self.axis_name)(x, train=train)
    x = x.reshape(x.shape[0], -1)
    dense = partial(nn.Dense, kernel_init=_weights, dtype=self.dtype)
    return Outputs(at_least_float32(dense(1)(x)[:, 0]), at_least_float32(dense(self.classes)(x)))
