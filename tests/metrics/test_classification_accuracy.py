import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxgan import metrics


def blobs(seed, n, *, classes=3, d=5, spread=1.0):
  rng = np.random.default_rng(seed)
  centres = 2 * np.random.default_rng(99).normal(size=(classes, d))
  labels = rng.integers(0, classes, size=n)
  return centres[labels] + spread * rng.normal(size=(n, d)), labels


def test_the_default_classifier_against_scikit_learn():
  """The same convex problem: the same predictions and accuracy."""
  (x, y), (real, truth) = blobs(0, 300, spread=2.0), blobs(1, 400, spread=2.0)
  decay = 1e-2
  score = metrics.classification_accuracy_score(
    x, y, real, truth, fit=metrics.logistic_regression(weight_decay=decay)
  )
  mean, deviation = x.mean(0), x.std(0)
  theirs = LogisticRegression(C=1 / (decay * len(x)), tol=1e-8, max_iter=1000)
  theirs.fit((x - mean) / deviation, y)
  expected = theirs.score((real - mean) / deviation, truth)
  assert 0.5 < expected < 0.95
  assert score.value == pytest.approx(expected, abs=1e-12)
  predict = metrics.logistic_regression(weight_decay=decay)(x, y)
  np.testing.assert_array_equal(predict(real), theirs.predict((real - mean) / deviation))
  np.testing.assert_allclose(
    score.standard_error, np.sqrt(expected * (1 - expected) / 400), rtol=1e-12
  )


def test_a_dropped_class_costs_its_share():
  (x, y), (real, truth) = blobs(0, 300, spread=0.1), blobs(1, 300, spread=0.1)
  assert metrics.classification_accuracy_score(x, y, real, truth).value == 1.0
  kept = y != 1
  score = metrics.classification_accuracy_score(x[kept], y[kept], real, truth)
  np.testing.assert_allclose(score.value, (truth != 1).mean())


def test_any_classifier_may_be_handed_in():
  (x, y), (real, truth) = blobs(0, 50), blobs(1, 60)

  def nearest_mean(features, labels):
    means = np.stack([features[labels == c].mean(0) for c in range(3)])
    return lambda z: ((z[:, None] - means[None]) ** 2).sum(-1).argmin(1)

  score = metrics.classification_accuracy_score(x, y, real, truth, fit=nearest_mean)
  assert score.value == (nearest_mean(x, y)(real) == truth).mean()


def test_constant_features_and_labels_that_are_not_in_a_row_are_fine():
  x = np.concatenate([np.full([4, 1], 7.0), np.array([[0.0], [1.0], [5.0], [6.0]])], axis=1)
  predict = metrics.logistic_regression()(x, np.array([-2, -2, 40, 40]))
  np.testing.assert_array_equal(predict(x), [-2, -2, 40, 40])


def test_what_cannot_be_scored_is_refused():
  (x, y), (real, truth) = blobs(0, 20), blobs(1, 20)
  score = metrics.classification_accuracy_score
  with pytest.raises(ValueError, match=r"generated_labels must be \[20\]"):
    score(x, y[:5], real, truth)
  with pytest.raises(TypeError, match="real_labels must be integers"):
    score(x, y, real, truth.astype(float))
  with pytest.raises(ValueError, match="2 or more classes"):
    score(x, np.zeros_like(y), real, truth)
  with pytest.raises(ValueError, match=r"\[20\], got \[20, 3\]"):
    score(x, y, real, truth, fit=lambda features, labels: lambda z: np.zeros([len(z), 3]))
  with pytest.raises(ValueError, match="weight_decay=-1"):
    metrics.logistic_regression(weight_decay=-1)
