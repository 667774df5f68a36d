"""A short selection of the faults; the long one is `python -m tests.faults`."""

import random

import pytest

from tests.faults import strikes, trials
from tests.faults.program import Run, compare
from tests.faults.strikes import STRIKES


def test_a_killed_and_damaged_run_ends_as_an_untouched_one(tmp_path):
  """Killed while it writes a checkpoint; then a bit of the newest flips, and the log is cut."""
  whole, run = Run(tmp_path / "whole", tmp_path, 60), Run(tmp_path / "run", tmp_path, 60)
  whole.finish()
  with run.start() as program:
    assert program.until(lambda: len(run.checkpoints) > 1 and run.unfinished), program.said
    program.kill()
  newest = max(run.checkpoints)
  largest = max(strikes._files(run.checkpoints[newest]), key=lambda path: path.stat().st_size)
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 8
  largest.write_bytes(content)
  with run.log.open("a") as file:
    file.write('{"step": 100')
  said = run.finish()
  assert f"checkpoint {newest} is now in {run.workdir / 'damaged'}" in said
  assert "Traceback" not in said
  compare(run, whole, ended=True)


def test_a_difference_is_found(tmp_path):
  """What compares runs sees one line, and one leaf."""
  names = ["run", "other"]
  runs = [Run(tmp_path / name, tmp_path) for name in names]
  for i, run in enumerate(runs):
    run.workdir.mkdir()
    run.log.write_text(f'{{"step": 7, "loss_D": {i}.5, "steps_per_second": {i}.0}}\n')
  with pytest.raises(AssertionError, match="line 0 is"):
    compare(*runs, ended=False)
  runs[1].log.write_text('{"step": 7, "loss_D": 0.5, "steps_per_second": 9.0}\n{"step": 14}\n')
  compare(*runs, ended=False)


@pytest.mark.slow
def test_every_fault_once(tmp_path):
  whole = Run(tmp_path / "whole", tmp_path)
  whole.finish()
  chance = random.Random(5)
  results = trials.struck(tmp_path, whole, chance.sample(list(STRIKES), len(STRIKES)), chance)
  assert len(results) == len(STRIKES)
  assert [result for result in results if result.failure] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", list(trials.TRIALS))
def test_every_trial_once(tmp_path, name):
  results = trials.TRIALS[name][1](tmp_path, 1, random.Random(5))
  assert [result for result in results if result.failure] == []
