"""Multi-scale structural similarity of pictures, and the variety of samples that it measures."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgan._arrays import at_least_float32
from jaxgan.metrics.estimate import Estimate
from jaxgan.types import Array, Key

__all__ = ["ms_ssim", "ms_ssim_diversity"]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first
_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
_AT_ONCE = 16  # pairs


def ms_ssim(
  a: Float[Array, "n h w c"],
  b: Float[Array, "n h w c"],
  *,
  data_range: float = 2.0,
  weights: Sequence[float] = WEIGHTS,
) -> Float[Array, "n"]:
  """Multi-scale structural similarity of pairs of pictures.

  Wang, Simoncelli and Bovik 2003, "Multiscale structural similarity for image quality
  assessment": contrast and structure at each scale and luminance at the coarsest, weighted in the
  exponent; 11x11 Gaussian windows of deviation 1.5 within the picture, K1 = 0.01 and K2 = 0.03,
  means of 2x2 pixels between scales (an odd last row or column is left out). Each channel is scored
  alone, and channels are averaged. A negative term counts as 0, so that the root is real.

  Five scales need sides of 176 pixels or more. Smaller pictures use as many of the finest scales as
  the window fits in, with weights scaled up to the sum of all: 1 scale below 22 pixels, 2 below 44,
  3 below 88, 4 below 176. Where the window itself does not fit, it is cut to the largest odd width
  that does. Scores of different resolutions do not compare.

  It may be jitted, vmapped and differentiated.

  Args:
    a: pictures.
    b: as many, of the same shape.
    data_range: greatest less smallest possible value: 2 in [-1, 1], 255 in uint8.
    weights: exponents of the scales, finest first.

  Returns:
    Float32 `[n]` in [0, 1]; 1 for equal pictures.

  Raises:
    ValueError: shapes differ or are not `[n, h, w, c]`, or integers come with the range of [-1, 1].

  >>> x = jax.random.uniform(jax.random.key(0), [2, 32, 32, 3], minval=-1.0)
  >>> jnp.round(ms_ssim(x, x), 4)
  Array([1., 1.], dtype=float32)
  """
  if a.shape != b.shape or a.ndim != 4 or not all(a.shape[1:]):
    raise ValueError(f"a {list(a.shape)} and b {list(b.shape)} must both be [n, h, w, c]")
  if data_range <= 0:
    raise ValueError(f"data_range={data_range} must be positive: 2 for [-1, 1], 255 for uint8")
  if data_range <= 2 and not jnp.issubdtype(a.dtype, jnp.floating):
    raise ValueError(f"pictures of {a.dtype} need their own data_range, got {data_range}: set 255")
  return _scores(
    at_least_float32(a), at_least_float32(b), data_range=float(data_range), weights=tuple(weights)
  )


def ms_ssim_diversity(
  images: Float[Array, "n h w c"],
  key: Key,
  *,
  pairs: int = 100,
  data_range: float = 2.0,
) -> Estimate:
  """Mean MS-SSIM of random pairs of samples: the higher, the less they vary.

  Odena et al. 2016 (arXiv 1610.09585), section 4.2, who compare 100 pairs of one class with as many
  of the data. Hand in samples of one class, and compare with data at the same resolution.

  Args:
    images: samples, n at least 2.
    key: of the pairs.
    pairs: number of pairs of two different samples, drawn with replacement, at least 2.
    data_range: as `ms_ssim` has it.

  Returns:
    The mean, and its standard error over the draw of pairs.

  Raises:
    ValueError: shapes, or too few samples or pairs.

  >>> x = jnp.ones([4, 16, 16, 1])
  >>> ms_ssim_diversity(x, jax.random.key(0), pairs=8)
  Estimate(value=1.0, standard_error=0.0)
  """
  n = len(images)
  if n < 2 or pairs < 2:
    raise ValueError(f"number of images {n} and pairs={pairs} must be at least 2")
  first_key, second_key = jax.random.split(key)
  first = jax.random.randint(first_key, [pairs], 0, n)
  second = (first + jax.random.randint(second_key, [pairs], 1, n)) % n
  scores = _pair_scores(jnp.asarray(images), first, second, data_range=data_range)
  values = np.asarray(scores, np.float64)
  return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(pairs)))


@functools.partial(jax.jit, static_argnames="data_range")
def _pair_scores(images: Array, first: Array, second: Array, *, data_range: float) -> Array:
  def score(pair: tuple[Array, Array]) -> Array:
    return ms_ssim(images[pair[0]][None], images[pair[1]][None], data_range=data_range)[0]

  return jax.lax.map(score, (first, second), batch_size=_AT_ONCE)


@functools.partial(jax.jit, static_argnames=("data_range", "weights"))
def _scores(x: Array, y: Array, *, data_range: float, weights: tuple[float, ...]) -> Array:
  side = min(x.shape[1:3])
  window = min(_WINDOW, side - 1 + side % 2)
  scales = max(1, min(len(weights), (side // window).bit_length()))
  used = np.asarray(weights[:scales], np.float64)
  used *= np.sum(weights) / used.sum()
  score = jnp.ones([x.shape[0], x.shape[3]], x.dtype)
  for i, weight in enumerate(used):
    luminance, structure = _similarity(x, y, window, data_range)
    term = (luminance * structure if i == scales - 1 else structure).mean((1, 2))
    score *= jnp.maximum(term, 0.0) ** float(weight)
    if i < scales - 1:
      x, y = _halved(x), _halved(y)
  return score.mean(1)


def _similarity(x: Array, y: Array, window: int, data_range: float) -> tuple[Array, Array]:
  c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
  mean_x, mean_y, mean_xx, mean_yy, mean_xy = _blurred(
    jnp.stack([x, y, x * x, y * y, x * y]), window
  )
  covariance = mean_xy - mean_x * mean_y
  variances = mean_xx - mean_x**2 + mean_yy - mean_y**2
  luminance = (2.0 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
  structure = (2.0 * covariance + c2) / (variances + c2)
  return luminance, structure


def _blurred(x: Array, window: int) -> Array:
  """Gaussian means over all windows within the pictures `[..., h, w, c]`, axis by axis."""
  position = np.arange(window) - (window - 1) / 2
  kernel = np.exp(-(position**2) / (2 * _SIGMA**2))
  kernel /= kernel.sum()

  def band(length: int) -> Array:
    rows = [np.pad(kernel, (i, length - window - i)) for i in range(length - window + 1)]
    return jnp.asarray(np.stack(rows), x.dtype)

  # Products with band matrices: depthwise convolutions are slow on CPU, shifted sums to compile.
  return jnp.einsum(
    "yh,xw,...hwc->...yxc",
    band(x.shape[-3]),
    band(x.shape[-2]),
    x,
    precision=jax.lax.Precision.HIGHEST,
  )


def _halved(x: Array) -> Array:
  n, h, w, c = x.shape
  x = x[:, : h // 2 * 2, : w // 2 * 2]
  return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))
