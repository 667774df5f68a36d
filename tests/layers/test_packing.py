import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import models
from jaxgan.layers.conditional import append_condition
from jaxgan.layers.packing import Packed, pack
from tests.functional import over_devices


class Conditional(nn.Module):
  """Also tells what it was given."""

  @nn.compact
  def __call__(self, images, condition, *, train):
    self.sow("intermediates", "seen", (images, condition, train))
    x = append_condition(images, condition)
    return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


def test_order():
  """Pack p holds examples m p to m p + m - 1, one after the other in the channels."""
  images = jnp.arange(6 * 2 * 3 * 2.0).reshape(6, 2, 3, 2)
  y = jax.jit(pack, static_argnums=1)(images, 3)
  assert y.shape == (2, 2, 3, 6)
  for p in range(2):
    np.testing.assert_array_equal(y[p], np.concatenate(images[3 * p : 3 * p + 3], -1))
  np.testing.assert_array_equal(pack(images[:, 0, 0], 2), images[:, 0, 0].reshape(3, 4))
  np.testing.assert_array_equal(pack(images, 1), images)
  np.testing.assert_array_equal(jax.vmap(lambda x: pack(x, 3))(images[None])[0], y)


def test_discriminator_of_points():
  d = Packed(models.mlp.Discriminator(width=8), packing=2)
  variables = jax.jit(functools.partial(d.init, train=False))(jax.random.key(0), jnp.ones([1, 2]))
  x = jax.random.normal(jax.random.key(1), [6, 2])
  logits = d.apply(variables, x, train=True)
  inner = {"params": variables["params"]["discriminator"]}
  expected = models.mlp.Discriminator(width=8).apply(inner, x.reshape(3, 4), train=True)
  np.testing.assert_array_equal(logits, expected)


def test_discriminator_of_images_with_conditions():
  """Collections that it writes pass through, and conditions are packed as the images are."""
  d = Packed(Conditional(), packing=2)
  images, condition = jnp.arange(4 * 9.0).reshape(4, 3, 3, 1), jnp.eye(4)
  init = jax.jit(functools.partial(d.init, train=False))
  variables = init(jax.random.key(0), images[:1], condition[:1])
  params = {"params": variables["params"]}
  logits, written = d.apply(params, images, condition, train=True, mutable=["intermediates"])
  assert logits.shape == (2,)
  ((seen_images, seen_condition, train),) = written["intermediates"]["discriminator"]["seen"]
  np.testing.assert_array_equal(seen_images, pack(images, 2))
  np.testing.assert_array_equal(seen_condition, condition.reshape(2, 8))
  assert train


@pytest.mark.usefixtures("x64")
def test_eight_devices():
  d = Packed(models.mlp.Discriminator(width=8), packing=2)
  x = jnp.asarray(np.random.default_rng(0).normal(size=[32, 2]))
  params = jax.jit(functools.partial(d.init, train=False))(jax.random.key(0), x)["params"]
  params = jax.tree.map(lambda a: a.astype(x.dtype), params)

  def f(params, x):
    return d.apply({"params": params}, x, train=True)

  values, gradient = over_devices(f, params, x, check_vma=True)
  expected = jax.jit(lambda p: (f(p, x), jax.grad(lambda p: f(p, x).mean())(p)))(params)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), (values, gradient), expected
  )


def test_bad_arguments():
  with pytest.raises(ValueError, match=r"pack of 3 must divide .* 4 examples"):
    pack(jnp.ones([4, 2]), 3)
  with pytest.raises(ValueError, match="pack of 0"):
    pack(jnp.ones([4, 2]), 0)
  with pytest.raises(ValueError, match=r"shape \(4,\).*one-hot"):
    pack(jnp.ones(4), 2)
  d = Packed(models.mlp.Discriminator(width=8), packing=2)
  variables = d.init(jax.random.key(0), jnp.ones([1, 2]), train=False)
  with pytest.raises(ValueError, match="pack of 2"):
    d.apply(variables, jnp.ones([3, 2]), train=False)
