"""The latent walk that a run leaves for its report."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import data, latents, run
from jaxgan.run.judge import Judge, grid_latents
from jaxgan.run.logs import Silence
from jaxgan.run.walks import walk_latents, walk_path
from jaxgan.training import System

SHAPE = (8, 8, 1)


def system_of(z, **changes):
  def generate(variables, x):
    return jnp.tanh(x[:, :64]).reshape(-1, *SHAPE)

  return System(None, None, z, generate, 1)._replace(**changes)


def test_rows_go_along_arcs_between_latents_of_the_grid():
  z = latents.normal(64)(jax.random.key(0), 64)
  path = np.asarray(walk_latents(system_of(latents.normal(64)), z)).reshape(8, 8, 64)
  np.testing.assert_allclose(path[:, 0], z[:8], atol=1e-5)
  np.testing.assert_allclose(path[:, -1], z[8:16], atol=1e-5)

  def angle(a, b):
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.arccos((a * b).sum(-1) / lengths)

  # By the first and the last weights of the arc, which are of unequal lengths a little.
  whole = angle(path[:, 0], path[:, -1])
  steps = sum(angle(path[:, i], path[:, i + 1]) for i in range(7))
  np.testing.assert_allclose(steps, whole, rtol=1e-3)  # a plane curve that does not turn back


def test_a_label_stays_that_of_the_start():
  z = latents.mixed(label=latents.categorical(5), noise=latents.normal(64))
  system = system_of(z)
  config = run.Config(workdir="unused", dataset="unused", seed=3)
  grid = grid_latents(system, config)
  path = np.asarray(walk_latents(system, grid)).reshape(8, 8, 69)
  np.testing.assert_array_equal(path[:, :, :5], np.repeat(grid[:8, None, :5], 8, 1))
  np.testing.assert_allclose(path[:, -1, 5:], grid[8:16, 5:], atol=1e-5)


def test_what_cannot_be_walked():
  z = latents.normal(64)
  rows = jnp.ones([64, 4])
  assert walk_latents(system_of(z, inputs=lambda latents: latents), rows) is None
  for other in (rows.astype(jnp.int32), rows[:, 0], rows[None], rows[:63]):
    assert walk_latents(system_of(z), other) is None


@pytest.mark.parametrize("wanted", [True, False])
def test_the_judge_draws_it_where_a_report_is_wanted(tmp_path, wanted):
  pictures = np.zeros([4, *SHAPE], np.uint8)
  config = run.Config(workdir=str(tmp_path), dataset="none", report=wanted)
  system = system_of(latents.normal(64))
  judge = Judge(system, config, data.Dataset("none", pictures), Silence())
  evaluated = types.SimpleNamespace(evaluated=lambda average=True: None)
  judge.walk(types.SimpleNamespace(step=7, generator=evaluated))
  assert walk_path(tmp_path, 7).exists() == wanted
  if wanted:
    with Image.open(walk_path(tmp_path, 7)) as picture:
      painted = np.asarray(picture)
    z = grid_latents(system, config)
    first = np.asarray(system.generate(None, z[:1]))[0, :, :, 0]
    np.testing.assert_allclose(painted[2:10, 2:10] / 127.5 - 1.0, first, atol=0.005)
