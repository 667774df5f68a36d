"""Lines of logs that may be a stranger's, damaged, or huge."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from jaxgan._files import ordinary

__all__ = ["noting", "rows", "whole_step"]

_SAMPLED = 2000  # lines that are read of a longer one
_LINE = 1 << 16  # bytes of a line, at most


@contextlib.contextmanager
def noting(notes: list[str], name: str) -> Iterator[None]:
  """Notes that a file, or a part of it, could not be understood; a missing one is no news.

  Args:
    notes: to which it is added, once for each file.
    name: of the file.
  """
  try:
    yield
  except FileNotFoundError:
    pass
  except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
    said = error.strerror if isinstance(error, OSError) else str(error)
    note = f"{name} is damaged, at least in part ({str(said)[:120]})"
    if not any(each.startswith(f"{name} is damaged") for each in notes):
      notes.append(note)


def rows(path: pathlib.Path, notes: list[str], whole: int = 8 << 20) -> list[dict[str, Any]]:
  """The lines that are objects with a step, in the order of steps that a log has.

  Args:
    path: of the file.
    notes: to which is added what was left out.
    whole: bytes of a file that is read whole; of a larger one some lines, spread evenly over it.
  """
  kept: list[dict[str, Any]] = []
  damaged = 0
  with noting(notes, path.name), ordinary(path) as file:
    size = os.fstat(file.fileno()).st_size
    if size > whole:
      notes.append(
        f"{path.name} has {size >> 20} MB: {_SAMPLED:,} of its lines were read, spread evenly"
      )
    for line in _lines(file, size, whole):
      try:
        if len(line) > _LINE:
          raise ValueError("too long")
        row = json.loads(line)
        at = whole_step(row["step"])
        if not kept or at >= kept[-1]["step"]:
          kept.append(row)
          continue
      except (ValueError, KeyError, TypeError, RecursionError):
        pass
      damaged += 1
  if damaged:
    notes.append(f"{path.name}: {damaged:,} damaged lines left out")
  return kept


def _lines(file: Any, size: int, whole: int) -> Iterator[bytes]:
  if size <= whole:
    yield from file.read(whole).splitlines()
    return
  for i in range(_SAMPLED):
    file.seek(i * size // _SAMPLED)
    if i:
      file.readline(_LINE)  # the rest of a line
    if line := file.readline(_LINE):
      yield line


def whole_step(value: Any) -> int:
  """A step, which is a whole number; else a ValueError."""
  if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
    raise ValueError("a step is no whole number")
  return value
