"""Losses: pure functions of logits, features and images, in float32 at least.

An adversarial loss is a constructor of an `AdversarialLoss`, a named pair of functions of
`(real_logits, fake_logits)`; the rest are plain functions. All take arrays, never a network, and
leave the mean over the batch to the caller unless the equation takes one inside.
"""

from jaxgan.losses.adversarial import (
  energy_based,
  hinge,
  least_squares,
  minimax,
  non_saturating,
  wasserstein,
)
from jaxgan.losses.auxiliary import (
  auxiliary_classifier,
  categorical_information,
  feature_matching,
  gaussian_information,
  pulling_away,
)
from jaxgan.losses.composed import (
  matching_aware,
  relativistic,
  relativistic_average,
  semi_supervised,
)
from jaxgan.losses.f_divergences import (
  FDivergence,
  alpha_divergence,
  f_divergence,
  gan_divergence,
  jensen_shannon,
  kullback_leibler,
  neyman,
  pearson,
  reverse_kullback_leibler,
  squared_hellinger,
  total_variation,
)
from jaxgan.losses.reconstruction import (
  cycle_consistency,
  identity_mapping,
  kl_to_standard_normal,
  l1,
  l2,
)

__all__ = [
  "FDivergence",
  "alpha_divergence",
  "auxiliary_classifier",
  "categorical_information",
  "cycle_consistency",
  "energy_based",
  "f_divergence",
  "feature_matching",
  "gan_divergence",
  "gaussian_information",
  "hinge",
  "identity_mapping",
  "jensen_shannon",
  "kl_to_standard_normal",
  "kullback_leibler",
  "l1",
  "l2",
  "least_squares",
  "matching_aware",
  "minimax",
  "neyman",
  "non_saturating",
  "pearson",
  "pulling_away",
  "relativistic",
  "relativistic_average",
  "reverse_kullback_leibler",
  "semi_supervised",
  "squared_hellinger",
  "total_variation",
  "wasserstein",
]
