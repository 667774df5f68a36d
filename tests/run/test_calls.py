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


def play(first, last, per_call, game, device_limit):
  mesh = training.data_mesh()
  sharding = training.batch_sharding(mesh)
  dataset = data.Dataset("random", images=PICTURES)
  options = dict(batch_size=16, groups=2, flip=True, sharding=sharding, device_limit=device_limit)
  sizes, values = [], []
  with data.Batches(dataset, **options) as batches:
    for count, call in calls(step, mesh, batches, first, last, per_call):
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
