import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.metrics import diversity

sample_diversity = jax.jit(diversity.sample_diversity)
condition_effect = jax.jit(diversity.condition_effect)


def test_diversity_against_plain_loops():
  rng = np.random.default_rng(0)
  samples, real = rng.normal(size=(7, 2, 3)), 3.0 + 2.0 * rng.normal(size=(5, 2, 3))

  def mean(x):
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i]]
    return np.mean(pairs)

  got = sample_diversity(jnp.asarray(samples), jnp.asarray(real))
  np.testing.assert_allclose(got, mean(samples) / mean(real), rtol=1e-5)
  both = jax.jit(jax.vmap(diversity.sample_diversity))(
    jnp.stack([samples, 2 * samples]), jnp.stack([real] * 2)
  )
  np.testing.assert_allclose(both, [got, 2 * got], rtol=1e-5)


def test_diversity_of_m_of_ten_equidistant_modes():
  modes = jnp.eye(10)
  for m in (1, 2, 5, 10):
    # each mode many times over: pairs within a mode are not counted as pairs of a sample and itself
    samples, real = jnp.tile(modes[:m], (600 // m, 1)), jnp.tile(modes, (60, 1))
    expected = (1 - 1 / m) / (1 - 1 / 10)
    # pairs without repetition: n / (n - 1) of the limit, on both sides of the ratio
    np.testing.assert_allclose(sample_diversity(samples, real), expected, rtol=3e-3)


def test_a_collapse_far_from_the_origin_is_none_of_rounding():
  real = jax.random.normal(jax.random.key(0), [50, 12])
  samples = 1000.0 + 1e-2 * jax.random.normal(jax.random.key(1), [50, 12])
  got = sample_diversity(samples, real)
  np.testing.assert_allclose(got, 1e-2, rtol=0.1)  # the draw's deviation; the input's is 6e-5


def test_effect_of_a_condition():
  rng = np.random.default_rng(0)
  z, shift = rng.normal(size=(1, 6, 3)), rng.normal(size=(4, 1, 3))
  x = z + 0.3 * shift
  between, both = [], []
  for c in range(4):
    for k in range(4):
      for i in range(6):
        for j in range(6):
          if c != k:
            (between if i == j else both).append(np.linalg.norm(x[c, i] - x[k, j]))
  got = condition_effect(jnp.asarray(x))
  np.testing.assert_allclose(got, np.mean(between) / np.mean(both), rtol=1e-5)
  only_condition = condition_effect(jnp.asarray(0 * z + shift))
  np.testing.assert_allclose(only_condition, 1.0, rtol=1e-5)
  assert condition_effect(jnp.ones([2, 3, 4])) == 0.0


def test_what_has_no_spread_is_refused():
  x = jnp.zeros([4, 3])
  with pytest.raises(TypeError, match=r"samples must be float, got uint8"):
    diversity.sample_diversity(x.astype(jnp.uint8), x)
  with pytest.raises(ValueError, match=r"real must be at least two examples.*\(1, 3\)"):
    diversity.sample_diversity(x, x[:1])
  with pytest.raises(ValueError, match=r"\(4, 2\).*\(4, 3\)"):
    diversity.sample_diversity(x[:, :2], x)
  with pytest.raises(ValueError, match=r"\[conditions, n, ...\].*\(4, 3\)"):
    diversity.condition_effect(x)
