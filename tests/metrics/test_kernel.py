import itertools

import jax
import numpy as np
import pytest

from jaxgan import metrics
from jaxgan.metrics.kernel import _sums, _variance_parts


def kernel(a, b):
  return (a.astype(np.float64) @ b.astype(np.float64).T / a.shape[1] + 1) ** 3


def unbiased(real, fake):
  """The squared MMD from whole kernel matrices in float64."""
  n, m = len(real), len(fake)
  xx, yy = kernel(real, real), kernel(fake, fake)
  within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
  return within - 2 * kernel(real, fake).mean()


def features(seed, n, d=16, *, scale=1.0, shift=1.0):
  rng = np.random.default_rng(seed)
  return (scale * rng.normal(size=(n, d)) + shift).astype(np.float32)


@pytest.mark.parametrize(("n", "m"), [(100, 100), (75, 130)])
def test_all_pairs_against_float64_matrices(n, m):
  real, fake = features(0, n), features(1, m, scale=1.1)
  # float32 kernels of order 10: 1e-7 of each, and their errors average
  np.testing.assert_allclose(
    metrics.kernel_distance(real, fake).value, unbiased(real, fake), atol=1e-6
  )


def test_equal_distributions_score_zero_on_average_and_both_signs_occur():
  values = [metrics.kernel_distance(features(i, 60), features(99 + i, 60)) for i in range(40)]
  values = np.array([v.value for v in values])
  assert (values < 0).any()
  assert abs(values.mean()) < 3 * values.std(ddof=1) / np.sqrt(len(values))


def test_both_parts_of_the_variance_against_sums_over_all_tuples():
  """Products of expectations are means over indices that all differ: no example meets itself."""
  n, m = 6, 5
  real, fake = features(0, n, 3), features(1, m, 3, scale=1.5)
  xx, yy, xy = kernel(real, real), kernel(fake, fake), kernel(real, fake)

  def mean(of, *sizes):
    """Over one index tuple for each size, each without a repeat."""
    tuples = itertools.product(*(itertools.permutations(range(s), k) for s, k in sizes))
    return np.mean([of(*itertools.chain(*indices)) for indices in tuples])

  def linear(own, cross, n, m):
    """Var[E k(x, X') - E k(x, Y)]."""
    own_variance = mean(lambda i, j, k: own[i, j] * own[i, k], (n, 3)) - mean(
      lambda i, j, p, q: own[i, j] * own[p, q], (n, 4)
    )
    cross_variance = mean(lambda i, j, k: cross[i, j] * cross[i, k], (n, 1), (m, 2)) - mean(
      lambda i, j, p, q: cross[i, p] * cross[j, q], (n, 2), (m, 2)
    )
    covariance = mean(lambda i, j, k: own[i, j] * cross[i, k], (n, 2), (m, 1)) - mean(
      lambda i, j, p, q: own[i, j] * cross[p, q], (n, 3), (m, 1)
    )
    return own_variance + cross_variance - 2 * covariance

  def pairs(own, n):
    """Var of k(x, x') - E k(x, X') - E k(x', X)."""
    return (
      mean(lambda i, j: own[i, j] ** 2, (n, 2))
      - 2 * mean(lambda i, j, k: own[i, j] * own[i, k], (n, 3))
      + mean(lambda i, j, p, q: own[i, j] * own[p, q], (n, 4))
    )

  cross_pairs = (
    (xy**2).mean()
    - mean(lambda i, j, k: xy[i, j] * xy[i, k], (n, 1), (m, 2))
    - mean(lambda i, j, k: xy[i, k] * xy[j, k], (n, 2), (m, 1))
    + mean(lambda i, j, p, q: xy[i, p] * xy[j, q], (n, 2), (m, 2))
  )
  expected = (
    4 / n * linear(xx, xy, n, m) + 4 / m * linear(yy, xy.T, m, n),
    2 / (n * (n - 1)) * pairs(xx, n) + 2 / (m * (m - 1)) * pairs(yy, m) + 4 / (n * m) * cross_pairs,
  )
  got = _variance_parts(*_sums(real, fake, ()))
  assert min(expected) > 0
  np.testing.assert_allclose(got, expected, rtol=1e-4)  # differences of float32 kernels' squares
  result = metrics.kernel_distance(real, fake)
  np.testing.assert_allclose(result.standard_error, np.sqrt(sum(expected)), rtol=1e-4)


