"""Traces of some steps, for the profile page of TensorBoard: `--profile-steps=100:110`.

A trace says what host and devices did, and when. It has no say in the game: a run with one ends in
the same bits as a run without.
"""

import contextlib
import pathlib
from collections.abc import Callable
from types import TracebackType
from typing import Self

import jax

from jaxgan.run.config import Config, span_of
from jaxgan.run.writing import writing
from jaxgan.types import PyTree

__all__ = ["Profile"]


class Profile:
  """Traces the calls that play the steps of `--profile-steps`; a context manager.

  Each process traces its own devices: the first into `tensorboard/` of the workdir, others into
  `tensorboard/process_1/` and so on, since two may be on one host.

  Args:
    config: of the run.
    step: completed steps.
    say: tells a person.
  """

  def __init__(self, config: Config, step: int, say: Callable[[str], None]) -> None:
    index, folder = jax.process_index(), pathlib.Path(config.workdir) / "tensorboard"
    self._folder = folder / f"process_{index}" if index else folder
    self._say, self._tracing = say, False
    self._span = span_of(config.profile_steps)
    if self._span and step >= self._span.stop:
      say(f"--profile-steps={config.profile_steps}: played before this start, so none is traced")
      self._span = range(0)

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    if self._tracing:  # the run ends within them
      # Where there is an error already, it is the one to tell.
      with contextlib.nullcontext() if error is None else contextlib.suppress(Exception):
        self.stop(None)

  def begins(self, step: int, steps: int) -> bool:
    """Whether tracing is to start before the call that plays `steps` steps after `step`."""
    return not self._tracing and step < self._span.stop and step + steps > self._span.start

  def ends(self, step: int) -> bool:
    """Whether tracing is to stop after `step` completed steps."""
    return self._tracing and step >= self._span.stop

  def start(self, game: PyTree) -> None:
    """Starts to trace, when what `game` comes of is done."""
    jax.block_until_ready(game)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # each call of a function would hide what takes the time
    with writing(self._folder):
      jax.profiler.start_trace(self._folder, profiler_options=options)
    self._tracing = True

  def step(self, step: int) -> contextlib.AbstractContextManager[object]:
    """Around a call: marks it in the trace by the step that it begins with."""
    if not self._tracing:
      return contextlib.nullcontext()
    return jax.profiler.StepTraceAnnotation("train", step_num=step)

  def stop(self, game: PyTree) -> None:
    """Writes the trace, when what `game` comes of is done."""
    jax.block_until_ready(game)
    self._tracing = False
    with writing(self._folder):
      jax.profiler.stop_trace()
    self._say(f"a profile of these steps: tensorboard --logdir={self._folder} (needs xprof)")
