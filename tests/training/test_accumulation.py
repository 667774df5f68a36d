"""Batches taken in pieces, against batches taken whole."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan import latents, losses, training
from jaxgan.training import games, objectives


class Still(nn.Module):
  """A generator whose pictures do not depend on the latent, so that pieces draw the same."""

  @nn.compact
  def __call__(self, z, *, train):
    return jnp.zeros_like(z) + self.param("picture", nn.initializers.normal(1.0), (1, 3))


class Judge(nn.Module):
  """A discriminator that counts its passes in a collection."""

  @nn.compact
  def __call__(self, x, *, train):
    passes = self.variable("counts", "passes", jnp.zeros, (), jnp.float32)
    if train and self.is_mutable_collection("counts") and not self.is_initializing():
      passes.value = passes.value + 1.0
    return nn.Dense(1)(jnp.tanh(nn.Dense(4)(x)))[:, 0]


def start():
  keys = jax.random.split(jax.random.key(0))
  x = jnp.zeros([1, 3])
  return training.Game.new(
    jax.random.key(1),
    training.new_player(Judge(), optax.sgd(0.1), keys[0], x),
    training.new_player(Still(), optax.sgd(0.1), keys[1], x, average=True),
  )


def step(accumulate, axis_name=None, **options):
  z = latents.normal(3)
  parts = objectives.adversarial(losses.non_saturating(), z, axis_name=axis_name)
  return training.make_train_step(
    parts.discriminator,
    parts.generator,
    forward=parts.forward,
    accumulate=accumulate,
    axis_name=axis_name,
    **options,
  )


def batch(n, d_steps=2):
  return {"image": jax.random.normal(jax.random.key(2), (d_steps, n, 3))}


def test_pieces_add_up_to_the_whole_batch(x64):
  images = jax.tree.map(lambda x: x.astype(jnp.float64), batch(12))
  game = jax.tree.map(
    lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, start()
  )
  whole, a = jax.jit(step(1, d_steps=2))(game, images)
  pieces, b = jax.jit(step(3, d_steps=2))(game, images)
  for role in ("discriminator", "generator"):
    ours, theirs = getattr(pieces, role), getattr(whole, role)
    assert int(ours.step) == int(theirs.step)
    for x, y in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
      np.testing.assert_allclose(x, y, rtol=1e-12)
  for name in a:
    np.testing.assert_allclose(a[name], b[name], rtol=1e-6)  # norms are logged in float32
  # D's collections go from piece to piece: one pass over real pictures in each.
  assert float(pieces.discriminator.collections["counts"]["passes"]) == 2 * 3
  assert float(whole.discriminator.collections["counts"]["passes"]) == 2


def test_pieces_of_a_batch_over_devices():
  mesh = training.data_mesh(jax.devices()[:4])
  images = batch(16)
  game = jax.device_put(start(), training.replicated(mesh))
  mapped = training.data_parallel(step(2, training.AXIS, d_steps=2), mesh, donate=False)
  split, _ = mapped(game, jax.device_put(images, training.batch_sharding(mesh)))
  whole, _ = jax.jit(step(1, d_steps=2))(start(), images)
  for x, y in zip(
    jax.tree.leaves(split.generator.params), jax.tree.leaves(whole.generator.params), strict=True
  ):
    np.testing.assert_allclose(x, y, rtol=1e-5)


@pytest.mark.parametrize(
  ("options", "n", "said"),
  [
    (dict(accumulate=0), 4, "accumulate=0 must be at least 1"),
    (dict(accumulate=3), 4, "accumulate=3 must divide the batch of a device, 4"),
    (dict(accumulate=2, play=games.unrolled(k=2)), 4, "games.alternating"),
  ],
)
def test_pieces_that_do_not_go_are_refused(options, n, said):
  with pytest.raises(ValueError, match=said):
    step(**options)(start(), batch(n, d_steps=1))
