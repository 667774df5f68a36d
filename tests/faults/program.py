"""Starts of the real program at its smallest, and what they leave behind."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxgan.run.stored import leaves_of

__all__ = [
  "DRAW",
  "SAVE",
  "STEPS",
  "Program",
  "Run",
  "arrays",
  "compare",
  "compare_part",
  "free_port",
]

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 320
LOG, SAVE, EVALUATE, DRAW = 7, 10, 20, 40  # steps between two of each
FLAGS = [
  *("--resolution=8", "--width=2", "--latent-dim=4", "--batch-size=8", "--limit=64", "--flip"),
  *(f"--log-every={LOG}", f"--sample-every={DRAW}", f"--checkpoint-every={SAVE}"),
  *(f"--eval-every={EVALUATE}", "--eval-metrics=swd", "--eval-samples=500"),
]
_TIMING = {"steps_per_second", "data_wait_ms_per_step"}
_PATIENCE = 400.0  # seconds for anything


class Program:
  """One process of one start.

  Args:
    module: what is started.
    flags: its flags.
    folder: for what it says, and the caches that starts share.
    name: of the file with what it says.
  """

  def __init__(self, module: str, flags: Sequence[str], folder: pathlib.Path, name: str) -> None:
    dropped = {"JAX_COMPILATION_CACHE_DIR", "JAX_PLATFORMS", "XLA_FLAGS"}
    environment = {
      **{name: value for name, value in os.environ.items() if name not in dropped},
      "JAX_PLATFORMS": "cpu",
      "XDG_CACHE_HOME": str(folder / "cache"),
      "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    self._said = folder / name
    with self._said.open("w") as file:
      self.process = subprocess.Popen(
        [sys.executable, "-m", module, *flags], cwd=ROOT, env=environment, stdout=file, stderr=file
      )

  @property
  def said(self) -> str:
    """On both of its outputs, so far."""
    return self._said.read_text(errors="replace")

  @property
  def running(self) -> bool:
    return self.process.poll() is None

  def until(self, condition: Callable[[], bool]) -> bool:
    """Waits for a condition; False if the process ended before it came."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
      if not self.running:
        return False
      assert time.monotonic() < deadline, f"nothing happens:\n{self.said}"
      time.sleep(0.001)
    return True

  def ended(self, timeout: float = _PATIENCE) -> int:
    """Its exit code, when it has ended."""
    return self.process.wait(timeout)

  def kill(self) -> None:
    """As `kill -9` does."""
    self.process.kill()
    self.process.wait()


class Run:
  """A workdir and the starts of its run.

  Args:
    workdir: may not exist yet.
    folder: as of `Program`.
    steps: of the whole run.
    flags: besides, of all its starts.
    module: what is started.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    folder: pathlib.Path,
    steps: int = STEPS,
    flags: Sequence[str] = (),
    module: str = "experiments.dcgan",
  ) -> None:
    self.workdir, self.folder, self.steps = workdir, folder, steps
    self._flags, self._module = flags, module

  @contextlib.contextmanager
  def start(self, *flags: str, module: str | None = None, name: str = "") -> Iterator[Program]:
    """The program on this workdir; killed at the end if it runs still."""
    told = (f"--workdir={self.workdir}", *FLAGS, f"--steps={self.steps}", *self._flags, *flags)
    name = f"{self.workdir.name}{name}.said"
    program = Program(module or self._module, told, self.folder, name)
    try:
      yield program
    finally:
      program.kill()

  def finish(self, *flags: str, module: str | None = None) -> str:
    """Lets the run come to its end; what was said."""
    with self.start(*flags, module=module) as program:
      code = program.ended()
      assert code == 0, f"exit code {code}:\n{program.said}"
      return program.said

  @property
  def log(self) -> pathlib.Path:
    return self.workdir / "metrics.jsonl"

  @property
  def members(self) -> list[str]:
    """Where those of a population keep what is theirs, in the workdir."""
    return sorted(f"members/{path.name}" for path in (self.workdir / "members").glob("*"))

  def lines(self, part: str = ".") -> list[dict[str, Any]]:
    """Of the log, or a member's, without times; one that is cut is left out."""
    rows = []
    with contextlib.suppress(OSError):
      for line in (
        (self.workdir / part / "metrics.jsonl").read_text(errors="replace").split("\n")[:-1]
      ):
        with contextlib.suppress(ValueError):
          row = json.loads(line)
          rows.append({name: x for name, x in row.items() if name not in _TIMING})
    return rows

  @property
  def step(self) -> int:
    """Of the last line."""
    return max((row["step"] for row in self.lines()), default=0)

  @property
  def checkpoints(self) -> dict[int, pathlib.Path]:
    """That are written to their end, by step, in order."""
    found = {}
    with contextlib.suppress(OSError):
      for path in (self.workdir / "checkpoints").iterdir():
        number = path.name.removeprefix("step_")
        if number.isdigit():
          found[int(number)] = path
    return dict(sorted(found.items()))

  @property
  def unfinished(self) -> bool:
    """Whether a checkpoint is being written, or was left so."""
    try:
      return any("tmp" in name for name in os.listdir(self.workdir / "checkpoints"))
    except OSError:
      return False


def arrays(checkpoint: pathlib.Path) -> dict[str, np.ndarray]:
  return {name: leaf.read().result() for name, leaf in leaves_of(checkpoint).items()}


def compare(got: Run, expected: Run, *, ended: bool) -> None:
  """Asserts that a run, or a population, is where an untouched one is, bit for bit.

  Args:
    got: a run.
    expected: another.
    ended: both came to the end; otherwise the first's log is the beginning of the other's.
  """
  for part in [".", *expected.members]:
    compare_part(got, expected, part, ended=ended)
  if not ended:
    return
  last = max(expected.checkpoints)
  assert list(got.checkpoints)[-2:] == list(expected.checkpoints)[-2:]
  ours, theirs = arrays(got.checkpoints[last]), arrays(expected.checkpoints[last])
  assert ours.keys() == theirs.keys()
  other = [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()]
  assert not other, f"other leaves: {other}"
  assert not got.unfinished, "a half-written checkpoint is left"
  assert not list(got.workdir.rglob(".*.tmp")), "a half-written file is left"


def compare_part(got: Run, expected: Run, part: str, *, ended: bool) -> None:
  """The logs and pictures of a workdir, or of a member's folder in it."""
  lines, reference = got.lines(part), expected.lines(part)
  said = f"{part}: {_difference(lines, reference)}"
  assert lines == (reference if ended else reference[: len(lines)]), said
  if not ended:
    return
  ours, theirs = (run.workdir / part for run in (got, expected))
  for name in ("scores.jsonl", "health.jsonl", "population.jsonl"):
    pair = [folder / name for folder in (ours, theirs)]
    assert pair[0].exists() == pair[1].exists(), f"{part}: {name}"
    assert not pair[0].exists() or pair[0].read_text() == pair[1].read_text(), f"{part}: {name}"
  pictures = [
    {path.name: path.read_bytes() for path in (folder / "samples").glob("*")}
    for folder in (ours, theirs)
  ]
  assert pictures[0] == pictures[1], f"{part}: pictures"


def _difference(lines: list[Any], reference: list[Any]) -> str:
  for i, (a, b) in enumerate(zip(lines, reference, strict=False)):
    if a != b:
      return f"line {i} is {a}, and not {b}"
  return f"{len(lines)} lines, and not {len(reference)}"


def free_port() -> int:
  with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    return server.getsockname()[1]
