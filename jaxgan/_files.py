"""Files that appear whole or not at all, and where they are kept."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

__all__ = ["replacing", "user_cache"]


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


def user_cache(*parts: str) -> pathlib.Path:
  """The place of `parts` in the user's cache: `$XDG_CACHE_HOME/jaxgan`, or `~/.cache/jaxgan`."""
  base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(base).expanduser().joinpath("jaxgan", *parts)
