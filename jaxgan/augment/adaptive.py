"""Adaptive discriminator augmentation (ADA): Karras et al. 2020 (arXiv 2006.06676), appendix B.

Each transform strikes each image with probability p, which `ada_update` steers by D's overfitting.
Augment every image that D sees, the real and the fake, in D's step and in G's, each batch with its
own key. As long as p stays below about 0.8, G does not learn the augmentations (section 2.2).

Past 300 lines because the transforms are one family: half of the file is their documentation.
"""

from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxgan.augment.basic import Augmentation, compose, per_example
from jaxgan.augment.resampling import (
  band_matrices,
  filter_rows_and_columns,
  reflect,
  take_pixels,
  warp,
)
from jaxgan.types import Key

__all__ = [
  "BGC",
  "BGCFNC",
  "Probability",
  "ada",
  "ada_colour",
  "ada_corruption",
  "ada_cutout",
  "ada_filter",
  "ada_geometry",
  "pixel_blitting",
]

Probability = float | Float[Array, ""]


class Group(Protocol):
  """A constructor of an augmentation whose transforms strike with probability p."""

  def __call__(self, p: Probability) -> Augmentation:
    """Binds p, in [0, 1], which may be traced."""


def _normal(key: Key, shape: Sequence[int]) -> Array:
  return jax.random.normal(key, shape, jnp.float32)


def _uniform(key: Key, shape: Sequence[int]) -> Array:
  return jax.random.uniform(key, shape, jnp.float32, -1, 1)


def _strikes(key: Key, count: int, p: Probability | Array) -> Array:
  """Which of an image's transforms strike; drawn at once, since each draw compiles slowly."""
  return jax.random.uniform(key, [count], jnp.float32) < p


def _check_probability(p: Probability) -> None:
  if not isinstance(p, Array) and not 0 <= p <= 1:
    raise ValueError(f"p must be in [0, 1], got {p}")


