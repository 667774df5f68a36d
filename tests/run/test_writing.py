"""Files that cannot be written end a run with a line."""

import errno
import pathlib

import pytest

from jaxgan import run
from jaxgan.run import logs
from jaxgan.run.writing import writing


@pytest.mark.parametrize(
  "error",
  [
    OSError(errno.ENOSPC, "No space left on device"),
    # As tensorstore and TensorFlow put it.
    ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device [...]"),
    RuntimeError("/run/x; No space left on device"),
  ],
)
def test_a_full_disk_names_the_file_and_the_remedy(error):
  said = r"run/file cannot be written \(No space left on device\): make room .* the same command"
  with pytest.raises(run.RunError, match=said), writing("run/file"):
    raise error


def test_what_no_room_would_mend():
  with (
    pytest.raises(run.RunError, match=r"cannot be written \(Permission denied\): mend that, then"),
    writing("file"),
  ):
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("error", [ValueError("a bug"), run.RunError("another")])
def test_other_errors_pass(error):
  with pytest.raises(type(error), match=str(error)) as raised, writing("file"):
    raise error
  assert raised.value is error


def test_a_line_that_does_not_fit_is_said():
  full = pathlib.Path("/dev/full")
  if not full.exists():
    pytest.skip("there is no /dev/full")
  with pytest.raises(run.RunError, match="/dev/full cannot be written"):
    logs._append(full, {"step": 1})
