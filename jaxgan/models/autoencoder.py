"""Discriminators that are autoencoders, and BEGAN's generator, which is a decoder.

- BEGAN: Berthelot, Schumm and Metz 2017 (arXiv 1703.10717), figure 1: `Generator`, `AutoEncoder`.
- EBGAN: Zhao, Mathieu and LeCun 2016 (arXiv 1609.03126), section 4.2: `ConvAutoEncoder`; its
  generator is `jaxgan.models.dcgan.Generator`.

The energy of a picture is its distance from its reconstruction: low for data, high for fakes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32, per_example, safe_sqrt
from jaxgan.models._common import batch_norm, check_images, stages
from jaxgan.types import Array

__all__ = [
  "AutoEncoder",
  "ConvAutoEncoder",
  "Distance",
  "Generator",
  "Outputs",
  "mean_absolute",
  "mean_squared",
  "root_squared",
]

Distance = Callable[[Array, Array], Array]  # from pictures and reconstructions to `[batch]`


class Outputs(NamedTuple):
  """What an autoencoder makes of pictures.

  Attributes:
    energy: distance of picture and reconstruction, `[batch]`, 0 or more.
    code: what the encoder gives, `[batch, hidden]`, which the pulling-away term compares.
    reconstruction: like the pictures; not bounded to their range.
  """

  energy: Float[Array, " batch"]
  code: Float[Array, "batch hidden"]
  reconstruction: Float[Array, "batch height width channels"]


def _difference(x: Array, reconstruction: Array) -> Array:
  if x.shape != reconstruction.shape:
    raise ValueError(f"x {x.shape} and reconstruction {reconstruction.shape} differ in shape")
  return per_example(at_least_float32(x) - at_least_float32(reconstruction))


def mean_absolute(
  x: Float[Array, "batch ..."], reconstruction: Float[Array, "batch ..."]
) -> Float[Array, " batch"]:
  """BEGAN's distance, the mean of `|x - r|` over an example's pixels and channels.

  Args:
    x: pictures.
    reconstruction: of the same shape.

  Returns:
    Float32 or wider `[batch]`.

  Raises:
    ValueError: if the shapes differ.

  >>> mean_absolute(jnp.array([[1.0, 3.0]]), jnp.zeros([1, 2]))
  Array([2.], dtype=float32)
  """
  return jnp.abs(_difference(x, reconstruction)).mean(1)


def mean_squared(
  x: Float[Array, "batch ..."], reconstruction: Float[Array, "batch ..."]
) -> Float[Array, " batch"]:
  """Mean of `(x - r)^2` over an example's pixels and channels, as EBGAN is often implemented.

  Args:
    x: pictures.
    reconstruction: of the same shape.

  Returns:
    Float32 or wider `[batch]`.

  Raises:
    ValueError: if the shapes differ.

  >>> mean_squared(jnp.array([[1.0, 3.0]]), jnp.zeros([1, 2]))
  Array([5.], dtype=float32)
  """
  return jnp.square(_difference(x, reconstruction)).mean(1)


def root_squared(
  x: Float[Array, "batch ..."], reconstruction: Float[Array, "batch ..."]
) -> Float[Array, " batch"]:
  """EBGAN's distance (section 2.3), the Euclidean norm of `x - r`, whose gradient at 0 is 0 here.

  Args:
    x: pictures.
    reconstruction: of the same shape.

  Returns:
    Float32 or wider `[batch]`. It grows with the root of the number of pixels, and so must the
    margin.

  Raises:
    ValueError: if the shapes differ.

  >>> root_squared(jnp.array([[3.0, 4.0]]), jnp.zeros([1, 2]))
  Array([5.], dtype=float32)
  """
  return safe_sqrt(jnp.square(_difference(x, reconstruction)).sum(1))


class _Decoder(nn.Module):
  """From a code at 8x8 pixels up to the resolution: pairs of convolutions, nearest neighbours."""

  resolution: int
  channels: int
  width: int
  dtype: Any

  @nn.compact
  def __call__(self, h: Array) -> Array:
    convolution = partial(layers.Conv, kernel_size=(3, 3), dtype=self.dtype)
    x = nn.Dense(64 * self.width, dtype=self.dtype)(h).reshape(-1, 8, 8, self.width)
    for stage in range(stages(self.resolution, base=8) + 1):
      if stage:
        x = layers.nearest_upsample(x)
      for _ in range(2):
        x = nn.elu(convolution(self.width)(x))
    return convolution(self.channels)(x)


class Generator(nn.Module):
  """BEGAN's generator, of the architecture of its discriminator's decoder.

  The paper's latents are uniform in [-1, 1] and as many as the discriminator's code has entries,
  64. Nothing bounds the pictures, but that the discriminator only reconstructs data.

  Attributes:
    resolution: height and width of the pictures, 16, 32, 64, 128 ...
    channels: of the pictures.
    width: features at every resolution, n in the paper.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> g = Generator(resolution=16, width=4)
  >>> z = jnp.zeros([2, 64])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 16, 16, 3)
  """

  resolution: int = 64
  channels: int = 3
  width: int = 128
  dtype: Any = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents to pictures, around [-1, 1], float32 at least."""
    del train  # nothing here differs
    decoder = _Decoder(self.resolution, self.channels, self.width, self.dtype, name="decoder")
    return at_least_float32(decoder(z))


