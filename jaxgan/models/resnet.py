"""Residual networks of WGAN-GP: Gulrajani et al. 2017 (arXiv 1704.00028), appendix C.

The generator and critic of its CIFAR-10 runs and, through `widths`, those of its 64x64 runs. The
blocks take their convolutions and norms as functions, so that later papers can build theirs.

A 1x1 convolution commutes with averaging and with repeating pixels, so a shortcut's runs on
whichever side has fewer of them: the function is the same.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import check_images, check_widths, glorot_uniform, he_uniform, stages
from jaxgan.types import Array

__all__ = ["Critic", "DownBlock", "FirstBlock", "Generator", "ResBlock", "UpBlock"]

Layer = Callable[..., Array]
Conv = Callable[[int], Layer]  # from a number of features to a layer
Norm = Callable[[], Layer]

_conv = partial(layers.Conv, kernel_size=(3, 3), kernel_init=he_uniform())
_shortcut = partial(layers.Conv, kernel_size=(1, 1), kernel_init=glorot_uniform)


def _normalized(norm: Norm | None, x: Array, args: tuple[Array, ...]) -> Array:
  return x if norm is None else norm()(x, *args)


class UpBlock(nn.Module):
  """Residual block of a generator, which doubles the resolution: norm-ReLU-up-conv-norm-ReLU-conv.

  Attributes:
    features: channels of the result.
    norm: makes a normalisation layer; None for none.
    conv: makes a 3x3 convolution with a number of features.
    shortcut: makes the 1x1 convolution of the shortcut.

  >>> import jax
  >>> block = UpBlock(8, norm=layers.LayerNorm)
  >>> x = jnp.ones([2, 4, 4, 3])
  >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x))[0].shape
  (2, 8, 8, 8)
  """

  features: int
  norm: Norm | None = None
  conv: Conv = _conv
  shortcut: Conv = _shortcut

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"], *args: Array) -> Float[Array, "n 2h 2w features"]:
    """Maps features to features; `args`, a condition for example, go to the norms."""
    y = nn.relu(_normalized(self.norm, x, args))
    y = self.conv(self.features)(layers.nearest_upsample(y))
    y = nn.relu(_normalized(self.norm, y, args))
    y = self.conv(self.features)(y)
    return layers.nearest_upsample(self.shortcut(self.features)(x)) + y


class DownBlock(nn.Module):
  """Residual block of a critic, which halves the resolution: norm-ReLU-conv-norm-ReLU-conv-pool.

  Attributes:
    features: channels of the result.
    hidden: channels between the convolutions; None for those of the input.
    norm: makes a normalisation layer; None for none.
    conv: makes a 3x3 convolution with a number of features.
    shortcut: makes the 1x1 convolution of the shortcut.

  >>> import jax
  >>> block = DownBlock(8)
  >>> x = jnp.ones([2, 4, 4, 3])
  >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x))[0].shape
  (2, 2, 2, 8)
  """

  features: int
  hidden: int | None = None
  norm: Norm | None = None
  conv: Conv = _conv
  shortcut: Conv = _shortcut

  @nn.compact
  def __call__(
    self, x: Float[Array, "n h w c"], *args: Array
  ) -> Float[Array, "n h/2 w/2 features"]:
    """Maps features to features; `args` go to the norms."""
    y = nn.relu(_normalized(self.norm, x, args))
    y = self.conv(x.shape[-1] if self.hidden is None else self.hidden)(y)
    y = nn.relu(_normalized(self.norm, y, args))
    y = layers.average_downsample(self.conv(self.features)(y))
    return self.shortcut(self.features)(layers.average_downsample(x)) + y


class ResBlock(nn.Module):
  """Residual block that keeps the resolution: norm-ReLU-conv-norm-ReLU-conv.

  Attributes:
    features: channels of the result. Where the input has as many, the shortcut is the identity.
    norm: makes a normalisation layer; None for none.
    conv: makes a 3x3 convolution with a number of features.
    shortcut: makes the 1x1 convolution of the shortcut.

  >>> import jax
  >>> block = ResBlock(3)
  >>> x = jnp.ones([2, 4, 4, 3])
  >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x))[0].shape
  (2, 4, 4, 3)
  """

  features: int
  norm: Norm | None = None
  conv: Conv = _conv
  shortcut: Conv = _shortcut

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"], *args: Array) -> Float[Array, "n h w features"]:
    """Maps features to features; `args` go to the norms."""
    y = nn.relu(_normalized(self.norm, x, args))
    y = self.conv(self.features)(y)
    y = nn.relu(_normalized(self.norm, y, args))
    y = self.conv(self.features)(y)
    return (x if x.shape[-1] == self.features else self.shortcut(self.features)(x)) + y


class FirstBlock(nn.Module):
  """First residual block of a critic, on pictures: conv-ReLU-conv-pool, without norms.

  Neither norm nor ReLU precedes the first convolution, since its input is a picture.

  Attributes:
    features: channels of the result.
    conv: makes a 3x3 convolution with a number of features.
    shortcut: makes the 1x1 convolution of the shortcut.

  >>> import jax
  >>> block = FirstBlock(8)
  >>> x = jnp.ones([2, 4, 4, 3])
  >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x))[0].shape
  (2, 2, 2, 8)
  """

  features: int
  conv: Conv = _conv
  shortcut: Conv = _shortcut

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h/2 w/2 features"]:
    """Maps pictures to features."""
    y = nn.relu(self.conv(self.features)(x))
    y = layers.average_downsample(self.conv(self.features)(y))
    return self.shortcut(self.features)(layers.average_downsample(x)) + y


class Generator(nn.Module):
  """A dense layer and residual blocks from a latent to a picture.

  The defaults are those of the paper's CIFAR-10 runs, whose latents are normal of dimension 128.
  For its 64x64 runs give `resolution=64, widths=(512, 512, 256, 128, 64), use_bias=False`.

  Attributes:
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    channels: of the pictures.
    width: features at every resolution, unless `widths` tells them.
    widths: features at 4, 8, 16 ... pixels.
    use_bias: whether the blocks' 3x3 convolutions have biases.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> g = Generator(resolution=16, width=8)
  >>> z = jnp.zeros([2, 128])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 16, 16, 3)
  """

  resolution: int = 32
  channels: int = 3
  width: int = 128
  widths: Sequence[int] | None = None
  use_bias: bool = True
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents to pictures in [-1, 1], float32 at least."""
    widths = self.widths or (self.width,) * (stages(self.resolution) + 1)
    check_widths(widths, self.resolution)
    norm = partial(
      layers.BatchNorm,
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-5,
      axis_name=self.axis_name,
      dtype=self.dtype,
    )
    block = partial(
      UpBlock,
      norm=norm,
      conv=partial(_conv, use_bias=self.use_bias, dtype=self.dtype),
      shortcut=partial(_shortcut, dtype=self.dtype),
    )
    x = nn.Dense(16 * widths[0], kernel_init=glorot_uniform, dtype=self.dtype)(z)
    x = x.reshape(-1, 4, 4, widths[0])
    for features in widths[1:]:
      x = block(features)(x)
    x = nn.relu(norm()(x))
    x = layers.Conv(self.channels, (3, 3), kernel_init=glorot_uniform, dtype=self.dtype)(x)
    return jnp.tanh(at_least_float32(x))


