"""Whole runs under faults, each compared with one that nothing touched."""

import contextlib
import pathlib
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tests.faults.program import Program, Run, arrays, compare, compare_part, free_port
from tests.faults.strikes import POPULATION_STRIKES, STRIKES, MissedError

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
  folder: pathlib.Path,
  reference: Run,
  names: list[str],
  chance: random.Random,
  index: int = 0,
  run: Run | None = None,
) -> list[Result]:
  """One run, struck by one fault after the other, that comes to its end nevertheless.

  Args:
    folder: of all runs.
    reference: the untouched one.
    names: of the strikes, in their order.
    chance: chooses the moments.
    index: of the run.
    run: that is struck, by default one of the plain program on a small disk of its own.

  Returns:
    What came of each. A difference at the end is the failure of all that struck.
  """
  results: list[Result] = []
  with contextlib.ExitStack() as stack:
    disk = None
    if run is None:
      disk = stack.enter_context(small_disk(folder / f"disk_{index}"))
      run = Run((disk or folder) / f"struck_{index}", folder)
    for name in names:
      began = time.monotonic()
      try:
        note = {**STRIKES, **POPULATION_STRIKES}[name][1](run, chance, disk)
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


_RATES = (2e-4, 1e-3)
_MEMBERS = ("--population=2", f"--vary=learning-rate={_RATES[0]},{_RATES[1]}")


def populations(folder: pathlib.Path, tries: int, chance: random.Random) -> list[Result]:
  """A population under faults that strike all its members, and under a NaN in one of them."""
  whole = Run(folder / "population", folder, 160, _MEMBERS)
  try:
    whole.finish()
  except AssertionError as error:
    return [Result(name, "", failure=str(error)) for name in _POPULATION]
  results = []
  for index in range(tries):
    names = chance.sample(list(POPULATION_STRIKES), len(POPULATION_STRIKES))
    run = Run(folder / f"population_{index}", folder, 160, _MEMBERS)
    results += struck(folder, whole, names, chance, run=run)
    results.append(_lost_member(folder, whole, index % 2, chance.randint(15, 60)))
  return results


def _lost_member(folder: pathlib.Path, whole: Run, lost: int, step: int) -> Result:
  """A member has a NaN at a step; killed behind it, the other is what it is without any of this."""
  flags, name = [*_MEMBERS, "--nan=12", f"--rate={_RATES[lost]}"], "population-nan"
  run = Run(folder / f"lost_{lost}_{step}", folder, 160, flags, module="tests.faults.altered")
  kept, diverged = f"members/{1 - lost}", f"member {lost} ("
  try:
    with run.start() as program:
      assert program.until(lambda: run.step >= step), program.said
      program.kill()
      assert f"{diverged}" in program.said, program.said
      assert "not finite by step 14" in program.said, program.said
      compare_part(run, whole, kept, ended=False)
    run.finish()
    compare_part(run, whole, kept, ended=True)
    ours, theirs = (arrays(each.checkpoints[160]) for each in (run, whole))
    other = [x for x in ours if _of(ours[x], 1 - lost) != _of(theirs[x], 1 - lost)]
    assert not other, f"other leaves: {other}"
    assert [x["step"] for x in run.lines(f"members/{lost}") if "loss_D" in x] == [7]
    assert run.lines()[-1]["diverged"] == 1.0
  except AssertionError as error:
    return Result(name, "", failure=str(error))
  return Result(name, f"member {lost}, killed behind step {step}")


def _of(leaf: np.ndarray, member: int) -> bytes:
  """Counters of steps are shared."""
  return (leaf[member] if leaf.ndim else leaf).tobytes()


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
    return [Result(name, "", failure=str(error)) for name in _PAIR]
  results = []
  for index in range(tries):
    results += [_killed(folder, whole, victim, index, chance) for victim in (0, 1)]
  return [*results, *(_refused(folder, process) for process in (0, 1))]


def _killed(
  folder: pathlib.Path, whole: Run, victim: int, index: int, chance: random.Random
) -> Result:
  name = ("pair-coordinator", "pair-other")[victim]
  run = Run(folder / f"pair_{victim}_{index}", folder, 60)
  try:
    with _pair(run) as programs:
      target = chance.randint(8, 50)
      assert programs[0].until(lambda: run.step >= target), programs[0].said
      time.sleep(chance.uniform(0.0, 0.1))
      programs[victim].kill()
      seconds = _left(programs[1 - victim], "another process of the run is gone")
    with _pair(run) as programs:
      codes = [program.ended() for program in programs]
      assert codes == [0, 0], "\n".join(program.said for program in programs)
    compare(run, whole, ended=True)
  except AssertionError as error:
    return Result(name, "", failure=str(error))
  return Result(name, f"the rest ended in {seconds:.0f} s")


def _refused(folder: pathlib.Path, process: int) -> Result:
  name, flags = "pair-refused", {process: "--eval-metrics=parzen"}
  try:
    with _pair(Run(folder / f"refused_{process}", folder, 60), flags) as programs:
      assert programs[process].ended() == 2, programs[process].said
      seconds = _left(programs[1 - process], f"process {process} of the run ended")
  except AssertionError as error:
    return Result(name, "", failure=str(error))
  return Result(name, f"process {process}, the rest ended in {seconds:.0f} s")


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


_POPULATION = {
  **{name: title for name, (title, _) in POPULATION_STRIKES.items()},
  "population-nan": "population: NaN in one member, then kill -9; the other is as without it",
}
_PAIR = {
  "pair-coordinator": "the first of two processes, which coordinates, killed by -9",
  "pair-other": "the second of two processes killed by -9",
  "pair-refused": "one of two processes refused",
}
# Beside the strikes, each of which is a trial together with others on one run: the rows that a
# trial fills, and how.
TRIALS: dict[
  str, tuple[dict[str, str], Callable[[pathlib.Path, int, random.Random], list[Result]]]
] = {
  "rollback": ({"rollback": "NaN in a loss, `--on-nan=rollback`, then kill -9"}, rolled_back),
  "population": (_POPULATION, populations),
  "pair": (_PAIR, pairs),
}
