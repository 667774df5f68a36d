"""DiffAugment: Zhao et al. 2020 (arXiv 2006.10738), for images in [-1, 1].

Augment every image that D sees, the real and the fake, in D's step and in G's, each batch with its
own key: augmenting the real ones alone teaches G the augmentation.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxgan.augment.basic import compose, per_example
from jaxgan.augment.resampling import take_pixels
from jaxgan.latents import AxisName
from jaxgan.types import Key

__all__ = ["brightness", "colour", "contrast", "cutout", "saturation", "translation"]

Images = Float[Array, "batch h w c"]


def brightness(images: Images, key: Key, *, axis_name: AxisName | None = None) -> Images:
  """Adds one U(-0.5, 0.5) to each image; DiffAugment (Zhao et al. 2020, arXiv 2006.10738).

  Args:
    images: floating `[batch, h, w, c]` in [-1, 1]; the result may leave that range.
    key: a typed key.
    axis_name: the mapped axis that the batch is split over, if any.

  Returns:
    Images of the same shape and dtype.

  >>> out = brightness(jnp.zeros([2, 8, 8, 3]), jax.random.key(0))
  >>> bool((jnp.abs(out) <= 0.5).all()), float(jnp.ptp(out[0]))
  (True, 0.0)
  """
  return per_example(
    lambda image, key: image + jax.random.uniform(key, [], jnp.float32, -0.5, 0.5)
  )(images, key, axis_name=axis_name)


def saturation(images: Images, key: Key, *, axis_name: AxisName | None = None) -> Images:
  """Scales each pixel about its mean over channels by U(0, 2); DiffAugment (arXiv 2006.10738).

  Args:
    images: floating `[batch, h, w, c]` in [-1, 1]; one channel stays as it is.
    key: a typed key.
    axis_name: the mapped axis that the batch is split over, if any.

  Returns:
    Images of the same shape and dtype.

  >>> grey = jnp.full([2, 8, 8, 3], 0.25)
  >>> bool(jnp.allclose(saturation(grey, jax.random.key(0)), grey))
  True
  """

  def transform(image: Array, key: Key) -> Array:
    mean = image.mean(axis=-1, keepdims=True)
    return mean + (image - mean) * jax.random.uniform(key, [], jnp.float32, 0.0, 2.0)

  return per_example(transform)(images, key, axis_name=axis_name)


def contrast(images: Images, key: Key, *, axis_name: AxisName | None = None) -> Images:
  """Scales each image about its mean by U(0.5, 1.5); DiffAugment (arXiv 2006.10738).

  Args:
    images: floating `[batch, h, w, c]` in [-1, 1].
    key: a typed key.
    axis_name: the mapped axis that the batch is split over, if any.

  Returns:
    Images of the same shape and dtype.

  >>> images = jax.random.normal(jax.random.key(1), [2, 8, 8, 3])
  >>> out = contrast(images, jax.random.key(0))
  >>> bool(jnp.allclose(out.mean(axis=[1, 2, 3]), images.mean(axis=[1, 2, 3]), atol=1e-6))
  True
  """

  def transform(image: Array, key: Key) -> Array:
    mean = image.mean()
    return mean + (image - mean) * jax.random.uniform(key, [], jnp.float32, 0.5, 1.5)

  return per_example(transform)(images, key, axis_name=axis_name)


colour = compose(brightness, saturation, contrast)
"""DiffAugment's colour policy: `brightness`, then `saturation`, then `contrast`.

Zhao et al. 2020 (arXiv 2006.10738), on floating images `[batch, h, w, c]` in [-1, 1].
"""


def translation(
  images: Images, key: Key, *, ratio: float = 0.125, axis_name: AxisName | None = None
) -> Images:
  """Shifts each image by whole pixels and fills with zeros; DiffAugment (arXiv 2006.10738).

  Args:
    images: floating `[batch, h, w, c]` in [-1, 1].
    key: a typed key.
    ratio: the shift is uniform within `floor(side * ratio + 0.5)` pixels each way, in [0, 1].
    axis_name: the mapped axis that the batch is split over, if any.

  Returns:
    Images of the same shape and dtype.

  Raises:
    ValueError: if `ratio` is outside [0, 1].

  >>> translation(jnp.ones([2, 8, 8, 3]), jax.random.key(0)).shape
  (2, 8, 8, 3)
  """

  def transform(image: Array, key: Key) -> Array:
    h, w, _ = image.shape
    reach = jnp.array([int(h * ratio + 0.5), int(w * ratio + 0.5)])
    down, right = jax.random.randint(key, [2], -reach, reach + 1, jnp.int32)
    row, column = jnp.arange(h) - down, jnp.arange(w) - right
    inside = ((row >= 0) & (row < h))[:, None] & ((column >= 0) & (column < w))[None, :]
    shifted = take_pixels(
      image, jnp.clip(row, 0, h - 1)[:, None], jnp.clip(column, 0, w - 1)[None, :]
    )
    return jnp.where(inside[..., None], shifted, 0)

  _check_ratio(ratio)
  return per_example(transform)(images, key, axis_name=axis_name)


def cutout(
  images: Images, key: Key, *, ratio: float = 0.5, axis_name: AxisName | None = None
) -> Images:
  """Zeroes a rectangle about a random centre; DiffAugment (arXiv 2006.10738).

  The centre is uniform over the image, so that the rectangle may lie partly outside.

  Args:
    images: floating `[batch, h, w, c]` in [-1, 1].
    key: a typed key.
    ratio: the rectangle's sides are `floor(side * ratio + 0.5)` pixels, in [0, 1].
    axis_name: the mapped axis that the batch is split over, if any.

  Returns:
    Images of the same shape and dtype.

  Raises:
    ValueError: if `ratio` is outside [0, 1].

  >>> out = cutout(jnp.ones([2, 8, 8, 3]), jax.random.key(0))
  >>> bool((out.sum(axis=[1, 2, 3]) >= 3 * (64 - 16)).all())
  True
  """

  def transform(image: Array, key: Key) -> Array:
    h, w, _ = image.shape
    sides = [int(h * ratio + 0.5), int(w * ratio + 0.5)]
    # An even side has its centre between pixels and so one more place to stand.
    places = jnp.array([h + 1 - sides[0] % 2, w + 1 - sides[1] % 2])
    top, left = jax.random.randint(key, [2], 0, places, jnp.int32) - jnp.array(
      [s // 2 for s in sides]
    )
    row, column = jnp.arange(h) - top, jnp.arange(w) - left
    cut = ((row >= 0) & (row < sides[0]))[:, None] & ((column >= 0) & (column < sides[1]))[None, :]
    return jnp.where(cut[..., None], 0, image)

  _check_ratio(ratio)
  return per_example(transform)(images, key, axis_name=axis_name)


def _check_ratio(ratio: float) -> None:
  if not 0 <= ratio <= 1:
    raise ValueError(f"ratio must be in [0, 1], got {ratio}")
