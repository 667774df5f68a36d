"""Sliced Wasserstein distance between two sets of samples."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgan.types import Array, Key

__all__ = ["sliced_wasserstein"]


def sliced_wasserstein(
  real: Float[Array, "n ..."],
  fake: Float[Array, "n ..."],
  key: Key,
  *,
  projections: int = 256,
) -> Float[Array, ""]:
  """Mean 1-Wasserstein distance of two samples over random directions.

  Rabin et al. 2011, "Wasserstein barycenter and its application to texture mixing", with the
  first power; each direction's distance is exact, by sorting. On raw pixels it follows colours and
  coarse shapes: good enough to rank checkpoints of one run, not to compare models.

  Args:
    real: samples, flattened beyond the first axis.
    fake: as many samples of the same shape.
    key: of the directions.
    projections: number of directions, uniform on the sphere.

  Returns:
    Non-negative float32 scalar, in the units of the samples; 0 for equal sets.

  Raises:
    ValueError: the shapes differ.

  >>> x = jnp.arange(8.0).reshape(4, 2)
  >>> float(sliced_wasserstein(x, x[::-1], jax.random.key(0)))
  0.0
  """
  if real.shape != fake.shape:
    raise ValueError(f"real {real.shape} and fake {fake.shape} must have the same shape")
  flat = [jnp.reshape(x, (x.shape[0], -1)).astype(jnp.float32) for x in (real, fake)]
  directions = jax.random.normal(key, (flat[0].shape[1], projections))
  directions /= jnp.linalg.norm(directions, axis=0, keepdims=True)
  a, b = (jnp.sort(x @ directions, axis=0) for x in flat)
  return jnp.abs(a - b).mean()
