import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from jaxgan import sampling

FITS = [sampling.logistic_calibration, sampling.isotonic_calibration]


@pytest.fixture(scope="module")
def logits():
  """Of real examples N(1, 1) and fake ones N(0, 1), whose log ratio is x - 1/2, read at 3 x."""
  rng = np.random.default_rng(0)
  return 3.0 * rng.normal(1.0, 1.0, 4000), 3.0 * rng.normal(0.0, 1.0, 2500)


def test_the_logistic_fit_is_that_of_another_library(logits):
  real, fake = (x[:200] for x in logits)
  fake = fake[:150]
  calibrate = sampling.logistic_calibration(real, fake)
  # Platt's targets as weights of examples of either label
  x = np.concatenate([real, fake])
  target = np.repeat([201 / 202, 1 / 152], [200, 150])
  weight = np.repeat([1 / 200, 1 / 150], [200, 150])
  other = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(
    np.concatenate([x, x])[:, None],
    np.repeat([1, 0], 350),
    np.concatenate([weight * target, weight * (1.0 - target)]),
  )
  points = np.linspace(-5.0, 5.0, 11)
  np.testing.assert_allclose(calibrate(points), other.decision_function(points[:, None]), atol=1e-4)


def test_the_isotonic_fit_is_that_of_another_library(logits):
  real, fake = logits[0].round(1), logits[1].round(1)  # with ties
  calibrate = jax.jit(sampling.isotonic_calibration(real, fake))
  x = np.concatenate([real, fake])
  labels, counts = np.repeat([1.0, 0.0], [4000, 2500]), np.repeat([4000, 2500], [4000, 2500])
  other = IsotonicRegression(out_of_bounds="clip").fit(x, labels, 1.0 / counts)
  points = np.linspace(-15.0, 15.0, 301)
  np.testing.assert_allclose(
    jax.nn.sigmoid(calibrate(jnp.asarray(points, jnp.float32))),
    np.clip(other.predict(points), 1 / 6502, 1 - 1 / 6502),
    atol=2e-4,  # float32 at the kinks of a step function
  )
  assert (np.diff(calibrate(jnp.asarray(points, jnp.float32))) >= 0).all()


@pytest.mark.parametrize("fit", FITS)
def test_calibrated_logits_are_the_log_ratio_whatever_the_numbers(fit, logits):
  x = np.linspace(-1.0, 2.0, 7)
  # The error of a few thousand examples; of a step function it is larger.
  tolerance = 0.1 if fit is sampling.logistic_calibration else 0.5
  calibrated = fit(*logits)(jnp.asarray(3.0 * x, jnp.float32))
  np.testing.assert_allclose(calibrated, x - 0.5, atol=tolerance)


@pytest.mark.parametrize("fit", FITS)
def test_calibration_is_seen_by_its_statistic(fit, logits):
  real, fake = logits
  fitting, testing = (real[:1500], fake[:1000]), (real[1500:3000], fake[1000:])
  assert abs(sampling.calibration_statistic(*testing)) > 5
  calibrate = fit(*fitting)
  after = [np.asarray(calibrate(jnp.asarray(x, jnp.float32))) for x in testing]
  assert abs(sampling.calibration_statistic(*after)) < 3
  shifted = [x + 1.0 for x in after]
  assert sampling.calibration_statistic(*shifted) < -5


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("gap", [0.0, 2.0])
def test_logits_that_are_equal_or_separate_give_finite_values(fit, gap):
  real, fake = np.full(20, gap), np.zeros(30)
  values = np.asarray(fit(real, fake)(jnp.array([-10.0, 0.0, gap, 10.0])))
  assert np.isfinite(values).all()
  if gap:
    assert values[1] < -2.0
    assert values[2] > 2.0
  else:
    np.testing.assert_allclose(values[1:3], 0.0, atol=0.1)


def test_a_discriminator_that_is_the_wrong_way_round_is_turned(logits):
  real, fake = logits
  calibrate = sampling.logistic_calibration(-real, -fake)
  np.testing.assert_allclose(calibrate(-3.0 * np.array([1.5])), [1.0], atol=0.1)


def test_calibration_refuses_what_it_cannot_fit():
  for fit in FITS:
    with pytest.raises(ValueError, match="fake_logits"):
      fit(np.ones(3), np.ones(0))
    with pytest.raises(ValueError, match="real_logits"):
      fit(np.array([np.nan]), np.ones(2))
  with pytest.raises(ValueError, match="as many"):
    sampling.calibration_statistic(np.ones(3), np.ones(2))
