"""Faults: each strikes a run once, at a moment by chance, and checks what is said of it.

A strike takes the run, a generator of chance and a folder on the run's own small disk, or None. It
leaves the run stopped, and returns a note of what it hit, or raises `MissedError`.
"""

import errno
import os
import pathlib
import random
import re
import signal
import time
from collections.abc import Callable

from jaxgan.run.stored import note_of
from tests.faults.program import DRAW, SAVE, STEPS, Program, Run

__all__ = ["POPULATION_STRIKES", "STRIKES", "MissedError", "Strike"]

Strike = Callable[[Run, random.Random, pathlib.Path | None], str]
_ALTERED = "tests.faults.altered"


class MissedError(Exception):
  """The moment did not come, or it cannot come on this machine; not counted as a try."""


def _resumed(program: Program, run: Run) -> None:
  """Waits for the first step of a start."""
  if not program.until(lambda: "first step after" in program.said):
    raise AssertionError(f"ended before its first step:\n{program.said}")


def _restored(program: Program, run: Run) -> bool:
  """Whether a start has its state, before it compiles."""
  return f" of {run.steps}, in {run.workdir}" in program.said


def _somewhere(program: Program, run: Run, chance: random.Random) -> None:
  """A moment of training: some steps on, and some milliseconds."""
  _resumed(program, run)
  target = run.step + chance.randint(1, 14)
  if not program.until(lambda: run.step >= target):
    raise MissedError("the run was at its end")
  time.sleep(chance.uniform(0.0, 0.05))


def kill_in_training(run: Run, chance: random.Random, _: object) -> str:
  with run.start() as program:
    _somewhere(program, run, chance)
    program.kill()
  return ""


def kill_at_the_start(run: Run, chance: random.Random, _: object) -> str:
  """Importing, compiling, reading the checkpoint: at any time until the first step."""
  with run.start() as program:
    if chance.random() < 0.5:
      program.until(lambda: _restored(program, run))
    time.sleep(chance.uniform(0.0, 4.0))
    program.kill()
  return ""


def kill_in_a_checkpoint(run: Run, chance: random.Random, _: object) -> str:
  with run.start() as program:
    _resumed(program, run)
    for _ in range(chance.randint(0, 1)):
      program.until(lambda: run.unfinished)
      program.until(lambda: not run.unfinished)
    if not program.until(lambda: run.unfinished):
      raise MissedError("the run was at its end")
    time.sleep(chance.choice([0.0, 0.002, 0.01, 0.03]))
    program.kill()
  return "half-written" if run.unfinished else "just whole"


def kill_in_an_evaluation(run: Run, chance: random.Random, _: object) -> str:
  """The sample grid of a step is drawn right before its evaluation."""
  with run.start() as program:
    _resumed(program, run)
    picture = _picture(run, run.step + DRAW)
    if not program.until(picture.exists):
      raise MissedError("the run was at its end")
    time.sleep(chance.uniform(0.0, 0.02))
    program.kill()
  step = int(picture.stem.split("_")[1])
  scored = any(row["step"] == step and "loss_D" not in row for row in run.lines())
  return "after its score" if scored else "before its score"


def _picture(run: Run, step: int) -> pathlib.Path:
  return run.workdir / "samples" / f"step_{step // DRAW * DRAW:06d}.png"


def terminate(run: Run, chance: random.Random, _: object) -> str:
  with run.start() as program:
    _somewhere(program, run, chance)
    asked = time.monotonic()
    program.process.send_signal(signal.SIGTERM)
    code = program.ended()
    seconds = time.monotonic() - asked
    assert code == 128 + signal.SIGTERM, f"exit code {code}:\n{program.said}"
    stopped = re.search(r"stopped and saved at step (\d+); \S", program.said)
    assert stopped, program.said
  assert max(run.checkpoints) == int(stopped[1])
  owed = note_of(run.checkpoints[int(stopped[1])]).owed
  return f"saved in {seconds:.0f} s" + (", a score owed" if owed else "")


def fill_the_disk(run: Run, chance: random.Random, disk: pathlib.Path | None) -> str:
  if disk is None:
    raise MissedError("a small tmpfs cannot be mounted here")
  ballast = disk / "ballast"
  with run.start() as program:
    _somewhere(program, run, chance)
    _fill(ballast, chance.choice([0, 4096, 16384, 65536]))
    code = program.ended()
    said = program.said
  ballast.unlink()
  errors = [line for line in said.splitlines() if line.startswith("error: ")]
  assert code == 2, f"exit code {code}:\n{said}"
  assert len(errors) == 1, said
  assert "Traceback" not in said, said
  found = re.search(r"error: (\S+) cannot be written \(No space left on device\): make", errors[0])
  assert found, errors[0]
  assert str(disk) in found[1], errors[0]
  return pathlib.Path(found[1]).name


def _fill(ballast: pathlib.Path, free: int) -> None:
  with ballast.open("wb", buffering=0) as file:
    for size in (65536, 4096, 512):
      try:
        while True:
          file.write(b"\0" * size)
      except OSError as error:
        if error.errno != errno.ENOSPC:
          raise
    file.truncate(max(file.tell() - free, 0))


