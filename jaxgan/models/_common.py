"""What the networks of several papers share: sizes, initial weights, checks."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan import layers
from jaxgan.types import Array, Key

__all__ = [
  "batch_norm",
  "check_condition",
  "check_images",
  "check_widths",
  "glorot_uniform",
  "he_uniform",
  "normal_gain",
  "split_latent",
  "stages",
  "symmetric_uniform",
]

glorot_uniform = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")


def stages(resolution: int, *, base: int = 4) -> int:
  """Number of doublings, at least one, from `base` pixels to the resolution."""
  count = (resolution // base).bit_length() - 1
  if count < 1 or base << count != resolution:
    sizes = ", ".join(str(base << k) for k in range(1, 6))
    raise ValueError(f"resolution={resolution} must be {sizes} ... ({base} times 2^k)")
  return count


def check_images(images: Array, resolution: int) -> None:
  """Refuses what is not `[batch, resolution, resolution, channels]`."""
  if images.ndim != 4 or images.shape[1:3] != (resolution, resolution):
    raise ValueError(f"images {images.shape} do not match resolution={resolution}")


def check_widths(widths: Sequence[int], resolution: int) -> None:
  """Refuses other than one width for each resolution from 4 pixels on."""
  count = stages(resolution) + 1
  if len(widths) != count:
    raise ValueError(f"widths={tuple(widths)}: resolution={resolution} needs {count} of them")


def check_condition(condition: Array, n: int, classes: int) -> None:
  """Refuses what is not one `[classes]` row for each of `n` examples."""
  if condition.shape != (n, classes):
    raise ValueError(f"condition {condition.shape} is not [batch, classes] = ({n}, {classes})")


def split_latent(z: Array, classes: int) -> tuple[Array, Array]:
  """The noise and the one-hot label that a conditional generator's latent consists of."""
  if z.ndim != 2 or z.shape[1] <= classes:
    raise ValueError(f"z {z.shape} is not [batch, noise + classes] with classes={classes}")
  return z[:, :-classes], z[:, -classes:]


def normal_gain(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
  """Batch norm's gain starts at N(1, 0.02), not at N(0, 0.02)."""
  return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


def batch_norm(train: bool, *, axis_name: str | None, dtype: Any) -> layers.BatchNorm:
  """DCGAN's batch norm, which many took over."""
  return layers.BatchNorm(
    use_running_average=not train,
    momentum=0.9,
    epsilon=1e-5,
    scale_init=normal_gain,
    axis_name=axis_name,
    dtype=dtype,
  )


def symmetric_uniform(limit: float) -> nn.initializers.Initializer:
  """U(-limit, limit); Flax's own `uniform` is U(0, scale)."""

  def init(key: Key, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
    del out_sharding
    return jax.random.uniform(key, shape, dtype, -limit, limit)

  return init


def he_uniform(stride: int = 1, *, transposed: bool = False) -> nn.initializers.Initializer:
  """Uniform of variance 4 / (fan in + fan out), as the code of WGAN-GP starts convolutions.

  Each fan counts the connections of one pixel: with a stride, an input pixel of a convolution has
  k^2 / stride^2 of them a channel, and so has an output pixel of a transposed one.
  """

  def init(key: Key, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
    del out_sharding
    *taps, fan_in, fan_out = shape
    inputs, outputs = (stride**2, 1) if transposed else (1, stride**2)
    fans = math.prod(taps) * (fan_in / inputs + fan_out / outputs)
    limit = math.sqrt(3.0 * 4.0 / fans)
    return jax.random.uniform(key, shape, dtype, -limit, limit)

  return init
