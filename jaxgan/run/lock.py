"""One run at a time in a workdir."""

import contextlib
import os
import pathlib
import platform
from collections.abc import Iterator

from jaxgan.run.config import RunError
from jaxgan.run.writing import writing

__all__ = ["locked"]


@contextlib.contextmanager
def locked(workdir: str | os.PathLike[str]) -> Iterator[None]:
  """Holds the workdir's lock; the system lets go of it when the process ends, however it ends.

  Where the system or the file system has no such locks (Windows, some network drives) nothing is
  held.

  Args:
    workdir: folder of the run; it is made.

  Raises:
    RunError: another process holds it.
  """
  try:
    import fcntl
  except ImportError:
    yield
    return
  path = pathlib.Path(workdir) / "lock"
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
  except OSError as error:
    raise RunError(f"--workdir={workdir} cannot be written: {error}") from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      holder = file.read().strip() or "another process"
      raise RunError(
        f"--workdir={workdir} is in use by {holder}: wait for it, stop it, or take another workdir"
      ) from error
    except OSError:
      yield
      return
    with writing(path):
      file.truncate(0)
      file.write(f"process {os.getpid()} on {platform.node()}\n")
      file.flush()
    for left in path.parent.rglob(".*.tmp"):
      left.unlink(missing_ok=True)  # of `replacing`, in a process that died
    yield
