import numpy as np
import pytest
from scipy import special
from sklearn.neighbors import KernelDensity

from jaxgan import metrics


def pictures(seed, n, d=30):
  return np.random.default_rng(seed).uniform(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 2.0])
def test_values_against_scikit_learn(sigma):
  samples, held_out = pictures(0, 80), pictures(1, 50)
  scores = KernelDensity(bandwidth=sigma).fit(samples).score_samples(held_out)
  result = metrics.parzen_log_likelihood(samples, held_out, sigma)
  # float32 distances of order 1 by 2 sigma^2 = 0.02: 1e-5 nats of some 100
  np.testing.assert_allclose(result.mean, scores.mean(), rtol=1e-6, atol=1e-5)
  np.testing.assert_allclose(result.standard_error, scores.std(ddof=1) / np.sqrt(50), rtol=1e-4)
  assert result.sigma == sigma


def test_far_data_have_finite_log_likelihoods():
  """exp(-d^2 / 2 sigma^2) is 0 even in float64 here."""
  result = metrics.parzen_log_likelihood(pictures(0, 20), pictures(1, 20) + 10, 0.05)
  exact = (
    special.logsumexp(
      -((pictures(0, 20)[:, None] - pictures(1, 20)[None] - 10.0) ** 2).sum(-1) / (2 * 0.05**2),
      axis=0,
    )
    - np.log(20)
    - 30 * np.log(0.05 * np.sqrt(2 * np.pi))
  )
  assert exact.mean() < -1e5
  np.testing.assert_allclose(result.mean, exact.mean(), rtol=1e-6)


def test_one_gaussian_in_closed_form():
  """A sample at 0, data from N(0, s^2 I): E log p = -d/2 (log(2 pi sigma^2) + s^2 / sigma^2)."""
  d, s, sigma, n = 10, 0.5, 0.8, 20_000
  held_out = s * np.random.default_rng(0).normal(size=(n, d))
  result = metrics.parzen_log_likelihood(np.zeros([1, d]), held_out, sigma)
  expected = -d / 2 * (np.log(2 * np.pi * sigma**2) + s**2 / sigma**2)
  # |x|^2 / s^2 has variance 2 d
  np.testing.assert_allclose(
    result.standard_error, np.sqrt(2 * d / n) * s**2 / (2 * sigma**2), rtol=0.05
  )
  assert abs(result.mean - expected) < 4 * result.standard_error


def test_the_bandwidth_is_the_best_on_the_validation_set():
  samples, validation = pictures(0, 200, 4), pictures(1, 100, 4)
  found = metrics.parzen_bandwidth(samples, validation)
  np.testing.assert_allclose(found.sigmas, np.logspace(-1, 0, 10), rtol=1e-12)
  each = [metrics.parzen_log_likelihood(samples, validation, s).mean for s in found.sigmas]
  np.testing.assert_allclose(found.log_likelihoods, each, rtol=1e-6)
  assert found.sigma == found.sigmas[int(np.argmax(each))]
  assert found.sigmas[0] < found.sigma < found.sigmas[-1]


def test_the_warning_stands_in_the_help_and_in_what_is_printed():
  result = metrics.parzen_log_likelihood(pictures(0, 5), pictures(1, 5), 0.2)
  for text in (str(result), metrics.parzen_log_likelihood.__doc__):
    assert "1511.01844" in text
    assert "many dimensions" in " ".join(text.split())


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bandwidth_that_is_not_positive_is_refused(sigma):
  with pytest.raises(ValueError, match="sigma must be positive"):
    metrics.parzen_log_likelihood(pictures(0, 5), pictures(1, 5), sigma)
