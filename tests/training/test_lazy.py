"""Lazy regularisation: penalties with updates of their own."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan import latents, losses, penalties, training
from jaxgan.training import objectives
from tests.training.test_step import Painter, as_dtype, leaves, pictures, relative

EVERY = 2


class PlainJudge(nn.Module):
  """Without batch norm, as a penalty wants it."""

  @nn.compact
  def __call__(self, x, *, train):
    return jnp.tanh(x.reshape(len(x), -1)[:, :8]) @ self.param("w", nn.initializers.ones, (8,))


def r1(critic, batch, key, game):
  return penalties.r1(critic, batch["image"])


def moved_mean(batch, key, game):
  """A penalty of G that keeps something: the generator's first bias, and how often it was taken."""
  bias = game.generator.params["Dense_0"]["bias"]
  return jnp.square(bias - 1.0).mean(), {"count": game.extra["count"] + 1}


def game_and_step(optimizer=None, **options):
  z = latents.normal(8)
  parts = objectives.adversarial(
    losses.non_saturating(), z, penalties=[r1], g_penalties=[moved_mean], axis_name=training.AXIS,
    **options,
  )  # fmt: skip
  optimizer = optimizer or optax.sgd(0.1)
  gan = training.system(
    Painter(),
    PlainJudge(),
    optimizer,
    optimizer,
    parts,
    latents=z,
    spec=types.SimpleNamespace(shape=(16, 16, 1)),
    extra={"count": jnp.zeros([], jnp.int32)},
  )
  return gan, parts


def play(gan, count, devices=1, dtype=jnp.float32):
  mesh = training.data_mesh(jax.devices()[:devices])
  game = as_dtype(jax.jit(gan.init)(jax.random.key(0)), dtype)
  game = jax.device_put(game, training.replicated(mesh))
  step = training.data_parallel(gan.step, mesh)
  games, lines = [], []
  for t in range(count):
    batch = jax.device_put(pictures(t, dtype=dtype), training.batch_sharding(mesh))
    game, metrics = step(game, batch)
    games.append(jax.device_get(leaves(game)))
    lines.append({name: float(x) for name, x in metrics.items()})
  return games, lines


def test_a_lazy_penalty_has_an_update_of_its_own():
  """With plain gradient descent the update is minus rate times k times the penalty's gradient."""
  lazy, _ = game_and_step(penalties_every=EVERY, g_penalties_every=EVERY)
  none = objectives.adversarial(losses.non_saturating(), latents.normal(8), axis_name=training.AXIS)
  free = training.system(
    Painter(), PlainJudge(), optax.sgd(0.1), optax.sgd(0.1), none, latents=latents.normal(8),
    spec=types.SimpleNamespace(shape=(16, 16, 1)), extra={"count": jnp.zeros([], jnp.int32)},
  )  # fmt: skip
  (after, later), lines = play(lazy, 2)
  (plain, _), _ = play(free, 2)

  images = pictures(0)["image"][0]
  w = jnp.asarray(plain[".discriminator.params['w']"], jnp.float32)
  critic = lambda w: lambda x: jnp.tanh(x.reshape(len(x), -1)[:, :8]) @ w  # noqa: E731
  value, slope = jax.value_and_grad(lambda w: penalties.r1(critic(w), images).mean())(w)
  np.testing.assert_allclose(
    after[".discriminator.params['w']"], w - 0.1 * EVERY * slope, rtol=1e-5
  )
  assert lines[0]["penalty"] == pytest.approx(EVERY * float(value), rel=1e-5)

  bias = plain[".generator.params['Dense_0']['bias']"]
  pulled = bias - 0.1 * EVERY * 2.0 * (bias - 1.0) / bias.size
  np.testing.assert_allclose(after[".generator.params['Dense_0']['bias']"], pulled, rtol=1e-5)
  # Steps, averages and collections count the players' own updates alone.
  for name in ("step", "average['params']['w']", "collections"):
    for leaf in after:
      if leaf.startswith((f".discriminator.{name}", f".generator.{name}")):
        np.testing.assert_allclose(after[leaf], plain[leaf], rtol=1e-6)
  assert (lines[1]["penalty"], lines[1]["penalty_G"]) == (0.0, 0.0)
  assert (after[".extra['count']"], later[".extra['count']"]) == (1, 1)


def test_adam_counts_the_updates_of_penalties():
  gan, _ = game_and_step(optax.adam(1e-3), penalties_every=EVERY, g_penalties_every=3)
  games, _ = play(gan, 4)
  count = [
    [int(game[f".{role}.opt_state[0].count"]) for game in games]
    for role in ("discriminator", "generator")
  ]
  assert count == [[2, 3, 5, 6], [2, 3, 4, 6]]


def test_eight_devices_take_lazy_penalties_as_one_in_float64(x64):
  # Not Adam: it makes whole steps of the rounding of biases before batch norm, whose gradient is 0.
  gan, _ = game_and_step(penalties_every=EVERY, g_penalties_every=3)
  (*_, one), lines = play(gan, 4, 1, jnp.float64)
  (*_, eight), same = play(gan, 4, 8, jnp.float64)
  for name, value in one.items():
    assert relative(value, eight[name]) < 1e-10, name
  for a, b in zip(lines, same, strict=True):
    for name in ("penalty", "penalty_G"):
      assert a[name] == pytest.approx(b[name], rel=1e-10)


def test_pieces_of_a_batch_give_the_penalty_of_the_whole(x64):
  whole, _ = game_and_step(penalties_every=1)
  alone = objectives.adversarial(
    losses.hinge(), latents.normal(8), penalties=[r1], penalties_every=1, axis_name=training.AXIS
  )
  lazy = alone.d_lazy
  mesh = training.data_mesh(jax.devices()[:1])
  parts = {}
  for accumulate in (1, 2):
    gan = training.make_train_step(
      lambda params, game, batch, key: (jnp.zeros([]) * params["w"].sum(), ()),
      lambda params, game, batch, key: (0.0 * params["Dense_0"]["bias"].sum(), ()),
      d_lazy=lazy,
      accumulate=accumulate,
      axis_name=training.AXIS,
    )
    game = as_dtype(jax.jit(whole.init)(jax.random.key(0)), jnp.float64)
    game, _ = training.data_parallel(gan, mesh)(game, pictures(0, dtype=jnp.float64))
    parts[accumulate] = np.asarray(game.discriminator.params["w"])
  assert np.abs(parts[1] - 1.0).max() > 1e-3
  np.testing.assert_allclose(parts[1], parts[2], rtol=1e-12)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"penalties_every": 0}, "penalties_every=0"),
    ({"g_penalties_every": -1}, "g_penalties_every=-1"),
  ],
)
def test_bad_intervals_are_refused(options, words):
  with pytest.raises(ValueError, match=words):
    game_and_step(**options)
  with pytest.raises(ValueError, match="penalties_every=4"):
    objectives.adversarial(losses.hinge(), latents.normal(8), penalties_every=4)
  with pytest.raises(ValueError, match=r"g_lazy.every=0"):
    training.make_train_step(None, None, g_lazy=training.Lazy(None, 0))
