"""StyleGAN2: Karras et al. 2019 (arXiv 1912.04958), as in the code of ADA (arXiv 2006.06676).

Styles modulate the kernels of the generator, whose resolutions each add to the picture; the
discriminator is residual. Both resample through low-pass filters. Labels, if there are classes, are
mapped beside the latent, and by projection in the discriminator.
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import check_condition, check_images
from jaxgan.models._styles import StyleGenerator, widths
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator"]

_activate = layers.scaled_leaky_relu


class _StyledConv(nn.Module):
  features: int
  up: int = 1
  axis_name: str | None = None
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array, w: Array, *, train: bool) -> Array:
    x = layers.ModulatedConv(self.features, up=self.up, dtype=self.dtype, name="conv")(x, w)
    return _activate(layers.NoiseInput(axis_name=self.axis_name, name="noise")(x, train=train))


class _Block(nn.Module):
  """The layers of a resolution: one at 4 pixels and two beyond, and what they add to the picture.

  The convolution of the picture shares its style with the first of the next resolution.
  """

  features: int
  channels: int
  axis_name: str | None = None
  dtype: Any = None

  @nn.compact
  def __call__(
    self, x: Array | None, image: Array | None, styles: Array, *, train: bool
  ) -> tuple[Array, Array]:
    n, count, _ = styles.shape
    options: dict[str, Any] = {"axis_name": self.axis_name, "dtype": self.dtype}
    if x is None:
      shape = (4, 4, self.features)
      constant = self.param("constant", nn.initializers.normal(1.0), shape, jnp.float32)
      x = jnp.broadcast_to(constant[None], (n, *shape)).astype(self.dtype or constant.dtype)
    for i in range(count - 1):
      first = count == 3 and i == 0
      name = "conv0" if first else "conv1"
      layer = _StyledConv(self.features, 2 if first else 1, name=name, **options)
      x = layer(x, styles[:, i], train=train)
    to_image = layers.ModulatedConv(
      self.channels, (1, 1), demodulate=False, dtype=self.dtype, name="to_image"
    )
    added = at_least_float32(to_image(x, styles[:, -1]))
    return x, added if image is None else layers.blur_upsample(image) + added


class Synthesis(nn.Module):
  """From styles `[batch, layers, style]` to pictures; see `Generator`."""

  resolution: int
  channels: int
  width: int
  max_width: int
  axis_name: str | None = None
  dtype: Any = None

  @nn.compact
  def __call__(self, styles: Array, *, train: bool) -> Array:
    """Paints, resolution by resolution."""
    x = image = None
    sizes = widths(self.resolution, self.width, self.max_width)
    for i, (size, features) in enumerate(sizes.items()):
      block = _Block(
        features, self.channels, axis_name=self.axis_name, dtype=self.dtype, name=f"b{size}"
      )
      x, image = block(x, image, styles[:, max(2 * i - 1, 0) : 2 * i + 2], train=train)
    assert image is not None
    return image


class Generator(StyleGenerator):
  """StyleGAN2's generator, with its skip connections to the picture.

  The published ones have `width * resolution` = 16384 or, of configuration F, 32768; ADA's for
  CIFAR-10 has 512 features everywhere (the defaults at 32 pixels), depth 2 and no mixing.

  Its attributes are those of `StyleGenerator`.

  >>> import jax
  >>> g = Generator(width=8, max_width=16, style_dim=16)
  >>> z = jnp.zeros([2, 16])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 32, 32, 3)
  """

  def _synthesis(self) -> nn.Module:
    return Synthesis(
      self.resolution,
      self.channels,
      self.width,
      self.max_width,
      axis_name=self.axis_name,
      dtype=self.dtype,
    )


class _DownBlock(nn.Module):
  features: int
  residual: bool
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    types = {"dtype": self.dtype}
    y = _activate(layers.EqualizedConv(x.shape[-1], name="conv0", **types)(x))
    y = _activate(layers.EqualizedConv(self.features, down=2, name="conv1", **types)(y))
    if not self.residual:
      return y
    skip = layers.EqualizedConv(self.features, (1, 1), down=2, use_bias=False, name="skip", **types)
    return math.sqrt(0.5) * (y + skip(x))


class Discriminator(nn.Module):
  """StyleGAN2's discriminator: residual, with minibatch standard deviation at 4 pixels.

  Attributes:
    classes: number of classes, of whose labels the logits depend by projection; None for none.
    resolution: height and width of the pictures, 8, 16, 32, 64 ...
    width: features at the full resolution; each halving of it doubles them.
    max_width: most features.
    residual: whether blocks are residual; ADA's for CIFAR-10, and StyleGAN's, are not.
    group_size: examples that the standard deviation compares; it divides the batch of a device.
    depth: layers of the labels' mapping network.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d, x = Discriminator(width=8, max_width=16), jnp.zeros([4, 32, 32, 3])
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))[0].shape
  (4,)
  """

  classes: int | None = None
  resolution: int = 32
  width: int = 512
  max_width: int = 512
  residual: bool = True
  group_size: int = 4
  depth: int = 8
  dtype: Any = None

  @nn.compact
  def __call__(
    self,
    images: Float[Array, "batch height width channels"],
    condition: Float[Array, "batch classes"] | None = None,
    *,
    train: bool,
  ) -> Float[Array, " batch"]:
    """Maps pictures around [-1, 1], and one-hot labels, to logits, float32 at least."""
    del train
    check_images(images, self.resolution)
    if (condition is None) != (self.classes is None):
      given = None if condition is None else condition.shape
      raise ValueError(f"condition {given} with classes={self.classes}: give both or neither")
    types = {"dtype": self.dtype}
    sizes = widths(self.resolution, self.width, self.max_width)
    last = sizes[4]
    first = layers.EqualizedConv(sizes[self.resolution], (1, 1), name="from_image", **types)
    x = _activate(first(images))
    for size in sorted(sizes, reverse=True)[:-1]:
      x = _DownBlock(sizes[size // 2], self.residual, name=f"b{size}", **types)(x)
    x = layers.minibatch_stddev(x, group_size=self.group_size)
    x = _activate(layers.EqualizedConv(last, name="conv", **types)(x))
    x = _activate(layers.EqualizedDense(last, name="fc", **types)(x.reshape(len(x), -1)))
    if condition is None or self.classes is None:
      return at_least_float32(layers.EqualizedDense(1, name="out", **types)(x)[:, 0])
    check_condition(condition, len(images), self.classes)
    x = at_least_float32(layers.EqualizedDense(last, name="out", **types)(x))
    mapped = layers.MappingNetwork(last, self.depth, name="mapping", **types)(None, condition)
    return (x * mapped).sum(1) / math.sqrt(last)
