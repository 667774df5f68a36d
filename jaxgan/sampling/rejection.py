"""Rejection sampling by the discriminator: Azadi et al. 2018 (arXiv 1810.06758)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgan.sampling.generation import in_batches
from jaxgan.types import Array, Key

__all__ = [
  "Accepted",
  "RejectionError",
  "acceptance_probability",
  "acceptance_shift",
  "rejection_sample",
]

Propose = Callable[[Key, int], Array]
Score = Callable[[Array], Array]


class RejectionError(RuntimeError):
  """Too few samples were accepted."""


class Accepted(NamedTuple):
  """Samples that a discriminator has let pass.

  Attributes:
    proposals: those accepted, `[n, ...]`: latents, or whatever was proposed.
    logits: theirs.
    rate: share of all proposals that were accepted, in (0, 1].
  """

  proposals: np.ndarray
  logits: np.ndarray
  rate: float


def acceptance_probability(
  logits: Float[Array, "n"],
  maximum: Array | float,
  *,
  shift: Array | float = 0.0,
  epsilon: float = 1e-8,
) -> Float[Array, "n"]:
  """The probability with which discriminator rejection sampling keeps a sample.

  Azadi et al. 2018 (arXiv 1810.06758), sigmoid(F), where

      F = l - m - log(1 - exp(l - m - epsilon)) - gamma

  for the logit l and its maximum m. With gamma = 0 this is exp(l - m) up to epsilon, which is
  p_data / (M p_generator) if the discriminator is optimal and m its true maximum: the samples that
  are kept are then distributed as the data. A gamma above 0 rejects more, below 0 less.

  Args:
    logits: of samples.
    maximum: m, estimated from many samples; logits above it count as equal to it.
    shift: gamma; see `acceptance_shift`.
    epsilon: keeps the logarithm finite.

  Returns:
    Probabilities of the shape of `logits`, float32 at least.

  >>> acceptance_probability(jnp.log(jnp.array([0.5, 1.0, 2.0])), jnp.log(2.0)).round(4)
  Array([0.25, 0.5 , 1.  ], dtype=float32)
  """
  return jax.nn.sigmoid(_unshifted(logits, maximum, epsilon) - shift)


def acceptance_shift(
  logits: Float[Array, "n"],
  maximum: Array | float,
  *,
  percentile: float = 95.0,
  epsilon: float = 1e-8,
) -> Float[Array, ""]:
  """The gamma with which a given share of samples has an acceptance probability below one half.

  Azadi et al. 2018 (arXiv 1810.06758): exact rejection sampling accepts next to nothing
  where logits spread far, as those of pictures do; a percentile of F as gamma sets the rate.

  Args:
    logits: of samples.
    maximum: as in `acceptance_probability`.
    percentile: share of the samples, in percent; higher is stricter.
    epsilon: as in `acceptance_probability`.

  Returns:
    Gamma, a scalar.

  Raises:
    ValueError: the percentile is out of [0, 100].

  >>> logits = jnp.array([-1.0, 0.0, 1.0])
  >>> shift = acceptance_shift(logits, 1.0, percentile=50.0)
  >>> acceptance_probability(logits, 1.0, shift=shift)[1]
  Array(0.5, dtype=float32)
  """
  if not 0.0 <= percentile <= 100.0:
    raise ValueError(f"percentile={percentile} must be from 0 to 100")
  return jnp.percentile(_unshifted(logits, maximum, epsilon), percentile)


def rejection_sample(
  propose: Propose,
  score: Score,
  key: Key,
  n: int,
  *,
  percentile: float | None = 95.0,
  epsilon: float = 1e-8,
  burn_in: int = 10_000,
  batch_size: int = 256,
  most: int = 10_000_000,
) -> Accepted:
  """Draws samples that pass rejection by the discriminator.

  Azadi et al. 2018 (arXiv 1810.06758): a burn-in estimates the maximum of the logits,
  which rises if a larger one turns up later. Gamma is the percentile over the burn-in, where they
  take each batch's own: a sample's fate does not depend on its neighbours.

  Args:
    propose: `(key, n) -> [n, ...]`, such as a sampler of latents.
    score: from proposals `[b, ...]` to logits `[b]`: for latents z, D(G(z)); typically jitted.
    key: of the draws.
    n: number of samples, at least 1.
    percentile: of `acceptance_shift`; None for gamma = 0, the exact scheme.
    epsilon: of `acceptance_probability`.
    burn_in: number of proposals that estimate the maximum, at least 1.
    batch_size: proposals at a time.
    most: proposals after which it gives up.

  Returns:
    The accepted proposals, their logits and the rate.

  Raises:
    ValueError: a number is out of range, or a logit is not finite.
    RejectionError: `most` proposals were not enough.

  >>> draw = lambda key, n: jax.random.uniform(key, [n])
  >>> kept = rejection_sample(draw, jnp.log, jax.random.key(0), 1000, percentile=None)
  >>> round(float(kept.proposals.mean()), 1), round(kept.rate, 1)  # of density 2x on [0, 1]
  (0.7, 0.5)
  """
  if n < 1 or burn_in < 1 or batch_size < 1:
    raise ValueError(f"n={n}, burn_in={burn_in} and batch_size={batch_size} must be at least 1")
  burn_key, key = jax.random.split(key)
  seen = jnp.asarray(scored(score, propose(burn_key, burn_in), batch_size))
  maximum, shift = -math.inf, 0.0
  kept: list[tuple[np.ndarray, np.ndarray]] = []
  count = tried = 0
  largest = float(seen.max())
  while count < n:
    if tried >= most:
      raise RejectionError(f"only {count} of n={n} accepted in {tried} proposals: lower percentile")
    draw_key, accept_key = jax.random.split(jax.random.fold_in(key, tried))
    proposals = propose(draw_key, batch_size)
    logits = scored(score, proposals, batch_size)
    largest = max(largest, float(logits.max()))
    if largest > maximum:
      maximum = largest
      if percentile is not None:
        shift = float(acceptance_shift(seen, maximum, percentile=percentile, epsilon=epsilon))
    keep = np.asarray(_decided(accept_key, jnp.asarray(logits), maximum, shift, epsilon))
    kept.append((np.asarray(proposals)[keep], logits[keep]))
    count += int(keep.sum())
    tried += batch_size
  chosen, logits = (np.concatenate(parts) for parts in zip(*kept, strict=True))
  return Accepted(chosen[:n], logits[:n], count / tried)


@jax.jit
def _decided(key: Key, logits: Array, maximum: float, shift: float, epsilon: float) -> Array:
  probability = acceptance_probability(logits, maximum, shift=shift, epsilon=epsilon)
  return jax.random.uniform(key, logits.shape) < probability


def scored(score: Score, proposals: Array, batch_size: int) -> np.ndarray:
  """Logits of proposals; raises where they are not one finite number each."""
  logits = in_batches(score, proposals, batch_size)
  if logits.shape != (len(proposals),) or not np.isfinite(logits).all():
    raise ValueError(f"score must give finite logits [{len(proposals)}], got {logits.shape}")
  return logits


def _unshifted(logits: Array, maximum: Array | float, epsilon: float) -> Array:
  logits = jnp.asarray(logits)
  below = jnp.minimum(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)) - maximum, 0.0)
  return below - jnp.log(-jnp.expm1(below - epsilon))
