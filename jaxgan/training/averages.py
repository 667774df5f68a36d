"""Decays of moving averages of weights that grow in training."""

import math
from collections.abc import Callable

import jax.numpy as jnp

from jaxgan.types import Array

__all__ = ["ramped_decay"]


def ramped_decay(decay: float, ramp: float) -> Callable[[Array], Array]:
  """A moving average whose half-life is a share of the training so far, up to its own.

  ADA, Karras et al. 2020 (arXiv 2006.06676), whose code takes a share of 0.05: early averages
  forget the initial weights. With `h = log(1/2) / log(decay)` the half-life in updates, the decay
  after t of them is `(1/2)^(1 / min(h, ramp t))`.

  Args:
    decay: at last, per update, in [0, 1): `0.5 ** (batch / 10_000)` for a half-life of 10,000
      pictures.
    ramp: the share, above 0.

  Returns:
    From the number of updates to the decay.

  Raises:
    ValueError: a value is out of range.

  >>> decay = ramped_decay(0.5 ** (1 / 100), 0.05)  # a half-life of 100 updates
  >>> [round(float(decay(jnp.asarray(t))), 4) for t in (0, 20, 2000, 9000)]
  [0.0, 0.5, 0.9931, 0.9931]
  """
  if not 0.0 <= decay < 1.0:
    raise ValueError(f"decay={decay} must be in [0, 1)")
  if not ramp > 0.0:
    raise ValueError(f"ramp={ramp} must be positive: ADA takes 0.05")
  half_life = math.log(0.5) / math.log(decay) if decay else 0.0

  def at(updates: Array) -> Array:
    lives = jnp.minimum(half_life, ramp * updates)
    return jnp.where(lives > 0.0, 0.5 ** (1.0 / jnp.maximum(lives, 1e-8)), 0.0)

  return at
