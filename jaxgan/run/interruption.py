"""Stopping when asked: SIGTERM and Ctrl-C end the loop after the current step."""

import contextlib
import os
import signal
import threading
from types import FrameType

__all__ = ["Interruption"]


class Interruption:
  """A context manager that turns the first SIGTERM or SIGINT into a request to stop.

  A second one acts as it does anywhere. Outside the main thread it never requests anything.

  Attributes:
    signal: the signal that asked, None as long as none has.
  """

  def __init__(self) -> None:
    self.signal: signal.Signals | None = None
    self._previous: dict[signal.Signals, object] = {}

  def __enter__(self) -> "Interruption":
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGTERM, signal.SIGINT):
        self._previous[number] = signal.signal(number, self._ask)
    return self

  def __exit__(self, *_: object) -> None:
    self._restore()

  def _ask(self, number: int, _: FrameType | None) -> None:
    self.signal = signal.Signals(number)
    self._restore()
    with contextlib.suppress(OSError):  # straight to the file: a handler may interrupt a print
      os.write(2, b"\nstopping after what is being computed; once more ends at once\n")

  def _restore(self) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)  # type: ignore[arg-type]
    self._previous = {}
