import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import data, training
from jaxgan.run.calls import calls

PICTURES = np.random.default_rng(0).integers(0, 256, [40, 4, 4, 1], np.uint8)


def step(game, batch):
  """A game that is all memory: each picture weighs in at its place and time."""
  weights = jnp.arange(1.0, 17.0).reshape(1, 1, 4, 4, 1)
  value = jax.lax.pmean((batch["image"] * weights).mean(), training.AXIS)
  count, total = game
  return (count + 1, 0.9 * total + value), {"value": value}


def updates(at):
  """Many updates of D in the first two steps and in every seventh, as WGAN has them."""
  return 3 if at < 2 or at % 7 == 0 else 2


def slower(game, batch):
  """Another step, of which the value counts half."""
  (count, total), metrics = step(game, batch)
  return (count, total - metrics["value"] / 2), metrics


def play(first, last, per_call, game, device_limit, groups=2, step_at=None):
  mesh = training.data_mesh()
  sharding = training.batch_sharding(mesh)
  dataset = data.Dataset("random", images=PICTURES)
  system = training.System(None, step, None, None, groups, step_at=step_at)
  options = dict(batch_size=16, groups=groups, sharding=sharding, device_limit=device_limit)
  sizes, values = [], []
  with data.Batches(dataset, flip=True, **options) as batches:
    for count, call in calls(system, mesh, batches, first, last, per_call):
      game, metrics = call(game)
      sizes.append(count)
      values.extend(np.ravel(metrics["value"]).tolist())
  return sizes, values, game


@pytest.mark.parametrize("device_limit", [1 << 20, 0], ids=["resident", "gathered"])
def test_steps_by_the_call_are_the_same_steps(device_limit):
  mesh = training.data_mesh()
  start = jax.device_put((jnp.zeros([], jnp.int32), jnp.zeros([])), training.replicated(mesh))
  copy = jax.tree.map(jnp.copy, start)
  ones, expected, end = play(0, 11, 1, start, device_limit)
  assert ones == [1] * 11
  first, values, game = play(0, 6, 4, copy, device_limit)
  second, more, game = play(6, 11, 4, game, device_limit)
  assert (first, second) == ([4, 2], [2, 3])  # calls end at multiples of 4 and where a run ends
  np.testing.assert_allclose(values + more, expected, rtol=1e-5)
  assert int(game[0]) == 11
  np.testing.assert_allclose(game[1], end[1], rtol=1e-5)


@pytest.mark.parametrize("device_limit", [1 << 20, 0], ids=["resident", "gathered"])
def test_updates_of_the_discriminator_may_change_in_number(device_limit):
  mesh = training.data_mesh()
  start = jax.device_put((jnp.zeros([], jnp.int32), jnp.zeros([])), training.replicated(mesh))
  copy = jax.tree.map(jnp.copy, start)
  _, expected, end = play(0, 10, 1, start, device_limit, updates)
  first, values, game = play(0, 5, 4, copy, device_limit, updates)
  second, more, game = play(5, 10, 4, game, device_limit, updates)
  assert (first, second) == ([2, 2, 1], [2, 1, 2])  # 3 3 | 2 2 | 2 and 2 2 | 3 | 2 2
  np.testing.assert_allclose(values + more, expected, rtol=1e-5)
  np.testing.assert_allclose(game[1], end[1], rtol=1e-5)


def test_steps_may_change_with_the_stage_of_a_run():
  """Calls end where another step begins, and each plays its own."""
  mesh = training.data_mesh()

  def begun():
    return jax.device_put((jnp.zeros([], jnp.int32), jnp.zeros([])), training.replicated(mesh))

  def step_at(at):
    return slower if 3 <= at < 5 else step

  ones, values, end = play(0, 7, 1, begun(), 1 << 20, step_at=step_at)
  sizes, again, game = play(0, 7, 4, begun(), 1 << 20, step_at=step_at)
  assert (ones, sizes) == ([1] * 7, [3, 1, 1, 2])
  np.testing.assert_allclose(again, values, rtol=1e-5)
  total = 0.0
  for at, value in enumerate(values):
    total = 0.9 * total + value * (0.5 if 3 <= at < 5 else 1.0)
  np.testing.assert_allclose([end[1], game[1]], total, rtol=1e-5)


def test_every_picture_has_its_turn_where_updates_change_in_number():
  dataset = data.Dataset("random", images=PICTURES)
  with data.Batches(dataset, batch_size=8, groups=updates) as batches:
    taken = np.concatenate([batches.indices(at)[0].ravel() for at in range(9)])
    assert [len(batches(at)["image"]) for at in (1, 2, 7)] == [3, 2, 3]
  assert taken.size == 8 * (3 + 3 + 5 * 2 + 3 + 2)
  assert sorted(taken[:40]) == sorted(taken[40:80]) == list(range(40))
