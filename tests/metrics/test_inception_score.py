import numpy as np
import pytest
from scipy import special, stats

from jaxgan import metrics


def by_definition(p, splits):
  """exp of the mean KL divergence to the marginal, split by split, with scipy's entropy."""
  scores = []
  for part in np.array_split(p, splits):
    scores.append(np.exp(np.mean([stats.entropy(row, part.mean(0)) for row in part])))
  return np.mean(scores), np.std(scores)


@pytest.mark.parametrize("splits", [1, 10])
def test_values_against_scipys_entropy(splits):
  logits = 3 * np.random.default_rng(0).normal(size=(200, 7))
  p = special.softmax(logits, axis=1)
  expected = by_definition(p, splits)
  np.testing.assert_allclose(metrics.inception_score(p, splits=splits), expected, rtol=1e-12)
  got = metrics.inception_score_from_logits(logits, splits=splits)
  np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_every_sample_is_used_where_splits_do_not_divide():
  """Of 7 samples in 3 splits the last sample is in the last split."""
  p = np.full([7, 2], 0.5)
  changed = p.copy()
  changed[-1] = [0.9, 0.1]
  assert metrics.inception_score(p, splits=3) == (1.0, 0.0)
  assert metrics.inception_score(changed, splits=3).mean > 1.001


def test_the_best_and_the_worst_score():
  sure = np.eye(10)[np.arange(100) % 10]
  assert metrics.inception_score(sure, splits=10) == pytest.approx((10.0, 0.0))
  assert metrics.inception_score(np.tile(sure[:1], (50, 1)), splits=5) == pytest.approx((1.0, 0.0))
  # logits so far apart that probabilities underflow
  far = metrics.inception_score_from_logits(1e4 * sure, splits=10)
  assert far == pytest.approx((10.0, 0.0))


def test_rounded_probabilities_are_scaled_to_one():
  p = special.softmax(np.random.default_rng(0).normal(size=(100, 5)), axis=1)
  rounded = p.astype(np.float16)
  np.testing.assert_allclose(
    metrics.inception_score(rounded), metrics.inception_score(p), rtol=0, atol=1e-4
  )


def test_what_is_no_probability_is_refused():
  with pytest.raises(ValueError, match="inception_score_from_logits"):
    metrics.inception_score(np.random.default_rng(0).normal(size=(20, 5)))
  with pytest.raises(ValueError, match="sums from 2 to 2"):
    metrics.inception_score(np.full([20, 4], 0.5))
  with pytest.raises(ValueError, match=r"splits=10 .* 4"):
    metrics.inception_score(np.full([4, 4], 0.25))
