"""BigGAN and BigGAN-deep: Brock et al. 2018 (arXiv 1809.11096).

The defaults are those of the authors' CIFAR-10 script. Those of their ImageNet script at 128x128,
whose latent has 120 normal entries before the label, are, with c = 96,

    Generator(1000, 128, widths=(16c, 16c, 8c, 4c, 2c, c), shared=128, hierarchical=True,
              attention=64, kernel_init=orthogonal)
    Discriminator(1000, 128, widths=(c, 2c, 4c, 8c, 16c, 16c), attention=64, kernel_init=orthogonal)

with `orthogonal = flax.linen.initializers.orthogonal()`, and BigGAN-deep is, with c = 128 and 128
normal entries, the same with `deep=True` in place of `hierarchical=True`.

Both players are spectrally normalised but for the generator's tables of classes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import check_images, check_widths, split_latent, stages
from jaxgan.models._residual import (
  attend,
  check_attention,
  sum_features,
  wide_blocks,
)
from jaxgan.models.resnet import UpBlock
from jaxgan.types import Array

__all__ = ["DeepDiscriminatorBlock", "DeepGeneratorBlock", "Discriminator", "Generator"]

Layer = Callable[..., Array]

_normal = nn.initializers.normal(0.02)


class DeepGeneratorBlock(nn.Module):
  """Bottleneck of BigGAN-deep's generator: two 3x3 convolutions between two of 1x1.

  Norm and ReLU precede each of them. Within are a quarter of the input's features. The shortcut has
  no weights: it drops the features that the result does not have.

  Attributes:
    features: channels of the result, at most those of the input.
    upsample: whether to double the resolution, before the first 3x3 convolution.
    norm: makes a normalisation layer.
    conv: makes a convolution with a number of features and a kernel size.

  >>> import jax
  >>> block = DeepGeneratorBlock(4, upsample=True)
  >>> x = jnp.ones([2, 4, 4, 8])
  >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x))[0].shape
  (2, 8, 8, 4)
  """

  features: int
  upsample: bool = False
  norm: Callable[[], Layer] = layers.LayerNorm
  conv: Callable[[int, tuple[int, int]], Layer] = layers.SNConv

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"], *args: Array) -> Float[Array, "n H W features"]:
    """Maps features to features; `args`, a condition for example, go to the norms."""
    hidden = x.shape[-1] // 4
    if not 1 <= self.features <= x.shape[-1] or not hidden:
      raise ValueError(f"features={self.features}: x {x.shape} needs 1 to {x.shape[-1]}, of 4 on")
    resize = layers.nearest_upsample if self.upsample else lambda y: y
    y = self.conv(hidden, (1, 1))(nn.relu(self.norm()(x, *args)))
    y = self.conv(hidden, (3, 3))(resize(nn.relu(self.norm()(y, *args))))
    y = self.conv(hidden, (3, 3))(nn.relu(self.norm()(y, *args)))
    y = self.conv(self.features, (1, 1))(nn.relu(self.norm()(y, *args)))
    return y + resize(x[..., : self.features])


class DeepDiscriminatorBlock(nn.Module):
  """Bottleneck of BigGAN-deep's discriminator: two 3x3 convolutions between two of 1x1.

  A ReLU precedes each of them. Within are a quarter of the result's features. The shortcut appends
  the features that the input does not have, by a 1x1 convolution of it.

  Attributes:
    features: channels of the result, at least those of the input.
    downsample: whether to halve the resolution, before the last convolution.
    conv: makes a convolution with a number of features and a kernel size.

  >>> import jax
  >>> block = DeepDiscriminatorBlock(8, downsample=True)
  >>> x = jnp.ones([2, 4, 4, 3])
  >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x))[0].shape
  (2, 2, 2, 8)
  """

  features: int
  downsample: bool = False
  conv: Callable[[int, tuple[int, int]], Layer] = layers.SNConv

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W features"]:
    """Maps features to features."""
    hidden, further = self.features // 4, self.features - x.shape[-1]
    if further < 0 or not hidden:
      raise ValueError(f"features={self.features}: x {x.shape} needs {x.shape[-1]} and 4 at least")
    resize = layers.average_downsample if self.downsample else lambda y: y
    y = self.conv(hidden, (1, 1))(nn.relu(x))
    y = self.conv(hidden, (3, 3))(nn.relu(y))
    y = self.conv(hidden, (3, 3))(nn.relu(y))
    y = self.conv(self.features, (1, 1))(resize(nn.relu(y)))
    x = resize(x)
    if further:
      x = jnp.concatenate([x, self.conv(further, (1, 1))(x)], -1)
    return y + x


class Generator(nn.Module):
  """A dense layer and residual blocks from a latent to a picture.

  The latent is normal of dimension 128 and then the one-hot label.

  Attributes:
    classes: number of classes; the last entries of a latent are the one-hot label.
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    channels: of the pictures.
    width: features at every resolution, unless `widths` tells them.
    widths: features at 4, 8, 16 ... pixels.
    shared: dimension of an embedding of the label from which every block's gains and biases come;
      None for tables of their own.
    hierarchical: whether the noise is cut into equal parts, one for the dense layer and one for the
      norms of each block; needs `shared`.
    attention: resolution at which positions attend to each other, 8, 16 ... half the resolution;
      None for nowhere. The features there are 8 at least.
    deep: whether the blocks are BigGAN-deep's, two a resolution, to all of which and to the dense
      layer all noise and the embedding go; needs `shared`.
    kernel_init: initializer of all weights.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> g = Generator(10, width=8, shared=4, hierarchical=True)
  >>> z = jnp.zeros([2, 4 * 5 + 10])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 32, 32, 3)
  """

  classes: int
  resolution: int = 32
  channels: int = 3
  width: int = 256
  widths: Sequence[int] | None = None
  shared: int | None = None
  hierarchical: bool = False
  attention: int | None = None
  deep: bool = False
  kernel_init: nn.initializers.Initializer = _normal
  dtype: Any = None
  axis_name: str | None = None

  def _conditions(self, noise: Array, embedding: Array, count: int) -> tuple[Array, list[Array]]:
    """What the dense layer is given, and the condition of each block."""
    if self.deep:
      whole = jnp.concatenate([embedding, noise.astype(embedding.dtype)], 1)
      return whole, [whole] * count
    if not self.hierarchical:
      return noise, [embedding] * count
    if noise.shape[1] % (count + 1):
      raise ValueError(
        f"noise {noise.shape} of a hierarchical latent at resolution={self.resolution} must divide"
        f" into {count + 1} equal parts"
      )
    first, *rest = jnp.split(noise, count + 1, 1)
    return first, [jnp.concatenate([embedding, z.astype(embedding.dtype)], 1) for z in rest]

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents `[batch, noise + classes]` to pictures in [-1, 1], float32 at least."""
    count = stages(self.resolution)
    widths = tuple(self.widths or (self.width,) * (count + 1))
    check_widths(widths, self.resolution)
    check_attention(self.attention, self.resolution)
    if (self.hierarchical or self.deep) and (self.shared is None or self.hierarchical == self.deep):
      raise ValueError(
        f"hierarchical={self.hierarchical} and deep={self.deep} with shared={self.shared}: one of"
        " them is possible, and needs a shared embedding"
      )
    weights = {"kernel_init": self.kernel_init, "dtype": self.dtype}
    statistics: dict[str, Any] = {
      "use_running_average": not train,
      "momentum": 0.9,
      "epsilon": 1e-5,
      "axis_name": self.axis_name,
      "dtype": self.dtype,
    }
    conv: Any = partial(layers.SNConv, update_stats=train, **weights)
    noise, label = split_latent(z, self.classes)
    linear: Any = nn.Dense
    if self.shared is not None:
      linear = partial(layers.SNDense, update_stats=train)
      label = nn.Dense(self.shared, use_bias=False, name="shared", **weights)(label)
    first, conditions = self._conditions(noise, label, count)
    norm = partial(
      layers.ConditionalBatchNorm, linear=linear, kernel_init=self.kernel_init, **statistics
    )
    x = layers.SNDense(16 * widths[0], update_stats=train, **weights)(first)
    x = x.reshape(-1, 4, 4, widths[0])
    for features, condition in zip(widths[1:], conditions, strict=True):
      if self.deep:
        x = DeepGeneratorBlock(x.shape[-1], norm=norm, conv=conv)(x, condition)
        x = DeepGeneratorBlock(features, upsample=True, norm=norm, conv=conv)(x, condition)
      else:
        x = UpBlock(
          features,
          norm=norm,
          conv=partial(conv, kernel_size=(3, 3)),
          shortcut=partial(conv, kernel_size=(1, 1)),
        )(x, condition)
      x = attend(x, self.attention, train=train, **weights)
    x = nn.relu(layers.BatchNorm(**statistics, name="norm")(x))
    return jnp.tanh(at_least_float32(conv(self.channels, kernel_size=(3, 3), name="output")(x)))


