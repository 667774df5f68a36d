"""Alternated timing of steps in separate processes, of which only one works at a time."""

import contextlib
import dataclasses
import json
import os
import pathlib
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import models
from benchmarks.flops import Size

__all__ = [
  "Plan",
  "Worker",
  "WorkerError",
  "alternate",
  "command_line",
  "ratios",
  "start",
  "summary",
]

_ROOT = str(pathlib.Path(__file__).parents[1])


class WorkerError(Exception):
  """A framework could not take its steps; the message says why."""


@dataclasses.dataclass(frozen=True)
class Plan:
  """How often what is timed.

  Attributes:
    rounds: turns that every worker has.
    steps: timed steps a turn.
    warm: untimed steps before them, for caches that another worker has used since.
    pause: seconds before a turn, in which the last worker's threads stop spinning.
    matmul: rows and columns of the matrix product that tells the peak.
    tries: products a turn.
    patience: most seconds to wait for an answer.
  """

  rounds: int = 4
  steps: int = 3
  warm: int = 1
  pause: float = 0.5
  matmul: int = 2048
  tries: int = 2
  patience: float = 900.0

  def __post_init__(self) -> None:
    """Refuses plans that time nothing."""
    for name in ("rounds", "steps", "matmul", "tries"):
      if getattr(self, name) < 1:
        raise ValueError(f"--{name}={getattr(self, name)} must be at least 1")


class Worker:
  """A `benchmarks.worker` process with its step built and taken once.

  Attributes:
    begun: what it said of itself at the start.
    seconds: of the timed steps, by turn.
    peaks: FLOP/s of the matrix products, by turn.
    peak_bytes: most resident memory, so far.
  """

  def __init__(
    self,
    framework: str,
    family: str,
    size: Size,
    options: Mapping[str, Any] | None = None,
    *,
    keep_memory: bool | None = None,
    patience: float = Plan.patience,
  ) -> None:
    chosen = models.lookup(models.FRAMEWORKS, framework, "--framework")
    self._patience = patience
    self._cache = tempfile.mkdtemp(prefix="jaxgan-benchmark-")
    self._log = pathlib.Path(self._cache) / "log"
    with self._log.open("w") as log:
      self._process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=_ROOT,
        env=_environment(self._cache),
      )
    self.seconds: list[list[float]] = []
    self.peaks: list[list[float]] = []
    self.peak_bytes = 0
    try:
      self.options = {**chosen.options, **(options or {})}
      self.begun = self._ask(
        framework=framework,
        family=family,
        size=dataclasses.asdict(size),
        options=self.options,
        keep_memory=chosen.keep_memory if keep_memory is None else keep_memory,
      )
    except BaseException:
      self.close()
      raise

  def turn(self, plan: Plan) -> None:
    """Times the steps of a round, and the matrix product beside them."""
    time.sleep(plan.pause)
    if plan.warm:
      self._ask(steps=plan.warm)
    done = self._ask(steps=plan.steps)
    self.seconds.append(done["seconds"])
    self.peak_bytes = done["peak_bytes"]
    self.peaks.append(self._ask(matmul=[plan.matmul, plan.tries])["flops_per_second"])

  def close(self) -> None:
    """Ends the process."""
    with contextlib.suppress(OSError):
      self._process.stdin.close()
    try:
      self._process.wait(30)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    self._process.stdout.close()
    shutil.rmtree(self._cache, ignore_errors=True)

  def _ask(self, **order: Any) -> dict[str, Any]:
    with contextlib.suppress(OSError):  # one that has died is told by its missing answer
      self._process.stdin.write(json.dumps(order).encode() + b"\n")
      self._process.stdin.flush()
    if not select.select([self._process.stdout], [], [], self._patience)[0]:
      self._process.kill()
      raise WorkerError(f"no answer within --patience={self._patience:g} seconds")
    line = self._process.stdout.readline()
    if not line:
      raise WorkerError(f"the process ended, code {self._process.wait()}: {self._last_words()}")
    content = json.loads(line)
    if "error" in content:
      raise WorkerError(content["error"])
    return content

  def _last_words(self) -> str:
    lines = self._log.read_text(errors="replace").strip().splitlines()
    return "; ".join(lines[-3:]) or "it said nothing"


def _environment(cache: str) -> dict[str, str]:
  """The CPU on both sides, and nothing compiled before."""
  return {
    "JAX_PLATFORMS": "cpu",
    **os.environ,
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TORCHINDUCTOR_CACHE_DIR": cache,
    "TORCHINDUCTOR_COMPILE_THREADS": "1",  # leaves no pool of processes beside other workers
  }


@contextlib.contextmanager
def command_line() -> Iterator[None]:
  """What a program here wraps around its work: errors that a person can mend end it with a line.

  A SIGTERM ends it too by way of its `finally`, so that workers and their files go.
  """
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  try:
    yield
  except (ValueError, WorkerError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def start(framework: str, family: str, size: Size, *args: Any, **kwargs: Any) -> Iterator[Worker]:
  """A worker for the time of a `with`."""
  worker = Worker(framework, family, size, *args, **kwargs)
  try:
    yield worker
  finally:
    worker.close()


def alternate(workers: Mapping[str, Worker], plan: Plan) -> dict[str, str]:
  """Turns in the order A, B, C, A, B, C ...; returns why workers failed, by name."""
  failed: dict[str, str] = {}
  for _ in range(plan.rounds):
    for name, worker in workers.items():
      if name in failed:
        continue
      try:
        worker.turn(plan)
      except WorkerError as error:
        failed[name] = str(error)
  return failed


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
  """Lower quartile, median, upper quartile."""
  if len(values) == 1:
    return values[0], values[0], values[0]
  low, median, high = statistics.quantiles(values, n=4, method="inclusive")
  return low, median, high


def summary(worker: Worker, flops: float, *, steps_per_call: int = 1) -> dict[str, Any]:
  """What a result keeps of a worker; `efficiency` is of the largest matmul speed in the run.

  `efficiency_by_round` is the median of that of every turn, each against its own products, which
  a machine that changes its speed between rounds does not falsify.
  """
  seconds = [[value / steps_per_call for value in turn] for turn in worker.seconds]
  low, median, high = quartiles([value for turn in seconds for value in turn])
  peak = max(max(turn) for turn in worker.peaks)
  by_round = [
    flops / statistics.median(turn) / max(tries)
    for turn, tries in zip(seconds, worker.peaks, strict=True)
  ]
  return {
    "median": median,
    "quartiles": [low, high],
    "flops_per_second": flops / median,
    "matmul_peak": peak,
    "efficiency": flops / median / peak,
    "efficiency_by_round": statistics.median(by_round),
    "peak_bytes": worker.peak_bytes,
    **worker.begun,
    "options": worker.options,
    "seconds": seconds,
    "matmul": worker.peaks,
  }


def ratios(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> dict[str, Any]:
  """Our time over theirs: of the medians of all steps, and the median of the rounds' ratios."""
  pairs = zip(ours, theirs, strict=True)
  by_round = [statistics.median(a) / statistics.median(b) for a, b in pairs]
  low, median, high = quartiles(by_round)
  all_ours, all_theirs = ([x for turn in side for x in turn] for side in (ours, theirs))
  return {
    "of_medians": statistics.median(all_ours) / statistics.median(all_theirs),
    "by_round": median,
    "by_round_quartiles": [low, high],
  }
