"""Batch statistics estimated anew for the weights that are sampled."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.types import Array, Key, PyTree

__all__ = ["standing_statistics"]

_STATISTICS = "batch_stats"


def standing_statistics(
  apply: Callable[..., Any],
  variables: Mapping[str, PyTree],
  draw: Callable[[Key], Array],
  key: Key,
  *,
  batches: int = 16,
  axis_name: str | None = None,
) -> dict[str, PyTree]:
  """The variables of a generator with batch statistics that belong to its weights.

  Brock et al. 2018 (arXiv 1809.11096), section 3 and appendix B: running statistics are those of
  weights that training has left behind, and averaged weights have none of their own; so many
  batches are generated in training mode, and the statistics of their batch norms averaged.

  Args:
    apply: a linen module's, called `apply(variables, z, train=True, mutable=...)`.
    variables: `{"params": ..., "batch_stats": ..., ...}`, such as the averaged ones.
    draw: from a key to the latents of a batch, such as `lambda key: system.latents(key, 256)`; the
      larger the batch, the less its statistics scatter.
    key: of the latents.
    batches: number of batches, at least 1.
    axis_name: mapped axis that the batch norms share their statistics over, if they were made for
      one; here it has length 1.

  Returns:
    The variables with new statistics; without batch norm they are returned as they are.

  Raises:
    ValueError: `batches` is below 1.

  >>> from flax import linen as nn
  >>> layer = nn.BatchNorm(momentum=0.9)
  >>> z = jax.random.normal(jax.random.key(0), [256, 2]) + 5.0
  >>> variables = layer.init(jax.random.key(1), z, use_running_average=False)
  >>> def apply(variables, z, train, mutable):
  ...   return layer.apply(variables, z, use_running_average=not train, mutable=mutable)
  >>> new = standing_statistics(apply, variables, lambda key: z, jax.random.key(2), batches=2)
  >>> bool(jnp.allclose(new["batch_stats"]["mean"], z.mean(0), rtol=1e-5))
  True
  """
  if batches < 1:
    raise ValueError(f"batches={batches} must be at least 1")
  if not variables.get(_STATISTICS):
    return dict(variables)
  old = variables[_STATISTICS]

  def passed(start: PyTree, key: Key) -> PyTree:
    given = {**variables, _STATISTICS: start}
    _, written = apply(given, draw(key), train=True, mutable=[_STATISTICS])
    return written[_STATISTICS]

  @jax.jit
  def moved(start: PyTree, key: Key) -> PyTree:
    if axis_name is None:
      return passed(start, key)
    alone = jax.vmap(passed, in_axes=None, axis_name=axis_name, axis_size=1)
    return jax.tree.map(lambda x: x[0], alone(start, key))

  # A layer moves its statistics to `m old + (1 - m) new`; from zeros that is `(1 - m) new`, and the
  # difference to where it moves from ones is m.
  zeros, ones = (jax.tree.map(make, old) for make in (jnp.zeros_like, jnp.ones_like))
  keys = jax.random.split(key, batches)
  first = moved(zeros, keys[0])
  decay = jax.tree.map(jnp.subtract, moved(ones, keys[0]), first)
  total = first
  for each in keys[1:]:
    total = jax.tree.map(jnp.add, total, moved(zeros, each))
  new = jax.tree.map(lambda t, m: t / (batches * (1.0 - m)), total, decay)
  return {**variables, _STATISTICS: new}
