"""SNGAN, Miyato et al. 2018 (arXiv 1802.05957), and its projection form, Miyato and Koyama 2018.

`Generator` and `Discriminator` are the plain convolutional networks of the first paper's table 3;
`ResNetGenerator` and `ResNetDiscriminator` the residual ones, which with `classes` are those of the
second paper (arXiv 1802.05637): conditional batch norm and a projection discriminator. Every layer
of the discriminators is spectrally normalised, none of the generators.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import (
  check_images,
  check_widths,
  glorot_uniform,
  he_uniform,
  split_latent,
  stages,
)
from jaxgan.models._residual import sum_features
from jaxgan.models.resnet import DownBlock, FirstBlock, ResBlock, UpBlock
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator", "ResNetDiscriminator", "ResNetGenerator"]

_weights = nn.initializers.normal(0.02)


class Generator(nn.Module):
  """A dense layer and transposed 4x4 convolutions from a latent to a picture.

  The paper's latent is normal of dimension 128. It does not tell the initial weights of these
  networks; here they are DCGAN's, N(0, 0.02). Convolutions that batch norm follows have no bias.

  Attributes:
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    channels: of the pictures.
    width: features at full resolution; they double towards 4x4, at 32 pixels 512, 256, 128, 64.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> g = Generator(width=8)
  >>> z = jnp.zeros([2, 128])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 32, 32, 3)
  """

  resolution: int = 32
  channels: int = 3
  width: int = 64
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents to pictures in [-1, 1], float32 at least."""
    count = stages(self.resolution)
    features = self.width << count
    x = nn.Dense(16 * features, kernel_init=_weights, dtype=self.dtype)(z)
    x = x.reshape(-1, 4, 4, features)
    for stage in reversed(range(count)):
      x = layers.ConvTranspose(
        self.width << stage,
        (4, 4),
        strides=(2, 2),
        use_bias=False,
        kernel_init=_weights,
        dtype=self.dtype,
      )(x)
      x = layers.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=2e-5,
        axis_name=self.axis_name,
        dtype=self.dtype,
      )(x)
      x = nn.relu(x)
    x = layers.Conv(self.channels, (3, 3), kernel_init=_weights, dtype=self.dtype)(x)
    return jnp.tanh(at_least_float32(x))


class Discriminator(nn.Module):
  """3x3 and strided 4x4 convolutions and a dense layer from a picture to a logit.

  Attributes:
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    width: features at full resolution; they double with every halving, at 32 pixels up to 512.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d = Discriminator(width=8)
  >>> x = jnp.zeros([2, 32, 32, 3])
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))[0].shape
  (2,)
  """

  resolution: int = 32
  width: int = 64
  dtype: Any = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, " batch"]:
    """Maps pictures in [-1, 1] to logits, float32 at least."""
    check_images(images, self.resolution)
    normalized: dict[str, Any] = {
      "update_stats": train,
      "kernel_init": _weights,
      "dtype": self.dtype,
    }
    x, count = images, stages(self.resolution)
    for stage in range(count):
      features = self.width << stage
      x = nn.leaky_relu(layers.SNConv(features, (3, 3), **normalized)(x), 0.1)
      x = nn.leaky_relu(layers.SNConv(features, (4, 4), strides=(2, 2), **normalized)(x), 0.1)
    x = nn.leaky_relu(layers.SNConv(self.width << count, (3, 3), **normalized)(x), 0.1)
    x = layers.SNDense(1, **normalized)(x.reshape(len(x), -1))
    return at_least_float32(x[:, 0])


