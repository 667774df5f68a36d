"""Fréchet distance of two sets of features, from arrays, streams or stored statistics."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxgan.metrics._checks import AnyArray, feature_matrix, same_width
from jaxgan.types import Key

__all__ = [
  "FeatureStatistics",
  "FrechetExtrapolation",
  "feature_statistics",
  "frechet_distance",
  "frechet_distance_from_statistics",
  "frechet_distance_infinity",
]

_CHUNK = 4096  # rows that are held in float64 at a time


class FeatureStatistics(NamedTuple):
  """Mean and covariance of features, with pure functions that add more of them.

  They live on the host in float64: a covariance summed in float32 is wrong in the digits that a
  Fréchet distance of good samples is made of, GPUs and TPUs have no fast float64, and the one
  product `[d, n] x [n, d]` of a batch is small beside the network that made it. Every batch is
  centred on its own mean before it is multiplied (Chan, Golub and LeVeque 1983), so that a large
  common mean costs no digits, and parts may be merged in any order.

  Attributes:
    examples: how many.
    mean: `[d]`, float64.
    covariance: `[d, d]`, float64, divided by `examples - 1`; zero below two examples.

  >>> x = np.arange(12.0).reshape(6, 2)
  >>> statistics = FeatureStatistics.init(2).update(x[:4]).merge(feature_statistics(x[4:]))
  >>> statistics.examples, statistics.mean, statistics.covariance[0]
  (6, array([5., 6.]), array([14., 14.]))
  """

  examples: int
  mean: Float[np.ndarray, "d"]
  covariance: Float[np.ndarray, "d d"]

  @classmethod
  def init(cls, dimension: int) -> "FeatureStatistics":
    """Statistics of no examples."""
    if dimension < 1:
      raise ValueError(f"dimension={dimension} must be at least 1")
    return cls(0, np.zeros(dimension), np.zeros((dimension, dimension)))

  def update(self, features: Float[AnyArray, "n d"]) -> "FeatureStatistics":
    """Adds a batch of features; n may differ from batch to batch."""
    features = feature_matrix("features", features)
    same_width(features=features, mean=self.mean[None])
    total = self
    for start in range(0, len(features), _CHUNK):
      part = features[start : start + _CHUNK].astype(np.float64)
      mean = part.mean(0)
      part -= mean
      covariance = part.T @ part / max(len(part) - 1, 1)
      total = total.merge(FeatureStatistics(len(part), mean, covariance))
    return total

  def merge(self, other: "FeatureStatistics") -> "FeatureStatistics":
    """Statistics of both sets together, such as those of two processes."""
    same_width(this=self.mean[None], other=other.mean[None])
    if not self.examples or not other.examples:
      return self if self.examples else other
    total = self.examples + other.examples
    apart = other.mean - self.mean
    scatter = (
      self.covariance * (self.examples - 1)
      + other.covariance * (other.examples - 1)
      + np.outer(apart, apart) * (self.examples * other.examples / total)
    )
    mean = self.mean + apart * (other.examples / total)
    return FeatureStatistics(total, mean, scatter / (total - 1))


def feature_statistics(features: Float[AnyArray, "n d"]) -> FeatureStatistics:
  """Mean and covariance of an array of features, in float64.

  Args:
    features: `[n, d]`, finite.

  Returns:
    The statistics; store them as arrays, and hand them to `frechet_distance_from_statistics`.

  Raises:
    ValueError: another shape, no rows, or a value that is not finite.
  """
  features = feature_matrix("features", features)
  return FeatureStatistics.init(features.shape[1]).update(features)


def frechet_distance(real: Float[AnyArray, "n d"], fake: Float[AnyArray, "m d"]) -> float:
  """Fréchet distance between Gaussians fitted to two sets of features: |m1-m2|^2 + Tr(...).

  Heusel et al. 2017 (arXiv 1706.08500). It is the "FID" only on the features of the published
  Inception network; see `jaxgan.metrics.frechet_name`.

  It is biased: with fewer examples it is larger, so that only scores at equal counts compare
  (10,000 or more of both is the field's habit, and both counts belong to the score's protocol).
  With n <= d a covariance has no full rank; the value is still exact for the fitted Gaussians, but
  its bias is large. `frechet_distance_infinity` extrapolates.

  Args:
    real: features of data, `[n, d]`, n at least 2.
    fake: features of samples, `[m, d]`, m at least 2.

  Returns:
    A non-negative number, in the squared units of the features.

  Raises:
    ValueError: a shape that is not `[n, d]`, different d, fewer than 2 examples, or values that
      are not finite.

  >>> x = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 1.0], [3.0, 2.0]])
  >>> round(frechet_distance(x, x + [3.0, 4.0]), 6)
  25.0
  """
  real = feature_matrix("real", real, at_least=2)
  fake = feature_matrix("fake", fake, at_least=2)
  same_width(real=real, fake=fake)
  return frechet_distance_from_statistics(feature_statistics(real), feature_statistics(fake))


def frechet_distance_from_statistics(real: FeatureStatistics, fake: FeatureStatistics) -> float:
  """Fréchet distance between two Gaussians: |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)).

  With C1 = F F' and C2 = G G' the eigenvalues of C1 C2 are the squared singular values of F'G, so
  that the root's trace is the sum of these: real, non-negative, and exact where a covariance has no
  full rank, without the small multiples of the identity that a matrix square root needs there.

  Args:
    real: of at least 2 examples.
    fake: of at least 2 examples, of the same dimension.

  Returns:
    A non-negative number.

  Raises:
    ValueError: dimensions differ, a set has fewer than 2 examples, or a covariance is none.

  >>> a = FeatureStatistics(100, np.zeros(2), np.diag([1.0, 4.0]))
  >>> b = FeatureStatistics(100, np.array([3.0, 0.0]), np.diag([4.0, 4.0]))
  >>> frechet_distance_from_statistics(a, b)
  10.0
  """
  same_width(real=real.mean[None], fake=fake.mean[None])
  return _distance(real, _factor("real", real), fake, _factor("fake", fake))


class FrechetExtrapolation(NamedTuple):
  """What `frechet_distance_infinity` fits: `distance = value + slope / count`.

  Attributes:
    value: the intercept, an estimate of the distance for infinitely many samples.
    slope: the bias of a distance times the number of samples.
    counts: the numbers of samples that were scored.
    distances: their distances.
  """

  value: float
  slope: float
  counts: tuple[int, ...]
  distances: tuple[float, ...]


def frechet_distance_infinity(
  real: Float[AnyArray, "n d"] | FeatureStatistics,
  fake: Float[AnyArray, "m d"],
  *,
  key: Key,
  points: int = 15,
  smallest: int | None = None,
) -> FrechetExtrapolation:
  """Fréchet distance extrapolated to infinitely many samples by a line in 1/N.

  Chong and Forsyth 2019 (arXiv 1911.07023): the expected bias falls as 1/N, with a slope that
  depends on the generator. Each point scores a random subset of the samples, without replacement.
  The bias of finitely many real examples stays: compare at one real set.

  Args:
    real: features of data, or their statistics.
    fake: features of samples, `[m, d]`; the paper takes 50,000.
    key: of the subsets.
    points: number of subset sizes, evenly spaced from `smallest` to m, at least 3.
    smallest: the smallest subset; by default m / 10, as in the paper (5,000 of 50,000), but at
      least 2 d, below which the bias is not yet close to a line.

  Returns:
    The intercept, the slope and the points. The value is not clipped: noise may make it negative.

  Raises:
    ValueError: too few points, samples or dimensions to fit.

  >>> x = np.asarray(jax.random.normal(jax.random.key(0), [4000, 8]))
  >>> fit = frechet_distance_infinity(x, x[:1000], key=jax.random.key(1), points=5)
  >>> fit.counts, fit.value < fit.distances[-1]
  ((100, 325, 550, 775, 1000), True)
  """
  fake = feature_matrix("fake", fake, at_least=2)
  if not isinstance(real, FeatureStatistics):
    real = feature_statistics(feature_matrix("real", real, at_least=2))
  same_width(real=real.mean[None], fake=fake)
  m, d = fake.shape
  smallest = max(m // 10, 2 * d) if smallest is None else smallest
  if points < 3:
    raise ValueError(f"points={points} must be at least 3 to fit a line and see that it is one")
  if not 2 <= smallest <= m - points:
    raise ValueError(
      f"smallest={smallest} must be at least 2 and leave room for {points} sizes up to the {m} "
      f"samples: draw more samples (10 d = {10 * d} are plenty) or set a smaller one"
    )
  counts = [round(c) for c in np.linspace(smallest, m, points)]
  factor = _factor("real", real)
  distances = []
  for i, count in enumerate(counts):
    rows = np.asarray(jax.random.permutation(jax.random.fold_in(key, i), m))[:count]
    statistics = feature_statistics(fake[rows])
    distances.append(_distance(real, factor, statistics, _factor("fake", statistics)))
  slope, value = np.polyfit(1.0 / np.asarray(counts, np.float64), distances, 1)
  return FrechetExtrapolation(float(value), float(slope), tuple(counts), tuple(distances))


def _distance(
  a: FeatureStatistics, a_factor: np.ndarray, b: FeatureStatistics, b_factor: np.ndarray
) -> float:
  import scipy.linalg  # here and below: `import jaxgan` is to load no scipy

  product = a_factor.T @ b_factor
  root = scipy.linalg.svdvals(product, check_finite=False).sum() if product.size else 0.0
  apart = a.mean - b.mean
  traces = np.trace(a.covariance) + np.trace(b.covariance)
  return max(float(apart @ apart + traces - 2.0 * root), 0.0)


def _factor(name: str, statistics: FeatureStatistics) -> np.ndarray:
  """F `[d, rank]` with F F' = covariance, by Cholesky's method with pivots.

  It stops where what remains is rounding, which makes it a factor of a covariance of any rank, at
  a hundredth of an eigendecomposition's time.
  """
  examples, mean, covariance = statistics
  d = len(mean)
  if examples < 2:
    raise ValueError(f"{name} has {examples} examples, a covariance needs 2 or more")
  if covariance.shape != (d, d):
    raise ValueError(f"{name}.covariance must be [{d}, {d}], got {list(covariance.shape)}")
  if not np.isfinite(mean).all() or not np.isfinite(covariance).all():
    raise ValueError(f"{name} must have a finite mean and covariance: score the features anew")
  import scipy.linalg

  spread = np.trace(covariance)
  lower, pivots, rank, _ = scipy.linalg.lapack.dpstrf(covariance, lower=1)
  factor = np.zeros((d, rank))
  factor[pivots - 1] = np.tril(lower)[:, :rank]
  # Of a covariance nothing but rounding is left over.
  symmetric = np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-9 * abs(spread))
  if not symmetric or not abs(spread - (factor**2).sum()) <= 1e-6 * abs(spread):
    raise ValueError(
      f"{name}.covariance must be symmetric with no negative eigenvalue: make it with "
      "feature_statistics, or divide by the examples less one what was summed in float64"
    )
  return factor
