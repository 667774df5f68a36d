"""The README's Python runs as it stands."""

import dataclasses
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgan.run
from experiments import dcgan, export
from jaxgan.run.checkpoints import Checkpoints
from jaxgan.types import ImageSpec

TEXT = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def run(block):
  names = {}
  exec(compile(block, "README.md", "exec"), names)
  return names


def test_the_loop_of_ones_own_learns_the_ring():
  (block,) = (b for b in BLOCKS if "gradient_penalty" in b)
  assert len([line for line in block.splitlines() if line.strip()]) < 45
  names = run(block)
  samples = names["generator"].apply(names["g"], names["z"](jax.random.key(9), 1000))
  radius = np.linalg.norm(samples, axis=1)
  assert abs(np.median(radius) - 1.0) < 0.15
  assert np.mean(np.abs(radius - 1.0) < 0.3) > 0.8
  quadrants = np.bincount(2 * (samples[:, 0] > 0) + (samples[:, 1] > 0), minlength=4) / 1000
  assert quadrants.min() > 0.1


def test_the_step_of_the_library():
  (block,) = (b for b in BLOCKS if "training.system" in b)
  names = run(block)
  assert names["images"].shape == (16, 32, 32, 1)
  assert jnp.isfinite(names["metrics"]["loss_D"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  """The files of the section on exports, of an untrained run."""
  folder = tmp_path_factory.mktemp("exported")
  config = dcgan.Config(workdir=str(folder), resolution=8, width=2)
  spec = ImageSpec((8, 8, 1))
  game = jax.jit(dcgan.build(config, spec).init)(jax.random.key(0))
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(game, None)
  jaxgan.run.Record("experiments.dcgan", dataclasses.asdict(config), spec, 40).save(folder)
  for name in ("generator.jaxexport", "model.safetensors"):
    export.main(export.Options(str(folder), str(folder / name), platforms="cpu"))
  return folder


def test_an_exported_program_runs_without_the_library(exported):
  (block,) = (b for b in BLOCKS if "deserialize" in b)
  assert len([line for line in block.splitlines() if line.strip()]) <= 6
  ends = "\nimport sys\nprint(images.shape, {'jaxgan', 'flax'} & set(sys.modules))"
  result = subprocess.run(
    [sys.executable, "-c", block + ends], cwd=exported, capture_output=True, text=True
  )
  assert result.stdout == "(16, 8, 8, 1) set()\n", result.stderr


def test_exported_weights_are_loaded(exported, monkeypatch):
  (block,) = (b for b in BLOCKS if "load_generator" in b)
  monkeypatch.chdir(exported)
  names = run(block)
  assert names["images"].shape == (16, 8, 8, 1)
  assert np.asarray(names["images"]).std() > 0


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_block_is_tested_by_name(block):
  names = ("gradient_penalty", "training.system", "deserialize", "load_generator")
  assert any(name in block for name in names)