def pixel_blitting(p: Probability) -> Augmentation:
  """ADA's pixel blitting: moves pixels without resampling them.

  Karras et al. 2020 (arXiv 2006.06676), appendix B.

  Horizontal flips, rotations by 90 degrees and integer translations within an eighth of the side,
  filled by reflection; each drawn with probability p, the identity among its outcomes.

  Args:
    p: probability of each transform, in [0, 1]; may be traced.

  Returns:
    An augmentation of floating images `[batch, h, w, c]`.

  Raises:
    ValueError: if `p` is a number outside [0, 1].

  >>> images = jnp.arange(32.0).reshape(2, 4, 4, 1)
  >>> out = pixel_blitting(0.0)(images, jax.random.key(0))
  >>> bool((out == images).all())
  True
  """

  def transform(image: Array, key: Key) -> Array:
    h, w, _ = image.shape
    strike_key, draw_key = jax.random.split(key)
    strike, draw = _strikes(strike_key, 3, p), _uniform(draw_key, [4])
    flip = strike[0] & (draw[0] > 0)
    turns = jnp.where(strike[1], jnp.floor(2 * (draw[1] + 1)), 0).astype(jnp.int32)
    shift = jnp.round(0.125 * draw[2:] * jnp.array([h, w], jnp.float32))
    shift = jnp.where(strike[2], shift, 0).astype(jnp.int32)
    # Whole numbers throughout: twice the distance from the centre.
    row = 2 * (jnp.arange(h)[:, None] - shift[0]) - (h - 1)
    column = 2 * (jnp.arange(w)[None, :] - shift[1]) - (w - 1)
    cosine, sine = jnp.array([1, 0, -1, 0])[turns], jnp.array([0, 1, 0, -1])[turns]
    row, column = cosine * row - sine * column, sine * row + cosine * column
    column = jnp.where(flip, -column, column)
    row, column = (
      reflect(((position + size - 1) // 2).astype(jnp.float32), size).astype(jnp.int32)
      for size, position in ((h, row), (w, column))
    )
    return take_pixels(image, row, column)

  _check_probability(p)
  return per_example(transform)


def ada_geometry(p: Probability) -> Augmentation:
  """ADA's general geometric transforms, as one affine warp.

  Karras et al. 2020 (arXiv 2006.06676), appendix B.

  In order: isotropic scale 2^N(0, 0.2^2); rotation by U(-pi, pi); anisotropic scale 2^N(0, 0.2^2),
  one axis by it and the other by its inverse; a second rotation; translation by N(0, 0.125^2) of
  the side. The rotations strike with 1 - sqrt(1 - p) each, so that either does with p.

  As in the paper, the warp samples bilinearly at twice the resolution, reached and left by the
  orthogonal sym6 wavelet. Simplified: the picture is reflected without end and after doubling,
  where the paper pads by at most one side before it.

  Args:
    p: probability of each transform, in [0, 1]; may be traced.

  Returns:
    An augmentation of floating images `[batch, h, w, c]`. An image that no transform strikes is
    returned as it is.

  Raises:
    ValueError: if `p` is a number outside [0, 1].

  >>> images = jax.random.normal(jax.random.key(1), [2, 8, 8, 3])
  >>> out = ada_geometry(0.0)(images, jax.random.key(0))
  >>> bool((out == images).all())
  True
  """

  def rotation(angle: Array) -> Array:
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([cosine, -sine, sine, cosine]).reshape(2, 2)

  def transform(image: Array, key: Key) -> Array:
    strike_key, angle_key, normal_key = jax.random.split(key, 3)
    p_rotation = 1 - jnp.sqrt(jnp.clip(1 - jnp.asarray(p, jnp.float32), 0, 1))
    scale, before, aspect, after, move = _strikes(
      strike_key,
      5,
      jnp.stack([jnp.asarray(q, jnp.float32) for q in (p, p_rotation, p, p_rotation, p)]),
    )
    normal = _normal(normal_key, [4])
    angle = jnp.where(jnp.stack([before, after]), np.pi * _uniform(angle_key, [2]), 0)
    log_scale = jnp.where(scale, 0.2 * normal[0], 0)
    log_aspect = jnp.where(aspect, 0.2 * normal[1], 0)
    shift = jnp.where(move, 0.125 * normal[2:], 0)
    # The warp reads its source at the inverse transform.
    stretch = jnp.exp2(jnp.stack([log_aspect, -log_aspect]) - log_scale)
    linear = jnp.matmul(
      rotation(-angle[0]) * stretch[None, :],
      rotation(-angle[1]),
      precision=jax.lax.Precision.HIGHEST,
    )
    pixels = shift * jnp.array(image.shape[:2], jnp.float32)
    is_struck = scale | before | aspect | after | move
    warped = warp(image, linear.astype(image.dtype), pixels.astype(image.dtype))
    return jnp.where(is_struck, warped, image)

  _check_probability(p)
  return per_example(transform)


def ada_colour(p: Probability) -> Augmentation:
  """ADA's colour transforms, affine in each pixel's channels, for images in [-1, 1].

  Karras et al. 2020 (arXiv 2006.06676), appendix B.

  In order: brightness + N(0, 0.2^2); contrast by 2^N(0, 0.5^2); luma flip (a reflection across the
  plane of zero luma, on half of the draws); hue rotation about the luma axis by U(-pi, pi);
  saturation by 2^N(0, 1). Luma is the mean over the channels, so that one channel has neither hue
  nor saturation; hue is left alone unless there are three.

  Args:
    p: probability of each transform, in [0, 1]; may be traced.

  Returns:
    An augmentation of floating images `[batch, h, w, c]`; the result may leave [-1, 1].

  Raises:
    ValueError: if `p` is a number outside [0, 1].

  >>> images = jax.random.normal(jax.random.key(1), [2, 8, 8, 3])
  >>> out = ada_colour(0.0)(images, jax.random.key(0))
  >>> bool(jnp.allclose(out, images, atol=1e-6))
  True
  """

  def transform(image: Array, key: Key) -> Array:
    strike_key, normal_key, uniform_key = jax.random.split(key, 3)
    brighten, scale, reverse, rotate, saturate = _strikes(strike_key, 5, p)
    normal, uniform = _normal(normal_key, [3]), _uniform(uniform_key, [2])
    image = image + jnp.where(brighten, 0.2 * normal[0], 0)
    image = image * jnp.where(scale, jnp.exp2(0.5 * normal[1]), 1)
    luma = image.mean(axis=-1, keepdims=True)
    chroma = image - luma
    luma = jnp.where(reverse & (uniform[0] > 0), -luma, luma)
    hue = jnp.where(rotate, np.pi * uniform[1], 0)
    if image.shape[-1] == 3:
      # Rodrigues' rotation; the cross product with the luma axis (1, 1, 1) / sqrt(3).
      cross = (jnp.roll(chroma, 1, axis=-1) - jnp.roll(chroma, -1, axis=-1)) / np.sqrt(3)
      chroma = jnp.cos(hue) * chroma + jnp.sin(hue) * cross
    return luma + chroma * jnp.where(saturate, jnp.exp2(normal[2]), 1)

  _check_probability(p)
  return per_example(transform)


def ada_filter(p: Probability) -> Augmentation:
  """ADA's image-space filtering: amplifies each of four octaves of the spectrum by 2^N(0, 1).

  Karras et al. 2020 (arXiv 2006.06676), appendix B.

  After each amplification the gains are normalised to keep the power of a 1/f spectrum,
  (10, 1, 1, 1) / 13 over the octaves from low to high. Not among the paper's default transforms.

  Args:
    p: probability of amplifying each octave, in [0, 1]; may be traced.

  Returns:
    An augmentation of floating images `[batch, h, w, c]`.

  Raises:
    ValueError: if `p` is a number outside [0, 1].

  >>> images = jax.random.normal(jax.random.key(1), [2, 8, 8, 3])
  >>> bool(jnp.allclose(ada_filter(0.0)(images, jax.random.key(0)), images, atol=1e-5))
  True
  """

  def transform(image: Array, key: Key) -> Array:
    h, w, _ = image.shape
    strike_key, normal_key = jax.random.split(key)
    gains = jnp.where(_strikes(strike_key, 4, p), jnp.exp2(_normal(normal_key, [4])), 1)
    each = jnp.where(jnp.eye(4, dtype=bool), gains[:, None], 1)  # [amplification, octave]
    power = jnp.array([10, 1, 1, 1], jnp.float32) / 13
    total = (power[None, :] * each**2).sum(axis=1, keepdims=True)
    gain = jnp.prod(each / jnp.sqrt(total), axis=0)
    rows, columns = (
      jnp.tensordot(gain.astype(image.dtype), jnp.asarray(band_matrices(size), image.dtype), 1)
      for size in (h, w)
    )
    return filter_rows_and_columns(image, rows, columns)

  _check_probability(p)
  return per_example(transform)


def ada_corruption(p: Probability) -> Augmentation:
  """ADA's image-space corruptions: noise, then cutout. Not among the paper's default transforms.

  Karras et al. 2020 (arXiv 2006.06676), appendix B.

  Noise is normal in every channel, its deviation |N(0, 0.1^2)|; cutout zeroes a rectangle of half
  the sides about a centre uniform over the image.

  Args:
    p: probability of each transform, in [0, 1]; may be traced.

  Returns:
    An augmentation of floating images `[batch, h, w, c]`.

  Raises:
    ValueError: if `p` is a number outside [0, 1].

  >>> images = jax.random.normal(jax.random.key(1), [2, 8, 8, 3])
  >>> bool((ada_corruption(0.0)(images, jax.random.key(0)) == images).all())
  True
  """

  def transform(image: Array, key: Key) -> Array:
    strike_key, deviation_key, noise_key, centre_key = jax.random.split(key, 4)
    disturb, cut = _strikes(strike_key, 2, p)
    deviation = jnp.where(disturb, jnp.abs(0.1 * _normal(deviation_key, [])), 0)
    return _cut(image + deviation * _normal(noise_key, image.shape), cut, centre_key)

  _check_probability(p)
  return per_example(transform)


def ada_cutout(p: Probability) -> Augmentation:
  """ADA's cutout alone, which R3GAN (arXiv 2501.05441) takes without the noise.

  Karras et al. 2020 (arXiv 2006.06676), appendix B: zeroes a rectangle of half the sides about a
  centre uniform over the image.

  Args:
    p: probability, in [0, 1]; may be traced.

  Returns:
    An augmentation of floating images `[batch, h, w, c]`.

  Raises:
    ValueError: if `p` is a number outside [0, 1].

  >>> images = ada_cutout(1.0)(jnp.ones([16, 8, 8, 1]), jax.random.key(0))
  >>> sorted(set(images.ravel().tolist()))
  [0.0, 1.0]
  """

  def transform(image: Array, key: Key) -> Array:
    strike_key, centre_key = jax.random.split(key)
    return _cut(image, _strikes(strike_key, 1, p)[0], centre_key)

  _check_probability(p)
  return per_example(transform)


def _cut(image: Array, strikes: Array, key: Key) -> Array:
  half = jnp.where(strikes, 0.25, 0)
  centre = (_uniform(key, [2]) + 1) / 2
  row, column = (
    jnp.abs((jnp.arange(size, dtype=jnp.float32) + 0.5) / size - c) < half
    for size, c in zip(image.shape[:2], centre, strict=True)
  )
  return jnp.where((row[:, None] & column[None, :])[..., None], 0, image)


BGC: tuple[Group, ...] = (pixel_blitting, ada_geometry, ada_colour)
BGCFNC: tuple[Group, ...] = (*BGC, ada_filter, ada_corruption)


def ada(p: Probability, *, groups: Sequence[Group] = BGC) -> Augmentation:
  """ADA's pipeline of transforms, each striking each image with probability p.

  Karras et al. 2020 (arXiv 2006.06676), appendix B.

  Args:
    p: in [0, 1]; may be traced: `AdaState.p`, or a constant.
    groups: `BGC` is the paper's default; `BGCFNC` adds filtering, noise and cutout.

  Returns:
    An augmentation of floating images `[batch, h, w, c]` in [-1, 1].

  Raises:
    ValueError: if `p` is a number outside [0, 1].

  >>> from jaxgan import augment
  >>> state = augment.ada_init()
  >>> augment.ada(state.p)(jnp.ones([2, 8, 8, 3]), jax.random.key(0)).shape
  (2, 8, 8, 3)
  """
  return compose(*(group(p) for group in groups))
