"""R3GAN: Huang, Gokaslan, Kuleshov and Tompkin 2024 (arXiv 2501.05441), appendix.

Residual networks without norms, styles or noise. Both players are the same stages in opposite
order: a change of resolution, and blocks of a 1x1 convolution to twice the features, a grouped 3x3
one and a 1x1 one back. The start takes the part of normalisation: the last layer of each block is
0, and the others' scale falls with the number of blocks (Zhang et al. 2019, arXiv 1901.09321).
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
  check_condition,
  check_images,
  check_widths,
  split_latent,
  stages,
)
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator", "ResidualBlock"]

_EXPANSION = 2
_SLOPE = 0.2
_LAYERS = 3  # of a block
_EMBEDDED = 64  # dimensions that a class has beside the generator's noise


def _normal(variance: float = 1.0) -> nn.initializers.Initializer:
  """N(0, variance / fan in)."""
  return nn.initializers.variance_scaling(variance, "fan_in", "normal")


class ResidualBlock(nn.Module):
  """1x1 to twice the features, grouped 3x3, 1x1 back; biases and leaky ReLUs between them.

  The shortcut is the identity, and nothing follows the sum.

  Attributes:
    depth: residual blocks of the whole network, by which the start is scaled.
    group_size: features of a group of the 3x3 convolution.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> block = ResidualBlock(depth=8)
  >>> x = jnp.ones([2, 4, 4, 32])
  >>> y, variables = block.init_with_output(jax.random.key(0), x)
  >>> bool((y == x).all())  # at the start
  True
  """

  depth: int
  group_size: int = 16
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Keeps the shape."""
    wide = _EXPANSION * x.shape[-1]
    if wide % self.group_size:
      raise ValueError(
        f"group_size={self.group_size} must divide {wide}, twice the width of a stage"
      )
    gain = 2.0 / (1.0 + _SLOPE**2) * self.depth ** (-2.0 / (2 * _LAYERS - 2))  # squared
    conv = partial(layers.Conv, dtype=self.dtype)
    y = conv(wide, (1, 1), kernel_init=_normal(gain))(x)
    y = conv(wide, (3, 3), feature_group_count=wide // self.group_size, kernel_init=_normal(gain))(
      nn.leaky_relu(y, _SLOPE)
    )
    y = conv(x.shape[-1], (1, 1), use_bias=False, kernel_init=nn.initializers.zeros)(
      nn.leaky_relu(y, _SLOPE)
    )
    return x + y


