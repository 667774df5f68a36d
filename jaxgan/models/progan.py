"""ProGAN: Karras et al. 2017 (arXiv 1710.10196), networks that grow in training.

Both have all their layers from the start, and the variable `progress` of the collection "growth"
tells how far they have grown: at `s + a` pictures of `4 * 2^s` pixels are complete, and those of
twice as many are blended in by the share `a`. What lies beyond has no influence. Training computes
no more than it needs by a copy of the network with a `stage`, over the same variables.
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import check_images, stages
from jaxgan.models._styles import widths
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator", "faded"]

_GAIN = math.sqrt(2.0)  # of weights before a leaky ReLU


def faded(
  images: Float[Array, "batch height width channels"], progress: Float[Array, ""], *, stage: int
) -> Float[Array, "batch h w channels"]:
  """Pictures as the networks see them at a stage: reduced, and blended with a coarser version.

  Karras et al. 2017 (arXiv 1710.10196), appendix A: real pictures fade in as generated ones do.

  Args:
    images: of full resolution.
    progress: in [stage - 1, stage].
    stage: pictures have `4 * 2^stage` pixels.

  Returns:
    The pictures of the stage.

  >>> x = jnp.arange(0.0, 16.0, 2.0).repeat(2).reshape(1, 1, 16, 1).repeat(16, 1)
  >>> faded(x, jnp.array(0.5), stage=1)[0, 0, :, 0]
  Array([ 0.5,  1.5,  4.5,  5.5,  8.5,  9.5, 12.5, 13.5], dtype=float32)
  """
  size = 4 << stage
  if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[1] % size:
    raise ValueError(f"images {images.shape} cannot be reduced to {size} pixels, stage={stage}")
  x = layers.average_downsample(images, factor=images.shape[1] // size)
  if stage == 0:
    return x
  coarse = layers.nearest_upsample(layers.average_downsample(x))
  return _blend(coarse, x, progress - (stage - 1))


def _blend(old: Array, new: Array, share: Array) -> Array:
  """`old` where the share is 0 or less, `new` where it is 1 or more."""
  share = jnp.clip(share, 0.0, 1.0).astype(new.dtype)
  return old + share * (new - old)


class _Growing(nn.Module):
  """The part of a network that is computed, and how far it has grown.

  Attributes:
    resolution: height and width of the pictures at last, 8, 16, 32, 64 ...
    channels: of the pictures.
    width: features at that resolution; each halving of it doubles them.
    max_width: most features.
    stage: the last doubling of the resolution that is computed, if `progress` is known to lie in
      [stage - 1, stage]; None for all, whatever it is.
    dtype: of the computation; parameters stay float32.
  """

  resolution: int = 32
  channels: int = 3
  width: int = 512
  max_width: int = 512
  stage: int | None = None
  dtype: Any = None

  def _plan(self) -> tuple[list[tuple[int, int]], Array]:
    """Sizes and features up to the stage, and the progress."""
    count = stages(self.resolution)
    top = count if self.stage is None else self.stage
    if not 0 <= top <= count:
      raise ValueError(f"stage={top} must be from 0 to {count} with resolution={self.resolution}")
    whole = self.variable("growth", "progress", lambda: jnp.asarray(count, jnp.float32))
    sizes = widths(self.resolution, self.width, self.max_width)
    return list(sizes.items())[: top + 1], whole.value

  def _looks(self, level: int, top: int) -> bool:
    """Whether pictures enter or leave at a level."""
    return self.stage is None or level >= top - 1

  def _conv(self, name: str, features: int, kernel: int = 3, gain: float = _GAIN) -> Any:
    return layers.EqualizedConv(features, (kernel, kernel), gain=gain, dtype=self.dtype, name=name)


class Generator(_Growing):
  """From latents to pictures of `4 * 2^stage` pixels, by default of the full resolution.

  Equalised layers, each followed by leaky ReLU and pixel norm; resolutions by repeating pixels.

  >>> import jax
  >>> g, z = Generator(16, width=4, max_width=8), jnp.ones([2, 8])
  >>> variables = jax.jit(lambda: g.init(jax.random.key(0), z, train=False))()
  >>> g.apply(variables, z, train=False).shape
  (2, 16, 16, 3)
  >>> g.clone(stage=1).apply(variables, z, train=False).shape
  (2, 8, 8, 3)
  """

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps normal latents to pictures around [-1, 1], float32 at least."""
    del train
    plan, progress = self._plan()
    top, image = len(plan) - 1, None

    def activated(x: Array) -> Array:
      return layers.pixel_norm(nn.leaky_relu(x, 0.2))

    first = layers.EqualizedDense(
      16 * plan[0][1], gain=_GAIN / 4.0, use_bias=False, dtype=self.dtype, name="dense"
    )
    x = first(layers.pixel_norm(z)).reshape(-1, 4, 4, plan[0][1])
    bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
    x = activated(x + bias[None, None, None].astype(x.dtype))
    for level, (size, features) in enumerate(plan):
      if level:
        x = activated(self._conv(f"b{size}_conv0", features)(layers.nearest_upsample(x)))
      x = activated(self._conv(f"b{size}_conv1", features)(x))
      if self._looks(level, top):
        new = at_least_float32(self._conv(f"b{size}_to_image", self.channels, 1, 1.0)(x))
        if image is not None:
          new = _blend(layers.nearest_upsample(image), new, progress - (level - 1))
        image = new
    assert image is not None
    return image


class Discriminator(_Growing):
  """From pictures of `4 * 2^stage` pixels, by default of the full resolution, to a logit.

  Equalised layers with leaky ReLU, averages of pixels, and at 4 pixels the minibatch standard
  deviation; its attributes are the generator's, and the size of the groups that it compares.

  >>> import jax
  >>> d, x = Discriminator(16, width=4, max_width=8), jnp.ones([4, 16, 16, 3])
  >>> variables = jax.jit(lambda: d.init(jax.random.key(0), x, train=False))()
  >>> d.clone(stage=0).apply(variables, x[:, :4, :4], train=False).shape
  (4,)
  """

  group_size: int = 4

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, " batch"]:
    """Maps pictures around [-1, 1] to logits, float32 at least."""
    del train
    plan, progress = self._plan()
    check_images(images, plan[-1][0])
    top, last, x = len(plan) - 1, plan[0][1], None
    for level in range(top, -1, -1):
      size, features = plan[level]
      if self._looks(level, top):
        new = nn.leaky_relu(self._conv(f"b{size}_from_image", features, 1)(images), 0.2)
        x = new if x is None else _blend(new, x, progress - level)
        images = layers.average_downsample(images) if level else images
      assert x is not None
      if level:
        x = nn.leaky_relu(self._conv(f"b{size}_conv0", features)(x), 0.2)
        x = nn.leaky_relu(self._conv(f"b{size}_conv1", plan[level - 1][1])(x), 0.2)
        x = layers.average_downsample(x)
    assert x is not None
    x = layers.minibatch_stddev(x, group_size=self.group_size)
    x = nn.leaky_relu(self._conv("conv", last)(x), 0.2)
    dense = layers.EqualizedDense(last, gain=_GAIN, dtype=self.dtype, name="dense")
    x = nn.leaky_relu(dense(x.reshape(len(x), -1)), 0.2)
    return at_least_float32(layers.EqualizedDense(1, dtype=self.dtype, name="out")(x)[:, 0])
