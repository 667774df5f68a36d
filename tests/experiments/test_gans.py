"""Every GAN of 2014 to 2017 from its command: two steps, one more after a resume, samples."""

import json

import numpy as np
import pytest

from experiments import (
  acgan,
  began,
  cgan,
  dragan,
  ebgan,
  fgan,
  gan,
  improved_gan,
  infogan,
  lsgan,
  pacgan,
  sample,
  wgan,
  wgan_gp,
)
from jaxgan import run
from jaxgan.run.checkpoints import Checkpoints

FLAGS = [
  "--resolution=16",
  "--width=6",
  "--batch-size=16",
  "--log-every=1",
  "--sample-every=3",
  "--checkpoint-every=2",
  "--no-compilation-cache",
]
RUNS = {
  "gan": (gan, ["--loss=minimax"]),
  "lsgan": (lsgan, []),
  "fgan": (fgan, ["--divergence=pearson"]),
  "wgan": (wgan, ["--n-critic=1", "--n-critic-early=2"]),
  "wgan_gp": (wgan_gp, ["--n-critic=2"]),
  "wgan_gp_resnet": (wgan_gp, ["--n-critic=1", "--network=resnet", "--critic-norm=layer"]),
  "dragan": (dragan, []),
  "pacgan": (pacgan, []),
  "cgan": (cgan, []),
  "acgan": (acgan, []),
  "infogan": (infogan, []),
  "ebgan": (ebgan, []),
  "began": (began, []),
  "improved_gan": (improved_gan, ["--all-techniques", "--virtual-batch-norm=4"]),
  "semi_supervised": (improved_gan, ["--labels=20", "--split=train[:80%]"]),
}
SLOW = {"lsgan", "wgan_gp_resnet"}  # their parts are in the others too
LOGGED = {
  "fgan": {"divergence_bound"},
  "wgan": {"wasserstein_estimate"},
  "wgan_gp": {"wasserstein_estimate", "penalty"},
  "dragan": {"penalty"},
  "acgan": {"class_real", "class_fake", "class_G"},
  "infogan": {"information_bound", "category_G", "continuous_G"},
  "ebgan": {"pulling_away"},
  "began": {"convergence", "k"},
  "improved_gan": {"feature_matching", "history_D", "history_G"},
  "semi_supervised": {"labelled", "feature_matching"},
}


pytestmark = pytest.mark.usefixtures("compiled_once")


def main(module, workdir, *argv):
  with pytest.raises(SystemExit) as end:
    run.main(module.build, module.Config, module.PRESETS, [f"--workdir={workdir}", *FLAGS, *argv])
  return end.value.code


@pytest.mark.parametrize(
  "name",
  [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in RUNS],
)
def test_it_runs_resumes_and_samples(name, tmp_path):
  module, flags = RUNS[name]
  workdir = tmp_path / "run"
  assert main(module, workdir, "--steps=2", *flags) == 0
  assert main(module, workdir, "--steps=3", *flags) == 0
  with Checkpoints(workdir, read_only=True) as checkpoints:
    assert checkpoints.latest == 3
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  logged = [line for line in lines if "loss_D" in line]
  assert [line["step"] for line in logged] == [1, 2, 3]
  assert LOGGED.get(name, set()) <= set(logged[-1])
  assert all(np.isfinite(value) for line in lines for value in line.values())
  assert (workdir / "samples" / "step_000003.png").exists()

  out = tmp_path / "samples.npz"
  sample.main(sample.Options(workdir=str(workdir), num=4, out=str(out)))
  with np.load(out) as file:
    assert file["images"].shape == (4, 16, 16, 1)
    assert file["images"].dtype == np.uint8


def test_the_classifier_reports_its_error_on_held_out_pictures(tmp_path, capsys):
  flags = ["--labels=20", "--split=train[:80%]", "--steps=1"]
  assert main(improved_gan, tmp_path / "run", *flags) == 0
  assert "test_error 0." in capsys.readouterr().err


@pytest.mark.parametrize(("step", "updates"), [(0, 100), (24, 100), (25, 5), (499, 5), (500, 100)])
def test_wgan_trains_its_critic_long_at_first_and_now_and_then(step, updates):
  config = wgan.Config(workdir="unused")
  assert wgan.critic_updates(config.n_critic, config.n_critic_early, step) == updates


@pytest.mark.parametrize(
  ("module", "flags", "said"),
  [
    (wgan, ["--n-critic=0"], "--n-critic=0"),
    (began, ["--gamma=0"], "--gamma=0"),
    (fgan, ["--divergence=alpha"], "--divergence=alpha must be one of kullback_leibler"),
    (pacgan, ["--packing=0"], "--packing=0 must be positive"),
    (pacgan, ["--packing=3"], "--packing=3"),
    (improved_gan, ["--label-smoothing=0.5"], "--label-smoothing=0.5"),
    (improved_gan, ["--labels=5000"], "--labels=5000"),
    (improved_gan, ["--labels=20"], "--split=train[:80%]"),
    (acgan, ["--dataset=plain"], "labels"),
  ],
)
def test_flags_that_no_run_can_have_are_refused_before_compilation(
  module, flags, said, tmp_path, capsys
):
  if "--dataset=plain" in flags:
    pictures = np.random.default_rng(0).integers(0, 256, [40, 16, 16, 1], np.uint8)
    np.savez(tmp_path / "plain.npz", images=pictures)
    flags = [f"--dataset={tmp_path / 'plain.npz'}", f"--cache-dir={tmp_path}"]
  assert main(module, tmp_path / "run", "--steps=1", *flags) == 2
  assert said in capsys.readouterr().err
  assert not (tmp_path / "run" / "config.json").exists()