class Generator(nn.Module):
  """A learned 4x4 basis, scaled by the latent, and stages that double the resolution.

  The paper's latent is normal of dimension 64, and its pictures are not bounded: there is no tanh.
  Its sizes, by `widths` or `width`, each with two blocks:

  | pictures | widths from 4 pixels on | group size |
  |---|---|---|
  | CIFAR-10, Stacked MNIST | 768 four times | 16 |
  | FFHQ of 64 pixels | 768 four times, 384 | 16 |
  | FFHQ of 256 pixels | 768 four times, 384, 192, 96 | 16 |
  | ImageNet of 32, 64 pixels | 1536 four times, five times | 32 |

  Attributes:
    classes: number of classes; the last entries of a latent are then the one-hot label. None for a
      generator without.
    resolution: height and width of the pictures, 8, 16, 32, 64 ...
    channels: of the pictures.
    width: features at every resolution, unless `widths` tells them.
    widths: features at 4, 8, 16 ... pixels.
    blocks: residual blocks a stage.
    group_size: features of a group of the 3x3 convolutions; it divides twice the widths.
    dtype: of the computation but that at 4 pixels and of the pictures; parameters stay float32.

  >>> import jax
  >>> g = Generator(width=16)
  >>> z = jnp.zeros([2, 64])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 32, 32, 3)
  """

  classes: int | None = None
  resolution: int = 32
  channels: int = 3
  width: int = 768
  widths: Sequence[int] | None = None
  blocks: int = 2
  group_size: int = 16
  dtype: Any = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents `[batch, noise]` or `[batch, noise + classes]` to pictures, float32 at least."""
    del train  # nothing here differs
    widths = _widths(self.resolution, self.width, self.widths)
    block = partial(ResidualBlock, depth=self.blocks * len(widths), group_size=self.group_size)
    dense = partial(nn.Dense, use_bias=False, kernel_init=_normal())
    if self.classes is not None:
      z, label = split_latent(z, self.classes)
      z = jnp.concatenate([z, dense(_EMBEDDED, name="embed")(label)], 1)
    basis = self.param("basis", nn.initializers.normal(1.0), (4, 4, widths[0]))
    x = dense(widths[0], name="scales")(z)[:, None, None] * basis[None]
    for stage, features in enumerate(widths):
      dtype = self.dtype if stage else None
      if stage:
        x = layers.blur_upsample(_project(x.astype(dtype or x.dtype), features, dtype))
      for _ in range(self.blocks):
        x = block(dtype=dtype)(x)
    return at_least_float32(_conv(self.channels, self.dtype, name="output")(x))


class Discriminator(nn.Module):
  """Stages that halve the resolution, and a learned 4x4 basis, from a picture to a logit.

  Attributes:
    classes: number of classes; None for a discriminator without.
    resolution: height and width of the pictures, 8, 16, 32, 64 ...
    width: features at every resolution, unless `widths` tells them.
    widths: features at 4, 8, 16 ... pixels, those of the generator.
    blocks: residual blocks a stage.
    group_size: features of a group of the 3x3 convolutions; it divides twice the widths.
    dtype: of the computation but that at 4 pixels and of the logits; parameters stay float32.

  >>> import jax
  >>> d = Discriminator(classes=10, width=16)
  >>> x, labels = jnp.zeros([2, 32, 32, 3]), jax.nn.one_hot(jnp.arange(2), 10)
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, labels, train=False))[0].shape
  (2,)
  """

  classes: int | None = None
  resolution: int = 32
  width: int = 768
  widths: Sequence[int] | None = None
  blocks: int = 2
  group_size: int = 16
  dtype: Any = None

  @nn.compact
  def __call__(
    self,
    images: Float[Array, "batch height width channels"],
    condition: Float[Array, "batch classes"] | None = None,
    *,
    train: bool,
  ) -> Float[Array, " batch"]:
    """Maps pictures around [-1, 1], with one-hot labels if `classes`, to logits."""
    del train  # nothing here differs
    check_images(images, self.resolution)
    if (condition is None) != (self.classes is None):
      given = None if condition is None else condition.shape
      raise ValueError(f"condition {given} with classes={self.classes}: give both or neither")
    widths = _widths(self.resolution, self.width, self.widths)
    block = partial(ResidualBlock, depth=self.blocks * len(widths), group_size=self.group_size)
    dense = partial(nn.Dense, use_bias=False)
    x = _conv(widths[-1], self.dtype, name="input")(images)
    for stage in reversed(range(len(widths))):
      dtype = self.dtype if stage else None
      x = x if stage else at_least_float32(x)
      for _ in range(self.blocks):
        x = block(dtype=dtype)(x)
      if stage:
        x = _project(layers.blur_downsample(x), widths[stage - 1], dtype)
    basis = self.param("basis", nn.initializers.normal(0.25), (4, 4, widths[0]))
    x = (x * basis[None]).sum((1, 2))
    if condition is None or self.classes is None:
      return dense(1, kernel_init=_normal(), name="head")(x)[:, 0]
    check_condition(condition, len(x), self.classes)
    x = dense(widths[0], kernel_init=_normal(), name="head")(x)
    embed = dense(widths[0], kernel_init=_normal(1.0 / widths[0]), name="embed")
    return (x * embed(condition)).sum(1)


def _widths(resolution: int, width: int, widths: Sequence[int] | None) -> Sequence[int]:
  widths = widths or (width,) * (stages(resolution) + 1)
  check_widths(widths, resolution)
  return widths


def _conv(features: int, dtype: Any, **options: Any) -> layers.Conv:
  return layers.Conv(
    features, (1, 1), use_bias=False, kernel_init=_normal(), dtype=dtype, **options
  )


def _project(x: Array, features: int, dtype: Any) -> Array:
  """A 1x1 convolution where the number of features changes."""
  return x if x.shape[-1] == features else _conv(features, dtype)(x)
