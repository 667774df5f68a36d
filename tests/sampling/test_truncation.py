import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgan import latents, sampling


@pytest.mark.parametrize("threshold", [0.3, 1.0, 4.0])
def test_truncated_normals_have_the_law_of_normals_that_are_drawn_again(threshold):
  z = jax.random.normal(jax.random.key(0), [4000])
  cut = np.asarray(sampling.truncate_normal(z, threshold))
  assert np.abs(cut).max() <= threshold
  again = np.asarray(z)[np.abs(z) <= threshold]
  assert stats.ks_2samp(cut, again).pvalue > 1e-3
  assert (np.argsort(cut) == np.argsort(z)).mean() > 0.95  # ties by rounding at most


def test_truncation_agrees_with_the_sampler_of_truncated_latents():
  """JAX makes both from the same uniform numbers, so that they agree draw by draw."""
  key = jax.random.key(1)
  whole, cut = (s(key, 50) for s in (latents.normal(4), latents.truncated_normal(4, threshold=0.7)))
  # erf and its inverse are good to about 1e-6 here
  np.testing.assert_allclose(sampling.truncate_normal(whole, 0.7), cut, atol=1e-5)
  np.testing.assert_array_equal(
    jax.jit(sampling.truncate_normal)(whole, 0.7), sampling.truncate_normal(whole, 0.7)
  )


def test_a_far_threshold_changes_nothing():
  z = jnp.linspace(-3.0, 3.0, 101)
  np.testing.assert_allclose(sampling.truncate_normal(z, 50.0), z, rtol=2e-4)  # erf near 1
  with pytest.raises(ValueError, match="threshold=0"):
    sampling.truncate_normal(z, 0.0)


def mapping(z):
  return jnp.tanh(z @ jnp.array([[1.0, -0.5, 0.3], [0.2, 0.7, 0.1]])) + 1.0


def test_the_mean_of_mapped_latents_is_theirs_whatever_the_batch():
  draw = latents.normal(2)
  key = jax.random.key(2)
  mean = sampling.mean_latent(mapping, draw, key, 1001, batch_size=64)
  expected = np.asarray(mapping(draw(key, 1001)), np.float64).mean(0)
  np.testing.assert_allclose(mean, expected, rtol=1e-6)
  assert mean.dtype == jnp.float32


def test_psi_moves_latents_towards_the_mean():
  w = mapping(latents.normal(2)(jax.random.key(3), 5))
  mean = jnp.array([1.0, 1.1, 0.9])
  for psi in (-1.0, 0.0, 0.7, 1.0):
    moved = sampling.truncate(w, mean, psi)
    np.testing.assert_allclose(moved - mean[None], psi * (w - mean[None]), atol=1e-6)
  np.testing.assert_allclose(
    jax.jit(sampling.truncate)(w, mean, 0.7), sampling.truncate(w, mean, 0.7), rtol=1e-6
  )


def test_only_the_first_layers_are_truncated():
  w = jax.random.normal(jax.random.key(4), [2, 6, 3])
  mean = jnp.ones([3])
  some = sampling.truncate(w, mean, 0.0, layers=4)
  np.testing.assert_array_equal(some[:, :4], jnp.ones([2, 4, 3]))
  np.testing.assert_array_equal(some[:, 4:], w[:, 4:])
  per_layer = sampling.truncate(w, jnp.zeros([6, 3]), 0.5)
  np.testing.assert_allclose(per_layer, 0.5 * w)


@pytest.mark.parametrize(
  ("w", "mean", "options", "message"),
  [
    ((2, 3), (4,), {}, r"mean \(4,\)"),
    ((3,), (3,), {}, "mean"),
    ((2, 3), (3,), {"layers": 1}, "layers=1"),
    ((2, 6, 3), (3,), {"layers": 7}, "layers=7"),
  ],
)
def test_truncation_refuses_shapes_that_do_not_fit(w, mean, options, message):
  with pytest.raises(ValueError, match=message):
    sampling.truncate(jnp.ones(w), jnp.ones(mean), 0.5, **options)


def test_normal_coordinates_are_told_from_codes_and_labels():
  rng = np.random.default_rng(0)
  noise, uniform = rng.normal(size=[4000, 3]), rng.uniform(-1.0, 1.0, [4000, 2])
  label, cut = np.eye(4)[rng.integers(0, 4, 4000)], np.clip(noise[:, :1], -1.0, 1.0)
  mask = sampling.normal_coordinates(np.hstack([noise, uniform, label, cut]))
  np.testing.assert_array_equal(mask, [True] * 3 + [False] * 7)
  with pytest.raises(ValueError, match="at least 1000"):
    sampling.normal_coordinates(np.ones([10, 2]))
