"""Spread of samples, over all of them and over conditions; what `jaxgan.metrics.health` watches."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgan.types import Array

__all__ = ["condition_effect", "sample_diversity"]


def sample_diversity(samples: Float[Array, "n ..."], real: Float[Array, "m ..."]) -> Array:
  """Mean distance between two samples over the mean distance between two real examples.

  1 for samples from the data's distribution, 0 for a generator with a single output. Where samples
  fall on m of M equally likely, tight and equally distant modes, it is `(1 - 1/m) / (1 - 1/M)`:
  one half is less than two modes. It does not see a single mode missing among many
  (`mode_coverage` and `density_coverage` do), nor on pixels a collapse to a class that varies
  within itself nearly as much as the classes differ: give features then. Memory is that of n^2 and
  m^2 floats; 500 of each are plenty, since the standard error falls with the root of their number.

  Args:
    samples: examples `[n, ...]`, float, n at least 2.
    real: as many of the data or another number, of the same shape per example and on one scale.

  Returns:
    Non-negative float32 scalar; not finite where the real examples are all equal.

  Raises:
    TypeError: one of the two is integer.
    ValueError: shapes differ per example, or fewer than two examples.

  >>> x = jax.random.normal(jax.random.key(0), [100, 4])
  >>> sample_diversity(0.5 * x, x).round(3)
  Array(0.5, dtype=float32)
  """
  for name, x in (("samples", samples), ("real", real)):
    _check_float(name, x)
    if x.ndim < 2 or len(x) < 2:
      raise ValueError(f"{name} must be at least two examples [n, ...], got {x.shape}")
  if samples.shape[1:] != real.shape[1:]:
    raise ValueError(
      f"examples must have one shape, got samples {samples.shape}, real {real.shape}"
    )
  return _mean_distance(samples) / _mean_distance(real)


def condition_effect(generated: Float[Array, "conditions n ..."]) -> Array:
  """How much of the samples' spread follows the condition: 0 for a generator that ignores it.

  Mean distance between two samples of one latent under different conditions, over the mean distance
  between two samples that differ in both. 1 where the latent is ignored. It needs no classifier,
  and does not tell whether the effect is the one that was asked for.

  Args:
    generated: samples `[conditions, n, ...]`, float: `generated[c, i]` of latent i under condition
      c, the same n latents for each; at least two of both.

  Returns:
    Non-negative float32 scalar; 0 for a generator with a single output.

  Raises:
    TypeError: the array is integer.
    ValueError: fewer than two conditions or latents.

  >>> z = jax.random.normal(jax.random.key(0), [1, 50, 4])
  >>> condition_effect(jax.numpy.tile(z, [3, 1, 1])).round(3)
  Array(0., dtype=float32)
  """
  _check_float("generated", generated)
  if generated.ndim < 3 or min(generated.shape[:2]) < 2:
    raise ValueError(
      f"generated must be [conditions, n, ...] with at least two of both, got {generated.shape}"
    )
  conditions, n = generated.shape[:2]
  distances = _distances(generated.reshape(conditions * n, -1)).reshape(
    conditions, n, conditions, n
  )
  others = ~jnp.eye(conditions, dtype=bool)[:, None, :, None]
  same = jnp.eye(n, dtype=bool)[None, :, None, :]
  between = jnp.mean(distances, where=others & same)
  both = jnp.mean(distances, where=others & ~same)
  return between / jnp.maximum(both, jnp.finfo(jnp.float32).tiny)


def _check_float(name: str, x: Array) -> None:
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise TypeError(f"{name} must be float, got {x.dtype}: scale both sets alike, as to [-1, 1]")


def _distances(x: Array) -> Array:
  """All Euclidean distances of `[n, d]`."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  # By |a|^2 + |b|^2 - 2ab, which loses digits to a common mean, so that is taken off first; to
  # bfloat16, the default of some devices' products, it would lose all.
  x = x - x.mean(0, keepdims=True)
  squares = jnp.square(x).sum(1)
  products = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)
  return jnp.sqrt(jnp.maximum(squares[:, None] + squares[None] - 2.0 * products, 0.0))


def _mean_distance(x: Array) -> Array:
  n = len(x)
  distances = jnp.where(jnp.eye(n, dtype=bool), 0.0, _distances(x.reshape(n, -1)))
  return distances.sum() / (n * (n - 1))
