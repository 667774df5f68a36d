"""Enlarging, reducing and blurring images `[batch, height, width, channels]`.

Nearest-neighbour and average are the pair of ProGAN (arXiv 1710.10196) and of most residual
networks, the bilinear pair is what `resize` means elsewhere, and the blurred pair is that of
StyleGAN2 (arXiv 1912.04958) and of anti-aliased networks (Zhang 2019, arXiv 1904.11486).

Filters are sums of shifted images, in one pass over both axes, and so are their adjoints: on a CPU
a grouped convolution takes 10 times as long, and what differentiation makes of such a sum, padded
images added up, twice. In exchange a filter has no forward-mode derivative.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxgan.layers._filtering import Axis, resample
from jaxgan.layers.convolution.geometry import Padding, explicit

__all__ = [
  "BINOMIAL",
  "average_downsample",
  "bilinear_downsample",
  "bilinear_upsample",
  "blur",
  "blur_downsample",
  "blur_upsample",
  "nearest_upsample",
  "upfirdn",
]

BINOMIAL = (1.0, 3.0, 3.0, 1.0)  # StyleGAN2's filter


def _images(x: Array) -> Array:
  x = jnp.asarray(x)
  if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(
      f"x is {x.dtype} of shape {x.shape}: floating-point images [batch, height, width, channels]"
      " are needed."
    )
  return x


def _positive(name: str, value: int) -> int:
  if not isinstance(value, int) or value < 1:
    raise ValueError(f"{name}={value!r}: give a positive integer.")
  return value


def _reducible(x: Array, factor: int) -> tuple[Array, int]:
  x, factor = _images(x), _positive("factor", factor)
  if min(x.shape[1:3]) < factor:
    raise ValueError(f"factor={factor} exceeds the images of shape {x.shape}.")
  return x, factor


def _taps(filter: Sequence[float]) -> np.ndarray:
  """The filter with sum 1, mirrored, as a correlation takes it."""
  taps = np.asarray(filter, np.float64)
  if taps.ndim != 1 or not taps.size or not taps.sum():
    raise ValueError(f"filter={filter!r}: give the weights of one axis, whose sum is not 0.")
  return (taps / taps.sum())[::-1]


def upfirdn(
  x: Float[Array, "n h w c"],
  filter: Sequence[float],
  *,
  up: int = 1,
  down: int = 1,
  padding: Padding = 0,
  gain: float = 1.0,
) -> Float[Array, "n H W c"]:
  """Enlarges with zeros, filters and drops pixels, alike along both axes.

  StyleGAN2 (Karras et al. 2019, arXiv 1912.04958), in the conventions of its code.

  Args:
    x: images.
    filter: weights of the separable filter along one axis, scaled here to the sum 1. It is
      convolved, which for an asymmetric one means mirrored.
    up: each pixel is followed by `up - 1` zeros.
    down: every `down`-th pixel is kept.
    padding: zeros around the enlarged image (negative: pixels cut off); an integer, or an integer
      or `(low, high)` pair an axis.
    gain: non-negative factor of the result; `up**2` keeps the brightness.

  Returns:
    Images of the dtype of `x`, of height `(up h + low + high - len(filter)) // down + 1`.

  Raises:
    ValueError: if an argument is out of range or no pixel remains.

  >>> x = jnp.arange(3.0).reshape(1, 1, 3, 1)
  >>> upfirdn(x, (1, 1), up=2, padding=((1, 0), (1, 0)), gain=4)[0, :, :, 0]
  Array([[0., 0., 1., 1., 2., 2.],
         [0., 0., 1., 1., 2., 2.]], dtype=float32)
  """
  x, taps = _images(x), _taps(filter)
  _positive("up", up), _positive("down", down)
  if not gain >= 0:
    raise ValueError(f"gain={gain!r}: give a non-negative factor.")
  axes = []
  for size, (low, high) in zip(x.shape[1:3], explicit(padding), strict=True):
    left = up * size + low + high - taps.size
    if left < 0:
      raise ValueError(
        f"filter={filter!r} exceeds the image of shape {x.shape}, up={up}, padding={padding!r}: pad"
        " more."
      )
    weights = tuple((taps * math.sqrt(gain)).tolist())
    axes.append(Axis(size, weights, low, up, down, left // down + 1))
  return resample((axes[0], axes[1]), x)


def blur(x: Float[Array, "n h w c"], filter: Sequence[float] = BINOMIAL) -> Float[Array, "n h w c"]:
  """Low-pass filter that keeps the size; beyond the border there are zeros.

  Args:
    x: images.
    filter: weights along one axis, scaled here to the sum 1. An even number of them moves the image
      by half a pixel to the lower right, as in StyleGAN2's code.

  Returns:
    Images of the shape and dtype of `x`.

  Raises:
    ValueError: if `x` is not images or `filter` not the weights of one axis.

  >>> blur(jnp.ones([1, 3, 3, 1]), (1, 2, 1))[0, 1, :, 0]
  Array([0.75, 1.  , 0.75], dtype=float32)
  """
  size = len(filter)
  pad = (size // 2, (size - 1) // 2)
  return upfirdn(x, filter, padding=(pad, pad))


def blur_upsample(
  x: Float[Array, "n h w c"], filter: Sequence[float] = BINOMIAL, *, factor: int = 2
) -> Float[Array, "n H W c"]:
  """StyleGAN2's enlargement: zeros between the pixels, then a low-pass filter.

  Args:
    x: images.
    filter: weights along one axis, scaled here to the sum 1; at least `factor` of them.
    factor: of enlargement.

  Returns:
    Images of the dtype of `x`; the brightness is kept but for a darker border.

  Raises:
    ValueError: if `x` is not images or an argument is out of range.

  >>> blur_upsample(jnp.ones([1, 2, 2, 1]))[0, 1, :, 0]
  Array([0.75, 1.  , 1.  , 0.75], dtype=float32)
  """
  size = len(filter)
  if size < _positive("factor", factor):
    raise ValueError(f"filter={filter!r} is shorter than factor={factor} and would leave holes.")
  pad = ((size + factor - 1) // 2, (size - factor) // 2)
  return upfirdn(x, filter, up=factor, padding=(pad, pad), gain=factor**2)


def blur_downsample(
  x: Float[Array, "n h w c"], filter: Sequence[float] = BINOMIAL, *, factor: int = 2
) -> Float[Array, "n H W c"]:
  """StyleGAN2's reduction: a low-pass filter, then every `factor`-th pixel.

  Args:
    x: images; what exceeds a multiple of `factor` takes part at the border only.
    filter: weights along one axis, scaled here to the sum 1.
    factor: of reduction.

  Returns:
    Images of the dtype of `x`, darker at the border.

  Raises:
    ValueError: if `x` is not images, or smaller than `factor`, or an argument is out of range.

  >>> blur_downsample(jnp.ones([1, 4, 4, 1]))[0, 0, :, 0]
  Array([0.765625, 0.765625], dtype=float32)
  """
  x, factor = _reducible(x, factor)
  size = len(filter)
  pad = ((size - factor + 1) // 2, (size - factor) // 2)
  return upfirdn(x, filter, down=factor, padding=(pad, pad))


def nearest_upsample(x: Float[Array, "n h w c"], *, factor: int = 2) -> Float[Array, "n H W c"]:
  """Enlarges by repeating each pixel.

  Args:
    x: images.
    factor: of enlargement.

  Returns:
    Images of the dtype of `x`.

  Raises:
    ValueError: if `x` is not images or `factor` not a positive integer.

  >>> nearest_upsample(jnp.arange(2.0).reshape(1, 1, 2, 1))[0, :, :, 0]
  Array([[0., 0., 1., 1.],
         [0., 0., 1., 1.]], dtype=float32)
  """
  n, h, w, c = _images(x).shape
  f = _positive("factor", factor)
  x = jnp.broadcast_to(jnp.asarray(x)[:, :, None, :, None], (n, h, f, w, f, c))
  return x.reshape(n, h * f, w * f, c)


def average_downsample(x: Float[Array, "n h w c"], *, factor: int = 2) -> Float[Array, "n H W c"]:
  """Reduces by the mean of `factor` x `factor` pixels.

  Args:
    x: images; what exceeds a multiple of `factor` is cut off.
    factor: of reduction.

  Returns:
    Images of the dtype of `x`.

  Raises:
    ValueError: if `x` is not images, or smaller than `factor`, or `factor` out of range.

  >>> average_downsample(jnp.arange(8.0).reshape(1, 2, 4, 1))[0, :, :, 0]
  Array([[2.5, 4.5]], dtype=float32)
  """
  x, f = _reducible(x, factor)
  n, h, w, c = x.shape
  x = x[:, : h // f * f, : w // f * f].reshape(n, h // f, f, w // f, f, c)
  return x.mean((2, 4), dtype=jnp.promote_types(x.dtype, jnp.float32)).astype(x.dtype)


def _triangle(factor: int) -> np.ndarray:
  """Linear interpolation between pixels `factor` apart, at the centres of pixels of size 1."""
  width = 2 * factor - factor % 2
  return 1 - np.abs(np.arange(width) - (width - 1) / 2) / factor


def bilinear_upsample(x: Float[Array, "n h w c"], *, factor: int = 2) -> Float[Array, "n H W c"]:
  """Enlarges by linear interpolation between the centres of pixels.

  As `jax.image.resize` and PyTorch's `interpolate(align_corners=False)`: beyond the outermost
  centres the image is constant.

  Args:
    x: images.
    factor: of enlargement.

  Returns:
    Images of the dtype of `x`.

  Raises:
    ValueError: if `x` is not images or `factor` not a positive integer.

  >>> bilinear_upsample(jnp.arange(2.0).reshape(1, 1, 2, 1))[0, 0, :, 0]
  Array([0.  , 0.25, 0.75, 1.  ], dtype=float32)
  """
  x, taps = _images(x), _triangle(_positive("factor", factor))
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
  # The first result lies (factor + 1) / 2 fine pixels behind the centre of the border's pixel.
  low = (taps.size - factor - 2) // 2
  pad = (low, taps.size - 1 - 2 * factor - low)
  return upfirdn(x, taps.tolist(), up=factor, padding=(pad, pad), gain=factor**2)


def bilinear_downsample(x: Float[Array, "n h w c"], *, factor: int = 2) -> Float[Array, "n H W c"]:
  """Reduces by a triangular filter, (1, 3, 3, 1) / 8 for 2; weights off the image drop out.

  As `jax.image.resize` and PyTorch's `interpolate(antialias=True)`. Linear interpolation without
  antialiasing is, for a factor of 2, `average_downsample`.

  Args:
    x: images; what exceeds a multiple of `factor` takes part at the border only.
    factor: of reduction.

  Returns:
    Images of the dtype of `x`.

  Raises:
    ValueError: if `x` is not images, or smaller than `factor`, or `factor` out of range.

  >>> bilinear_downsample(jnp.ones([1, 4, 4, 1]))[0, 0, :, 0]
  Array([1., 1.], dtype=float32)
  """
  x, factor = _reducible(x, factor)
  taps = _triangle(factor)
  low = (taps.size - factor) // 2
  pad = (low, taps.size - factor - low)
  y = upfirdn(x, taps.tolist(), down=factor, padding=(pad, pad))
  rows, columns = (
    np.convolve(np.pad(np.ones(size), pad), taps / taps.sum(), "valid")[::factor]
    for size in x.shape[1:3]
  )
  return y / jnp.asarray(np.outer(rows, columns), y.dtype)[None, :, :, None]
