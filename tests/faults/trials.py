"""Whole runs under faults, each compared with one that nothing touched."""

import contextlib
import pathlib
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.faults.program import Program, Run, compare, free_port
from tests.faults.strikes import STRIKES, MissedError

__all__ = ["TRIALS", "Result", "small_disk", "struck"]


class Result(NamedTuple):
  """What came of one strike.

  Attributes:
    fault: its name.
    note: what it hit, or why it does not count.
    counts: whether its moment came.
    failure: what was wrong, "" for nothing.
  """

  fault: str
  note: str
  counts: bool = True
  failure: str = ""


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, megabytes: int = 6) -> Iterator[pathlib.Path | None]:
  """A file system of its own, None where it cannot be mounted."""
  folder.mkdir(parents=True, exist_ok=True)
  mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
  try:
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
  except OSError:
    mounted = False
  try:
    yield folder if mounted else None
  finally:
    if mounted:
      subprocess.run(["umount", str(folder)], check=True)


def struck(
  folder: pathlib.Path, reference: Run, names: list[str], chance: random.Random, index: int = 0
) -> list[Result]:
  """One run, struck by one fault after the other, that comes to its end nevertheless.

  Args:
    folder: of all runs.
    reference: the untouched one.
    names: of the strikes, in their order.
    chance: chooses the moments.
    index: of the run.

  Returns:
    What came of each. A difference at the end is the failure of all that struck.
  """
  results: list[Result] = []
  with small_disk(folder / f"disk_{index}") as disk:
    run = Run((disk or folder) / f"struck_{index}", folder)
    for name in names:
      began = time.monotonic()
      try:
        note = STRIKES[name][1](run, chance, disk)
        compare(run, reference, ended=False)
        results.append(Result(name, note))
      except MissedError as missed:
        results.append(Result(name, str(missed), counts=False))
      except AssertionError as error:
        results.append(Result(name, "", failure=str(error)))
      print(f"{time.monotonic() - began:.0f} s: {results[-1]}", file=sys.stderr, flush=True)
    try:
      run.finish()
      compare(run, reference, ended=True)
    except AssertionError as error:
      results = [each._replace(failure=each.failure or str(error)) for each in results]
  return results


def rolled_back(folder: pathlib.Path, tries: int, chance: random.Random) -> list[Result]:
  """A NaN, a rollback, other noise, and a kill behind it, against a rollback without the kill."""
  options = ["--nan=33", "--once", "--on-nan=rollback"]
  module, name = "tests.faults.altered", "rollback"
  whole = Run(folder / "rolled_back", folder, 60)
  try:
    said = whole.finish(*options, module=module)
    assert "loss_G not finite at step 33" in said, said
    assert "going back, 1 of 3" in said, said
  except AssertionError as error:
    return [Result(name, "", failure=str(error))]
  results = []
  for index in range(tries):
    run = Run(folder / f"rolled_back_{index}", folder, 60)
    try:
      with run.start(*options, module=module) as program:
        assert program.until(lambda p=program: "going back, 1 of 3" in p.said), program.said
        step = chance.randint(34, 52)
        program.until(lambda step=step, run=run: run.step >= step)
        program.kill()
      run.finish(*options, module=module)
      compare(run, whole, ended=True)
      results.append(Result(name, f"killed behind step {step}"))
    except AssertionError as error:
      results.append(Result(name, "", failure=str(error)))
  return results


def pairs(folder: pathlib.Path, tries: int, chance: random.Random) -> list[Result]:
  """Two processes of one run: one is killed, or refused, and the other does not wait for it."""
  whole = Run(folder / "pair", folder, 60)
  try:
    with _pair(whole) as programs:
      codes = [program.ended() for program in programs]
      assert codes == [0, 0], "\n".join(program.said for program in programs)
  except AssertionError as error:
    return [Result("pair", "", failure=str(error))]
  results = []
  for index in range(tries):
    run, victim = Run(folder / f"pair_{index}", folder, 60), chance.choice([0, 1])
    try:
      with _pair(run) as programs:
        target = chance.randint(8, 50)
        assert programs[0].until(lambda run=run, target=target: run.step >= target)
        time.sleep(chance.uniform(0.0, 0.1))
        programs[victim].kill()
        seconds = _left(programs[1 - victim], "another process of the run is gone")
      with _pair(run) as programs:
        codes = [program.ended() for program in programs]
        assert codes == [0, 0], "\n".join(program.said for program in programs)
      compare(run, whole, ended=True)
      which = "the coordinator" if victim == 0 else "the other"
      results.append(Result("pair", f"{which} killed, the rest ended in {seconds:.0f} s"))
    except AssertionError as error:
      results.append(Result("pair", "", failure=str(error)))
  try:
    refused = chance.choice([0, 1])
    flags = {refused: "--eval-metrics=parzen"}
    with _pair(Run(folder / "refused", folder, 60), flags) as programs:
      assert programs[refused].ended() == 2, programs[refused].said
      seconds = _left(programs[1 - refused], f"process {refused} of the run ended")
    results.append(Result("pair-refused", f"process {refused}, the rest ended in {seconds:.0f} s"))
  except AssertionError as error:
    results.append(Result("pair-refused", "", failure=str(error)))
  return results


def _left(program: Program, said: str) -> float:
  """Seconds until the process that is left has ended, in order."""
  began = time.monotonic()
  code = program.ended(150.0)
  assert code == 75, f"exit code {code}:\n{program.said}"
  errors = [line for line in program.said.splitlines() if line.startswith("error: ")]
  assert len(errors) == 1, program.said
  assert said in errors[0], errors[0]
  for trace in ("Traceback", "Check failure", "    @ "):
    assert trace not in program.said, program.said
  return time.monotonic() - began


@contextlib.contextmanager
def _pair(run: Run, flags: dict[int, str] | None = None) -> Iterator[list[Program]]:
  several = [f"--coordinator=127.0.0.1:{free_port()}", "--num-processes=2"]
  with contextlib.ExitStack() as stack:
    yield [
      stack.enter_context(
        run.start(
          *several,
          f"--process-id={index}",
          *([flags[index]] if flags and index in flags else []),
          name=f".{index}",
        )
      )
      for index in range(2)
    ]


# Beside the strikes, each of which is a trial together with others on one run.
TRIALS: dict[str, tuple[str, Callable[[pathlib.Path, int, random.Random], list[Result]]]] = {
  "rollback": ("NaN in a loss, `--on-nan=rollback`, then kill -9", rolled_back),
  "pair": ("one of two processes killed by -9", pairs),
}
