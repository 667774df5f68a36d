import jax
import numpy as np
import pytest
import scipy.linalg

from jaxgan import metrics
from jaxgan.metrics import FeatureStatistics


def samples(seed, n, d, *, scale=1.0, shift=0.0):
  """Correlated normal vectors."""
  rng = np.random.default_rng(seed)
  mixing = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d)
  return scale * rng.normal(size=(n, d)) @ mixing + shift


def textbook(real, fake):
  """The formula with scipy's matrix square root and numpy's covariance."""
  (m, c), (n, k) = ((x.mean(0), np.cov(x, rowvar=False)) for x in (real, fake))
  root = scipy.linalg.sqrtm(c @ k)
  return ((m - n) ** 2).sum() + np.trace(c + k - 2 * root.real)


def test_values_against_scipys_matrix_square_root():
  real, fake = samples(0, 400, 20), samples(1, 300, 20, scale=1.2, shift=0.1)
  # sqrtm squares the condition number: 1e-9 is its error, not ours
  np.testing.assert_allclose(metrics.frechet_distance(real, fake), textbook(real, fake), rtol=1e-9)


def test_gaussians_with_known_moments():
  """N(m, s^2 I) against N(0, I): |m|^2 + d (1 - s)^2."""
  d, s, mean = 7, 1.3, np.full(7, 0.5)
  a = FeatureStatistics(1000, np.zeros(d), np.eye(d))
  b = FeatureStatistics(1000, mean, s**2 * np.eye(d))
  np.testing.assert_allclose(
    metrics.frechet_distance_from_statistics(a, b), mean @ mean + d * (1 - s) ** 2, rtol=1e-12
  )


@pytest.mark.parametrize("n", [2, 30, 60])
def test_fewer_examples_than_dimensions_are_exact(n):
  """With C1 = X'X and C2 = Y'Y the root's trace is the nuclear norm of the small matrix XY'."""
  d = 50
  # a spectrum over ten decades: what is lost below the largest eigenvalue's rounding shows
  decay = np.exp(-np.arange(d) / 4)
  real, fake = samples(0, n, d) * decay, samples(1, n, d, scale=2.0) * decay[::-1] + 3.0
  x, y = ((z - z.mean(0)) / np.sqrt(n - 1) for z in (real, fake))
  root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
  apart = real.mean(0) - fake.mean(0)
  expected = apart @ apart + (x**2).sum() + (y**2).sum() - 2 * root
  np.testing.assert_allclose(metrics.frechet_distance(real, fake), expected, rtol=1e-10)


def test_equal_sets_have_distance_zero_and_order_does_not_matter():
  real, fake = samples(0, 40, 50), samples(1, 60, 50, scale=0.5)
  assert metrics.frechet_distance(real, real) < 1e-10
  there, back = metrics.frechet_distance(real, fake), metrics.frechet_distance(fake, real)
  np.testing.assert_allclose(there, back, rtol=1e-10)
  constant = np.ones([5, 50])
  np.testing.assert_allclose(
    metrics.frechet_distance(constant, real),
    ((real.mean(0) - 1) ** 2).sum() + np.trace(np.cov(real, rowvar=False)),
    rtol=1e-10,
  )


def test_a_large_common_mean_costs_no_digits():
  """Float32 features 1e3 times their spread away: sums of squares in float32 would keep none."""
  real, fake = samples(0, 500, 8), samples(1, 500, 8, scale=1.1)
  far = [(x + 1e3).astype(np.float32) for x in (real, fake)]
  exact = [x.astype(np.float64) - 1e3 for x in far]
  np.testing.assert_allclose(metrics.frechet_distance(*far), textbook(*exact), rtol=1e-9)


@pytest.mark.parametrize("sizes", [[200], [1, 1, 198], [64, 64, 64, 8]])
def test_streams_give_the_statistics_of_the_whole(sizes):
  x = samples(0, 200, 6, shift=100.0)
  total = FeatureStatistics.init(6)
  for batch in np.split(x, np.cumsum(sizes)[:-1]):
    total = total.update(batch)
  assert total.examples == 200
  np.testing.assert_allclose(total.mean, x.mean(0), rtol=1e-13)
  np.testing.assert_allclose(total.covariance, np.cov(x, rowvar=False), rtol=1e-9, atol=1e-12)


