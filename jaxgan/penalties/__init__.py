"""Penalties on a discriminator, per example and without their weight, and what they ask of Adam.

Those on the input's gradient take a critic closure, `[batch, ...]` to logits `[batch]`, and are of
one example each only where the critic does not mix examples: see `check_per_example`. They
differentiate in reverse mode alone, so that a critic may hold functions with a custom VJP.
"""

from jaxgan.penalties.consistency import (
  LeCamAverages,
  balanced_consistency,
  consistency,
  latent_consistency,
  lecam,
  lecam_averages,
  lecam_update,
)
from jaxgan.penalties.critics import check_per_example, l2_norm
from jaxgan.penalties.gradient import (
  dragan,
  gradient_penalty,
  r1,
  r1_estimate,
  r2,
  r2_estimate,
)
from jaxgan.penalties.optimisation import Lazy, clip_weights, lazily, lazy_adam, weight_clipping

__all__ = [
  "Lazy",
  "LeCamAverages",
  "balanced_consistency",
  "check_per_example",
  "clip_weights",
  "consistency",
  "dragan",
  "gradient_penalty",
  "l2_norm",
  "latent_consistency",
  "lazily",
  "lazy_adam",
  "lecam",
  "lecam_averages",
  "lecam_update",
  "r1",
  "r1_estimate",
  "r2",
  "r2_estimate",
  "weight_clipping",
]
