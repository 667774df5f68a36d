import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan import layers
from jaxgan.sampling import standing_statistics


class Painter(nn.Module):
  """Two batch norms of different momentum, the second after what the first has made."""

  @nn.compact
  def __call__(self, z, *, train):
    x = layers.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(6)(z))
    return layers.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(3)(nn.relu(x)))


def draw(key):
  return 2.0 + jax.random.normal(key, [64, 4])


@pytest.fixture(scope="module")
def variables():
  return Painter().init(jax.random.key(0), draw(jax.random.key(1)), train=False)


def test_statistics_are_the_means_of_the_batches(variables):
  key = jax.random.key(3)
  new = standing_statistics(Painter().apply, variables, draw, key, batches=3)
  x = [nn.Dense(6).apply({"params": variables["params"]["Dense_0"]}, draw(k)) for k in
       jax.random.split(key, 3)]  # fmt: skip
  found = new["batch_stats"]["BatchNorm_0"]
  np.testing.assert_allclose(found["mean"], np.mean([v.mean(0) for v in x], axis=0), rtol=1e-4)
  np.testing.assert_allclose(found["var"], np.mean([v.var(0) for v in x], axis=0), rtol=1e-4)


def test_batch_norms_may_share_their_statistics_over_an_axis(variables):
  class Shared(nn.Module):
    @nn.compact
    def __call__(self, z, *, train):
      return layers.BatchNorm(use_running_average=not train, axis_name="data")(z)

  z = draw(jax.random.key(4))
  given = Shared().init(jax.random.key(0), z, train=False)
  new = standing_statistics(
    Shared().apply, given, lambda key: z, jax.random.key(3), batches=1, axis_name="data"
  )
  np.testing.assert_allclose(new["batch_stats"]["BatchNorm_0"]["var"], z.var(0), rtol=1e-3)


def test_samples_are_normalised_as_in_training(variables):
  new = standing_statistics(Painter().apply, variables, draw, jax.random.key(3), batches=8)
  z = draw(jax.random.key(9))
  seen, _ = Painter().apply(new, z, train=True, mutable=["batch_stats"])
  np.testing.assert_allclose(Painter().apply(new, z, train=False), seen, atol=0.5)
  assert abs(Painter().apply(variables, z, train=False) - seen).max() > 1.0
  assert new["params"] is variables["params"]


def test_without_batch_norm_nothing_changes():
  given = {"params": {"w": jnp.ones(2)}}
  assert standing_statistics(lambda *_: None, given, draw, jax.random.key(0)) == given


def test_no_batches_are_refused(variables):
  with pytest.raises(ValueError, match="batches=0 must be at least 1"):
    standing_statistics(Painter().apply, variables, draw, jax.random.key(0), batches=0)
