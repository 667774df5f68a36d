"""Files that appear whole or not at all, and where they are kept."""

import contextlib
import json
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

__all__ = ["ordinary", "read_json", "replacing", "user_cache"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """A temporary name beside `path`, moved there at the end and removed after an error.

  Folders above are made.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    yield temporary
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def ordinary(path: str | os.PathLike[str]) -> BinaryIO:
  """A file opened for reading, which may be anybody's.

  Raises:
    ValueError: it is no ordinary file.
    OSError: it cannot be read.
  """
  # A pipe would be waited for without end.
  file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
  if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
    return file
  file.close()
  raise ValueError(f"{os.path.basename(path)} is no ordinary file")


def read_json(path: str | os.PathLike[str], most: int) -> Any:
  """The content of a file that may be anybody's.

  Args:
    path: of the file.
    most: bytes that it may have.

  Raises:
    ValueError: it is no ordinary file, larger, or no JSON.
    OSError: it cannot be read.
  """
  with ordinary(path) as file:
    content = file.read(most + 1)
  if len(content) > most:
    raise ValueError(f"{os.path.basename(path)} has more than {most >> 20} MB")
  try:
    return json.loads(content.decode())
  except RecursionError as error:
    raise ValueError(f"{os.path.basename(path)} is nested without end") from error


def user_cache(*parts: str) -> pathlib.Path:
  """The place of `parts` in the user's cache: `$XDG_CACHE_HOME/jaxgan`, or `~/.cache/jaxgan`."""
  base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(base).expanduser().joinpath("jaxgan", *parts)
