"""Workdirs of other versions: the format before is read and gone on with, a later one refused.

`data/format_0` was written by the last version without numbers (its `made.sh` says how), whose own
samples lie beside it. A version that counts the format up adds the workdir of the one before here.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest

from experiments import dcgan, sample
from jaxgan import run
from jaxgan.run import formats
from jaxgan.run.checkpoints import Checkpoints
from tests.run.test_checkpoints import abstract, game

DATA = pathlib.Path(__file__).parent / "data"
FLAGS = [  # of made.sh
  "--resolution=8", "--width=4", "--latent-dim=8", "--batch-size=16", "--limit=64",
  "--learning-rate=0.1", "--ema-decay=0.5", "--log-every=2",
  "--no-compilation-cache", "--no-report",
]  # fmt: skip


@pytest.fixture
def old(tmp_path):
  """A copy of the workdir of the format before."""
  assert formats.FORMAT == 1, (
    "add a workdir of the format before to tests/run/data, and read it here"
  )
  shutil.copytree(DATA / "format_0", tmp_path / "run")
  return tmp_path / "run"


def main(workdir, *argv):
  """The exit code of a run."""
  with pytest.raises(SystemExit) as end:
    run.main(dcgan.build, dcgan.Config, dcgan.PRESETS, [f"--workdir={workdir}", *FLAGS, *argv])
  return end.value.code


def files(folder):
  return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rewrite(path, change):
  content = json.loads(path.read_text())
  change(content)
  path.write_text(json.dumps(content))


def test_the_data_are_small_and_have_no_number(old):
  assert sum(map(len, files(DATA).values())) < 200_000
  assert "format" not in json.loads((old / "config.json").read_text())
  (metadata,) = old.glob("checkpoints/step_4/_CHECKPOINT_METADATA")
  assert "format" not in json.loads(metadata.read_text())["custom_metadata"]


def test_a_workdir_of_the_format_before_draws_its_pictures(old, tmp_path):
  sample.main(sample.Options(str(old), num=16, seed=5, out=str(tmp_path / "drawn.npz")))
  with np.load(tmp_path / "drawn.npz") as drawn, np.load(DATA / "format_0.npz") as made:
    # Compilers and processors round otherwise: a last bit of latents, a level of 255 of pictures.
    np.testing.assert_allclose(drawn["latents"], made["latents"], rtol=1e-6, atol=1e-6)
    difference = drawn["images"].astype(int) - made["images"].astype(int)
    assert np.abs(difference).max() <= 1
    assert made["images"].std() > 5  # pictures, and no grey


def test_a_workdir_of_the_format_before_is_gone_on_with(old):
  assert main(old, "--steps=6") == 0
  assert json.loads((old / "config.json").read_text())["format"] == formats.FORMAT
  restored = run.restore(str(old))
  assert int(restored.game.step) == 6
  with Checkpoints(old, read_only=True) as checkpoints:
    assert checkpoints.steps == [4, 6]  # the latest two
    note = checkpoints.note(4)
    assert note.lines == 3
  logged = [json.loads(line) for line in (old / "metrics.jsonl").read_text().splitlines()]
  assert [line["step"] for line in logged if "loss_D" in line] == [2, 4, 6]


def test_a_later_format_is_refused_and_nothing_is_touched(old, capsys):
  def later(content):
    content["format"] = 7
    content["environment"]["jaxgan"] = "3.4.5"

  rewrite(old / "config.json", later)
  before = files(old)
  assert main(old, "--steps=6") == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(f"error: {old / 'config.json'} is of format 7, and jaxgan ")
  assert line.endswith(
    "reads formats up to 1: install jaxgan 3.4.5, which wrote it, or a newer one"
  )
  with pytest.raises(run.RunError, match="is of format 7"):
    run.restore(str(old))
  assert files(old) == before


@pytest.mark.parametrize("number", [-1, "1", 1.0, None, True, [1]])
def test_a_format_that_is_no_number_is_damage(old, number):
  rewrite(old / "config.json", lambda content: content.update(format=number))
  with pytest.raises(run.RunError, match=r"config\.json is damaged"):
    run.restore(str(old))


def test_a_checkpoint_of_a_later_format_is_refused_and_stays(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(game(2), None)
    checkpoints.save(game(4), None)
  path = tmp_path / "checkpoints" / "step_4" / "_CHECKPOINT_METADATA"

  def told(**changes):
    rewrite(path, lambda content: content["custom_metadata"].update(changes))

  assert json.loads(path.read_text())["custom_metadata"]["format"] == formats.sealed(formats.FORMAT)
  told(format=formats.sealed(2), jaxgan="\x1b[31m")
  with Checkpoints(tmp_path) as checkpoints:
    for read in (lambda: checkpoints.restore_newest(abstract(game())), lambda: checkpoints.note(4)):
      with pytest.raises(
        run.RunError, match=r"checkpoint 4 .* is of format 2.*install a newer one"
      ):
        read()
    assert checkpoints.steps == [2, 4]
    # A number that was changed alone is damage, and the checkpoint before serves.
    told(format="2" + formats.sealed(1)[1:])
    with pytest.raises(run.RunError, match=r"checkpoint 4 .* is damaged \(its format is '2 83dce"):
      checkpoints.restore(abstract(game()))


def test_a_number_that_is_lost_is_damage(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(game(4), None)
  path = tmp_path / "checkpoints" / "step_4" / "_CHECKPOINT_METADATA"
  rewrite(path, lambda content: content["custom_metadata"].pop("format"))
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(run.RunError, match=r"is damaged \(its checksum is another\)"),
  ):
    checkpoints.restore(abstract(game()))
