"""Latents that are moved on purpose: arithmetic, sweeps, steps along directions."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Float

from jaxgan.types import Array

__all__ = ["sweep", "sweep_classes", "traverse", "vector_arithmetic"]


def vector_arithmetic(
  plus: Sequence[Float[Array, "_ d"]], minus: Sequence[Float[Array, "_ d"]] = ()
) -> Float[Array, "d"]:
  """Adds and subtracts concepts, each the mean of the latents of a few exemplars.

  Radford et al. 2015 (arXiv 1511.06434), section 6.3.2: (smiling woman) - (neutral woman) +
  (neutral man), with three exemplars each, since single latents give unstable results.

  Args:
    plus: latents of exemplars `[exemplars, d]`, one array for each concept that is added.
    minus: those of the concepts that are taken away.

  Returns:
    One latent.

  Raises:
    ValueError: there is nothing to add, an array has no exemplars or the dimensions differ.

  >>> woman, man, smiling = jnp.eye(3)
  >>> vector_arithmetic([(woman + smiling)[None], man[None]], [woman[None]])
  Array([0., 1., 1.], dtype=float32)
  """
  concepts = [*plus, *minus]
  if not plus or any(
    x.ndim != 2 or not len(x) or x.shape[1:] != plus[0].shape[1:] for x in concepts
  ):
    raise ValueError(
      "plus must hold at least one array, and all arrays must be [exemplars, d] with at least one "
      f"exemplar and one d, got {[x.shape for x in plus]} and minus {[x.shape for x in minus]}"
    )
  added = sum((x.mean(0) for x in plus), jnp.zeros_like(plus[0][0]))
  return added - sum((x.mean(0) for x in minus), jnp.zeros_like(plus[0][0]))


def sweep(
  latents: Float[Array, "n d"], index: int, values: Float[Array, "steps"]
) -> Float[Array, "n steps d"]:
  """Sets one coordinate to each of some values and leaves the rest.

  Chen et al. 2016 (arXiv 1606.03657), figure 2: a row of pictures for each latent shows what a
  continuous code does.

  Args:
    latents: where the rows start from.
    index: the coordinate, from 0.
    values: what it takes; codes are trained on [-1, 1] and are shown to [-2, 2].

  Returns:
    The latents of each row.

  Raises:
    ValueError: the shapes are others, or there is no such coordinate.

  >>> sweep(jnp.ones([1, 3]), 1, jnp.array([-2.0, 2.0]))
  Array([[[ 1., -2.,  1.],
          [ 1.,  2.,  1.]]], dtype=float32)
  """
  n, d = _checked(latents)
  values = jnp.asarray(values)
  if values.ndim != 1 or not 0 <= index < d:
    raise ValueError(
      f"index={index} must be in [0, {d}), and values {values.shape} one-dimensional"
    )
  rows = jnp.broadcast_to(latents[:, None], (n, len(values), d))
  return rows.at[:, :, index].set(values[None].astype(latents.dtype))


def sweep_classes(
  latents: Float[Array, "n d"], start: int, classes: int
) -> Float[Array, "n classes d"]:
  """Sets a one-hot code to each of its classes and leaves the rest.

  Chen et al. 2016 (arXiv 1606.03657), figure 2a; labels of a conditional generator likewise, where
  its latents hold them.

  Args:
    latents: where the rows start from.
    start: first coordinate of the code.
    classes: its length, at least 2.

  Returns:
    The latents of each row.

  Raises:
    ValueError: the code does not lie within the latents.

  >>> sweep_classes(jnp.ones([1, 3]), 1, 2)
  Array([[[1., 1., 0.],
          [1., 0., 1.]]], dtype=float32)
  """
  n, d = _checked(latents)
  if classes < 2 or not 0 <= start <= d - classes:
    raise ValueError(
      f"start={start} and classes={classes} must name at least two of the coordinates 0 to {d - 1}"
    )
  rows = jnp.broadcast_to(latents[:, None], (n, classes, d))
  return rows.at[:, :, start : start + classes].set(jnp.eye(classes, dtype=latents.dtype)[None])


def traverse(
  latents: Float[Array, "n d"], directions: Float[Array, "k d"], steps: Float[Array, "steps"]
) -> Float[Array, "n k steps d"]:
  """Walks from latents along directions, z + s v.

  Args:
    latents: where the walks start.
    directions: such as `semantic_factorisation(...).vectors`.
    steps: how far, in lengths of a direction; `jnp.linspace(-3, 3, 7)` say.

  Returns:
    All of the points.

  Raises:
    ValueError: the shapes do not fit.

  >>> traverse(jnp.zeros([1, 2]), jnp.eye(2), jnp.array([-3.0, 3.0]))[0, 1]
  Array([[ 0., -3.],
         [ 0.,  3.]], dtype=float32)
  """
  _, d = _checked(latents)
  directions, steps = jnp.asarray(directions), jnp.asarray(steps)
  if directions.ndim != 2 or directions.shape[1] != d or steps.ndim != 1:
    raise ValueError(
      f"directions {directions.shape} must be [k, {d}] for latents {latents.shape}, and steps "
      f"{steps.shape} one-dimensional"
    )
  moves = steps[None, :, None] * directions[:, None, :]
  return latents[:, None, None, :] + moves[None]


def _checked(latents: Array) -> tuple[int, int]:
  if latents.ndim != 2:
    raise ValueError(f"latents {latents.shape} must be [n, d]")
  return latents.shape[0], latents.shape[1]
