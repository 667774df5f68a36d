"""Measures of samples: pure functions over samples or features, and records of their scores.

The networks that make features are in `jaxgan.metrics.features`.
"""

from jaxgan.metrics.classification_accuracy import (
  classification_accuracy_score,
  logistic_regression,
)
from jaxgan.metrics.code_purity import CodePurity, code_purity
from jaxgan.metrics.diversity import condition_effect, sample_diversity
from jaxgan.metrics.estimate import Estimate
from jaxgan.metrics.frechet import (
  FeatureStatistics,
  FrechetExtrapolation,
  feature_statistics,
  frechet_distance,
  frechet_distance_from_statistics,
  frechet_distance_infinity,
)
from jaxgan.metrics.inception_score import (
  InceptionScore,
  inception_score,
  inception_score_from_logits,
)
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.manifolds import (
  DensityCoverage,
  PrecisionRecall,
  density_coverage,
  precision_recall,
)
from jaxgan.metrics.mode_coverage import ModeCoverage, mode_coverage
from jaxgan.metrics.ms_ssim import ms_ssim, ms_ssim_diversity
from jaxgan.metrics.neighbours import Memorisation, Neighbours, memorisation, nearest_neighbours
from jaxgan.metrics.parzen import (
  ParzenBandwidth,
  ParzenLogLikelihood,
  parzen_bandwidth,
  parzen_log_likelihood,
)
from jaxgan.metrics.path_length import lerp, perceptual_path_length, slerp
from jaxgan.metrics.scores import (
  FeatureIdentity,
  Protocol,
  Score,
  feature_score_name,
  frechet_infinity_name,
  frechet_name,
  inception_score_name,
  kernel_name,
)
from jaxgan.metrics.sliced_wasserstein import sliced_wasserstein
from jaxgan.metrics.stacked_modes import StackedModeCoverage, stacked_mode_coverage

__all__ = [
  "CodePurity",
  "DensityCoverage",
  "Estimate",
  "FeatureIdentity",
  "FeatureStatistics",
  "FrechetExtrapolation",
  "InceptionScore",
  "Memorisation",
  "ModeCoverage",
  "Neighbours",
  "ParzenBandwidth",
  "ParzenLogLikelihood",
  "PrecisionRecall",
  "Protocol",
  "Score",
  "StackedModeCoverage",
  "classification_accuracy_score",
  "code_purity",
  "condition_effect",
  "density_coverage",
  "feature_score_name",
  "feature_statistics",
  "frechet_distance",
  "frechet_distance_from_statistics",
  "frechet_distance_infinity",
  "frechet_infinity_name",
  "frechet_name",
  "inception_score",
  "inception_score_from_logits",
  "inception_score_name",
  "kernel_distance",
  "kernel_name",
  "lerp",
  "logistic_regression",
  "memorisation",
  "mode_coverage",
  "ms_ssim",
  "ms_ssim_diversity",
  "nearest_neighbours",
  "parzen_bandwidth",
  "parzen_log_likelihood",
  "perceptual_path_length",
  "precision_recall",
  "sample_diversity",
  "slerp",
  "sliced_wasserstein",
  "stacked_mode_coverage",
]
