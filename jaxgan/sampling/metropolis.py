"""Metropolis-Hastings sampling by the discriminator: Turner et al. 2018 (arXiv 1811.11357)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from jaxgan.sampling.rejection import Accepted, Propose, Score, scored
from jaxgan.types import Array, Key

__all__ = ["metropolis_hastings", "metropolis_hastings_sample"]


@jax.jit
def metropolis_hastings(
  start: Float[Array, "chains"], proposals: Float[Array, "k chains"], key: Key
) -> tuple[Int[Array, "chains"], Int[Array, "chains"]]:
  """Independence chains over logits: where each ends, and how often it moved.

  Turner et al. 2018 (arXiv 1811.11357): from x a chain moves to a sample x' of the
  generator with probability min(1, (1/D(x) - 1) / (1/D(x') - 1)), which is exp(l' - l) or 1 in
  logits. With D optimal the chain's law tends to the data's.

  Args:
    start: logits of where the chains stand; -inf moves to the first proposal.
    proposals: logits of k proposals for each chain.
    key: of the decisions.

  Returns:
    The index of the proposal on which each chain ends, -1 if it never moved, and the number of
    moves; int32.

  >>> metropolis_hastings(jnp.zeros([2]), jnp.array([[1.0, -90.0]]), jax.random.key(0))
  (Array([ 0, -1], dtype=int32), Array([1, 0], dtype=int32))
  """
  if start.ndim != 1 or proposals.ndim != 2 or start.shape != proposals.shape[1:]:
    raise ValueError(
      f"start {start.shape} must be [chains], proposals {proposals.shape} [k, chains]"
    )
  dtype = jnp.promote_types(proposals.dtype, jnp.float32)
  thresholds = jnp.log(jax.random.uniform(key, proposals.shape, dtype))

  def move(carry: tuple[Array, Array, Array], new: tuple[Array, Array, Array]):
    logit, index, moves = carry
    proposal, threshold, i = new
    accept = threshold < proposal - logit
    chosen = (jnp.where(accept, proposal, logit), jnp.where(accept, i, index), moves + accept)
    return chosen, None

  # Made of `start`, so that all three vary over the axes that it varies over.
  none = jnp.zeros_like(start, jnp.int32)
  steps = (proposals.astype(dtype), thresholds, jnp.arange(len(proposals), dtype=jnp.int32))
  (_, index, moves), _ = jax.lax.scan(move, (start.astype(dtype), none - 1, none), steps)
  return index, moves


def metropolis_hastings_sample(
  propose: Propose,
  score: Score,
  real_logits: Float[ArrayLike, "m"],
  key: Key,
  n: int,
  *,
  length: int = 640,
  batch_size: int = 256,
) -> Accepted:
  """Draws samples, each the end of a chain of its own that starts from a real example.

  Turner et al. 2018 (arXiv 1811.11357). A start from real data needs no burn-in; a
  chain that never leaves it is run again from a sample. Give calibrated logits: put a function of
  `jaxgan.sampling.logistic_calibration` or `isotonic_calibration` behind the discriminator.

  Args:
    propose: `(key, n) -> [n, ...]`, such as a sampler of latents.
    score: from proposals `[b, ...]` to calibrated logits `[b]`: for latents z, of D(G(z)).
    real_logits: of real examples, calibrated in the same way; each chain draws its start.
    key: of the draws.
    n: number of samples, at least 1.
    length: proposals to each chain, the paper's K.
    batch_size: most proposals scored at a time.

  Returns:
    The samples, their logits, and the moves over the proposals as the rate.

  Raises:
    ValueError: a number is out of range, or a logit is not finite.

  >>> draw = lambda key, n: jax.random.uniform(key, [n])
  >>> logit = lambda x: jnp.log(2.0 * x)
  >>> kept = metropolis_hastings_sample(
  ...   draw, logit, np.array([0.1]), jax.random.key(0), 500, length=30)
  >>> round(float(kept.proposals.mean()), 1)  # of density 2x on [0, 1]
  0.7
  """
  if n < 1 or length < 1 or batch_size < 1:
    raise ValueError(f"n={n}, length={length} and batch_size={batch_size} must be at least 1")
  real = np.asarray(real_logits, np.float32)
  if real.ndim != 1 or not len(real) or not np.isfinite(real).all():
    raise ValueError(f"real_logits {real.shape} must be finite logits [m] of real examples")
  start_key, first_key, again_key = jax.random.split(key, 3)
  drawn = np.asarray(jax.random.choice(start_key, jnp.asarray(real), [n]))
  places, logits, moves = _chains(propose, score, drawn, first_key, length, batch_size)
  tried = n * length
  stuck = moves == 0
  if stuck.any():
    start = np.full(int(stuck.sum()), -np.inf, np.float32)
    others, logits[stuck], again = _chains(propose, score, start, again_key, length, batch_size)
    places[stuck] = others
    moves[stuck] = again
    tried += len(start) * length
  return Accepted(places, logits, float(moves.sum() / tried))


def _chains(
  propose: Propose, score: Score, start: np.ndarray, key: Key, length: int, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Runs chains in blocks of steps; those that never move have no place worth reading."""
  chains = len(start)
  block = min(length, max(1, batch_size // chains))
  places: np.ndarray | None = None
  logits, moves = start.copy(), np.zeros(chains, np.int64)
  for done in range(0, length, block):
    draw_key, move_key = jax.random.split(jax.random.fold_in(key, done))
    drawn = propose(draw_key, block * chains)
    new = scored(score, drawn, batch_size).reshape(block, chains)
    # A last block that is too long is cut by proposals that no chain takes.
    new = np.where(np.arange(done, done + block)[:, None] < length, new, -np.inf)
    index, moved = (np.asarray(x) for x in metropolis_hastings(logits, new, move_key))
    proposals = np.asarray(drawn).reshape(block, chains, *drawn.shape[1:])
    places = np.array(proposals[0]) if places is None else places
    to = np.flatnonzero(index >= 0)
    places[to], logits[to] = proposals[index[to], to], new[index[to], to]
    moves += moved
  assert places is not None
  return places, logits, moves