class Discriminator(nn.Module):
  """Residual blocks from a picture and its label to a logit, by projection.

  Blocks down to 8x8 pixels and two there (of BigGAN-deep: a convolution, then pairs of blocks, the
  last of them at 8x8), ReLU, the sum over the pixels and a dense layer. With `widths` it goes down
  to 4x4 pixels.

  Attributes:
    classes: number of classes.
    resolution: height and width of the pictures, 16, 32, 64 ...; with `widths` also 8.
    width: features at every resolution, unless `widths` tells them.
    widths: features at half the resolution, a quarter ... 4 pixels, and of one block more there. Of
      BigGAN-deep: of the first convolution and of the pairs of blocks.
    attention: resolution at which positions attend to each other, 8, 16 ... half the resolution;
      None for nowhere. The features there are 8 at least.
    deep: whether the blocks are BigGAN-deep's.
    kernel_init: initializer of all weights.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d = Discriminator(10, width=8)
  >>> x, labels = jnp.zeros([2, 32, 32, 3]), jax.nn.one_hot(jnp.arange(2), 10)
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, labels, train=False))[0].shape
  (2,)
  """

  classes: int
  resolution: int = 32
  width: int = 256
  widths: Sequence[int] | None = None
  attention: int | None = None
  deep: bool = False
  kernel_init: nn.initializers.Initializer = _normal
  dtype: Any = None

  @nn.compact
  def __call__(
    self,
    images: Float[Array, "batch height width channels"],
    condition: Float[Array, "batch classes"],
    *,
    train: bool,
  ) -> Float[Array, " batch"]:
    """Maps pictures in [-1, 1] and one-hot labels to logits, float32 at least."""
    check_images(images, self.resolution)
    check_attention(self.attention, self.resolution)
    weights = {"kernel_init": self.kernel_init, "dtype": self.dtype}
    if self.widths is not None:
      check_widths(self.widths, self.resolution)
      down, kept = list(self.widths[:-1]), list(self.widths[-1:])
    else:
      down, kept = [self.width] * stages(self.resolution, base=8), [self.width] * 2
    if self.deep:
      conv: Any = partial(layers.SNConv, update_stats=train, **weights)
      x = conv(down[0], kernel_size=(3, 3), name="input")(images)
      # The convolution has the first width, so that each pair has the one after its own.
      for features in [*down[1:], kept[0]]:
        x = DeepDiscriminatorBlock(features, downsample=True, conv=conv)(x)
        x = DeepDiscriminatorBlock(features, conv=conv)(x)
        x = attend(x, self.attention, train=train, **weights)
      for features in kept[1:] * 2:
        x = DeepDiscriminatorBlock(features, conv=conv)(x)
    else:
      x = wide_blocks(images, down, kept, attention=self.attention, train=train, **weights)
    head = layers.ProjectionHead(self.classes, update_stats=train, **weights, name="head")
    return head(sum_features(x), condition)