class AutoEncoder(nn.Module):
  """BEGAN's discriminator: pairs of 3x3 convolutions with ELU, a dense code, and the way back.

  Attributes:
    resolution: height and width of the pictures, 16, 32, 64, 128 ...
    width: features of the decoder, n in the paper; the encoder's are n, 2n, 3n ...
    hidden: entries of the code.
    distance: makes the energy of pictures and reconstructions.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d = AutoEncoder(resolution=16, width=4, hidden=6)
  >>> x = jnp.zeros([2, 16, 16, 3])
  >>> out, _ = jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))
  >>> out.energy.shape, out.code.shape, out.reconstruction.shape
  ((2,), (2, 6), (2, 16, 16, 3))
  """

  resolution: int = 64
  width: int = 128
  hidden: int = 64
  distance: Distance = mean_absolute
  dtype: Any = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Outputs:
    """Maps pictures in [-1, 1] to `Outputs`, float32 at least."""
    del train  # nothing here differs
    check_images(images, self.resolution)
    count = stages(self.resolution, base=8)
    convolution = partial(layers.Conv, kernel_size=(3, 3), dtype=self.dtype)
    x = nn.elu(convolution(self.width)(images))
    for scale in range(1, count + 2):
      for _ in range(2):
        x = nn.elu(convolution(scale * self.width)(x))
      if scale <= count:
        x = nn.elu(convolution(scale * self.width, strides=(2, 2))(x))
    code = nn.Dense(self.hidden, dtype=self.dtype)(x.reshape(x.shape[0], -1))
    decoder = _Decoder(self.resolution, images.shape[-1], self.width, self.dtype, name="decoder")
    reconstruction = at_least_float32(decoder(code))
    return Outputs(self.distance(images, reconstruction), at_least_float32(code), reconstruction)


class ConvAutoEncoder(nn.Module):
  """EBGAN's discriminator: three strided 4x4 convolutions down and three transposed ones back.

  Batch norm, but for the first and the last layer, and leaky ReLU. Layers that batch norm follows
  have no bias, which that would take away.

  Attributes:
    resolution: height and width of the pictures, 8, 16, 32, 64, 128 ...
    width: features at half the resolution; they double twice.
    hidden: entries of the code, which a dense layer makes and another one undoes; None for all
      features of the last convolution down, as in the paper.
    distance: makes the energy of pictures and reconstructions.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> d = ConvAutoEncoder(resolution=16, width=4)
  >>> x = jnp.zeros([2, 16, 16, 3])
  >>> out, _ = jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))
  >>> out.energy.shape, out.code.shape, out.reconstruction.shape
  ((2,), (2, 64), (2, 16, 16, 3))
  """

  resolution: int = 64
  width: int = 64
  hidden: int | None = None
  distance: Distance = root_squared
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Outputs:
    """Maps pictures in [-1, 1] to `Outputs`, float32 at least."""
    stages(self.resolution)
    check_images(images, self.resolution)
    weights = nn.initializers.normal(0.02)
    convolution, deconvolution = (
      partial(layer, kernel_size=(4, 4), strides=(2, 2), kernel_init=weights, dtype=self.dtype)
      for layer in (layers.Conv, layers.ConvTranspose)
    )
    dense = partial(nn.Dense, use_bias=False, kernel_init=weights, dtype=self.dtype)

    def activate(x: Array) -> Array:
      norm = batch_norm(train, axis_name=self.axis_name, dtype=self.dtype)
      return nn.leaky_relu(norm(x), 0.2)

    x = nn.leaky_relu(convolution(self.width)(images), 0.2)
    for stage in (1, 2):
      x = activate(convolution(self.width << stage, use_bias=False)(x))
    shape = x.shape
    code = x.reshape(shape[0], -1)
    if self.hidden is not None:
      size = code.shape[1]
      code = dense(self.hidden, use_bias=True)(code)
      x = activate(dense(size)(code)).reshape(shape)
    for stage in (1, 0):
      x = activate(deconvolution(self.width << stage, use_bias=False)(x))
    reconstruction = at_least_float32(deconvolution(images.shape[-1])(x))
    return Outputs(self.distance(images, reconstruction), at_least_float32(code), reconstruction)
