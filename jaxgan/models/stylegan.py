"""StyleGAN: Karras et al. 2018 (arXiv 1812.04948), at its full resolution from the start.

Styles normalise every layer of the generator, which starts from a constant, and noise varies each.
The networks are those of the paper's last stage; it grows them from 8 pixels, which StyleGAN2 gave
up. The discriminator is `jaxgan.models.stylegan2.Discriminator(residual=False)`, which is the
paper's but for the rate at which biases learn, sqrt(2) times as high.
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._styles import StyleGenerator, widths
from jaxgan.types import Array

__all__ = ["Generator"]


class _Styled(nn.Module):
  """What follows each convolution: noise, activation and style."""

  axis_name: str | None = None
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array, w: Array, *, train: bool) -> Array:
    noise = layers.NoiseInput(per_channel=True, axis_name=self.axis_name, name="noise")
    x = nn.leaky_relu(noise(x, train=train), 0.2)
    return layers.AdaIN(dtype=self.dtype, name="norm")(x, w)


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
    options: dict[str, Any] = {"axis_name": self.axis_name, "dtype": self.dtype}
    gain = math.sqrt(2.0)
    sizes = widths(self.resolution, self.width, self.max_width)
    shape = (4, 4, sizes[4])
    x = self.param("constant", nn.initializers.ones, shape, jnp.float32)
    x = x + self.param("bias", nn.initializers.zeros, shape[-1:], jnp.float32)[None, None]
    x = jnp.broadcast_to(x[None], (styles.shape[0], *shape)).astype(self.dtype or x.dtype)
    for i, (size, features) in enumerate(sizes.items()):
      if size > 4:
        conv = layers.EqualizedConv(
          features, up=2, gain=gain, dtype=self.dtype, name=f"b{size}_conv0"
        )
        x = conv(x)
      x = _Styled(name=f"b{size}_style0", **options)(x, styles[:, 2 * i], train=train)
      x = layers.EqualizedConv(features, gain=gain, dtype=self.dtype, name=f"b{size}_conv1")(x)
      x = _Styled(name=f"b{size}_style1", **options)(x, styles[:, 2 * i + 1], train=train)
    to_image = layers.EqualizedConv(self.channels, (1, 1), dtype=self.dtype, name="to_image")
    return at_least_float32(to_image(x))


class Generator(StyleGenerator):
  """StyleGAN's generator; the published one has `width * resolution` = 16384.

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