def _damaging(damage: Callable[[pathlib.Path, random.Random], str]) -> Strike:
  """Kills the run after two checkpoints, damages the newest, and sees what the next start says."""

  def strike(run: Run, chance: random.Random, _: object) -> str:
    with run.start() as program:
      _resumed(program, run)
      first = max(run.checkpoints, default=0)
      enough = lambda: len(run.checkpoints) > 1 and max(run.checkpoints) > first  # noqa: E731
      if not program.until(enough):
        raise MissedError("the run was at its end")
      program.kill()
    newest = max(run.checkpoints)
    note = damage(run.checkpoints[newest], chance)
    with run.start() as program:
      assert program.until(lambda: _restored(program, run)), program.said
      program.kill()
      said = program.said
    if f"checkpoint {newest} is now in" in said:
      assert f"checkpoint {newest} in" in said, said
      assert "is damaged" in said, said
      return f"{note}: put aside"
    assert "Traceback" not in said, said
    return f"{note}: of no account"

  return strike


def _files(checkpoint: pathlib.Path) -> list[pathlib.Path]:
  return sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.stat().st_size)


def _one(checkpoint: pathlib.Path, chance: random.Random) -> pathlib.Path:
  """The largest file, which holds arrays, as often as any of all."""
  files = _files(checkpoint)
  return chance.choice([max(files, key=lambda path: path.stat().st_size), chance.choice(files)])


def _truncate(checkpoint: pathlib.Path, chance: random.Random) -> str:
  path = _one(checkpoint, chance)
  os.truncate(path, chance.randrange(path.stat().st_size))
  return "arrays" if len(path.name) == 32 else path.name


def _flip(checkpoint: pathlib.Path, chance: random.Random) -> str:
  path = _one(checkpoint, chance)
  content = bytearray(path.read_bytes())
  content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
  path.write_bytes(content)
  return "arrays" if len(path.name) == 32 else path.name


def _halve(checkpoint: pathlib.Path, chance: random.Random) -> str:
  files = _files(checkpoint)
  for path in chance.sample(files, (len(files) + 1) // 2):
    path.unlink()
  return "half of the files"


def cut_the_log(run: Run, chance: random.Random, _: object) -> str:
  """In the middle of a line behind the last checkpoint, as a process that dies in a write does."""
  with run.start() as program:
    _somewhere(program, run, chance)
    program.kill()
  lines = run.log.read_text().splitlines(keepends=True)
  step = max(run.checkpoints, default=0)
  kept = (note_of(run.checkpoints[step]).lines or 0) if step else 0
  if len(lines) == kept:
    lines.append('{"step": 300, "D_G_z1": 0.5')
  cut = chance.randrange(kept, len(lines))
  run.log.write_text("".join(lines[:cut]) + lines[cut][: chance.randrange(1, len(lines[cut]) - 1)])
  return ""


def start_twice(run: Run, chance: random.Random, _: object) -> str:
  with run.start() as program:
    _somewhere(program, run, chance)
    with run.start(name=".second") as second:
      code = second.ended()
      assert code == 2, f"exit code {code}:\n{second.said}"
      assert f"is in use by process {program.process.pid} on" in second.said, second.said
    if not program.running:
      raise MissedError("the run was at its end")
    program.kill()  # its lock file stays
  assert (run.workdir / "lock").exists()
  return ""


def turn_the_clock_back(run: Run, chance: random.Random, _: object) -> str:
  """What is there is from the future, and the new start's time runs backwards."""
  ahead = time.time() + 1e8
  for path in run.workdir.rglob("*"):
    os.utime(path, (ahead, ahead))
  with run.start("--clock", module=_ALTERED) as program:
    _somewhere(program, run, chance)
    program.until(lambda: run.step >= 3 * SAVE)
    program.kill()
  return ""


def not_a_number(run: Run, chance: random.Random, _: object) -> str:
  # A few steps only, each of which is compiled once for all tries.
  steps = [step for step in (STEPS // 4, STEPS // 2, 3 * STEPS // 4) if step > run.step + SAVE]
  if not steps:
    raise MissedError("the run was at its end")
  step = steps[0]
  with run.start(f"--nan={step}", module=_ALTERED) as program:
    code = program.ended()
    said = program.said
  assert code == 2, f"exit code {code}:\n{said}"
  assert f"loss_G not finite at step {step}, first in the generator's update (parameters" in said
  assert "Traceback" not in said, said
  assert max(run.checkpoints) < step
  return f"at step {step}"


def _damage(checkpoint: pathlib.Path, chance: random.Random) -> str:
  return chance.choice([_truncate, _flip, _halve])(checkpoint, chance)


STRIKES: dict[str, tuple[str, Strike]] = {
  "kill": ("kill -9 in training", kill_in_training),
  "kill-start": ("kill -9 while it starts", kill_at_the_start),
  "kill-checkpoint": ("kill -9 while a checkpoint is written", kill_in_a_checkpoint),
  "kill-evaluation": ("kill -9 during an evaluation", kill_in_an_evaluation),
  "sigterm": ("SIGTERM", terminate),
  "disk": ("disk full", fill_the_disk),
  "truncate": ("newest checkpoint: a file truncated", _damaging(_truncate)),
  "flip": ("newest checkpoint: a bit flipped", _damaging(_flip)),
  "halve": ("newest checkpoint: half of its files gone", _damaging(_halve)),
  "log": ("metrics.jsonl cut in the middle of a line", cut_the_log),
  "twice": ("two runs on one workdir, then kill -9", start_twice),
  "clock": ("clock going backwards, files from the future", turn_the_clock_back),
  "nan": ("NaN in a loss: stops, and goes on without it", not_a_number),
}

POPULATION_STRIKES: dict[str, tuple[str, Strike]] = {
  "population-kill": ("population: kill -9 in training", kill_in_training),
  "population-checkpoint": (
    "population: kill -9 while a checkpoint is written",
    kill_in_a_checkpoint,
  ),
  "population-sigterm": ("population: SIGTERM", terminate),
  "population-damage": ("population: newest checkpoint damaged", _damaging(_damage)),
}
