"""Shape arithmetic of strided convolutions, static and hashable."""

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Geometry", "Padding", "explicit", "pair", "resolve", "resolve_transpose"]

Pair = tuple[int, int]
Padding = str | int | Sequence[int | Sequence[int]]


class Geometry(NamedTuple):
  """The convolution of an image of `size`; its adjoints share the same geometry.

  Negative padding crops.
  """

  size: Pair
  kernel: Pair
  strides: Pair
  padding: tuple[Pair, Pair]

  @property
  def output(self) -> Pair:
    """Height and width of the convolution's output."""
    height, width = (
      (size + low + high - kernel) // stride + 1
      for size, kernel, stride, (low, high) in zip(*self, strict=True)
    )
    return height, width


def pair(name: str, value: int | Sequence[int] | None) -> Pair:
  """Two positive integers from one or two; None stands for 1, as in Flax."""
  if value is None:
    value = 1
  values = (value, value) if isinstance(value, int) else tuple(value)
  if len(values) != 2 or not all(isinstance(v, int) and v > 0 for v in values):
    raise ValueError(f"{name}={value!r}: give one or two positive integers (two image axes).")
  return values


def explicit(padding: Padding) -> tuple[Pair, Pair]:
  """`(low, high)` of both axes, from all paddings but "SAME", which depends on the size."""
  if padding == "VALID":
    padding = 0
  if isinstance(padding, int):
    return (padding, padding), (padding, padding)
  if not isinstance(padding, str) and len(padding) == 2:
    axes = [(p, p) if isinstance(p, int) else tuple(p) for p in padding]
    if all(len(p) == 2 and all(isinstance(q, int) for q in p) for p in axes):
      return axes[0], axes[1]  # type: ignore[return-value]
  raise ValueError(
    f"padding={padding!r}: use 'SAME', 'VALID', an integer, or one integer or (low, high) pair an"
    " axis; for reflecting or periodic edges apply jnp.pad first and use 'VALID'."
  )


def resolve(
  size: Sequence[int], kernel: Sequence[int], strides: Pair, padding: Padding
) -> Geometry:
  """The geometry of a convolution, with `padding` as `flax.linen.Conv` takes it."""
  if padding == "SAME":
    totals = [
      max((math.ceil(n / s) - 1) * s + k - n, 0)
      for n, k, s in zip(size, kernel, strides, strict=True)
    ]
    padding = [(total // 2, total - total // 2) for total in totals]
  (height, width), (rows, columns) = size, kernel
  geometry = Geometry((height, width), (rows, columns), strides, explicit(padding))
  if min(geometry.output) < 1:
    raise ValueError(
      f"kernel_size={tuple(kernel)} exceeds the padded image: size {tuple(size)}, padding"
      f" {geometry.padding}."
    )
  return geometry


def resolve_transpose(
  output: Sequence[int], kernel: Pair, strides: Pair, padding: Padding
) -> Geometry:
  """The geometry whose adjoint `flax.linen.ConvTranspose` computes, from its input's size.

  Flax's integers are the padding of the stride-dilated input; what they crop is the rest of a
  full convolution, `kernel - 1 - padding`.
  """
  if isinstance(padding, str) and padding in ("SAME", "VALID"):
    pads = []
    for k, s in zip(kernel, strides, strict=True):
      if padding == "VALID":
        pads.append((k - 1, max(s, k) - 1))
      else:
        low = k - 1 if s > k - 1 else math.ceil((k + s - 2) / 2)
        pads.append((low, k + s - 2 - low))
  else:
    pads = list(explicit(padding))
  height, width = (
    (n - 1) * s + 2 + sum(p) - k for n, k, s, p in zip(output, kernel, strides, pads, strict=True)
  )
  if min(height, width) < 1:
    raise ValueError(
      f"padding={padding!r} leaves no output from an input of size {tuple(output)}, kernel_size="
      f"{kernel}: pad more."
    )
  rows, columns = ((k - 1 - low, k - 1 - high) for k, (low, high) in zip(kernel, pads, strict=True))
  return Geometry((height, width), kernel, strides, (rows, columns))
