"""The report of a run, at its end and by the command."""

import shutil

import pytest

from experiments import dcgan, report
from jaxgan import run
from jaxgan.run import loop

FLAGS = [
  "--resolution=8",
  "--width=2",
  "--latent-dim=4",
  "--batch-size=8",
  "--limit=64",
  "--steps=4",
  "--log-every=2",
  "--sample-every=2",
  "--checkpoint-every=4",
  "--no-compilation-cache",
]


def main(workdir, *argv):
  """The exit code of the experiment."""
  with pytest.raises(SystemExit) as end:
    run.main(dcgan.build, dcgan.Config, dcgan.PRESETS, [f"--workdir={workdir}", *FLAGS, *argv])
  return end.value.code


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("trained") / "run"
  assert main(folder) == 0
  return folder


def test_a_run_leaves_a_report(workdir):
  page = (workdir / "report.html").read_text()
  for said in ("dcgan", "4 steps", "64 pictures of digits", 'data-step="2"', "great circle"):
    assert said in page


def test_the_command_draws_the_walk_that_the_run_drew(workdir, tmp_path, capsys):
  copy = tmp_path / "copy"
  shutil.copytree(workdir, copy)
  (copy / "report.html").unlink()
  (copy / "walk_000004.png").unlink()
  assert report.main(report.Options((str(copy),))) == copy / "report.html"
  assert (copy / "walk_000004.png").read_bytes() == (workdir / "walk_000004.png").read_bytes()
  both = report.Options((str(workdir), str(copy)), out=str(tmp_path / "both.html"))
  assert "2 runs compared" in report.main(both).read_text()

  (copy / "walk_000004.png").unlink()
  for path in (copy / "checkpoints").glob("step_*"):
    shutil.rmtree(path)
    path.mkdir()
  capsys.readouterr()
  page = report.main(report.Options((str(copy),))).read_text()
  assert "great circle" not in page
  with pytest.raises(run.RunError, match="--workdir"):
    report.main(report.Options(()))


def test_a_run_ends_well_without_one(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(loop, "train", lambda build, config: 0)
  assert main(tmp_path / "nothing") == 0
  told = capsys.readouterr().err
  assert told.startswith("no report: ")
  assert told.count("\n") == 1
  assert f"-m experiments.report --workdir={tmp_path / 'nothing'}" in told
  assert main(tmp_path / "nothing", "--no-report") == 0
  monkeypatch.setattr(loop, "train", lambda build, config: 130)
  assert main(tmp_path / "nothing") == 130
  assert capsys.readouterr().err == ""


def test_only_the_first_process_writes_it(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(loop, "train", lambda build, config: 0)
  monkeypatch.setattr(loop.processes, "is_first", lambda: False)
  assert main(tmp_path / "nothing") == 0
  assert capsys.readouterr().err == ""


def test_mixtures_have_no_report(tmp_path):
  (tmp_path / "config.json").write_text('{"mixture": "ring"}')
  with pytest.raises(run.RunError, match=r"is of experiments\.mixtures"):
    report.main(report.Options((str(tmp_path),)))
  assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