def test_merging_is_adding_in_any_order():
  parts = [samples(i, 10 + i, 4, shift=i) for i in range(3)]
  a, b, c = (metrics.feature_statistics(x) for x in parts)
  whole = metrics.feature_statistics(np.concatenate(parts))
  for merged in (a.merge(b).merge(c), c.merge(a.merge(b)), FeatureStatistics.init(4).merge(whole)):
    assert merged.examples == whole.examples
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-13)
    np.testing.assert_allclose(merged.covariance, whole.covariance, rtol=1e-11)


def test_the_bias_falls_as_the_extrapolation_supposes():
  """The population is known; one distance is biased by a quarter, the intercept by far less."""
  d, spread = 32, np.exp(-np.arange(32) / 15)
  population = FeatureStatistics(10**9, np.zeros(d), np.diag(spread**2))
  model = FeatureStatistics(10**9, np.full(d, 0.05), np.diag((1.1 * spread) ** 2))
  true = metrics.frechet_distance_from_statistics(population, model)
  errors, biases = [], []
  for seed in range(10):
    fake = np.random.default_rng(seed).normal(size=(1500, d)) * 1.1 * spread + 0.05
    fit = metrics.frechet_distance_infinity(population, fake, key=jax.random.key(seed), points=8)
    errors.append(fit.value - true)
    biases.append(fit.distances[-1] - true)
    assert fit.slope > 0
    assert (fit.counts[0], fit.counts[-1], len(fit.counts)) == (150, 1500, 8)
    np.testing.assert_allclose(fit.distances[-1], textbook_to(population, fake), rtol=1e-9)
  standard_error = np.std(errors, ddof=1) / np.sqrt(len(errors))
  assert np.mean(biases) > 6 * standard_error  # the test can tell the bias that is removed
  assert abs(np.mean(errors)) < 3 * standard_error


def textbook_to(population, fake):
  apart = population.mean - fake.mean(0)
  covariance = np.cov(fake, rowvar=False)
  root = scipy.linalg.sqrtm(population.covariance @ covariance)
  return apart @ apart + np.trace(population.covariance + covariance - 2 * root.real)


def test_what_is_no_covariance_is_refused():
  good = FeatureStatistics(10, np.zeros(2), np.eye(2))
  for bad, message in [
    (FeatureStatistics(1, np.zeros(2), np.eye(2)), "fake has 1 examples"),
    (FeatureStatistics(10, np.zeros(2), np.eye(3)), r"fake.covariance must be \[2, 2\]"),
    (FeatureStatistics(10, np.zeros(3), np.eye(3)), "dimensions must match"),
    (FeatureStatistics(10, np.zeros(2), np.diag([1.0, np.nan])), "fake must have a finite"),
    (FeatureStatistics(10, np.zeros(2), np.diag([1.0, -0.5])), "fake.covariance .* negative"),
    (FeatureStatistics(10, np.zeros(2), np.array([[1.0, 0.0], [0.9, 1.0]])), "symmetric"),
  ]:
    with pytest.raises(ValueError, match=message):
      metrics.frechet_distance_from_statistics(good, bad)


def test_extrapolation_refuses_what_it_cannot_fit():
  real, fake = samples(0, 100, 4), samples(1, 100, 4)
  with pytest.raises(ValueError, match="points=2"):
    metrics.frechet_distance_infinity(real, fake, key=jax.random.key(0), points=2)
  with pytest.raises(ValueError, match="smallest=99"):
    metrics.frechet_distance_infinity(real, fake, key=jax.random.key(0), smallest=99)
  with pytest.raises(ValueError, match="dimension=0"):
    FeatureStatistics.init(0)
  with pytest.raises(ValueError, match=r"features \[2, 3\], mean \[1, 4\]"):
    FeatureStatistics.init(4).update(np.zeros([2, 3]))
