"""Perceptual path length: how far pictures move when their latent moves a little."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgan.metrics.estimate import Estimate
from jaxgan.types import Array, Key

__all__ = ["lerp", "perceptual_path_length", "slerp"]

Interpolate = Callable[[Array, Array, Array], Array]


def lerp(a: Float[Array, "n d"], b: Float[Array, "n d"], t: Float[Array, "n"]) -> Array:
  """Points on straight lines: for latents that a mapping network has made (StyleGAN's W).

  >>> lerp(jnp.zeros([1, 2]), jnp.ones([1, 2]), jnp.array([0.25]))
  Array([[0.25, 0.25]], dtype=float32)
  """
  t = t.reshape(-1, *[1] * (a.ndim - 1))
  return a + t * (b - a)


def slerp(a: Float[Array, "n d"], b: Float[Array, "n d"], t: Float[Array, "n"]) -> Array:
  """Points on great circles: for normal latents (Z).

  The direction turns and the length goes from |a| to |b| at even rates; the code of Karras et al.
  scales latents to unit length instead, which is the same for networks that normalise their
  latent, as theirs do. Between opposite latents there is no one great circle: they are joined
  through the origin.

  >>> slerp(jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 2.0]]), jnp.array([0.5])).round(4)
  Array([[1.4142, 1.4142]], dtype=float32)
  """
  flat = [x.reshape(len(x), -1) for x in (a, b)]
  lengths = [jnp.linalg.norm(x, axis=1, keepdims=True) for x in flat]
  u, v = (x / jnp.maximum(n, 1e-12) for x, n in zip(flat, lengths, strict=True))
  along = (u * v).sum(1, keepdims=True)
  across = v - along * u
  sine = jnp.linalg.norm(across, axis=1, keepdims=True)
  # The arctangent is exact for small angles, where the cosine's inverse has lost half its digits.
  angle = t[:, None] * jnp.arctan2(sine, along)
  across /= jnp.maximum(sine, 1e-12)
  length = lengths[0] + t[:, None] * (lengths[1] - lengths[0])
  return (length * (u * jnp.cos(angle) + across * jnp.sin(angle))).reshape(a.shape)


def perceptual_path_length(
  generate: Callable[[Array], Array],
  start: Float[Array, "n ..."],
  end: Float[Array, "n ..."],
  feature_distance: Callable[[Array, Array], Float[Array, "batch"]],
  key: Key,
  *,
  interpolate: Interpolate = slerp,
  at_start: bool = False,
  crop: Callable[[Array], Array] | None = None,
  epsilon: float = 1e-4,
  discard: float = 1.0,
  batch_size: int = 64,
) -> Estimate:
  """Mean of d(g(z(t)), g(z(t + epsilon))) / epsilon^2 over random paths.

  Karras et al. 2018 (arXiv 1812.04948), section 4.1, with 100,000 pairs: `interpolate` is `slerp`
  for latents in Z and `lerp` for `start` and `end` in W with `generate` from there on. Their
  distance is of VGG16 features at 256 pixels or less; with another the number is another. As in
  their code, distances below the 1st and above the 99th percentile are left out of the mean.

  Args:
    generate: from latents `[b, ...]` to pictures, deterministic: noise has to be the same in both
      calls. Typically jitted.
    start: latents (or styles) at t = 0.
    end: as many at t = 1.
    feature_distance: from two batches of pictures to *squared* distances `[b]`, such as
      `lambda a, b: ((features(a) - features(b)) ** 2).sum(-1)`.
    key: of the positions t.
    interpolate: `(start, end, t [b]) -> latents`.
    at_start: compare at t = 0 ("path ends") rather than at t uniform in [0, 1] ("full path").
    crop: of pictures before the distance, such as the middle of a face.
    epsilon: the step; float32 leaves about 1e-3 of it in a latent's direction at 1e-4.
    discard: percent left out at either end, in [0, 50).
    batch_size: most paths at a time; the last batch is filled up.

  Returns:
    The trimmed mean, and the standard error of the mean over the paths that are left.

  Raises:
    ValueError: shapes, options out of range, distances of another shape, or that are not finite.

  >>> z = jax.random.normal(jax.random.key(0), [2, 100, 8])
  >>> squared = lambda a, b: ((a - b) ** 2).sum(-1)
  >>> to_w = lambda z: 3.0 * z
  >>> length = perceptual_path_length(to_w, z[0], z[0] + 1.0, squared, jax.random.key(1),
  ...                                 interpolate=lerp, epsilon=0.1)
  >>> round(length.value, 3)  # |3 (end - start)|^2
  72.0
  """
  if start.shape != end.shape or start.ndim < 2 or len(start) < 2:
    raise ValueError(
      f"start {list(start.shape)} and end {list(end.shape)} must be latents of one shape, 2 or more"
    )
  if epsilon <= 0 or not 0 <= discard < 50 or batch_size < 1:
    raise ValueError(
      f"epsilon={epsilon} must be positive, discard={discard} in [0, 50) and "
      f"batch_size={batch_size} at least 1"
    )
  n = len(start)
  t = jnp.zeros([n]) if at_start else jax.random.uniform(key, [n])
  size = min(batch_size, n)
  rows = np.arange(-(-n // size) * size) % n
  parts = []
  for part in rows.reshape(-1, size):
    pictures = [generate(interpolate(start[part], end[part], t[part] + e)) for e in (0.0, epsilon)]
    if crop is not None:
      pictures = [crop(x) for x in pictures]
    distance = np.asarray(feature_distance(*pictures), np.float64)
    if distance.shape != (size,):
      raise ValueError(
        f"feature_distance must give one squared distance for each pair, [{size}], got "
        f"{list(distance.shape)}: sum over all other axes"
      )
    parts.append(distance)
  distances = np.concatenate(parts)[:n] / epsilon**2
  if not np.isfinite(distances).all():
    raise ValueError("feature_distance gave values that are not finite: look at the pictures")
  low = np.percentile(distances, discard, method="lower")
  high = np.percentile(distances, 100 - discard, method="higher")
  kept = distances[(low <= distances) & (distances <= high)]
  return Estimate(float(kept.mean()), float(kept.std() / np.sqrt(len(kept))))
