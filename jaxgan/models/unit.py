"""UNIT: Liu, Breuel and Kautz 2017 (arXiv 1703.00848), in the widths of its later code.

A variational autoencoder for each kind of pictures, whose encoders end and whose decoders begin
with the same layers, so that both kinds have their codes in one space: a picture is translated by
the other decoder. The discriminators look at pictures of several sizes, patch by patch.

Kernels start normal as He et al. 2015 (arXiv 1502.01852) have them, those of the discriminators at
N(0, 0.02), biases at 0.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models.cyclegan import ResidualBlock
from jaxgan.types import Array

__all__ = ["Decoder", "Discriminator", "Encoder", "Generator", "MultiScaleDiscriminator"]

_he = nn.initializers.he_normal()
_weights = nn.initializers.normal(0.02)


class Encoder(nn.Module):
  """c7-64, two 4x4 convolutions that halve the resolution, residual blocks.

  Attributes:
    width: features at full resolution; 4 times that in the code.
    blocks: residual blocks.
    dtype: of the computation; parameters stay float32.

  Raises:
    ValueError: on a call, pictures are not `[n, h, w, c]` of multiples of 4 from 8 pixels on.

  >>> import jax
  >>> x = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
  >>> jax.eval_shape(lambda x: Encoder(width=4).init_with_output(jax.random.key(0), x), x)[0].shape
  (2, 4, 4, 16)
  """

  width: int = 64
  blocks: int = 3
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h/4 w/4 code"]:
    """Maps pictures to features."""
    if x.ndim != 4 or any(size % 4 or size < 8 for size in x.shape[1:3]):
      raise ValueError(f"pictures {x.shape} must be [n, h, w, c], h and w 8, 12, 16, 20 ...")
    convolution = partial(
      layers.Conv, padding="VALID", use_bias=False, kernel_init=_he, dtype=self.dtype
    )
    norm = partial(layers.InstanceNorm, dtype=self.dtype)
    x = nn.relu(
      norm()(convolution(features=self.width, kernel_size=(7, 7))(layers.reflection_pad(x, 3)))
    )
    for factor in (2, 4):
      x = layers.reflection_pad(x, 1)
      x = convolution(features=factor * self.width, kernel_size=(4, 4), strides=2)(x)
      x = nn.relu(norm()(x))
    return _blocks(x, self.blocks, self.dtype)


class Decoder(nn.Module):
  """Residual blocks, two doublings of the resolution with 5x5 convolutions, c7.

  Attributes:
    channels: of the pictures.
    width: features at full resolution.
    blocks: residual blocks.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> z = jax.ShapeDtypeStruct((2, 4, 4, 16), jnp.float32)
  >>> jax.eval_shape(lambda z: Decoder(width=4).init_with_output(jax.random.key(0), z), z)[0].shape
  (2, 16, 16, 3)
  """

  channels: int = 3
  width: int = 64
  blocks: int = 3
  dtype: Any = None

  @nn.compact
  def __call__(self, z: Float[Array, "n h w code"]) -> Float[Array, "n 4h 4w channels"]:
    """Maps features to pictures in [-1, 1], float32 at least."""
    convolution = partial(layers.Conv, padding="VALID", kernel_init=_he, dtype=self.dtype)
    x = _blocks(z, self.blocks, self.dtype)
    for factor in (2, 1):
      x = layers.reflection_pad(layers.nearest_upsample(x), 2)
      x = convolution(features=factor * self.width, kernel_size=(5, 5))(x)
      x = nn.relu(layers.LayerNorm(dtype=self.dtype)(x))
    x = convolution(features=self.channels, kernel_size=(7, 7))(layers.reflection_pad(x, 3))
    return jnp.tanh(at_least_float32(x))


def _blocks(x: Array, count: int, dtype: Any) -> Array:
  for _ in range(count):
    x = ResidualBlock(kernel_init=_he, dtype=dtype)(x)
  return x


class _Blocks(nn.Module):
  """Residual blocks that both kinds of pictures pass."""

  count: int
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    return _blocks(x, self.count, self.dtype)


class Generator(nn.Module):
  """Both autoencoders as the networks of one player.

  `encode_a` and `encode_b` give the mean of a code whose deviation is 1; `sampled` draws one while
  training, by the stream "dropout", and gives the mean later; `decode_a` and `decode_b` make
  pictures of it. `forward` is a to b, `backward` b to a.

  Attributes:
    channels: of the pictures a and b.
    width: features at full resolution; a code has 4 times as many.
    blocks: residual blocks of an encoder, and of a decoder.
    tied: how many of them, the last of the encoders and the first of the decoders, are the same.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which the batch is split, for the noise.

  >>> import jax
  >>> g = Generator((1, 3), width=4, blocks=1)
  >>> a, b = jnp.zeros([2, 16, 16, 1]), jnp.zeros([2, 16, 16, 3])
  >>> variables = jax.eval_shape(lambda: g.init(jax.random.key(0), a, b, train=False))
  >>> forward = lambda variables, a: g.apply(variables, a, train=False, method="forward")
  >>> jax.eval_shape(forward, variables, a).shape
  (2, 16, 16, 3)
  """

  channels: tuple[int, int] = (3, 3)
  width: int = 64
  blocks: int = 4
  tied: int = 1
  dtype: Any = None
  axis_name: str | None = None

  def setup(self) -> None:
    """Parts of their own, and tied ones."""
    if not 0 <= self.tied <= self.blocks:
      raise ValueError(f"tied={self.tied} must be from 0 to blocks={self.blocks}")
    a, b = self.channels
    options = dict(width=self.width, blocks=self.blocks - self.tied, dtype=self.dtype)
    self.encoder_a, self.encoder_b = Encoder(**options), Encoder(**options)
    self.shared_encoder = _Blocks(self.tied, self.dtype)
    self.noise = layers.GaussianNoise(1.0, self.axis_name)
    self.shared_decoder = _Blocks(self.tied, self.dtype)
    self.decoder_a, self.decoder_b = Decoder(a, **options), Decoder(b, **options)

  def encode_a(self, a: Float[Array, "batch h w a"]) -> Float[Array, "batch h/4 w/4 code"]:
    """Mean of the code of pictures a."""
    return self.shared_encoder(self.encoder_a(a))

  def encode_b(self, b: Float[Array, "batch h w b"]) -> Float[Array, "batch h/4 w/4 code"]:
    """Mean of the code of pictures b."""
    return self.shared_encoder(self.encoder_b(b))

  def sampled(self, mean: Float[Array, "batch ..."], *, train: bool) -> Float[Array, "batch ..."]:
    """A draw of the code of this mean while training, the mean later."""
    return self.noise(mean, train=train)

  def decode_a(self, code: Float[Array, "batch h w code"]) -> Float[Array, "batch 4h 4w a"]:
    """Pictures a of codes."""
    return self.decoder_a(self.shared_decoder(code))

  def decode_b(self, code: Float[Array, "batch h w code"]) -> Float[Array, "batch 4h 4w b"]:
    """Pictures b of codes."""
    return self.decoder_b(self.shared_decoder(code))

  def forward(self, a: Float[Array, "batch h w a"], *, train: bool) -> Float[Array, "batch h w b"]:
    """From a to b."""
    return self.decode_b(self.sampled(self.encode_a(a), train=train))

  def backward(self, b: Float[Array, "batch h w b"], *, train: bool) -> Float[Array, "batch h w a"]:
    """From b to a."""
    return self.decode_a(self.sampled(self.encode_b(b), train=train))

  def __call__(
    self, a: Float[Array, "batch h w a"], b: Float[Array, "batch2 h w b"], *, train: bool
  ) -> tuple[Array, Array]:
    """Pictures b of pictures a, and pictures a of pictures b."""
    return self.forward(a, train=train), self.backward(b, train=train)


class MultiScaleDiscriminator(nn.Module):
  """PatchGANs without norms for a picture and its reductions to a half, a quarter ...

  Attributes:
    scales: sizes that are looked at.
    layers: 4x4 convolutions that halve the resolution, of each.
    width: features of the first; they double.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d, x = MultiScaleDiscriminator(scales=2, layers=2, width=4), jnp.zeros([2, 16, 16, 1])
  >>> shapes = jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))[0]
  >>> [logits.shape for logits in shapes]
  [(2, 4, 4), (2, 2, 2)]
  """

  scales: int = 3
  layers: int = 4
  width: int = 64
  dtype: Any = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> tuple[Float[Array, "batch h w"], ...]:
    """Maps pictures in [-1, 1] to logits of each size, float32 at least.

    Raises:
      ValueError: the pictures are too small.
    """
    del train
    least = 1 << (self.scales - 1 + self.layers)
    if images.ndim != 4 or any(size % least for size in images.shape[1:3]):
      raise ValueError(
        f"images {images.shape} must be multiples of {least} pixels for scales={self.scales} and "
        f"layers={self.layers}: take fewer"
      )
    convolution = partial(layers.Conv, kernel_init=_weights, dtype=self.dtype)
    found = []
    for scale in range(self.scales):
      x = images
      for layer in range(self.layers):
        x = layers.reflection_pad(x, 1)
        x = convolution(
          features=self.width << layer, kernel_size=(4, 4), strides=2, padding="VALID"
        )(x)
        x = nn.leaky_relu(x, 0.2)
      found.append(at_least_float32(convolution(features=1, kernel_size=(1, 1))(x)[..., 0]))
      if scale < self.scales - 1:
        # What lies beyond the border does not count.
        around = ((1, 1), (1, 1))
        images = nn.avg_pool(images, (3, 3), (2, 2), around, count_include_pad=False)
    return tuple(found)


class Discriminator(nn.Module):
  """Both discriminators as the networks of one player, of pictures a and of pictures b.

  Attributes:
    scales: see `MultiScaleDiscriminator`.
    layers: of each.
    width: features of the first.
    dtype: of the computation; parameters stay float32.
  """

  scales: int = 3
  layers: int = 4
  width: int = 64
  dtype: Any = None

  def setup(self) -> None:
    """Two networks that share nothing."""
    options = dict(width=self.width, dtype=self.dtype)
    self.of_a = MultiScaleDiscriminator(self.scales, self.layers, **options)
    self.of_b = MultiScaleDiscriminator(self.scales, self.layers, **options)

  def __call__(
    self,
    a: Float[Array, "batch height width a"],
    b: Float[Array, "batch2 height width b"],
    *,
    train: bool,
  ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Logits of pictures a and of pictures b, of each size."""
    return self.of_a(a, train=train), self.of_b(b, train=train)
