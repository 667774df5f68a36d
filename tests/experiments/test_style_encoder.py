"""The encoder's training: its objectives against their formulas, and its file."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

from experiments import style_encoder
from jaxgan import run, training
from tests.experiments.test_inversion import linear

KEY = jax.random.key(1)
SHAPE = (8, 8, 1)
FLAGS = dict(encoder_steps=8, encoder_batch=4, encoder_width=2, encoder_max_width=4)
MORE = dict(unlock_from=0.25, unlock_until=0.5, pool=3, style_rate=0.01)


def settings(**changed):
  return style_encoder.Settings(**{**FLAGS, **MORE, **changed})


@functools.cache
def frozen():
  restored = linear()
  z = 3.0 * jnp.asarray(np.random.default_rng(5).normal(size=(64, 6)), jnp.float32)
  style = restored.system.style._replace(mean=lambda variables: jnp.arange(6.0))
  variables = restored.game.generator.evaluated(True)
  # The same latents for all keys, so that a test knows them.
  return style_encoder.Frozen(style, variables, lambda key, n: z[:n], lambda x: {"twice": 2.0 * x})


def images(n=4):
  return jnp.asarray(np.random.default_rng(0).uniform(-1.0, 1.0, (n, *SHAPE)), jnp.float32)


def begin(told):
  return style_encoder.begin(frozen(), told, SHAPE, 0)


def at(game, step):
  return game.replace(step=jnp.asarray(step, jnp.int32))


def objective(of, game, told, key=KEY, n=4):
  """Value and aux of the judge's objective (0) or the encoder's (1)."""
  player = (game.discriminator, game.generator)[of]
  function = style_encoder.objectives_of(frozen(), told)[of]
  return jax.jit(lambda params: function(params, game, {"image": images(n)}, key))(player.params)


def styles_of(game, unlocked, n=4):
  found = game.generator.apply_fn(
    {"params": game.generator.params}, images(n), unlocked, train=False
  )
  return np.asarray(found, np.float64) + np.arange(6.0)


def logits_of(game, w):
  apply = game.discriminator.apply_fn
  return np.asarray(
    apply({"params": game.discriminator.params}, jnp.asarray(w, jnp.float32), train=False)
  )


def softplus(x):
  return np.logaddexp(0.0, x)


def test_layers_are_unlocked_at_the_steps_of_the_paper():
  told = style_encoder.Settings(encoder_steps=200_000)
  expected = 20_000 + 2_000 * np.arange(17)
  np.testing.assert_array_equal(style_encoder.unlocking(told, 18), expected)


@pytest.mark.parametrize(("step", "unlocked"), [(1, 1), (2, 2), (3, 3), (4, 4), (7, 4)])
def test_the_encoders_objective(step, unlocked):
  told = settings(style_weight=0.7, delta_weight=0.3, pixel_weight=1.5, feature_weight=0.25)
  game = at(begin(told), step)
  w = styles_of(game, unlocked)
  made = np.asarray(frozen().style.synthesis(frozen().variables, jnp.asarray(w, jnp.float32)))
  pixels = np.square(made - images()).mean()
  own = w[:, :unlocked]
  expected = (1.5 + 0.25 * 4.0) * pixels
  expected += 0.3 * np.linalg.norm(own[:, 1:] - own[:, :1], axis=2).sum(1).mean()
  expected += 0.7 * softplus(-logits_of(game, own.reshape(-1, 6))).mean()
  value, aux = objective(1, game, told)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(aux.metrics["pixels"], pixels, rtol=1e-5)


def test_the_judges_objective_has_r1_at_each_16th_step():
  told = settings(pool=0, style_r1=3.0)
  game = begin(told)
  real = 2.0 * np.asarray(frozen().latents(KEY, 4))
  fake = styles_of(game, 1)[:, 0]
  loss = (softplus(-logits_of(game, real)) + softplus(logits_of(game, fake))).mean()

  def total(w):
    return game.discriminator.apply_fn({"params": game.discriminator.params}, w, train=True).sum()

  slope = np.square(np.asarray(jax.grad(total)(jnp.asarray(real)))).sum(1).mean()
  for step, weight in ((0, 16.0), (1, 0.0), (16, 16.0)):
    there = at(game, step)
    locked = settings(pool=0, style_r1=3.0, unlock_from=1.0, unlock_until=1.0, encoder_steps=100)
    value, _ = objective(0, there, locked)
    np.testing.assert_allclose(value, loss + weight * 3.0 / 2.0 * slope, rtol=1e-5)


def test_the_pool_gets_one_style_of_each_picture_among_the_unlocked_layers():
  told = settings(pool=100)
  game = at(begin(told), 3)
  w = styles_of(game, 3, n=64)
  _, aux = objective(0, game, told, n=64)
  assert int(aux.extra["pool"].filled) == 64
  apart = np.abs(np.asarray(aux.extra["pool"].items)[:64, None] - w).max(2)
  layer = apart.argmin(1)
  np.testing.assert_allclose(apart[np.arange(64), layer], 0.0, atol=1e-5)
  # The fourth layer is locked and repeats the first, which argmin takes.
  assert (np.bincount(layer, minlength=4)[:3] > 8).all()


def test_the_judge_sees_what_the_pool_gives_back():
  told = settings(pool=1, style_r1=0.0)
  game = begin(told)
  far = jnp.full([1, 6], 50.0)
  pool = game.extra["pool"]._replace(items=far, filled=jnp.asarray(1, jnp.int32))
  game = game.replace(extra={**game.extra, "pool": pool})
  newest = jnp.asarray(styles_of(game, 1)[:, 0], jnp.float32)
  seen, after = training.pool_query(pool, newest, jax.random.split(KEY, 3)[2])
  assert (seen == far).any()
  value, aux = objective(0, game, told)
  real = 2.0 * np.asarray(frozen().latents(KEY, 4))
  expected = (softplus(-logits_of(game, real)) + softplus(logits_of(game, seen))).mean()
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(aux.extra["pool"].items, after.items, atol=1e-5)


PICTURES = np.random.default_rng(0).integers(0, 256, (20, *SHAPE)).astype(np.uint8)


def play(told, game, **options):
  return style_encoder.train_encoder(frozen(), told, game, PICTURES, 7, **options)


def assert_same(a, b):
  leaves = [jax.tree.leaves(x.replace(key=jax.random.key_data(x.key))) for x in (a, b)]
  for one, other in zip(*leaves, strict=True):
    np.testing.assert_array_equal(one, other)


def test_training_goes_on_bit_for_bit(tmp_path):
  told, path = settings(), tmp_path / "encoder.msgpack"
  named = {"encoder_steps": 8, "a": 1.5, "b": None}

  def keep(step, game, metrics):
    if step == 5:
      style_encoder.save(path, game, named)

  whole = play(told, begin(told), after=keep)
  there, changed = style_encoder.resume(path, begin(told), named)
  assert (int(there.step), changed) == (5, [])
  assert int(there.extra["pool"].filled) == 3
  seen = []
  later = play(told, there, after=lambda step, game, metrics: seen.append(step))
  assert seen == [6, 7, 8]
  assert_same(later, whole)
  start = begin(told)
  moved = [
    not np.array_equal(a, b)
    for player in ("discriminator", "generator")
    for a, b in zip(
      jax.tree.leaves(getattr(whole, player).params),
      jax.tree.leaves(getattr(start, player).params),
      strict=True,
    )
  ]
  assert all(moved)


def test_other_settings_are_named_and_nothing_is_taken(tmp_path):
  told, path = settings(), tmp_path / "encoder.msgpack"
  game = begin(told)
  style_encoder.save(path, at(game, 4), {"encoder_steps": 8, "a": 1, "b": 2})
  for now, names in (
    ({"encoder_steps": 8, "a": 1, "b": 3}, ["b"]),
    ({"encoder_steps": 8, "a": 1}, ["of another version"]),
    ({"encoder_steps": 8, "a": 1, "b": 2, "c": 3}, ["c"]),
  ):
    found, changed = style_encoder.resume(path, game, now)
    assert changed == names
    assert found is game


def damaged(kind, written, game):
  named, digest = {"encoder_steps": 8}, style_encoder._DIGEST
  if kind == "cut":
    return written[:-100]
  if kind == "empty":
    return b""
  if kind == "flipped":
    return written[:500] + bytes([written[500] ^ 1]) + written[501:]
  content = {
    "pickle": pickle.dumps(named),
    "list": serialization.msgpack_serialize([1, 2]),
    "leaves": serialization.msgpack_serialize({"settings": named, "leaves": {"x": np.ones(3)}}),
    "step": serialization.msgpack_serialize(
      {
        "settings": named,
        "leaves": {name: np.asarray(x) for name, x in style_encoder._leaves(at(game, -1)).items()},
      }
    ),
  }[kind]
  return digest(content).digest() + content


@pytest.mark.parametrize("kind", ["cut", "empty", "flipped", "pickle", "list", "leaves", "step"])
def test_a_file_that_was_not_written_so_is_refused(tmp_path, kind):
  told, path = settings(), tmp_path / "encoder.msgpack"
  game = begin(told)
  style_encoder.save(path, game, {"encoder_steps": 8})
  path.write_bytes(damaged(kind, path.read_bytes(), game))
  with pytest.raises(run.RunError, match=r"encoder\.msgpack is not a whole state .* delete it"):
    style_encoder.resume(path, game, {"encoder_steps": 8})
