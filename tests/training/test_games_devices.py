"""Ways of playing over one device and over eight, on a toy game and on small networks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec

from jaxgan import latents, losses, training
from jaxgan.training import games, objectives
from jaxgan.types import ImageSpec

LOSS = losses.non_saturating()
STEPS = 3


def batch_mean(x):
  return jax.lax.pmean(x.mean(0), training.AXIS)


# A game with all that a device may get wrong, and little to compile: smooth, with statistics over
# the batch that both players differentiate through and write, and latents in the batch.
def forward(params, game, batch, key):
  del game, key
  x = batch["z"] * params["w"][None]
  mean = batch_mean(x**2)
  return {"fake": jnp.tanh(x - mean[None])}, training.Aux(variables={"mean": mean})


def judged(params, x):
  x = jnp.tanh(x * params["w"][None])
  mean = batch_mean(x)
  return ((x - mean[None]) ** 2 * params["v"][None]).sum(-1), mean


def d_objective(params, game, batch, key):
  del game, key
  logits, mean = judged(params, jnp.concatenate([batch["image"], batch["fake"]]))
  loss = LOSS.discriminator(*jnp.split(logits, 2)).mean()
  return loss, training.Aux(variables={"mean": mean}, metrics={"loss_D": loss})


def g_objective(params, game, batch, key):
  del params, key  # the gradient flows through the fakes of `forward`
  logits, _ = judged(game.discriminator.params, batch["fake"])
  loss = LOSS.generator(None, logits).mean()
  return loss, training.Aux(metrics={"loss_G": loss})


def toy():
  def player(**params):
    return training.Player.create(
      apply_fn=None,
      params=jax.tree.map(jnp.asarray, params),
      tx=optax.sgd(0.1),
      collections={"mean": jnp.zeros(3)},
    )

  rng = np.random.default_rng(0)
  w, v, u = rng.normal(size=(3, 3))
  shape = (STEPS, 1, 16, 3)
  batches = {"image": jnp.asarray(rng.normal(size=shape)), "z": jnp.asarray(rng.normal(size=shape))}
  return training.Game.new(jax.random.key(0), player(w=w, v=v), player(w=u)), batches


PLAYS = {
  "extragradient": games.extragradient,
  "past_extragradient": games.past_extragradient,
  "consensus": games.consensus(gamma=1.0),
  "symplectic": games.symplectic(),
  "competitive": games.competitive(0.1, iterations=4),
  "unrolled": games.unrolled(k=2),
  "lookahead": games.lookahead(games.alternating, k=2),
}


def mapped(step, devices, check_vma, batch_spec):
  return jax.jit(
    jax.shard_map(
      step,
      mesh=training.data_mesh(jax.devices()[:devices]),
      in_specs=(PartitionSpec(), batch_spec),
      out_specs=PartitionSpec(),
      check_vma=check_vma,
    )
  )


def leaves(game):
  named = jax.tree_util.tree_leaves_with_path(game.replace(key=jax.random.key_data(game.key)))
  return {jax.tree_util.keystr(path): np.asarray(x, np.float64) for path, x in named}


@pytest.mark.parametrize("name", PLAYS)
def test_eight_devices_play_the_game_of_one(x64, name):
  game, batches = toy()
  start = games.begin(PLAYS[name], game)
  step = training.make_train_step(
    d_objective, g_objective, forward=forward, play=PLAYS[name], axis_name=training.AXIS
  )

  def run(game, batches):  # several steps, as some games remember; compiled once
    return jax.lax.scan(step, game, batches)

  def end(devices, check_vma):
    spec = PartitionSpec(None, None, training.AXIS)
    game, metrics = mapped(run, devices, check_vma, spec)(start, batches)
    return leaves(game) | {name: np.asarray(metrics[name]) for name in ("loss_D", "loss_G")}

  one, before = end(1, True), leaves(start)
  for place in (
    ".discriminator.params['w']",
    ".discriminator.params['v']",
    ".generator.params['w']",
  ):
    assert np.abs(one[place] - before[place]).max() > 1e-3, place
  for check_vma in (True, False):
    many = end(8, check_vma)
    assert many.keys() == one.keys()
    for place, value in one.items():
      np.testing.assert_allclose(many[place], value, rtol=1e-10, atol=1e-12, err_msg=place)


class Painter(nn.Module):
  """Smooth, so that float64 agrees to its last digits, with a mean over the batch."""

  @nn.compact
  def __call__(self, z, *, train):
    x = nn.BatchNorm(
      not train, axis_name=training.AXIS, momentum=0.9, use_bias=False, use_scale=False
    )(nn.Dense(4, use_bias=False)(z))
    return jnp.tanh(x).reshape(-1, 2, 2, 1)


class Judge(nn.Module):
  """Has statistics of its own, and mixed second derivatives with the generator."""

  @nn.compact
  def __call__(self, x, *, train):
    x = nn.BatchNorm(not train, axis_name=training.AXIS, momentum=0.9)(x.reshape(-1, 4))
    return nn.Dense(1, use_bias=False)(jnp.tanh(x))[:, 0]


def small(play, optimizer, **options):
  z = latents.normal(3)
  return training.system(
    Painter(),
    Judge(),
    optimizer,
    optimizer,
    objectives.adversarial(losses.non_saturating(), z, axis_name=training.AXIS),
    latents=z,
    spec=ImageSpec((2, 2, 1)),
    play=play,
    **options,
  )


def double(tree):
  return jax.tree.map(
    lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
  )


@pytest.mark.slow
@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("name", PLAYS)
def test_eight_devices_play_the_game_of_one_with_networks(x64, name, check_vma):
  gan = small(PLAYS[name], optax.sgd(0.1, momentum=0.5))
  start = double(jax.jit(gan.init)(jax.random.key(0)))
  batch = {"image": jax.random.normal(jax.random.key(1), (1, 16, 2, 2, 1), jnp.float64)}

  def end(devices):
    spec = PartitionSpec(None, training.AXIS)
    return leaves(mapped(gan.step, devices, check_vma, spec)(start, batch)[0])

  one, before, many = end(1), leaves(start), end(8)
  place = ".generator.params['Dense_0']['kernel']"
  assert np.abs(one[place] - before[place]).max() > 1e-3
  for place, value in one.items():
    np.testing.assert_allclose(many[place], value, rtol=1e-10, atol=1e-12, err_msg=place)


def test_statistics_are_written_once_by_an_extragradient_step():
  batch = {"image": jax.random.normal(jax.random.key(1), (1, 16, 2, 2, 1))}
  written = []
  for play in (games.simultaneous, games.extragradient):
    gan = small(play, optax.sgd(0.0))  # the place ahead is the same place
    step = training.data_parallel(gan.step, training.data_mesh(jax.devices()[:1]))
    game, _ = step(jax.jit(gan.init)(jax.random.key(0)), batch)
    written.append((game.discriminator.collections, game.generator.average))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *written)


def test_a_system_begins_with_what_its_game_remembers_and_donates_it():
  play = games.lookahead(games.past_extragradient, k=2)
  gan = small(play, optax.sgd(0.1))
  game = jax.jit(gan.init)(jax.random.key(0))
  assert set(game.extra) == {"slow_weights", "past_gradient"}
  step = training.data_parallel(gan.step, training.data_mesh(jax.devices()[:1]))
  batch = {"image": jax.random.normal(jax.random.key(1), (1, 16, 2, 2, 1))}
  for drawn_back in (False, True, False, True):
    game, _ = step(game, batch)
    slow = game.extra["slow_weights"]["generator"]["Dense_0"]["kernel"]
    fast = game.generator.params["Dense_0"]["kernel"]
    assert np.array_equal(slow, fast) == drawn_back
