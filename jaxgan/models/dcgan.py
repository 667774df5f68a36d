"""DCGAN: Radford, Metz and Chintala 2015 (arXiv 1511.06434), in the form of the 64x64 example.

The form that became the standard: 4x4 kernels, no biases, normal latents, and for other sizes one
stage more or less, with the widest features at 4x4 pixels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import batch_norm, check_images, stages
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator"]

_weights = nn.initializers.normal(0.02)


class Generator(nn.Module):
  """Transposed convolutions from a latent to a picture.

  Attributes:
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    channels: 1 or 3.
    width: features at half the resolution; they double towards 4x4. The paper's is 128, the
      standard example's 64.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> g = Generator(resolution=32, channels=1, width=8)
  >>> z = jnp.zeros([2, 100])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 32, 32, 1)
  """

  resolution: int = 64
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
    deconvolution = partial(
      layers.ConvTranspose,
      kernel_size=(4, 4),
      use_bias=False,
      kernel_init=_weights,
      dtype=self.dtype,
    )
    norm = partial(batch_norm, train, axis_name=self.axis_name, dtype=self.dtype)
    x = z[:, None, None, :]
    x = deconvolution(self.width << (count - 1), padding="VALID")(x)
    x = nn.relu(norm()(x))
    for stage in reversed(range(count - 1)):
      x = deconvolution(self.width << stage, strides=(2, 2))(x)
      x = nn.relu(norm()(x))
    x = deconvolution(self.channels, strides=(2, 2))(x)
    return jnp.tanh(at_least_float32(x))


class Discriminator(nn.Module):
  """Strided convolutions from a picture to a logit.

  Attributes:
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    width: features at half the resolution; they double towards 4x4.
    norm: given `train`, makes the normalisation layer that every convolution but the first and the
      last gets: `lambda train: layers.LayerNorm()` under a gradient penalty. None for batch norm.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> d = Discriminator(resolution=32, width=8)
  >>> x = jnp.zeros([2, 32, 32, 3])
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))[0].shape
  (2,)
  """

  resolution: int = 64
  width: int = 64
  dtype: Any = None
  axis_name: str | None = None
  norm: Callable[[bool], Callable[[Array], Array]] | None = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, " batch"]:
    """Maps pictures in [-1, 1] to logits, float32 at least."""
    check_images(images, self.resolution)
    convolution = partial(
      layers.Conv, kernel_size=(4, 4), use_bias=False, kernel_init=_weights, dtype=self.dtype
    )
    norm = self.norm or partial(batch_norm, axis_name=self.axis_name, dtype=self.dtype)
    x = convolution(self.width, strides=(2, 2))(images)
    x = nn.leaky_relu(x, 0.2)
    for stage in range(1, stages(self.resolution)):
      x = convolution(self.width << stage, strides=(2, 2))(x)
      x = nn.leaky_relu(norm(train)(x), 0.2)
    x = convolution(1, padding="VALID")(x)
    return at_least_float32(x[:, 0, 0, 0])