class Critic(nn.Module):
  """Residual blocks from a picture to a number.

  The defaults are those of the paper's CIFAR-10 runs: blocks down to 8x8 pixels, two blocks there,
  ReLU, the mean over the pixels and a dense layer. With `widths` it is the critic of the 64x64
  runs instead: a 3x3 convolution, blocks down to 4x4 pixels and a dense layer on all of them. For
  these give `resolution=64, widths=(64, 128, 256, 512, 512), norm=layers.LayerNorm,
  use_bias=False`.

  Attributes:
    resolution: height and width of the pictures, 16, 32, 64 ...; with `widths` also 8.
    width: features at every resolution, unless `widths` tells them.
    widths: features of the first convolution and at half the resolution, a quarter ... 4 pixels.
    norm: makes a normalisation layer of the blocks; None for none. It must not mix examples where
      a gradient penalty is taken.
    use_bias: whether the blocks' 3x3 convolutions have biases.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d = Critic(resolution=16, width=8)
  >>> x = jnp.zeros([2, 16, 16, 3])
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))[0].shape
  (2,)
  """

  resolution: int = 32
  width: int = 128
  widths: Sequence[int] | None = None
  norm: Norm | None = None
  use_bias: bool = True
  dtype: Any = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, " batch"]:
    """Maps pictures in [-1, 1] to logits, float32 at least."""
    del train  # nothing here differs
    check_images(images, self.resolution)
    conv = partial(_conv, use_bias=self.use_bias, dtype=self.dtype)
    shortcut = partial(_shortcut, dtype=self.dtype)
    down = partial(DownBlock, norm=self.norm, conv=conv, shortcut=shortcut)
    if self.widths is None:
      x = FirstBlock(self.width, conv=conv, shortcut=shortcut)(images)
      for _ in range(stages(self.resolution, base=8) - 1):
        x = down(self.width)(x)
      for _ in range(2):
        x = ResBlock(self.width, norm=self.norm, conv=conv, shortcut=shortcut)(x)
      x = at_least_float32(nn.relu(x)).mean((1, 2))
    else:
      check_widths(self.widths, self.resolution)
      stem = partial(layers.Conv, kernel_size=(3, 3), kernel_init=glorot_uniform)
      x = stem(self.widths[0], dtype=self.dtype)(images)
      for features in self.widths[1:]:
        x = down(features)(x)
      x = x.reshape(x.shape[0], -1)
    return at_least_float32(nn.Dense(1, kernel_init=glorot_uniform, dtype=self.dtype)(x)[:, 0])
