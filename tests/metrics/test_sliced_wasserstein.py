import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgan import metrics


def test_a_shift_costs_its_mean_absolute_projection():
  """For y = x + t each direction costs |<t, u>|, of mean |t| E|u_1| over the sphere."""
  x = jax.random.normal(jax.random.key(0), (200, 3))
  t = jnp.asarray([[3.0, 0.0, 4.0]])
  value = metrics.sliced_wasserstein(x, x + t, jax.random.key(1), projections=20_000)
  # On the sphere in three dimensions |u_1| is uniform on [0, 1]: 5 / 2, and the error of 20,000
  # directions is 5 / sqrt(12 * 20,000) = 0.0102; four of them.
  np.testing.assert_allclose(value, 2.5, atol=0.041)


def test_one_dimension_is_the_exact_distance_of_scipy():
  a, b = jax.random.normal(jax.random.key(0), (2, 50, 1))
  value = metrics.sliced_wasserstein(a, 2.0 * b, jax.random.key(1))
  expected = stats.wasserstein_distance(np.ravel(a), np.ravel(2.0 * b))
  np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_pictures_are_flattened_and_shapes_must_match():
  x = jax.random.normal(jax.random.key(0), (8, 4, 4, 3))
  assert float(metrics.sliced_wasserstein(x, x[::-1], jax.random.key(1))) < 1e-6
  with pytest.raises(ValueError, match=r"\(8, 4, 4, 3\).*\(7, 4, 4, 3\)"):
    metrics.sliced_wasserstein(x, x[:7], jax.random.key(1))
