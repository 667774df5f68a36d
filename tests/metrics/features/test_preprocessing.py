import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import sampling
from jaxgan.metrics.features import preprocessing

PICTURES = np.random.default_rng(0).integers(0, 256, [2, 32, 48, 3], np.uint8)


def pillow(pictures, size, how):
  """Pillow's resize of float pictures, channel by channel, as clean-fid calls it."""
  resized = [
    np.asarray(Image.fromarray(channel.astype(np.float32)).resize((size, size), how))
    for picture in pictures
    for channel in np.moveaxis(picture, -1, 0)
  ]
  return np.stack(resized).reshape(len(pictures), -1, size, size).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("size", [8, 31, 64], ids=["down", "odd", "up"])
def test_the_antialiased_resize_is_pillows(size):
  """To 1e-3 of 255 levels: Pillow sums in double precision, and each axis by itself."""
  got = preprocessing.antialiased_bicubic(jnp.asarray(PICTURES), size)
  wanted = pillow(PICTURES, size, Image.Resampling.BICUBIC).clip(0, 255)
  np.testing.assert_allclose(got, wanted, atol=1e-3)


@pytest.mark.parametrize("size", [8, 31, 64], ids=["down", "odd", "up"])
def test_the_published_resize_takes_four_neighbours(size):
  """By the definition: a pixel's centre is mapped, its neighbours clamped; the same as torch's."""
  height, width = PICTURES.shape[1:3]

  def neighbours(n):
    place = np.maximum((np.arange(size) + 0.5) * n / size - 0.5, 0.0)
    low = np.floor(place).astype(int)
    return low, np.minimum(low + 1, n - 1), place - low

  top, bottom, down = neighbours(height)
  left, right, along = neighbours(width)
  x = PICTURES.astype(np.float64)
  rows = x[:, top] * (1 - down)[None, :, None, None] + x[:, bottom] * down[None, :, None, None]
  wanted = rows[:, :, left] * (1 - along)[:, None] + rows[:, :, right] * along[:, None]
  got = preprocessing.bilinear(jnp.asarray(PICTURES), size)
  np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_only_the_published_resize_aliases():
  """Lines a pixel wide, resized to a third: skipping pixels makes them vanish or solid."""
  lines = jnp.zeros([1, 99, 99, 1]).at[:, :, ::3].set(255.0)
  smooth = preprocessing.antialiased_bicubic(lines, 33)[0, 8:-8, 8:-8]
  aliased = preprocessing.bilinear(lines, 33)[0, 8:-8, 8:-8]
  np.testing.assert_allclose(smooth, 85.0, atol=2.0)
  np.testing.assert_allclose(aliased, 0.0, atol=1e-3)


def test_pictures_are_quantised_as_they_are_saved():
  x = np.concatenate([np.linspace(-1.2, 1.2, 5001), (np.arange(256) * 2 + 1) / 255 - 1])
  x = x.astype(np.float32)
  got = np.asarray(jax.jit(preprocessing.to_uint8)(x))
  np.testing.assert_array_equal(got, sampling.to_uint8(x))
  levels = np.arange(256, dtype=np.uint8)
  np.testing.assert_array_equal(preprocessing.to_uint8(levels / np.float32(127.5) - 1), levels)


def test_channels_are_those_of_pillow():
  grey = np.asarray(preprocessing.to_channels(jnp.asarray(PICTURES), 1))
  for got, picture in zip(grey, PICTURES, strict=True):
    wanted = np.asarray(Image.fromarray(picture).convert("L")).astype(int)
    assert abs(got[..., 0] - wanted).max() <= 1  # Pillow rounds its weights to 16 bits
  np.testing.assert_array_equal(
    preprocessing.to_channels(jnp.asarray(grey), 3)[..., 2], grey[..., 0]
  )
  with pytest.raises(ValueError, match=r"\(2, 32, 48, 2\) to 3 channels"):
    preprocessing.to_channels(PICTURES[..., :2], 3)


def test_a_resize_is_described():
  assert preprocessing.describe(preprocessing.bilinear, 299) == "bilinear to 299"
