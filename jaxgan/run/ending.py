"""How the processes of a run end: all of them, soon, and with a line that says why.

A process that cannot go on tells the others through JAX's key-value store before it leaves. One
that is gone without a word is noticed by JAX: the collectives of its neighbours fail, and its
runtime aborts them with a C++ stack trace when the coordinator or a heartbeat is missing. Here that
becomes a line.
"""

import collections
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import jax

from jaxgan import data
from jaxgan.run.config import RunError

__all__ = ["ENDED", "is_loss", "together"]

ENDED = 75  # sysexits.h: a failure that passes, the same command may be given again
_FOLDER = "jaxgan/ended/"
_INTERVAL = 0.5  # seconds between two looks at what others tell
_LINGER = 3.0  # seconds that a leaving process stays, so that what it tells is read
# Of the errors that JAX and gloo raise, and of the lines that they log, when a process is gone.
_SIGNS = ("Gloo", "oordination", "heartbeat", "Barrier", "JAX distributed service")


def is_loss(error: BaseException | None) -> bool:
  """Whether an error says that another process is gone.

  >>> is_loss(ValueError("UNKNOWN: Gloo AllReduce failed: Connection reset by peer"))
  True
  >>> is_loss(ValueError("UNKNOWN: a bad value"))
  False
  """
  raised = isinstance(error, RuntimeError | ValueError) and not isinstance(error, RunError)
  return raised and any(sign in str(error) for sign in _SIGNS)


@contextlib.contextmanager
def together() -> Iterator[None]:
  """Around the work of a process: where one of several cannot go on, none waits for it.

  A process that fails, or learns that another one did, ends here, without the clean-up that would
  wait for all: 2 for a `RunError` or `DataError`, 1 for another error with its trace, `ENDED` for
  those who were left.
  """
  if not jax.distributed.is_initialized():
    yield
    return
  farewell = _Farewell()
  try:
    yield
  except Exception as error:
    if is_loss(error) or is_loss(error.__cause__):
      time.sleep(_LINGER)  # time for the word of whoever left
      farewell.end(_gone(), ENDED)
    known = isinstance(error, RunError | data.DataError)
    text = str(error) if known else "".join(traceback.format_exception(error)).rstrip()
    farewell.tell(str(error) if known else f"{type(error).__name__}: {error}")
    farewell.end(text, 2 if known else 1, linger=_LINGER)
  finally:
    farewell.stop()


def _gone() -> str:
  return (
    "another process of the run is gone, and this one ends: start all of them again with the same "
    "commands, they go on from the last checkpoint"
  )


class _Farewell:
  """Listens to the other processes, and tells them of this one's end."""

  def __init__(self) -> None:
    # JAX has no public name for the store; orbax takes it from here too.
    from jax._src import distributed

    self._client: Any = distributed.global_state.client
    self._lock, self._stopped = threading.Lock(), threading.Event()
    self._errors = _Errors(lambda: self.end(_gone(), ENDED))
    threading.Thread(target=self._listen, daemon=True).start()

  def tell(self, text: str) -> None:
    """Leaves a word for the others, where there is still someone who keeps it."""
    with contextlib.suppress(Exception):
      self._client.key_value_set(f"{_FOLDER}{jax.process_index()}", text)

  def end(self, text: str, code: int, *, linger: float = 0.0) -> None:
    """Ends this process; of several threads that want to, one does."""
    self._lock.acquire()  # and never let go
    self._errors.say(f"error: {text}\n")
    time.sleep(linger)
    for child in multiprocessing.active_children():
      child.kill()
    os._exit(code)

  def stop(self) -> None:
    """Leaves the end to the program."""
    self._stopped.set()
    self._errors.stop()

  def _listen(self) -> None:
    while not self._stopped.wait(_INTERVAL):
      try:
        told = self._client.key_value_dir_get(_FOLDER)
      except Exception:
        return  # the coordinator is gone: the runtime aborts, which `_Errors` turns into a line
      for name, text in told:
        index = int(name.rsplit("/", 1)[-1])
        if index != jax.process_index():
          self.end(f"process {index} of the run ended, and this one with it: {text}", ENDED)


class _Errors:
  """Standard error, without what the runtime writes there when it aborts for a lost process.

  Args:
    abort: ends the process in place of that abort.
  """

  def __init__(self, abort: Any) -> None:
    sys.stderr.flush()
    self._own, self._abort = os.dup(2), abort
    self._held: collections.deque[bytes] = collections.deque(maxlen=1000)
    self._read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    self._before, sys.stderr = sys.stderr, os.fdopen(os.dup(self._own), "w", buffering=1)
    self._pump = threading.Thread(target=self._forward, daemon=True)
    self._pump.start()
    self._libc: Any = ctypes.CDLL(None)
    # A handler of Python's would run after the abort, which is never. Kept, since C points to it.
    self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._aborted)
    self._libc.signal(signal.SIGABRT, self._handler)

  def say(self, text: str) -> None:
    """Writes to where standard error led before."""
    with contextlib.suppress(OSError, ValueError):
      sys.stderr.flush()
    with contextlib.suppress(OSError):
      os.write(self._own, text.encode())

  def stop(self) -> None:
    """Puts everything back."""
    self._libc.signal(signal.SIGABRT, None)
    os.dup2(self._own, 2)  # the pipe's last writing end: the pump comes to its end
    self._pump.join(timeout=1.0)
    for line in self._held:  # it was no loss
      os.write(self._own, line)
    sys.stderr.flush()
    sys.stderr = self._before

  def _forward(self) -> None:
    with os.fdopen(self._read, "rb", buffering=0) as file:
      rest = b""
      while part := file.read(65536):
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
          # After the first such line come those of its trace.
          if self._held or any(sign.encode() in line for sign in _SIGNS[1:]):
            self._held.append(line + b"\n")
          elif not line.startswith(b"[Gloo]"):  # which greets
            os.write(self._own, line + b"\n")
      os.write(self._own, rest)

  def _aborted(self, _: int) -> None:
    time.sleep(0.2)  # for the pump, to which this yields
    if self._held:
      self._abort()
    self._libc.signal(signal.SIGABRT, None)  # no loss: the abort goes on
