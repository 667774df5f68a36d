"""pix2pix: Isola, Zhu, Zhou and Efros 2016 (arXiv 1611.07004), section 6.1.

A U-Net that translates pictures, and the PatchGAN that judges pairs patch by patch. Kernels are 4x4
and start at N(0, 0.02), gains at N(1, 0.02), biases at 0. Convolutions before a norm, which would
take a bias away again, have none.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import check_images, normal_gain
from jaxgan.types import Array

__all__ = ["Norm", "PatchDiscriminator", "UNet", "batch_norm", "instance_norm", "receptive_field"]

Norm = Callable[[], Callable[[Array], Array]]

_weights = nn.initializers.normal(0.02)


def batch_norm(*, axis_name: str | None = None, dtype: Any = None) -> Norm:
  """Batch norm by the statistics of the batch, while training and later alike, as published.

  With batches of one it is `instance_norm`; of larger ones, what becomes of a picture depends on
  the others beside it.

  Args:
    axis_name: mapped axis over which statistics are shared.
    dtype: of the result.

  >>> import jax
  >>> x = jnp.arange(24.0).reshape(2, 2, 2, 3)
  >>> y, _ = batch_norm()().init_with_output(jax.random.key(0), x)
  >>> bool(jnp.allclose(y.mean((0, 1, 2)), 0.0, atol=1e-5))
  True
  """
  return partial(
    layers.BatchNorm,
    track_running_stats=False,
    epsilon=1e-5,
    scale_init=normal_gain,
    axis_name=axis_name,
    dtype=dtype,
  )


def instance_norm(*, affine: bool = True, dtype: Any = None) -> Norm:
  """Instance norm: what batch norm is of batches of one picture, whatever the batch.

  Args:
    affine: with learned gains and biases, as pix2pix has them and CycleGAN has not.
    dtype: of the result.

  >>> import jax
  >>> x = jnp.arange(24.0).reshape(2, 2, 2, 3)
  >>> y, _ = instance_norm()().init_with_output(jax.random.key(0), x)
  >>> bool(jnp.allclose(y.mean((1, 2)), 0.0, atol=1e-5))
  True
  """
  return partial(
    layers.InstanceNorm,
    use_scale=affine,
    use_bias=affine,
    epsilon=1e-5,
    scale_init=normal_gain,
    dtype=dtype,
  )


class UNet(nn.Module):
  """Convolutions down to one pixel and back, whose layers of one resolution are joined.

  At 256 pixels the encoder is C64-C128-C256-C512-C512-C512-C512-C512 and the decoder
  CD512-CD512-CD512-C512-C256-C128-C64 and the picture, as published; at other sizes there is a
  level for each halving, from the outside. Its noise is dropout in the layers of 2, 4 and 8 pixels,
  drawn for each example wherever the stream "dropout" is given, when pictures are made later too;
  without the stream nothing is dropped.

  Neither the outermost layers nor that of one pixel have a norm: of one picture it would make that
  pixel 0.

  Attributes:
    resolution: height and width of the pictures, 4, 8, 16 ... 256 ...
    channels: of the result.
    width: features at half the resolution; they double to 8 times that.
    dropout: rate of the noise, in [0, 1).
    norm: makes the normalisation layers; None for `batch_norm`, as published.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared and noise is counted.

  >>> import jax
  >>> g, x = UNet(resolution=32, channels=3, width=8), jnp.zeros([2, 32, 32, 1])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), x, train=False))[0].shape
  (2, 32, 32, 3)
  """

  resolution: int = 256
  channels: int = 3
  width: int = 64
  dropout: float = 0.5
  norm: Norm | None = None
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, inputs: Float[Array, "batch height width a"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Translates pictures in [-1, 1] to others, float32 at least; `train` changes nothing."""
    del train
    check_images(inputs, self.resolution)
    levels = self.resolution.bit_length() - 1
    if levels < 2 or 1 << levels != self.resolution:
      raise ValueError(f"resolution={self.resolution} must be 4, 8, 16, 32 ... (2^k)")
    widths = [self.width * min(1 << level, 8) for level in range(levels)]
    norm = self.norm or batch_norm(axis_name=self.axis_name, dtype=self.dtype)
    options = dict(kernel_size=(4, 4), strides=(2, 2), kernel_init=_weights, dtype=self.dtype)
    down, up = partial(layers.Conv, **options), partial(layers.ConvTranspose, **options)

    encoded = [down(features=widths[0])(inputs)]
    for width in widths[1:-1]:
      x = down(features=width, use_bias=False)(nn.leaky_relu(encoded[-1], 0.2))
      encoded.append(norm()(x))
    x = down(features=widths[-1])(nn.leaky_relu(encoded[-1], 0.2))
    for size, skipped in zip((1 << k for k in range(1, levels)), reversed(encoded), strict=True):
      x = norm()(up(features=skipped.shape[-1], use_bias=False)(nn.relu(x)))
      if size <= 8:
        noise = layers.Dropout(self.dropout, self.axis_name)
        x = noise(x, train=self.has_rng("dropout"))
      x = jnp.concatenate([x, skipped], -1)
    x = up(features=self.channels)(nn.relu(x))
    return jnp.tanh(at_least_float32(x))


