"""What a run tells: a progress bar, `metrics.jsonl`, TensorBoard."""

import collections
import contextlib
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxgan._files import replacing
from jaxgan.metrics import Score
from jaxgan.metrics.health import Monitor
from jaxgan.run.config import RunError
from jaxgan.run.evaluation import append_scores
from jaxgan.run.tensorboard import TensorBoard
from jaxgan.run.writing import writing
from jaxgan.types import Metrics

__all__ = ["DivergedError", "Log", "Progress", "Silence", "Window"]

# The five figures that people watch, as the bar shows them.
_SHOWN = ("loss_D", "loss_G", "D_x", "D_G_z1", "D_G_z2")
_IN_FLIGHT = 2  # steps handed to the device ahead of the one that is waited for


class Log:
  """Writes scalars and pictures to `metrics.jsonl` and `tensorboard/`; a context manager.

  Each line is on disk, as far as the system is concerned, when its method returns; `lines` counts
  them.

  Lines after `step`, left by a run that died behind its last checkpoint, are dropped: they are
  about to be written again.

  Args:
    workdir: folder of the run.
    step: completed steps.
    monitor: watches all lines; what it finds goes to `health.jsonl`.
    say: shows a person what it finds.
    lines: how many the log had at that step, if it is known.
  """

  def __init__(
    self,
    workdir: str | os.PathLike[str],
    step: int,
    monitor: Monitor,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    lines: int | None = None,
  ) -> None:
    self._path = pathlib.Path(workdir) / "metrics.jsonl"
    self._health = pathlib.Path(workdir) / "health.jsonl"
    self._monitor, self._say = monitor, say
    kept = _truncate(self._path, step, lines)
    _truncate(self._health, step)
    monitor.replay(map(json.loads, kept))
    self.lines = len(kept)
    self._writer = TensorBoard(pathlib.Path(workdir) / "tensorboard")

  def __enter__(self) -> "Log":
    return self

  def __exit__(self, *_: object) -> None:
    self._writer.close()

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Writes one line."""
    _append(self._path, {"step": step, **values})
    self.lines += 1
    self._writer.write("scalars", step, dict(values))
    for verdict in self._monitor.update(step, values):
      self._say(str(verdict))
      _append(self._health, verdict._asdict())

  def scores(self, step: int, scores: Sequence[Score]) -> None:
    """Writes scores as scalars, and with their protocols to `scores.jsonl`."""
    self.scalars(step, {score.name: score.value for score in scores})
    append_scores(self._path.parent, step, scores)

  def image(self, step: int, name: str, image: np.ndarray) -> None:
    """Writes a uint8 picture `[h, w, c]`."""
    self._writer.write("images", step, {name: image[None]})

  def hyperparameters(self, values: Mapping[str, object]) -> None:
    """Writes the config for TensorBoard's HParams page."""
    kept = {k: v if isinstance(v, int | float | str) else str(v) for k, v in values.items()}
    self._writer.write("hparams", kept)

  def flush(self) -> None:
    """Waits until TensorBoard's part is on disk."""
    self._writer.flush()


