"""Encoders of pictures to styles: e4e, Tov et al. 2021 (arXiv 2102.02766).

A picture's styles are one style w for all layers and small differences of the later layers from it,
which are let in one after the other while training. A discriminator of styles holds them where the
mapping network's lie, so that what is found can be edited. The paper's encoder is a pretrained
face recognition network; this one is StyleGAN2's residual discriminator without its head.
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float, Int

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import check_images
from jaxgan.models._styles import widths
from jaxgan.types import Array

__all__ = ["Encoder", "StyleDiscriminator"]

_activate = layers.scaled_leaky_relu


class _Block(nn.Module):
  features: int
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    types: dict[str, Any] = {"dtype": self.dtype}
    y = _activate(layers.EqualizedConv(x.shape[-1], name="conv0", **types)(x))
    y = _activate(layers.EqualizedConv(self.features, down=2, name="conv1", **types)(y))
    skip = layers.EqualizedConv(self.features, (1, 1), down=2, use_bias=False, name="skip", **types)
    return math.sqrt(0.5) * (y + skip(x))


class Encoder(nn.Module):
  """From pictures to styles, as differences from the mean style.

  Tov et al. 2021 (arXiv 2102.02766), section 3: `(w, w + d_1, ..., w + d_{L-1})`. Both parts start
  near 0.

  Attributes:
    num_layers: of the generator, that take a style.
    style_dim: dimensions of a style.
    resolution: height and width of the pictures, 8, 16, 32, 64 ...
    width: features at the full resolution; each halving of it doubles them.
    max_width: most features.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> e = Encoder(num_layers=8, style_dim=16, width=8, max_width=16)
  >>> x = jnp.zeros([2, 32, 32, 3])
  >>> jax.eval_shape(lambda: e.init_with_output(jax.random.key(0), x, train=False))[0].shape
  (2, 8, 16)
  """

  num_layers: int
  style_dim: int
  resolution: int = 32
  width: int = 32
  max_width: int = 512
  dtype: Any = None

  @nn.compact
  def __call__(
    self,
    images: Float[Array, "batch height width channels"],
    unlocked: Int[Array, ""] | int | None = None,
    *,
    train: bool,
  ) -> Float[Array, "batch layers style"]:
    """Maps pictures in [-1, 1] to styles less their mean, float32 at least.

    Args:
      images: the pictures.
      unlocked: how many layers have a style of their own, the first one counted; later ones have
        that of the first. None for all.
      train: nothing here differs.
    """
    del train
    check_images(images, self.resolution)
    types: dict[str, Any] = {"dtype": self.dtype}
    sizes = widths(self.resolution, self.width, self.max_width)
    first = layers.EqualizedConv(sizes[self.resolution], (1, 1), name="from_image", **types)
    x = _activate(first(images))
    for size in sorted(sizes, reverse=True)[:-1]:
      x = _Block(sizes[size // 2], name=f"b{size}", **types)(x)
    x = _activate(layers.EqualizedConv(sizes[4], name="conv", **types)(x))
    x = _activate(layers.EqualizedDense(sizes[4], name="fc", **types)(x.reshape(len(x), -1)))
    small = nn.initializers.normal(0.01)
    base = nn.Dense(self.style_dim, kernel_init=small, name="base", **types)(x)
    count = self.num_layers - 1
    deltas = nn.Dense(count * self.style_dim, kernel_init=small, name="deltas", **types)(x)
    base = at_least_float32(base)[:, None]
    deltas = at_least_float32(deltas).reshape(len(x), count, self.style_dim)
    if unlocked is not None:
      own = jnp.arange(1, self.num_layers) < unlocked
      deltas = jnp.where(own[None, :, None], deltas, 0.0)
    return jnp.concatenate([base, base + deltas], 1)


class StyleDiscriminator(nn.Module):
  """Tells styles of the mapping network from those of an encoder.

  As the authors' code, of plain dense layers: the paper's learning rate is far too small for
  equalised ones.

  Attributes:
    width: features of each hidden layer.
    depth: number of layers, the last one counted.

  >>> import jax
  >>> d, w = StyleDiscriminator(width=8), jnp.zeros([2, 16])
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), w, train=False))[0].shape
  (2,)
  """

  width: int = 512
  depth: int = 4

  @nn.compact
  def __call__(self, w: Float[Array, "batch style"], *, train: bool) -> Float[Array, " batch"]:
    """Maps styles to logits."""
    del train  # nothing here differs
    for i in range(self.depth - 1):
      w = nn.leaky_relu(nn.Dense(self.width, name=f"fc{i}")(w), 0.2)
    return nn.Dense(1, name="out")(w)[:, 0]
