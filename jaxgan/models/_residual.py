"""What the spectrally normalised residual networks share: their sizes and discriminators."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from flax import linen as nn

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import stages
from jaxgan.models.resnet import DownBlock, FirstBlock, ResBlock
from jaxgan.types import Array

__all__ = ["attend", "check_attention", "sum_features", "wide_blocks"]


def check_attention(attention: int | None, resolution: int) -> None:
  """Refuses a resolution that the networks do not pass."""
  sizes = [4 << k for k in range(1, stages(resolution))]
  if attention is not None and attention not in sizes:
    raise ValueError(f"attention={attention}: resolution={resolution} allows one of {sizes}")


def attend(x: Array, attention: int | None, *, train: bool, kernel_init: Any, dtype: Any) -> Array:
  """Self-attention where `x` has the resolution `attention`."""
  if x.shape[1] != attention:
    return x
  conv = partial(layers.SNConv, update_stats=train)
  return layers.SelfAttention(conv=conv, kernel_init=kernel_init, dtype=dtype)(x)


def wide_blocks(
  images: Array,
  widths: Sequence[int],
  kept: Sequence[int],
  *,
  attention: int | None,
  train: bool,
  kernel_init: Any,
  dtype: Any,
) -> Array:
  """Blocks that halve the resolution, `widths`, and blocks that keep it, `kept`.

  Within a block there are as many features as in its result (SAGAN and BigGAN; in SNGAN as in its
  input). Attention follows the halving that arrives at its resolution.
  """
  conv = partial(layers.SNConv, update_stats=train, kernel_init=kernel_init, dtype=dtype)
  kinds: dict[str, Any] = {
    "conv": partial(conv, kernel_size=(3, 3)),
    "shortcut": partial(conv, kernel_size=(1, 1)),
  }
  x = images
  for i, features in enumerate(widths):
    block = DownBlock(features, hidden=features, **kinds) if i else FirstBlock(features, **kinds)
    x = attend(block(x), attention, train=train, kernel_init=kernel_init, dtype=dtype)
  for features in kept:
    x = ResBlock(features, **kinds)(x)
  return x


def sum_features(x: Array) -> Array:
  """ReLU and the sum over the pixels."""
  return at_least_float32(nn.relu(x)).sum((1, 2))
