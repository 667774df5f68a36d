"""Linear resampling of one image: reflection, wavelet filters and affine warps.

The filters are constant matrices with the reflection folded in, so that the forward and every
gradient are plain matrix products.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

__all__ = ["band_matrices", "filter_rows_and_columns", "reflect", "take_pixels", "warp"]

# Low-pass filters of Daubechies' least asymmetric wavelets, orthonormal: they sum to sqrt(2).
SYM2 = np.array([-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025])
SYM6 = np.array(
  [
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
  ]
)


def reflect(position: Float[Array, "..."], size: int) -> Float[Array, "..."]:
  """Folds positions into [0, size - 1] by reflection at the outermost pixels' centres."""
  last = size - 1
  if last == 0:
    return jnp.zeros_like(position)
  period = 2 * last
  # By floor, since a floating mod is slow on CPU; its rounding may fall just below 0.
  phase = jnp.maximum(position - period * jnp.floor(position / period), 0)
  return last - jnp.abs(phase - last)


def take_pixels(
  image: Float[Array, "h w c"], row: Int[Array, "..."], column: Int[Array, "..."]
) -> Float[Array, "... c"]:
  """The pixels at rows and columns inside the image."""
  return image.at[row, column].get(mode="promise_in_bounds")


def filter_rows_and_columns(
  image: Float[Array, "h w c"], rows: Float[Array, "i h"], columns: Float[Array, "j w"]
) -> Float[Array, "i j c"]:
  """A separable linear map, one matrix for each axis, in full precision."""
  highest = jax.lax.Precision.HIGHEST
  image = jnp.einsum("ih,hwc->iwc", rows, image, precision=highest)
  return jnp.einsum("jw,iwc->ijc", columns, image, precision=highest)


def _fold(matrix: np.ndarray, margin: int) -> np.ndarray:
  """Adds the columns that read beyond the border to those that they reflect."""
  size = matrix.shape[1] - 2 * margin
  last = max(size - 1, 1)
  source = last - np.abs(np.arange(-margin, size + margin) % (2 * last) - last)
  folded = np.zeros([matrix.shape[0], size])
  np.add.at(folded.T, np.minimum(source, size - 1), matrix.T)
  return folded


@functools.lru_cache
def _upsampling(size: int) -> np.ndarray:
  """`[2 * size, size]`: doubles the resolution by sym6; sample j lies at pixel j / 2.

  The filter delays by 4.8 to 5.1 samples, which is taken as 5.
  """
  tap = np.arange(2 * size)[:, None] - 2 * np.arange(-3, size + 3)[None, :] + 5
  inside = (tap >= 0) & (tap < 12)
  return _fold(np.where(inside, np.sqrt(2) * SYM6[np.clip(tap, 0, 11)], 0.0), margin=3)


@functools.lru_cache
def _downsampling(size: int) -> np.ndarray:
  """`[size, 2 * size + 10]`: the adjoint of doubling, over samples -5 to 2 * size + 4."""
  tap = np.arange(2 * size + 10)[None, :] - 2 * np.arange(size)[:, None]
  inside = (tap >= 0) & (tap < 12)
  return np.where(inside, SYM6[np.clip(tap, 0, 11)] / np.sqrt(2), 0.0)


def warp(
  image: Float[Array, "h w c"], linear: Float[Array, "2 2"], shift: Float[Array, "2"]
) -> Float[Array, "h w c"]:
  """The affine warp `out(q) = in(linear @ (q - shift))`, in pixels from the centre, (row, column).

  Doubles the resolution by an orthogonal wavelet, samples bilinearly, and halves it by the same
  wavelet: the identity leaves the inside of the image as it is. Beyond the border the picture is
  reflected, without end.
  """
  h, w, _ = image.shape
  dtype = image.dtype
  image = filter_rows_and_columns(
    image, jnp.asarray(_upsampling(h), dtype), jnp.asarray(_upsampling(w), dtype)
  )
  row, column = (
    (jnp.arange(-5, 2 * size + 5, dtype=dtype) - (size - 1)) / 2 - s
    for size, s in zip((h, w), shift, strict=True)
  )
  row, column = (
    2 * reflect(a * row[:, None] + b * column[None, :] + (size - 1) / 2, size)
    for size, (a, b) in zip((h, w), linear, strict=True)
  )
  top, left = jnp.floor(row), jnp.floor(column)
  down, right = (row - top)[..., None], (column - left)[..., None]
  top, left = top.astype(jnp.int32), left.astype(jnp.int32)
  upper, lower = (
    (1 - right) * take_pixels(image, line, left) + right * take_pixels(image, line, left + 1)
    for line in (top, top + 1)
  )
  return filter_rows_and_columns(
    (1 - down) * upper + down * lower,
    jnp.asarray(_downsampling(h), dtype),
    jnp.asarray(_downsampling(w), dtype),
  )


@functools.lru_cache
def band_matrices(size: int) -> np.ndarray:
  """`[4, size, size]`: filters of four octaves, low to high, that add up to the identity."""
  low = np.convolve(SYM2, SYM2[::-1]) / 2
  high = low * [-1, 1, -1, 1, -1, 1, -1]
  taps = np.zeros([4, 43])
  band = np.ones([1])  # low-pass of all octaves so far
  for index in range(3):
    step = 2**index
    dilated_low, dilated_high = (np.zeros([6 * step + 1]) for _ in range(2))
    dilated_low[::step], dilated_high[::step] = low, high
    upper = np.convolve(band, dilated_high)
    margin = (43 - upper.size) // 2
    taps[3 - index, margin : 43 - margin] = upper
    band = np.convolve(band, dilated_low)
  taps[0] = band
  offset = np.arange(-21, size + 21)[None, :] - np.arange(size)[:, None] + 21
  inside = (offset >= 0) & (offset < 43)
  return np.stack([_fold(np.where(inside, f[np.clip(offset, 0, 42)], 0.0), 21) for f in taps])
