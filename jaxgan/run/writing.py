"""What a run says when a file cannot be written."""

import contextlib
import os
from collections.abc import Iterator

from jaxgan.run.config import RunError

__all__ = ["writing"]

# How libraries that have errors of their own speak of ENOSPC, EDQUOT and EROFS.
_FULL = ("No space left on device", "Disk quota exceeded", "Read-only file system")


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
  """Around what writes to a path, or below it.

  Raises:
    RunError: the system refused. What was there before is there still.

  >>> with writing("/full/metrics.jsonl"):
  ...   raise OSError(28, "No space left on device")
  Traceback (most recent call last):
    ...
  jaxgan.run.flags.RunError: /full/metrics.jsonl cannot be written (No space left on device): ...
  """
  try:
    yield
  except RunError:
    raise
  except Exception as error:
    reason = next((said for said in _FULL if said in str(error)), None)
    if isinstance(error, OSError):
      reason = error.strerror or str(error)
    if reason is None:
      raise
    remedy = "make room for it" if reason in _FULL[:2] else "mend that"
    raise RunError(
      f"{path} cannot be written ({reason}): {remedy}, then the same command goes on from the last "
      "checkpoint"
    ) from error
