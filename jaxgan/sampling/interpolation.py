"""Paths between latents."""

import jax.numpy as jnp
from jaxtyping import Float

from jaxgan.types import Array

__all__ = ["linear", "spherical"]


def linear(
  start: Float[Array, "n d"], end: Float[Array, "n d"], steps: int
) -> Float[Array, "n steps d"]:
  """Straight lines from each start to its end, both included.

  >>> linear(jnp.zeros([1, 2]), jnp.ones([1, 2]), 3)[0, :, 0]
  Array([0. , 0.5, 1. ], dtype=float32)
  """
  t = _positions(start, end, steps)
  return start[:, None] * (1.0 - t) + end[:, None] * t


def spherical(
  start: Float[Array, "n d"], end: Float[Array, "n d"], steps: int
) -> Float[Array, "n steps d"]:
  """Great-circle arcs from each start to its end: White 2016 (arXiv 1609.04468).

  Normal latents of many dimensions lie near a sphere, which a straight line leaves. Lengths are
  interpolated geometrically by the same weights; parallel latents fall back to the straight line.

  Args:
    start: latents.
    end: latents.
    steps: points on each path, at least 2, both ends included.

  Returns:
    The paths.

  >>> path = spherical(jnp.asarray([[1.0, 0.0]]), jnp.asarray([[0.0, 1.0]]), 3)
  >>> jnp.round(path[0, 1], 4)
  Array([0.7071, 0.7071], dtype=float32)
  """
  t = _positions(start, end, steps)
  lengths = jnp.linalg.norm(start, axis=-1) * jnp.linalg.norm(end, axis=-1)
  cosine = jnp.clip((start * end).sum(-1) / jnp.maximum(lengths, 1e-12), -1.0, 1.0)
  angle = jnp.arccos(cosine)[:, None, None]
  sine = jnp.sin(angle)
  parallel = sine < 1e-4
  sine = jnp.where(parallel, 1.0, sine)
  arc = start[:, None] * (jnp.sin((1.0 - t) * angle) / sine) + end[:, None] * (
    jnp.sin(t * angle) / sine
  )
  return jnp.where(parallel, linear(start, end, steps), arc)


def _positions(start: Array, end: Array, steps: int) -> Array:
  if start.shape != end.shape:
    raise ValueError(f"start {start.shape} and end {end.shape} must have the same shape")
  if steps < 2:
    raise ValueError(f"steps={steps} must be at least 2: both ends are part of the path")
  return jnp.linspace(0.0, 1.0, steps, dtype=start.dtype)[None, :, None]
