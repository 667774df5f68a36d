"""R3GAN from its command: two steps, one more after a resume, samples; what it refuses."""

import functools

import jax
import numpy as np
import pytest

from experiments import r3gan, sample
from jaxgan import models, run
from jaxgan.run.config import parse

FLAGS = [
  "--resolution=8",
  "--width=8",
  "--batch-size=8",
  "--limit=32",
  "--burn-in=16",
  "--log-every=1",
  "--sample-every=3",
  "--checkpoint-every=2",
  "--no-compilation-cache",
]

pytestmark = pytest.mark.usefixtures("compiled_once")


def main(workdir, *argv):
  with pytest.raises(SystemExit) as end:
    run.main(r3gan.build, r3gan.Config, r3gan.PRESETS, [f"--workdir={workdir}", *FLAGS, *argv])
  return end.value.code


@pytest.mark.parametrize(
  "flags",
  [
    ["--conditional", "--widths=16,8"],
    pytest.param(["--augment-p=0.5", "--accumulate=2", "--dtype=bfloat16"], marks=pytest.mark.slow),
  ],
  ids=["conditional", "augmented"],
)
def test_it_runs_resumes_and_samples(flags, tmp_path, monkeypatch):
  for name in ("Generator", "Discriminator"):  # half as much to compile
    network = functools.partial(getattr(models.r3gan, name), blocks=1)
    monkeypatch.setattr(models.r3gan, name, network)
  workdir = tmp_path / "run"
  multiple = [] if "--conditional" in flags else ["--batch-size=16"]
  flags = [*flags, *multiple]
  assert main(workdir, "--steps=2", *flags) == 0
  before = run.restore(str(workdir)).game
  assert main(workdir, "--steps=3", *flags) == 0
  after = run.restore(str(workdir)).game
  assert (int(before.step), int(after.step)) == (2, 3)
  state = after.generator.opt_state.hyperparams
  # The burn-in of two steps, or one, is over at the third update, whose rate is the last.
  np.testing.assert_allclose(state["learning_rate"], 5e-5, rtol=1e-6)
  np.testing.assert_allclose(state["b2"], 0.99, rtol=1e-6)
  for x in jax.tree.leaves((after.generator.params, after.discriminator.params)):
    assert np.isfinite(x).all()

  out = tmp_path / "samples.npz"
  sample.main(sample.Options(workdir=str(workdir), num=4, out=str(out)))
  with np.load(out) as file:
    assert file["images"].shape == (4, 8, 8, 1)


@pytest.mark.parametrize("name", r3gan.PRESETS)
def test_presets_are_configurations(name):
  config = parse(r3gan.Config, r3gan.PRESETS, [f"--preset={name}", "--workdir=x"])
  assert config.preset == name
  count = (config.resolution // 4).bit_length()
  assert config.stage_widths is None or len(config.stage_widths) == count


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["--widths=16,x"], "--widths=16,x must be positive whole numbers"),
    (["--width=12"], "--group-size=16 must divide 24"),
    (["--augment-p=1.5"], "--augment-p=1.5"),
    (["--burn-in=-1"], "--burn-in=-1"),
    (["--last-adam-b2=1"], "--last-adam-b2=1.0"),
    (["--accumulate=0"], "--accumulate=0"),
  ],
)
def test_flags_that_no_run_can_have_are_refused(flags, said, tmp_path, capsys):
  assert main(tmp_path / "run", *flags) == 2
  assert said in capsys.readouterr().err
