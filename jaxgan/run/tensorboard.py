"""TensorBoard's files, beside the loop."""

import collections
import concurrent.futures
import os
import pathlib
from typing import Any

from jaxgan.run.writing import writing

__all__ = ["TensorBoard"]


class TensorBoard:
  """TensorBoard's files, written by a thread of their own, in order.

  Its first task is to import TensorFlow, which takes seconds that the compiler needs anyway. What
  fails there is raised by a later call.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="tensorboard")
    self._folder = folder
    self._writer: Any = None
    self._tasks = collections.deque([self._thread.submit(self._open)])

  def _open(self) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    from clu import metric_writers

    self._writer = metric_writers.SummaryWriter(str(self._folder))

  def write(self, kind: str, *args: Any) -> None:
    """Hands over what the method `write_<kind>` of a clu writer takes."""
    while self._tasks and self._tasks[0].done():
      self._next()
    self._tasks.append(self._thread.submit(lambda: getattr(self._writer, f"write_{kind}")(*args)))

  def flush(self) -> None:
    """Waits until all is on disk."""
    while self._tasks:
      self._next()
    with writing(self._folder):
      self._thread.submit(lambda: self._writer.flush()).result()

  def _next(self) -> None:
    with writing(self._folder):
      self._tasks.popleft().result()

  def close(self) -> None:
    """Writes what is left, and ends the thread."""
    try:
      self.flush()
      with writing(self._folder):
        self._thread.submit(lambda: self._writer.close()).result()
    finally:
      self._thread.shutdown()
