"""Both schemes on a line: a generator N(0, 1), data N(0.7, 0.6), and the optimal discriminator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgan import sampling

DATA = stats.norm(0.7, 0.6)
N = 2000
BOUND = 1.95 / np.sqrt(N)  # the Kolmogorov-Smirnov statistic exceeds it once in a thousand


def normal(key, shape):
  """By numpy, whose draws need not be compiled for each shape."""
  return np.random.default_rng(np.asarray(jax.random.key_data(key))).normal(size=shape)


def propose(key, n):
  return normal(key, [n])


def score(x):
  """log p_data(x) / p_generator(x)."""
  return DATA.logpdf(x) - stats.norm.logpdf(x)


MAXIMUM = score(0.7 / (1.0 - 0.36))  # where the derivative of the log ratio is zero


def distance(x):
  return stats.kstest(x, DATA.cdf).statistic


def test_the_toy_would_show_a_scheme_that_does_nothing():
  assert distance(propose(jax.random.key(0), N)) > 6 * BOUND


def test_samples_that_pass_exact_rejection_are_distributed_as_the_data():
  kept = sampling.rejection_sample(propose, score, jax.random.key(0), N, percentile=None)
  assert kept.proposals.shape == kept.logits.shape == (N,)
  assert distance(kept.proposals) < BOUND
  np.testing.assert_allclose(kept.logits, score(kept.proposals), rtol=1e-5, atol=1e-5)
  rate = np.exp(-MAXIMUM)  # 1 / M
  error = np.sqrt(rate * (1 - rate) / (N / kept.rate))
  assert abs(kept.rate - rate) < 4 * error


def test_a_maximum_that_the_burn_in_missed_is_raised():
  """From one burn-in sample; the maximum comes within the first batch, so the rest is right."""
  kept = sampling.rejection_sample(
    propose, score, jax.random.key(3), N, percentile=None, burn_in=1, batch_size=1000
  )
  assert distance(kept.proposals) < BOUND


def test_the_probability_is_the_ratio_over_its_maximum():
  logits = jnp.linspace(-8.0, 1.0, 50)
  p = sampling.acceptance_probability(logits, 1.0, epsilon=1e-12)
  np.testing.assert_allclose(p, np.exp(logits - 1.0), rtol=1e-5)
  np.testing.assert_array_equal(sampling.acceptance_probability(jnp.array([3.0, 1.0]), 1.0), 1.0)
  with_epsilon = sampling.acceptance_probability(logits, 1.0, shift=2.0, epsilon=0.1)
  below = np.asarray(logits, np.float64) - 1.0
  f = below - np.log(1.0 - np.exp(below - 0.1)) - 2.0  # as the paper writes it
  np.testing.assert_allclose(with_epsilon, 1.0 / (1.0 + np.exp(-f)), rtol=1e-5)
  transformed = jax.jit(jax.vmap(lambda x: sampling.acceptance_probability(x, 1.0)))(logits)
  np.testing.assert_allclose(transformed, sampling.acceptance_probability(logits, 1.0), rtol=1e-6)


def test_the_percentile_sets_how_many_have_an_even_chance():
  logits = jnp.asarray(score(propose(jax.random.key(1), 1000)))
  for percentile in (50.0, 80.0, 95.0):
    shift = sampling.acceptance_shift(logits, logits.max(), percentile=percentile)
    p = sampling.acceptance_probability(logits, logits.max(), shift=shift)
    assert abs(float((p < 0.5).mean()) - percentile / 100) < 2e-3
  strict = sampling.rejection_sample(propose, score, jax.random.key(2), 500, burn_in=1000)
  loose = sampling.rejection_sample(
    propose, score, jax.random.key(2), 500, burn_in=1000, percentile=50.0
  )
  assert strict.rate < loose.rate
  assert strict.logits.mean() > loose.logits.mean() > float(logits.mean())
  with pytest.raises(ValueError, match="percentile=101"):
    sampling.acceptance_shift(logits, 1.0, percentile=101.0)


def test_rejection_gives_up_and_says_why():
  with pytest.raises(sampling.RejectionError, match="lower percentile"):
    sampling.rejection_sample(
      propose, lambda x: -1e4 * x**2, jax.random.key(0), 100, percentile=None, most=2000
    )
  with pytest.raises(ValueError, match="n=0"):
    sampling.rejection_sample(propose, score, jax.random.key(0), 0)
  with pytest.raises(ValueError, match="finite logits"):
    sampling.rejection_sample(propose, lambda x: x * np.nan, jax.random.key(0), 1)
  with pytest.raises(ValueError, match="finite logits"):
    sampling.rejection_sample(propose, lambda x: x[:, None], jax.random.key(0), 1)


def real_logits():
  return score(DATA.rvs(500, random_state=0))


@pytest.mark.parametrize("batch_size", [100, 5000])
def test_ends_of_chains_are_distributed_as_the_data(batch_size):
  """The chance not to have moved to the law in 40 steps is (1 - 1/M)^40 = 6e-10."""
  kept = sampling.metropolis_hastings_sample(
    propose, score, real_logits(), jax.random.key(0), N, length=40, batch_size=batch_size
  )
  assert kept.proposals.shape == (N,)
  assert distance(kept.proposals) < BOUND
  np.testing.assert_allclose(kept.logits, score(kept.proposals), rtol=1e-5, atol=1e-5)


def test_the_rate_of_moves_is_that_of_the_stationary_chain():
  kept = sampling.metropolis_hastings_sample(
    propose, score, real_logits(), jax.random.key(1), N, length=40, batch_size=8000
  )
  rng = np.random.default_rng(0)
  x, y = DATA.rvs(100_000, random_state=1), rng.normal(size=100_000)
  expected = np.minimum(1.0, np.exp(score(y) - score(x))).mean()
  assert abs(kept.rate - expected) < 0.01  # 80,000 proposals, of correlated chains


def test_a_chain_that_never_leaves_a_real_example_is_run_again():
  kept = sampling.metropolis_hastings_sample(
    propose, score, np.array([60.0]), jax.random.key(2), N, length=40, batch_size=8000
  )
  assert distance(kept.proposals) < BOUND
  assert kept.rate < 0.5  # the steps of the first chains count


def test_uncalibrated_logits_go_wrong_and_calibration_mends_them():
  def wrong(x):
    return 3.0 * score(x) + 2.0

  args = (jax.random.key(3), N)
  options = dict(length=40, batch_size=8000)
  raw = sampling.metropolis_hastings_sample(
    propose, wrong, 3.0 * real_logits() + 2.0, *args, **options
  )
  assert distance(raw.proposals) > 3 * BOUND
  real = wrong(DATA.rvs(20_000, random_state=2))
  fake = wrong(propose(jax.random.key(4), 20_000))
  for fit in (sampling.logistic_calibration, sampling.isotonic_calibration):
    calibrate = fit(real, fake)
    mended = sampling.metropolis_hastings_sample(
      propose,
      lambda x, c=calibrate: c(jnp.asarray(wrong(x))),
      calibrate(jnp.asarray(real[:500])),
      *args,
      **options,
    )
    assert distance(mended.proposals) < BOUND


def test_a_chain_moves_as_it_would_by_hand():
  start = jnp.array([0.0, 50.0, -jnp.inf])
  proposals = jnp.array([[90.0, 0.0, -3.0], [0.0, 0.0, -90.0], [200.0, 0.0, -50.0]])
  index, moves = sampling.metropolis_hastings(start, proposals, jax.random.key(0))
  np.testing.assert_array_equal(index, [2, -1, 0])
  np.testing.assert_array_equal(moves, [2, 0, 1])
  batched = jax.vmap(sampling.metropolis_hastings)(
    start[None], proposals[None], jax.random.key(0)[None]
  )
  np.testing.assert_array_equal(batched[0][0], index)


def test_a_chain_moves_down_as_often_as_the_ratio_says():
  index, _ = sampling.metropolis_hastings(
    jnp.zeros([20_000]), jnp.full([1, 20_000], np.log(0.3)), jax.random.key(5)
  )
  assert abs(float((index == 0).mean()) - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 20_000)


def test_chains_refuse_what_does_not_fit():
  key = jax.random.key(0)
  with pytest.raises(ValueError, match=r"start \(2,\)"):
    sampling.metropolis_hastings(jnp.ones([2]), jnp.ones([3, 3]), key)
  with pytest.raises(ValueError, match="length=0"):
    sampling.metropolis_hastings_sample(propose, score, np.ones(1), key, 1, length=0)
  with pytest.raises(ValueError, match="real_logits"):
    sampling.metropolis_hastings_sample(propose, score, np.ones(0), key, 1)


def test_both_schemes_take_latents_of_any_shape():
  def latents(key, n):
    return normal(key, [n, 2, 3])

  def logit(z):
    return z.mean((1, 2))

  passed = sampling.rejection_sample(
    latents, logit, jax.random.key(0), 5, burn_in=64, batch_size=32
  )
  ended = sampling.metropolis_hastings_sample(
    latents, logit, np.zeros(3), jax.random.key(0), 5, length=7, batch_size=16
  )
  for kept in (passed, ended):
    assert kept.proposals.shape == (5, 2, 3)
    np.testing.assert_allclose(logit(kept.proposals), kept.logits, rtol=1e-5, atol=1e-6)
