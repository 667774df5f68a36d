import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.layers.dropout import Dropout, GaussianNoise
from tests.functional import over_devices

KEY = jax.random.key(3)
LAYERS = {
  "dropout": lambda axis: Dropout(0.3, axis),
  "noise": lambda axis: GaussianNoise(0.3, axis),
}


def apply(layer, x, key=KEY):
  return layer.apply({}, x, train=True, rngs={"dropout": key})


def test_dropout_values_and_gradient():
  x = 1.0 + jax.random.uniform(jax.random.key(0), [64, 5, 5, 8])
  rate = 0.2

  @jax.jit
  def value_and_slopes(x):
    y, pull = jax.vjp(lambda x: apply(Dropout(rate), x), x)
    return y, *pull(jnp.ones_like(y))

  y, gradient = map(np.asarray, value_and_slopes(x))
  kept = y != 0
  np.testing.assert_allclose(y[kept], np.asarray(x)[kept] / (1 - rate), rtol=1e-6)
  # Four standard deviations of a share of 12,800 features.
  assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / kept.size)
  np.testing.assert_allclose(gradient, kept / (1 - rate), rtol=1e-6)
  assert len(np.unique(kept.reshape(64, -1), axis=0)) == 64


def test_noise_values():
  x = jax.random.normal(jax.random.key(0), [64, 5, 5, 8])
  noise = np.asarray(jax.jit(lambda x: apply(GaussianNoise(0.5), x))(x) - x).reshape(64, -1)
  assert abs(noise.mean()) < 4 * 0.5 / np.sqrt(noise.size)
  assert abs(noise.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * noise.size)
  assert np.abs(np.corrcoef(noise) - np.eye(64)).max() < 0.5


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_nothing_without_training(make):
  """Nor is an rng asked for."""
  x = jnp.ones([4, 3])
  np.testing.assert_array_equal(make(None).apply({}, x, train=False), x)
  for layer in (Dropout(0.0), GaussianNoise(0.0)):
    np.testing.assert_array_equal(layer.apply({}, x, train=True), x)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_draws_follow_key_place_and_example(make):
  x = jnp.ones([6, 50])
  y = np.asarray(apply(make(None), x))
  np.testing.assert_array_equal(apply(make(None), x[:4]), y[:4])
  assert (np.asarray(apply(make(None), x, jax.random.key(4))) != y).any()

  class Twice(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
      return make(None)(x, train=train), make(None)(x, train=train)

  first, second = apply(Twice(), x)
  assert (np.asarray(first) != np.asarray(second)).any()


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_eight_devices(make, check_vma):
  x, weights = jnp.ones([16, 5]), jnp.arange(1.0, 6.0)

  def f(weights, x, axis_name=None):
    return (apply(make(axis_name), x * weights[None]) ** 2).sum(-1)

  values, gradient = over_devices(
    lambda weights, x: f(weights, x, "data"), weights, x, check_vma=check_vma
  )
  expected, slope = jax.jit(lambda w: (f(w, x), jax.grad(lambda w: f(w, x).mean())(w)))(weights)
  np.testing.assert_allclose(values, expected, rtol=1e-6)
  np.testing.assert_allclose(gradient, slope, rtol=1e-5)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_initialisation_types_and_vmap(make):
  x = jnp.ones([2, 3], "bfloat16")
  # Outside of any map, as networks are initialised.
  rngs = {"params": KEY, "dropout": KEY}
  assert make("data").init(rngs, x, train=True) == {}
  assert apply(make(None), x).dtype == jnp.bfloat16
  x = jnp.ones([4, 2, 30])
  mapped = jax.jit(jax.vmap(lambda x: apply(make("shards"), x), axis_name="shards"))(x)
  np.testing.assert_allclose(mapped.reshape(8, 30), apply(make(None), x.reshape(8, 30)), rtol=1e-6)


def test_bad_arguments():
  x = jnp.ones([2, 3])
  for rate in (-0.1, 1.0):
    with pytest.raises(ValueError, match=f"rate={rate}"):
      apply(Dropout(rate), x)
  with pytest.raises(ValueError, match="stddev=-1"):
    apply(GaussianNoise(-1.0), x)
