"""The residual family from its commands: two steps, one more after a resume, samples."""

import json

import jax
import numpy as np
import pytest

from experiments import biggan, sagan, sample, sngan, sngan_projection
from jaxgan import run
from jaxgan.run.checkpoints import Checkpoints

FLAGS = [
  "--resolution=16",
  "--width=8",
  "--batch-size=16",
  "--log-every=1",
  "--sample-every=3",
  "--checkpoint-every=2",
  "--no-compilation-cache",
]
RUNS = {
  "sngan": (sngan, ["--n-dis=2"]),
  "sngan_resnet": (sngan, ["--network=resnet", "--loss=non_saturating"]),
  "sngan_projection": (sngan_projection, []),
  "sagan": (sagan, ["--attention=8"]),
  "biggan": (
    biggan,
    [
      "--shared=4",
      "--hierarchical",
      "--latent-dim=12",
      "--accumulate=2",
      "--attention=8",
      "--orthogonal-weight=1e-4",
    ],
  ),
}
SLOW = {"sngan_resnet", "sngan_projection", "sagan", "biggan"}  # their parts are in the others too


pytestmark = pytest.mark.usefixtures("compiled_once")


def main(module, workdir, *argv):
  with pytest.raises(SystemExit) as end:
    run.main(module.build, module.Config, module.PRESETS, [f"--workdir={workdir}", *FLAGS, *argv])
  return end.value.code


def spectral_vectors(workdir, module):
  game = run.restore(str(workdir)).game
  return jax.device_get(jax.tree.leaves(game.discriminator.collections["spectral"]))


@pytest.mark.parametrize(
  "name",
  [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in RUNS],
)
def test_it_runs_resumes_and_samples(name, tmp_path):
  module, flags = RUNS[name]
  workdir = tmp_path / "run"
  assert main(module, workdir, "--steps=2", *flags) == 0
  before = spectral_vectors(workdir, module)
  assert main(module, workdir, "--steps=3", *flags) == 0
  with Checkpoints(workdir, read_only=True) as checkpoints:
    assert checkpoints.latest == 3
  after = spectral_vectors(workdir, module)
  assert any((a != b).any() for a, b in zip(before, after, strict=True))
  for vector in after:
    np.testing.assert_allclose(np.linalg.norm(vector), 1.0, rtol=1e-5)
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  assert all(np.isfinite(value) for line in lines for value in line.values())

  out = tmp_path / "samples.npz"
  standing = 2 if name == "biggan" else 0
  sample.main(sample.Options(workdir=str(workdir), num=4, out=str(out), standing=standing))
  with np.load(out) as file:
    assert file["images"].shape == (4, 16, 16, 1)


@pytest.mark.parametrize(
  ("module", "flags", "said"),
  [
    (biggan, ["--deep"], "--shared=128"),
    (biggan, ["--accumulate=3"], "--batch-size=16 must be divisible by 24"),
    (biggan, ["--accumulate=0"], "--accumulate=0 must be positive"),
    (biggan, ["--shared=4", "--hierarchical", "--latent-dim=10"], "multiple of 3"),
    (sngan_projection, ["--network=cnn"], "--network=cnn"),
    (sagan, ["--attention=64"], "64"),
    (sngan, ["--steps=3000"], "give a larger --decay-steps too"),
  ],
)
def test_flags_that_no_run_can_have_are_refused(module, flags, said, tmp_path, capsys):
  assert main(module, tmp_path / "run", "--steps=1", *flags) == 2
  assert said in capsys.readouterr().err
  assert not (tmp_path / "run" / "config.json").exists()
