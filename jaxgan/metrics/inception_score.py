"""Inception score: how sure a classifier is of each sample, and how unsure of all together."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxgan.metrics._checks import AnyArray, feature_matrix

__all__ = ["InceptionScore", "inception_score", "inception_score_from_logits"]


class InceptionScore(NamedTuple):
  """Mean and standard deviation of the score over the splits, as papers report it.

  Attributes:
    mean: in [1, classes].
    standard_deviation: between splits, not of their mean; 0 with one split.
  """

  mean: float
  standard_deviation: float

  def __str__(self) -> str:
    return f"{self.mean:.6g} ± {self.standard_deviation:.2g}"


def inception_score(
  probabilities: Float[AnyArray, "n classes"], *, splits: int = 10
) -> InceptionScore:
  """exp(E KL(p(y|x) || p(y))), the mean over consecutive parts of the samples.

  Salimans et al. 2016 (arXiv 1606.03498), who take 50,000 samples in 10 splits. A small split
  estimates p(y) from few samples and scores lower, so that only scores of equal counts and splits
  compare. It knows no real data: one good sample of each class scores best.

  Args:
    probabilities: `[n, classes]`, rows that sum to 1, of samples in random order.
    splits: number of parts, which differ by at most one sample in size.

  Returns:
    Mean and standard deviation over the splits.

  Raises:
    ValueError: rows are not probabilities, or there are fewer samples than splits.

  >>> print(inception_score(np.eye(4)[np.arange(40) % 4], splits=2))
  4 ± 0
  """
  p = feature_matrix("probabilities", probabilities).astype(np.float64)
  sums = p.sum(1)
  # float32 and bfloat16 softmax differ from 1 in their last digits
  if p.min() < 0 or np.abs(sums - 1.0).max() > 1e-2:
    raise ValueError(
      f"probabilities must be non-negative and sum to 1 in each row, got sums from "
      f"{sums.min():.4g} to {sums.max():.4g} and a least value of {p.min():.4g}: hand logits to "
      "inception_score_from_logits"
    )
  p /= sums[:, None]
  return _score(p, _negative_entropy(p), splits)


def inception_score_from_logits(
  logits: Float[AnyArray, "n classes"], *, splits: int = 10
) -> InceptionScore:
  """`inception_score` of softmax(logits), without underflow.

  Args:
    logits: `[n, classes]`, any finite numbers.
    splits: as there.

  Returns:
    Mean and standard deviation over the splits.

  Raises:
    ValueError: values are not finite, or there are fewer samples than splits.

  >>> print(inception_score_from_logits(np.zeros([10, 3])))
  1 ± 0
  """
  log_p = feature_matrix("logits", logits).astype(np.float64)
  log_p -= log_p.max(1, keepdims=True)
  log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
  p = np.exp(log_p)
  return _score(p, (p * log_p).sum(1), splits)


def _score(p: np.ndarray, negative_entropy: np.ndarray, splits: int) -> InceptionScore:
  n = len(p)
  if not 1 <= splits <= n:
    raise ValueError(f"splits={splits} must be from 1 to the number of samples, {n}")
  scores = []
  for i in range(splits):
    part = slice(i * n // splits, (i + 1) * n // splits)
    marginal = p[part].mean(0)
    scores.append(np.exp(negative_entropy[part].mean() - _negative_entropy(marginal)))
  return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _negative_entropy(p: np.ndarray) -> np.ndarray:
  """Sum of p log p over the last axis, 0 log 0 being 0."""
  return (p * np.log(np.where(p > 0, p, 1.0))).sum(-1)
