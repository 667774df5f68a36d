"""Calibration: from a discriminator's logits to log p_data / p_generator.

An optimal discriminator's logit is that ratio (Goodfellow et al. 2014); a trained one's is only
related to it. What is fitted here assumes no more than an order of the logits. Each function gives
the real and the fake examples half of the weight, however many there are of each.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxgan.types import Array

__all__ = ["Calibration", "calibration_statistic", "isotonic_calibration", "logistic_calibration"]

Calibration = Callable[[Array], Array]


def logistic_calibration(
  real_logits: Float[ArrayLike, "n"], fake_logits: Float[ArrayLike, "m"]
) -> Calibration:
  """Platt scaling: the affine map of the logits that tells real from fake best.

  Platt 1999, "Probabilistic outputs for support vector machines", with the targets that are drawn
  in a little, (n + 1) / (n + 2) for real and 1 / (m + 2) for fake, so that the fit is finite where
  the logits separate the two.

  Args:
    real_logits: of real examples, best of some that the discriminator was not trained on.
    fake_logits: of samples.

  Returns:
    A function from logits to calibrated logits of the same shape.

  Raises:
    ValueError: there are none of one kind, or values that are not finite.

  >>> calibrate = logistic_calibration(np.array([0.0, 2.0, 4.0]), np.array([-1.0, 1.0, 3.0]))
  >>> bool(jnp.abs(calibrate(jnp.array(1.5))) < 0.1)
  True
  """
  real, fake = _checked(real_logits, fake_logits)
  x, weights = np.concatenate([real, fake]), _weights(real, fake)
  n, m = len(real), len(fake)
  targets = np.concatenate([np.full(n, (n + 1) / (n + 2)), np.full(m, 1 / (m + 2))])
  centre, scale = x.mean(), x.std() or 1.0
  design = np.stack([(x - centre) / scale, np.ones_like(x)], 1)

  def objective(c: np.ndarray) -> float:
    logits = design @ c
    return float(weights @ (np.logaddexp(0.0, logits) - targets * logits))

  coefficients = np.zeros(2)
  for _ in range(100):
    p = 1.0 / (1.0 + np.exp(-(design @ coefficients)))
    gradient = design.T @ (weights * (p - targets))
    # The ridge is there for logits that are all equal, whose slope is undetermined.
    curvature = design.T @ (design * (weights * p * (1.0 - p))[:, None]) + 1e-9 * np.eye(2)
    move, length = np.linalg.solve(curvature, gradient), 1.0
    while objective(coefficients - length * move) > objective(coefficients) and length > 1e-6:
      length /= 2.0
    coefficients = coefficients - length * move
    if np.abs(length * move).max() < 1e-10:
      break
  slope = float(coefficients[0] / scale)
  offset = float(coefficients[1] - slope * centre)
  return lambda logits: slope * logits + offset


def isotonic_calibration(
  real_logits: Float[ArrayLike, "n"], fake_logits: Float[ArrayLike, "m"]
) -> Calibration:
  """The best non-decreasing map of the logits, by pooling neighbours that are out of order.

  Isotonic regression of "is real" on the logit (Zadrozny and Elkan 2002), as Turner et al. 2018
  (arXiv 1811.11357) calibrate; linear between the fitted points. It needs more examples than
  `logistic_calibration`: a thousand of each kind or more.

  Args:
    real_logits: of real examples, best of some that the discriminator was not trained on.
    fake_logits: of samples.

  Returns:
    A function from logits to calibrated logits of the same shape, within +-log(n + m + 1).

  Raises:
    ValueError: there are none of one kind, or values that are not finite.

  >>> calibrate = isotonic_calibration(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 0.0]))
  >>> calibrate(jnp.array([1.0, 1.5, 2.0]))
  Array([0., 0., 0.], dtype=float32)
  """
  real, fake = _checked(real_logits, fake_logits)
  x, weights = np.concatenate([real, fake]), _weights(real, fake)
  labels = np.repeat([1.0, 0.0], [len(real), len(fake)])
  points, inverse = np.unique(x, return_inverse=True)
  mass = np.bincount(inverse, weights)
  means = np.bincount(inverse, weights * labels) / mass
  blocks: list[list[float]] = []  # value, weight, number of points
  for value, weight in zip(means, mass, strict=True):
    blocks.append([value, weight, 1])
    while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
      last, before = blocks.pop(), blocks.pop()
      total = last[1] + before[1]
      mean = (last[0] * last[1] + before[0] * before[1]) / total
      blocks.append([mean, total, last[2] + before[2]])
  fitted = np.repeat([b[0] for b in blocks], [int(b[2]) for b in blocks])
  least = 1.0 / (len(x) + 2)
  at, probabilities = jnp.asarray(points, jnp.float32), jnp.asarray(fitted, jnp.float32)

  def calibrate(logits: Array) -> Array:
    p = jnp.interp(logits, at, probabilities)
    return jax.scipy.special.logit(jnp.clip(p, least, 1.0 - least))

  return calibrate


def calibration_statistic(
  real_logits: Float[ArrayLike, "n"], fake_logits: Float[ArrayLike, "n"]
) -> float:
  """Standardised difference between the share of real examples and the mean probability of "real".

  Dawid 1997, "Prequential analysis", as Turner et al. 2018 (arXiv 1811.11357) use it:
  the sum of y - D over the root of the sum of D (1 - D). It says whether the probabilities are
  right on average, not one by one.

  Args:
    real_logits: of real examples.
    fake_logits: of as many samples; neither may have been used to fit a calibration.

  Returns:
    A number that is standard normal if the logits are calibrated: beyond +-3 they are not.

  Raises:
    ValueError: the two differ in number, or there are values that are not finite.

  >>> round(calibration_statistic(np.array([0.0, 0.0]), np.array([0.0, 0.0])), 6)
  0.0
  >>> round(calibration_statistic(np.array([2.0, 2.0]), np.array([2.0, 2.0])), 6)
  -2.350402
  """
  real, fake = _checked(real_logits, fake_logits)
  if len(real) != len(fake):
    raise ValueError(f"real_logits [{len(real)}] and fake_logits [{len(fake)}] must be as many")
  p = 1.0 / (1.0 + np.exp(-np.clip(np.concatenate([real, fake]), -500.0, 500.0)))
  variance = (p * (1.0 - p)).sum()
  return float((len(real) - p.sum()) / np.sqrt(max(variance, np.finfo(np.float64).tiny)))


def _checked(real_logits: ArrayLike, fake_logits: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
  made = []
  for name, logits in (("real_logits", real_logits), ("fake_logits", fake_logits)):
    x = np.asarray(logits, np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
      raise ValueError(f"{name} {x.shape} must be finite logits [n] of at least one example")
    made.append(x)
  return made[0], made[1]


def _weights(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
  return np.repeat([0.5 / len(real), 0.5 / len(fake)], [len(real), len(fake)])
