"""SAGAN: Zhang et al. 2018 (arXiv 1805.08318), in the form of the authors' code.

Residual networks with self-attention at one resolution, and spectral normalisation in both players.
The tables are those of 128x128 pixels; other sizes follow the same rule. For 32x32 there is no
official configuration: `resolution=32, attention=16`.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import check_images, glorot_uniform, split_latent, stages
from jaxgan.models._residual import attend, check_attention, sum_features, wide_blocks
from jaxgan.models.resnet import UpBlock
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator"]


def _widths(width: int, count: int) -> list[int]:
  """The features of `count` resolutions, from the finest: twice as many each, up to 16 times."""
  return [width * min(1 << i, 16) for i in range(count)]


class Generator(nn.Module):
  """A dense layer, residual blocks and attention from a latent to a picture.

  The paper's latent is normal of dimension 128.

  Attributes:
    classes: number of classes; the last entries of a latent are then the one-hot label, and the
      blocks have conditional batch norm. None for a generator without.
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    channels: of the pictures.
    width: features at full resolution; they double towards 4x4, up to 16 times as many.
    attention: resolution at which positions attend to each other, 8, 16 ... half the resolution;
      None for nowhere. The features there are 8 at least.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> g = Generator(classes=10, resolution=32, width=8, attention=16)
  >>> z = jnp.zeros([2, 128 + 10])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 32, 32, 3)
  """

  classes: int | None = None
  resolution: int = 128
  channels: int = 3
  width: int = 64
  attention: int | None = 32
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents `[batch, noise]` or `[batch, noise + classes]` to pictures in [-1, 1]."""
    check_attention(self.attention, self.resolution)
    first, *widths = reversed(_widths(self.width, stages(self.resolution) + 1))
    statistics: dict[str, Any] = {
      "use_running_average": not train,
      "momentum": 0.999,
      "epsilon": 1e-5,
      "axis_name": self.axis_name,
      "dtype": self.dtype,
    }
    condition: tuple[Array, ...] = ()
    norm: Any = partial(layers.BatchNorm, **statistics)
    if self.classes is not None:
      z, label = split_latent(z, self.classes)
      condition, norm = (label,), partial(layers.ConditionalBatchNorm, **statistics)
    weights = {"kernel_init": glorot_uniform, "dtype": self.dtype}
    conv: Any = partial(layers.SNConv, update_stats=train, **weights)
    x = layers.SNDense(16 * first, update_stats=train, **weights)(z).reshape(-1, 4, 4, first)
    for features in widths:
      x = UpBlock(
        features,
        norm=norm,
        conv=partial(conv, kernel_size=(3, 3)),
        shortcut=partial(conv, kernel_size=(1, 1)),
      )(x, *condition)
      x = attend(x, self.attention, train=train, **weights)
    x = nn.relu(layers.BatchNorm(**statistics, name="norm")(x))
    return jnp.tanh(at_least_float32(conv(self.channels, kernel_size=(3, 3), name="output")(x)))


class Discriminator(nn.Module):
  """Residual blocks and attention from a picture to a logit, with `classes` a projection's.

  Blocks down to 4x4 pixels, one block there, ReLU, the sum over the pixels and a dense layer.

  Attributes:
    classes: number of classes; None for a discriminator without.
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    width: features at half the resolution; they double towards 4x4, up to 16 times as many.
    attention: resolution at which positions attend to each other, 8, 16 ... half the resolution;
      None for nowhere. The features there are 8 at least.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d = Discriminator(classes=10, resolution=32, width=8, attention=16)
  >>> x, labels = jnp.zeros([2, 32, 32, 3]), jax.nn.one_hot(jnp.arange(2), 10)
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, labels, train=False))[0].shape
  (2,)
  """

  classes: int | None = None
  resolution: int = 128
  width: int = 64
  attention: int | None = 32
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
    check_attention(self.attention, self.resolution)
    weights = {"kernel_init": glorot_uniform, "dtype": self.dtype}
    widths = _widths(self.width, stages(self.resolution))
    x = wide_blocks(images, widths, widths[-1:], attention=self.attention, train=train, **weights)
    head = layers.ProjectionHead(self.classes, update_stats=train, **weights, name="head")
    return head(sum_features(x), condition)
