"""Members of a population against runs of their own, in float64."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import dcgan
from jaxgan import training
from jaxgan.types import ImageSpec

SPEC = ImageSpec((8, 8, 1), ())
STEPS, BATCH = 3, 8
CONFIG = dcgan.Config(workdir="", resolution=8, width=2, batch_size=BATCH, latent_dim=4)
SETTINGS = [{"learning_rate": 1e-3, "ema_decay": 0.9}, {"learning_rate": 4e-3, "ema_decay": 0.5}]
SEEDS = [5, 6, 7, 8]


def build(values):
  config = dataclasses.replace(CONFIG)
  for name, value in values.items():
    object.__setattr__(config, name, value)
  return dcgan.build(config, SPEC)


def pictures(seed):
  shape = (STEPS, 1, BATCH, *SPEC.shape)
  return {"image": np.random.default_rng(seed).uniform(-1, 1, shape)}


def double(tree):
  return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


@pytest.fixture(scope="module")
def singles():
  """Settings, seed, last leaves and metrics of eight runs."""
  runs = []
  with jax.enable_x64(True):
    for values in SETTINGS:
      system = build(values)
      step = training.data_parallel(system.step, training.data_mesh(jax.devices()[:1]))
      for seed in SEEDS:
        game, batches = double(system.init(jax.random.key(seed))), pictures(seed)
        for i in range(STEPS):
          game, metrics = step(game, jax.tree.map(lambda x, i=i: x[i], batches))
        leaves = jax.tree.leaves(game.replace(key=None))
        runs.append((values, seed, *jax.device_get((leaves, metrics))))
  return runs


@pytest.mark.parametrize(("shape", "per_call"), [((1, 1), 1), ((8, 1), 1), ((2, 2), 3)])
def test_members_are_runs_of_their_own(shape, per_call, singles, x64):
  del x64
  n = len(singles)
  system = training.varied(build, SETTINGS[0])
  game = training.stack(
    [
      double(system.init(jax.random.key(seed), jax.tree.map(jnp.asarray, values)))
      for values, seed, _, _ in singles
    ]
  )
  axes = (training.MEMBERS, training.AXIS)
  mesh = jax.sharding.Mesh(np.reshape(jax.devices()[: math.prod(shape)], shape), axes)
  game = jax.device_put(game, training.population_sharding(game, mesh))
  step = training.population_parallel(system.step, n, mesh)
  rows = jax.tree.map(lambda *x: jnp.stack(x, 1), *(pictures(seed) for _, seed, _, _ in singles))
  for i in range(0, STEPS, per_call):
    game, metrics = step(game, None, jax.tree.map(lambda x, i=i: x[i : i + per_call], rows))
  assert int(game.step) == STEPS
  for i, (values, _, leaves, last) in enumerate(singles):
    mine = training.member(game, i)
    assert {name: float(x) for name, x in mine.hyperparameters.items()} == values
    mine = jax.tree.leaves(mine.replace(key=None, hyperparameters={}))
    assert len(mine) == len(leaves) > 20
    for a, b in zip(mine, leaves, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    for name, value in last.items():
      np.testing.assert_allclose(metrics[name][-1, i], value, rtol=1e-5)  # norms are float32


def test_what_decides_the_form_of_a_program_cannot_vary():
  def build_by(values):
    return build({"width": 2 if values["rate"] > 0 else 3})

  system = training.varied(build_by, {"rate": 1.0})
  with pytest.raises(jax.errors.TracerBoolConversionError):
    jax.eval_shape(system.init, jax.random.key(0), {"rate": jnp.asarray(1.0)})


def test_batches_and_numbers_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match="n=0 must be at least 1"):
    training.population(lambda game, batch: (game, {}), 0)
  together = training.population(lambda game, batch: (game, {}), 2)
  with pytest.raises(ValueError, match=r"shape \(3, 1\); its first axis must be n=2"):
    together(None, {"image": jnp.zeros([3, 1])})


def test_members_are_spread_over_the_devices_that_divide_them():
  found = [dict(training.population_mesh(n).shape) for n in (8, 4, 6, 3)]
  assert found == [
    {"members": 8, "data": 1},
    {"members": 4, "data": 2},
    {"members": 2, "data": 4},
    {"members": 1, "data": 8},
  ]
