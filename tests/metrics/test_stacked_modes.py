import numpy as np
import pytest

from jaxgan import metrics


def test_values_against_counting():
  labels = np.random.default_rng(0).integers(0, 4, size=(300, 2))
  labels = labels[(labels != [3, 3]).any(1)]
  counts = {}
  for row in labels.tolist():
    counts[tuple(row)] = counts.get(tuple(row), 0) + 1
  shares = np.array(list(counts.values())) / len(labels)
  result = metrics.stacked_mode_coverage(labels, classes=4)
  assert (result.covered, result.modes) == (15, 16)
  np.testing.assert_allclose(result.reverse_kl, (shares * np.log(shares * 16)).sum(), rtol=1e-12)


def test_a_perfect_sampler_scores_its_known_floor():
  """26,000 uniform triples: all modes, and a divergence of 999 / 52,000."""
  labels = np.random.default_rng(0).integers(0, 10, size=(26_000, 3))
  result = metrics.stacked_mode_coverage(labels)
  assert (result.covered, result.modes) == (1000, 1000)
  # 2 n KL is nearly chi-squared with 999 degrees: 4 standard deviations, and 1% for the next order
  np.testing.assert_allclose(result.reverse_kl, 999 / 52_000, rtol=4 * np.sqrt(2 / 999) + 0.01)


def test_every_mode_once_is_even_and_one_mode_is_collapse():
  every = np.stack(np.meshgrid(*[np.arange(10)] * 3), axis=-1).reshape(-1, 3)
  assert metrics.stacked_mode_coverage(every) == pytest.approx((1000, 1000, 0.0))
  one = metrics.stacked_mode_coverage(np.full([50, 3], 7))
  assert one == pytest.approx((1, 1000, np.log(1000)))


def test_labels_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match=r"\[n, stack\] with n at least 1, got \[3\]"):
    metrics.stacked_mode_coverage(np.arange(3))
  with pytest.raises(TypeError, match="integers, got dtype float64"):
    metrics.stacked_mode_coverage(np.zeros([2, 3]))
  with pytest.raises(ValueError, match=r"classes=10 .* got 0\.\.10"):
    metrics.stacked_mode_coverage(np.array([[0, 1, 10]]))
