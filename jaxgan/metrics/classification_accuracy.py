"""Classification accuracy score: what a classifier learns from samples."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from jaxgan.metrics._checks import AnyArray, feature_matrix, label_vector, same_width
from jaxgan.metrics.estimate import Estimate

__all__ = ["classification_accuracy_score", "logistic_regression"]

Predict = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray], Predict]


def logistic_regression(*, weight_decay: float = 1e-4, steps: int = 1000) -> Fit:
  """Multinomial logistic regression on standardised features, for classification scores.

  It minimises mean cross entropy + weight_decay / 2 |W|^2 (the bias is free) by L-BFGS in
  float64, to a gradient below 1e-6; the problem is convex, and the result depends on no seed.

  Args:
    weight_decay: non-negative; 0 has no minimum where classes can be separated.
    steps: most iterations.

  Returns:
    `fit(features [n, d], labels [n]) -> predict`, and `predict(features [m, d]) -> labels [m]`.

  Raises:
    ValueError: `weight_decay` is negative or `steps` below 1; on fitting, a single class.

  >>> x = np.array([[0.0], [1.0], [9.0], [10.0]])
  >>> logistic_regression()(x, np.array([3, 3, 7, 7]))(np.array([[2.0], [8.0]]))
  array([3, 7])
  """
  if weight_decay < 0 or steps < 1:
    raise ValueError(f"weight_decay={weight_decay} must not be negative, steps={steps} at least 1")

  def fit(features: np.ndarray, labels: np.ndarray) -> Predict:
    import scipy.optimize  # here: `import jaxgan` is to load no scipy
    from scipy import special

    x = np.asarray(features, np.float64)
    classes, target = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
      raise ValueError(f"labels must hold 2 or more classes to learn from, got only {classes}")
    mean, deviation = x.mean(0), x.std(0)
    deviation[deviation < 1e-12 * (1 + np.abs(mean))] = 1.0  # constant features stay 0
    x = (x - mean) / deviation
    n, d = x.shape
    rows = np.arange(n)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
      w, b = flat[: d * len(classes)].reshape(d, -1), flat[d * len(classes) :]
      log_p = special.log_softmax(x @ w + b, axis=1)
      value = -log_p[rows, target].mean() + weight_decay / 2 * (w**2).sum()
      slope = np.exp(log_p)
      slope[rows, target] -= 1.0
      slope /= n
      return float(value), np.concatenate([(x.T @ slope + weight_decay * w).ravel(), slope.sum(0)])

    found = scipy.optimize.minimize(
      loss,
      np.zeros((d + 1) * len(classes)),
      jac=True,
      method="L-BFGS-B",
      options={"maxiter": steps, "maxfun": 2 * steps, "gtol": 1e-6, "ftol": 1e-12},
    ).x
    w, b = found[: d * len(classes)].reshape(d, -1), found[d * len(classes) :]

    def predict(features: np.ndarray) -> np.ndarray:
      scores = (np.asarray(features, np.float64) - mean) / deviation @ w + b
      return classes[scores.argmax(1)]

    return predict

  return fit


def classification_accuracy_score(
  generated: Float[AnyArray, "n d"],
  generated_labels: Int[AnyArray, "n"],
  real: Float[AnyArray, "m d"],
  real_labels: Int[AnyArray, "m"],
  *,
  fit: Fit | None = None,
) -> Estimate:
  """Accuracy on real data of a classifier that was trained on labelled samples alone.

  Ravuri and Vinyals 2019 (arXiv 1905.10887), who train a ResNet-50 on pictures. It finds what
  distances of features miss: a class without variety teaches a classifier little. Compare with
  the score of real training data in place of samples.

  The default classifier is linear in the features, so that the score depends on them too; any other
  is a function `fit`.

  Args:
    generated: features of conditional samples.
    generated_labels: the labels that they were drawn for.
    real: features of held-out real data.
    real_labels: their labels.
    fit: `fit(features, labels) -> predict`, `predict(features) -> labels`; by default
      `logistic_regression()`.

  Returns:
    Top-1 accuracy in [0, 1], and its binomial standard error over the real examples.

  Raises:
    TypeError: labels are not integers.
    ValueError: shapes, values that are not finite, or predictions of another shape.

  >>> x = np.array([[0.0], [1.0], [9.0], [10.0]])
  >>> classification_accuracy_score(x, np.array([0, 0, 1, 1]), x + 4.0, np.array([0, 0, 1, 1]))
  Estimate(value=0.75, standard_error=0.21650635094610965)
  """
  x, y = feature_matrix("generated", generated), feature_matrix("real", real)
  same_width(generated=x, real=y)
  labels = label_vector("generated_labels", generated_labels, len(x))
  truth = label_vector("real_labels", real_labels, len(y))
  predicted = np.asarray((fit or logistic_regression())(x, labels)(y))
  if predicted.shape != truth.shape:
    raise ValueError(
      f"predict must give one label for each real example, [{len(truth)}], got "
      f"{list(predicted.shape)}: take argmax of scores"
    )
  accuracy = float((predicted == truth).mean())
  return Estimate(accuracy, float(np.sqrt(accuracy * (1 - accuracy) / len(truth))))
