import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import metrics

CENTRES = jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])


def test_values_against_counting():
  rng = np.random.default_rng(0)
  samples = CENTRES[rng.choice(3, 200, p=[0.7, 0.2, 0.1])] + rng.normal(size=(200, 2)) * 0.3
  samples = np.concatenate([samples, [[1.9, 1.2]]])  # counts for the fourth mode, but is far off
  got = jax.jit(metrics.mode_coverage)(jnp.asarray(samples, jnp.float32), CENTRES, 0.1)
  counts, near, found = np.zeros(4), 0, set()
  for sample in samples:
    distances = [float(np.hypot(*(sample - c))) for c in np.asarray(CENTRES)]
    mode = int(np.argmin(distances))
    counts[mode] += 1
    if distances[mode] <= 3 * 0.1:
      near += 1
      found.add(mode)
  shares = counts / counts.sum()
  assert found == {0, 1, 2}
  assert shares.min() > 0
  assert int(got.covered) == 3
  np.testing.assert_allclose(got.high_quality, near / 201, rtol=1e-6)
  np.testing.assert_allclose(got.reverse_kl, (shares * np.log(shares * 4)).sum(), rtol=1e-5)


def test_a_perfect_sampler_and_a_collapsed_one():
  keys = jax.random.split(jax.random.key(0))
  which = jax.random.randint(keys[0], [20_000], 0, 4)
  perfect = CENTRES[which] + 0.05 * jax.random.normal(keys[1], [20_000, 2])
  collapsed = jnp.tile(CENTRES[1:2], (100, 1))
  covered, high_quality, divergence = metrics.mode_coverage(perfect, CENTRES, 0.05)
  assert int(covered) == 4
  np.testing.assert_allclose(high_quality, 1 - np.exp(-4.5), atol=3e-3)
  assert 0 <= divergence < 1e-3
  covered, high_quality, divergence = metrics.mode_coverage(collapsed, CENTRES, 0.05)
  assert (int(covered), float(high_quality)) == (1, 1.0)
  np.testing.assert_allclose(divergence, np.log(4), rtol=1e-6)


def test_a_population_is_measured_by_vmap():
  populations = jnp.stack([CENTRES, CENTRES + 1.0])
  got = jax.vmap(lambda x: metrics.mode_coverage(x, CENTRES, 0.1))(populations)
  np.testing.assert_array_equal(got.covered, [4, 0])
  np.testing.assert_array_equal(got.high_quality, [1.0, 0.0])


def test_shapes_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match=r"\(4, 3\) and centres \(4, 2\)"):
    metrics.mode_coverage(jnp.zeros([4, 3]), CENTRES, 0.1)