def test_a_negative_estimate_of_the_linear_part_counts_as_zero():
  seeds = range(10)
  parts = {s: _variance_parts(*_sums(features(s, 30), features(50 + s, 30), ())) for s in seeds}
  seed = next(s for s in seeds if parts[s][0] < -0.1 * parts[s][1])
  result = metrics.kernel_distance(features(seed, 30), features(50 + seed, 30))
  np.testing.assert_allclose(result.standard_error, np.sqrt(parts[seed][1]), rtol=1e-6)


@pytest.mark.parametrize(
  ("n", "m", "changes"), [(40, 40, {}), (30, 60, {"shift": 1.1}), (40, 40, {"shift": 1.4})]
)
def test_the_standard_error_is_the_spread_of_repeated_draws(n, m, changes):
  """Of equal, near and far distributions: another part of the variance rules each."""
  draws = [
    metrics.kernel_distance(features(2 * i, n, 64), features(2 * i + 1, m, 64, **changes))
    for i in range(250)
  ]
  values, errors = np.array(draws).T
  # A variance of 250 draws is known to sqrt(2 / 250) = 9%, of which three. Where the linear part is
  # all noise, taking it at 0 or more adds some 20% (unbiased otherwise; a jackknife is at +100%).
  ratio = (errors**2).mean() / values.var(ddof=1)
  assert 0.73 < ratio < 1.27 * (1.0 if changes else 1.2)
  # two of the errors on either side of the mean hold about 95% of the draws
  assert (np.abs(values - values.mean()) < 2 * errors).mean() > 0.88


def test_subsets_are_averages_over_parts_without_replacement():
  real, fake = features(0, 90), features(1, 70, shift=1.2)
  whole = metrics.kernel_distance(
    real, real[::-1], subsets=3, subset_size=90, key=jax.random.key(0)
  )
  # a subset of all is all, in another order
  np.testing.assert_allclose(whole.value, unbiased(real, real[::-1]), atol=1e-6)
  assert whole.standard_error < 1e-6
  result = metrics.kernel_distance(real, fake, subsets=20, subset_size=30, key=jax.random.key(1))
  again = metrics.kernel_distance(real, fake, subsets=20, subset_size=30, key=jax.random.key(1))
  assert result == again
  full = metrics.kernel_distance(real, fake)
  # the mean over subsets scatters around the value of all pairs by its own error
  assert 0 < abs(result.value - full.value) < 4 * result.standard_error


def test_a_shift_of_one_constant_feature_in_closed_form():
  """One dimension, all x = a and all y = b: the MMD is k(a, a) + k(b, b) - 2 k(a, b)."""
  a, b = 0.5, 2.0
  result = metrics.kernel_distance(np.full([10, 1], a), np.full([6, 1], b))
  expected = (a * a + 1) ** 3 + (b * b + 1) ** 3 - 2 * (a * b + 1) ** 3
  np.testing.assert_allclose(result.value, expected, rtol=1e-6)
  np.testing.assert_allclose(result.standard_error, 0, atol=1e-4)


def test_what_cannot_be_scored_is_refused():
  x = features(0, 20)
  with pytest.raises(ValueError, match="key must be given with subsets=5"):
    metrics.kernel_distance(x, x, subsets=5, subset_size=10)
  with pytest.raises(ValueError, match=r"subset_size=1000 .*20 real"):
    metrics.kernel_distance(x, x, subsets=5, key=jax.random.key(0))
  with pytest.raises(ValueError, match=r"real is too large .* scale"):
    metrics.kernel_distance(x * 1e6, x)
  with pytest.raises(ValueError, match="fake has 3 examples"):
    metrics.kernel_distance(x, x[:3])
