"""A latent walk of a run: one picture that the report shows."""

import os
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import sampling
from jaxgan.run.conditioning import condition_of
from jaxgan.run.writing import writing
from jaxgan.training import System
from jaxgan.types import Array

__all__ = ["draw_walk", "walk_latents", "walk_path"]

_ROWS = 8
_STEPS = 8


def walk_path(workdir: str | os.PathLike[str], step: int) -> pathlib.Path:
  """Where the walk of a step is kept."""
  return pathlib.Path(workdir) / f"walk_{step:06d}.png"


def walk_latents(system: System, latents: Array) -> Array | None:
  """Great-circle arcs between the first latents of a sample grid.

  Args:
    system: whose latents they are.
    latents: `[64, d]`.

  Returns:
    `[64, d]`, eight rows of eight steps, or None if they cannot be walked: the system paints from
    pictures, or a latent is not one row of real numbers. A label or category stays that of a row's
    start, since half of two classes is none.
  """
  # As many as in a grid, so that the grid's program draws them.
  if latents.ndim != 2 or len(latents) != _ROWS * _STEPS or system.inputs is not None:
    return None
  if not jnp.issubdtype(latents.dtype, jnp.floating):
    return None
  z = np.array(latents)
  condition = condition_of(system.latents)
  kept = [] if condition is None else condition.columns.tolist()
  walked = np.setdiff1d(np.arange(z.shape[1]), kept)
  path = np.repeat(z[:_ROWS, None], _STEPS, axis=1)
  path[:, :, walked] = _arcs(z[:_ROWS, walked], z[_ROWS : 2 * _ROWS, walked])
  return jnp.asarray(path.reshape(z.shape))


@jax.jit
def _arcs(start: Array, end: Array) -> Array:
  return sampling.spherical(start, end, _STEPS)


def draw_walk(
  images: Callable[[Array], np.ndarray], z: Array, workdir: str | os.PathLike[str], step: int
) -> None:
  """Writes the walk.

  Args:
    images: from latents `[n, d]` to pictures in [-1, 1].
    z: of `walk_latents`.
    workdir: of the run.
    step: completed steps.
  """
  path = walk_path(workdir, step)
  picture = sampling.grid(sampling.to_uint8(images(z)), _STEPS)
  with writing(path):
    sampling.save_png(path, picture)