class PatchDiscriminator(nn.Module):
  """A logit for each of many overlapping patches: PatchGAN, section 3.2.

  With three layers C64-C128-C256-C512, of which all but the last halve the resolution, and a
  convolution to the logits; each sees 70 pixels. With none it judges pixel by pixel, by 1x1
  convolutions C64-C128 (PixelGAN).

  Attributes:
    layers: that halve the resolution, 0 or more; `receptive_field` is what they amount to.
    width: features of the first; they double to 8 times that.
    norm: makes the normalisation layers, of all but the first and the last convolution; None for
      `batch_norm`, as published.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> d, x = PatchDiscriminator(), jnp.zeros([1, 256, 256, 3])
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))[0].shape
  (1, 30, 30)
  """

  layers: int = 3
  width: int = 64
  norm: Norm | None = None
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self,
    images: Float[Array, "batch height width channels"],
    condition: Float[Array, "batch height width a"] | None = None,
    *,
    train: bool,
  ) -> Float[Array, "batch h w"]:
    """Maps pictures in [-1, 1], and what each is a translation of, to logits, float32 at least.

    Raises:
      ValueError: the pictures are too small for the layers, or condition and pictures differ in
        size.
    """
    del train
    geometry = _geometry(self.layers)
    least = 4 << self.layers if self.layers else 1
    if images.ndim != 4 or min(images.shape[1:3]) < least:
      raise ValueError(
        f"images {images.shape} are too small for layers={self.layers}, which want {least} pixels "
        "each way: take fewer layers"
      )
    if condition is not None:
      if condition.shape[:3] != images.shape[:3]:
        raise ValueError(f"condition {condition.shape} and images {images.shape} differ in size")
      images = jnp.concatenate([condition, images], -1)
    norm = self.norm or batch_norm(axis_name=self.axis_name, dtype=self.dtype)
    x = images
    for index, (kernel, stride) in enumerate(geometry):
      first, last = index == 0, index == len(geometry) - 1
      x = layers.Conv(
        1 if last else self.width * min(1 << index, 8),
        (kernel, kernel),
        strides=stride,
        padding=1 if kernel > 1 else 0,
        use_bias=first or last,
        kernel_init=_weights,
        dtype=self.dtype,
      )(x)
      if not last:
        x = nn.leaky_relu(x if first else norm()(x), 0.2)
    return at_least_float32(x[..., 0])


def _geometry(count: int) -> list[tuple[int, int]]:
  """Kernel sizes and strides of a PatchGAN's convolutions."""
  if count < 0:
    raise ValueError(f"layers={count} must be 0 or more; 3 see patches of 70 pixels")
  return [(4, 2)] * count + [(4, 1)] * 2 if count else [(1, 1)] * 3


def receptive_field(layers: int) -> int:
  """Pixels each way that a logit of `PatchDiscriminator` depends on.

  Args:
    layers: of the discriminator.

  Raises:
    ValueError: they are negative.

  >>> [receptive_field(layers) for layers in range(6)]
  [1, 16, 34, 70, 142, 286]
  """
  field = 1
  for kernel, stride in reversed(_geometry(layers)):
    field = (field - 1) * stride + kernel
  return field