class Silence:
  """The log of a process that leaves writing to another."""

  lines: int | None = None

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Writes nothing."""

  def scores(self, step: int, scores: Sequence[Score]) -> None:
    """Writes nothing."""

  def image(self, step: int, name: str, image: np.ndarray) -> None:
    """Writes nothing."""

  def hyperparameters(self, values: Mapping[str, object]) -> None:
    """Writes nothing."""

  def flush(self) -> None:
    """Has nothing to wait for."""


def _truncate(path: pathlib.Path, step: int, most: int | None = None) -> list[str]:
  """Drops what is behind a step, and what is no line; returns what is left."""
  if not path.exists():
    return []
  kept = []
  last = 0
  for line in path.read_text(errors="replace").splitlines():
    try:
      row = json.loads(line)
      at = row["step"]
      [float(x) for x in row.values() if isinstance(x, int)]  # of 400 digits it is none
      if isinstance(at, int) and last <= at <= step:
        kept.append(line)
        last = at
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
      continue  # a line that was cut off by the end of the process, or by somebody's hand
  kept = kept[:most]
  with writing(path), replacing(path) as temporary:
    temporary.write_text("".join(line + "\n" for line in kept))
  return kept


def _append(path: pathlib.Path, values: Mapping[str, Any]) -> None:
  with writing(path), path.open("a") as file:
    file.write(json.dumps(values) + "\n")


class Progress:
  """A bar with steps/s, images/s, ETA and the five figures; a context manager."""

  def __init__(self, step: int, steps: int, images_per_step: int, *, shown: bool = True) -> None:
    self._images, self._shown = images_per_step, shown
    self._bar = tqdm(
      disable=not shown,
      total=steps,
      initial=step,
      unit="step",
      dynamic_ncols=True,
      # In a file each refresh is a line of its own.
      mininterval=0.2 if sys.stderr.isatty() else 15.0,
    )

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *_: object) -> None:
    self._bar.close()

  def advance(self, steps: int) -> None:
    """Counts steps."""
    self._bar.update(steps)

  def restart(self) -> None:
    """Starts the clock of the rate anew."""
    self._bar.unpause()

  def show(self, values: Mapping[str, float]) -> None:
    """Shows the figures of a log line."""
    rate = values.get("steps_per_second", 0.0) * self._images
    figures = {"wait ms": f"{values.get('data_wait_ms_per_step', 0.0):.1f}"}
    figures |= {name: f"{values[name]:.3f}" for name in _SHOWN if name in values}
    self._bar.set_postfix({"images/s": f"{rate:.0f}", **figures}, refresh=False)

  def say(self, text: str) -> None:
    """Prints a line above the bar."""
    if self._shown:
      self._bar.write(text, file=sys.stderr)


class DivergedError(RunError):
  """Figures of a run are not numbers any more.

  Args:
    what: which, and when.
    player: where they were seen first.
    start: completed steps of the checkpoint that the run had started from.
  """

  def __init__(self, what: str, player: str = "generator", start: int = 0) -> None:
    super().__init__(
      f"{what}: the run diverged, and this is not saved. The same command goes on from the last "
      "checkpoint; add --override and a smaller --learning-rate, or --on-nan=rollback, which tries "
      "again with other noise"
    )
    self.what, self.player, self.start = what, player, start


class Window:
  """Metrics and time since the last line of the log; keeps the host from running ahead.

  Args:
    waited: seconds that steps have waited for data.
    pending: metrics since the last line that an earlier start left, as of `pending`.
  """

  def __init__(
    self, waited: Callable[[], float], pending: Mapping[str, Sequence[float]] | None = None
  ) -> None:
    self._wait_seconds = waited
    self._earlier = dict(pending or {})
    self._pending: list[Metrics] = []
    self.restart()

  def restart(self) -> None:
    """Starts the clock anew."""
    self._steps = 0
    self._clock = time.perf_counter()
    self._waited = self._wait_seconds()

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves what happens inside out of the speed."""
    jax.block_until_ready(self._pending)
    before = time.perf_counter()
    yield
    self._clock += time.perf_counter() - before

  def add(self, metrics: Metrics, steps: int) -> None:
    """Takes the metrics of a call, `[steps]` or scalars, and waits for an older call to be done."""
    self._pending.append(metrics)
    self._steps += steps
    if len(self._pending) > _IN_FLIGHT:
      jax.block_until_ready(self._pending[-1 - _IN_FLIGHT])

  def means(self, step: int) -> dict[str, float]:
    """Mean of each metric since the last call, with speed and waiting time."""
    self.check(step)
    columns = self.pending()
    seconds = max(time.perf_counter() - self._clock, 1e-9)
    values = {name: math.fsum(column) / len(column) for name, column in columns.items()}
    self._pending, self._earlier = [], {}
    if self._steps:
      values["steps_per_second"] = self._steps / seconds
      waited = self._wait_seconds() - self._waited
      values["data_wait_ms_per_step"] = 1000.0 * waited / self._steps
    self.restart()
    return values

  def pending(self) -> dict[str, list[float]]:
    """Values of each metric since the last line."""
    columns = collections.defaultdict(list, {name: list(x) for name, x in self._earlier.items()})
    for row in jax.device_get(self._pending):
      for name, value in row.items():
        columns[name].extend(np.ravel(value).tolist())
    return dict(columns)

  def check(self, step: int) -> None:
    """Refuses to go on, or to save, after a figure that is not a number.

    Args:
      step: completed steps.

    Raises:
      DivergedError: with the first step that has one, and the player that had it.
    """
    rows: list[dict[str, Any]] = []  # one a step
    for call in jax.device_get(self._pending):
      columns = {name: np.atleast_1d(x) for name, x in call.items()}
      count = len(next(iter(columns.values()), ()))
      rows += [{name: x[i] for name, x in columns.items()} for i in range(count)]
    for ahead, row in zip(range(len(rows), 0, -1), rows, strict=True):
      bad = sorted(name for name, x in row.items() if not np.isfinite(x))
      if bad:
        # D moves first, so that its figures are good where G began.
        player = "discriminator" if {"loss_D", "grad_norm_D"} & set(bad) else "generator"
        found = f"{', '.join(bad)} not finite at step {step - ahead + 1}"
        raise DivergedError(f"{found}, first in the {player}'s update", player)
