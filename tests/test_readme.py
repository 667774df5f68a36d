"""The README's Python runs as it stands."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_block_is_tested_by_name(block):
  assert ("gradient_penalty" in block) or ("training.system" in block)
