"""Truncation: variety traded for fidelity, after training.

On normal latents (Brock et al. 2018), and on latents that a mapping network has made (Karras et al.
2018). `jaxgan.latents.truncated_normal` draws latents that are truncated from the start.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from jaxgan.sampling.generation import batches
from jaxgan.types import Array, Key

__all__ = ["mean_latent", "normal_coordinates", "truncate", "truncate_normal"]


def mean_latent(
  mapping: Callable[[Array], Array],
  latents: Callable[[Key, int], Array],
  key: Key,
  n: int = 10_000,
  *,
  batch_size: int = 1000,
) -> Float[Array, "..."]:
  """The centre of mass of mapped latents, E[f(z)], for `truncate`.

  Karras et al. 2018 (arXiv 1812.04948), appendix B.

  Args:
    mapping: from latents `[b, ...]` to mapped latents `[b, ...]`, typically jitted.
    latents: a sampler `(key, n) -> [n, ...]`, such as `jaxgan.latents.normal(512)`.
    key: of the draw.
    n: number of latents, at least 1.
    batch_size: most latents at a time.

  Returns:
    The mean over the draw, float32, without a batch axis.

  >>> mean_latent(lambda z: z + 2.0, lambda key, n: jnp.zeros([n, 3]), jax.random.key(0), 10)
  Array([2., 2., 2.], dtype=float32)
  """
  parts = batches(mapping, latents(key, n), batch_size)
  return jnp.asarray(sum(part.sum(0, dtype=np.float64) for part in parts) / n, jnp.float32)


def truncate(
  w: Float[Array, "n ..."],
  mean: Float[Array, "..."],
  psi: float | Array,
  *,
  layers: int | None = None,
) -> Float[Array, "n ..."]:
  """Pulls mapped latents towards their mean, w' = mean + psi (w - mean).

  Karras et al. 2018 (arXiv 1812.04948), appendix B; 0.7 is a common psi.

  Args:
    w: mapped latents `[n, d]`, or one for each layer, `[n, layers, d]`.
    mean: of `mean_latent`: `[d]`, or the shape of one of the latents.
    psi: 1 changes nothing, 0 gives the mean, negative values give the opposite; may be traced.
    layers: pull the latents of the first so many layers only, and leave the rest.

  Returns:
    Latents of the shape of `w`.

  Raises:
    ValueError: the shapes do not fit, or `layers` is given for latents without a layer axis.

  >>> truncate(jnp.array([[3.0, 1.0]]), jnp.array([1.0, 1.0]), 0.5)
  Array([[2., 1.]], dtype=float32)
  """
  fits = mean.ndim in (1, w.ndim - 1) and w.shape[w.ndim - mean.ndim :] == mean.shape
  if w.ndim < 2 or not fits:
    raise ValueError(f"mean {mean.shape} must have the shape of a latent of w {w.shape}")
  mean = mean.reshape((1,) * (w.ndim - mean.ndim) + mean.shape)
  pulled = mean + psi * (w - mean)
  if layers is None:
    return pulled
  if w.ndim != 3 or not 0 <= layers <= w.shape[1]:
    raise ValueError(
      f"layers={layers} needs w of [n, layers, d] with at least so many layers, got {w.shape}"
    )
  return jnp.where((jnp.arange(w.shape[1]) < layers)[None, :, None], pulled, w)


def truncate_normal(z: Float[Array, "..."], threshold: float | Array) -> Float[Array, "..."]:
  """Maps standard normal latents to normal latents within +-threshold: the truncation trick.

  Brock et al. 2018 (arXiv 1809.11096), section 3.1. Drawing entries beyond the threshold again
  gives the normal law conditioned on that interval; here each entry goes to the quantile of that
  law which it has among all normal draws. So the law is the same, and a latent keeps its character
  from one threshold to another. Clipping, by contrast, would pile entries up at the threshold.

  Args:
    z: standard normal draws.
    threshold: positive bound on |z|; may be traced.

  Returns:
    Latents in [-threshold, threshold].

  Raises:
    ValueError: `threshold` is a number that is not positive.

  >>> np.asarray(truncate_normal(jnp.array([-9.0, 0.0, 0.1, 1.0]), 0.5)).round(3)
  array([-0.5  ,  0.   ,  0.038,  0.334], dtype=float32)
  """
  if not isinstance(threshold, Array) and not threshold > 0:
    raise ValueError(f"threshold={threshold} must be positive")
  root = np.sqrt(2.0).astype(z.dtype)
  share = jax.lax.erf(z / root) * jax.lax.erf(jnp.asarray(threshold, z.dtype) / root)
  return jnp.clip(root * jax.lax.erf_inv(share), -threshold, threshold)


def normal_coordinates(latents: Float[ArrayLike, "n d"]) -> Bool[np.ndarray, "d"]:
  """Which coordinates look standard normal: those that `truncate_normal` may act on.

  Latents of conditional generators hold labels and codes beside their noise, which must stay. The
  test is Kolmogorov and Smirnov's, coordinate by coordinate; it takes a normal coordinate for
  something else with a probability of about 3e-8, and something close to normal, as the normal
  within +-2 is, for normal.

  Args:
    latents: many draws, at least 1,000: with fewer, other distributions pass.

  Returns:
    A mask over the coordinates.

  Raises:
    ValueError: too few latents, or of a wrong shape.

  >>> rng = np.random.default_rng(0)
  >>> normal_coordinates(np.stack([rng.uniform(-1.0, 1.0, 2000), rng.normal(size=2000)], 1))
  array([False,  True])
  """
  ordered = np.sort(np.asarray(latents, np.float32), axis=0)
  n = len(ordered)
  if ordered.ndim != 2 or n < 1000:
    raise ValueError(f"latents {ordered.shape} must be [n, d] with n of at least 1000")
  expected = np.asarray(jax.scipy.stats.norm.cdf(ordered), np.float64)
  steps = np.arange(n + 1)[:, None] / n
  distance = np.maximum(steps[1:] - expected, expected - steps[:-1]).max(0)
  return distance * np.sqrt(n) < 3.0  # exceeded with a probability of 2 exp(-2 * 3^2)