class ResNetGenerator(nn.Module):
  """A dense layer and residual blocks from a latent to a picture.

  The defaults are those of the CIFAR-10 runs. For 64x64 pixels give `resolution=64, widths=(1024,
  512, 256, 128, 64)`.

  Attributes:
    classes: number of classes; the last entries of a latent are then the one-hot label, and the
      blocks have conditional batch norm. None for a generator without.
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    channels: of the pictures.
    width: features at every resolution, unless `widths` tells them.
    widths: features at 4, 8, 16 ... pixels.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> g = ResNetGenerator(classes=10, width=8)
  >>> z = jnp.zeros([2, 128 + 10])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 32, 32, 3)
  """

  classes: int | None = None
  resolution: int = 32
  channels: int = 3
  width: int = 256
  widths: Sequence[int] | None = None
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents `[batch, noise]` or `[batch, noise + classes]` to pictures in [-1, 1]."""
    widths = self.widths or (self.width,) * (stages(self.resolution) + 1)
    check_widths(widths, self.resolution)
    statistics: dict[str, Any] = {
      "use_running_average": not train,
      "momentum": 0.9,
      "epsilon": 2e-5,
      "axis_name": self.axis_name,
      "dtype": self.dtype,
    }
    condition: tuple[Array, ...] = ()
    norm: Any = partial(layers.BatchNorm, **statistics)
    if self.classes is not None:
      z, label = split_latent(z, self.classes)
      condition, norm = (label,), partial(layers.ConditionalBatchNorm, **statistics)
    conv = partial(layers.Conv, dtype=self.dtype)
    x = nn.Dense(16 * widths[0], kernel_init=glorot_uniform, dtype=self.dtype)(z)
    x = x.reshape(-1, 4, 4, widths[0])
    for features in widths[1:]:
      x = UpBlock(
        features,
        norm=norm,
        conv=partial(conv, kernel_size=(3, 3), kernel_init=he_uniform()),
        shortcut=partial(conv, kernel_size=(1, 1), kernel_init=glorot_uniform),
      )(x, *condition)
    x = nn.relu(layers.BatchNorm(**statistics, name="norm")(x))
    x = conv(self.channels, (3, 3), kernel_init=glorot_uniform, name="output")(x)
    return jnp.tanh(at_least_float32(x))


class ResNetDiscriminator(nn.Module):
  """Residual blocks from a picture to a logit, which with `classes` is a projection's.

  The defaults are those of the CIFAR-10 runs: blocks down to 8x8 pixels, two blocks there, ReLU,
  the sum over the pixels and a dense layer without bias. With `widths` it is that of larger
  pictures instead, which halves in every block and whose dense layer has a bias: for 64x64 give
  `resolution=64, widths=(64, 128, 256, 512, 1024)`.

  Attributes:
    classes: number of classes; None for a discriminator without.
    resolution: height and width of the pictures, 16, 32, 64 ...; with `widths` also 8.
    width: features at every resolution, unless `widths` tells them.
    widths: features at half the resolution, a quarter ... 2 pixels.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d = ResNetDiscriminator(classes=10, width=8)
  >>> x, labels = jnp.zeros([2, 32, 32, 3]), jax.nn.one_hot(jnp.arange(2), 10)
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, labels, train=False))[0].shape
  (2,)
  """

  classes: int | None = None
  resolution: int = 32
  width: int = 128
  widths: Sequence[int] | None = None
  dtype: Any = None

  @nn.compact
  def __call__(
    self,
    images: Float[Array, "batch height width channels"],
    condition: Float[Array, "batch classes"] | None = None,
    *,
    train: bool,
  ) -> Float[Array, " batch"]:
    """Maps pictures in [-1, 1], with one-hot labels if `classes`, to logits, float32 at least."""
    check_images(images, self.resolution)
    conv = partial(layers.SNConv, update_stats=train, dtype=self.dtype)
    kinds: dict[str, Any] = {
      "conv": partial(conv, kernel_size=(3, 3), kernel_init=he_uniform()),
      "shortcut": partial(conv, kernel_size=(1, 1), kernel_init=glorot_uniform),
    }
    if self.widths is None:
      widths = (self.width,) * stages(self.resolution, base=8)
    else:
      check_widths(self.widths, self.resolution)
      widths = tuple(self.widths)
    x = FirstBlock(widths[0], **kinds)(images)
    for features in widths[1:]:
      x = DownBlock(features, **kinds)(x)
    for _ in range(0 if self.widths else 2):
      x = ResBlock(self.width, **kinds)(x)
    return layers.ProjectionHead(
      self.classes,
      update_stats=train,
      use_bias=self.widths is not None,
      kernel_init=glorot_uniform,
      dtype=self.dtype,
      name="head",
    )(sum_features(x), condition)
