"""Files that cannot be written end a run with a line."""

import asyncio
import errno
import gc
import logging
import pathlib
import sys

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


def test_writes_that_fail_beside_the_first_print_nothing(caplog, monkeypatch):
  """Orbax writes arrays side by side and raises one error; asyncio logs those nobody asked for."""

  def lost():
    async def fail():
      raise OSError(errno.ENOSPC, "No space left on device")

    async def both():
      await asyncio.wait([asyncio.ensure_future(fail())])

    caplog.clear()
    asyncio.run(both())
    gc.collect()
    return [record.message for record in caplog.records if "never retrieved" in record.message]

  monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
  monkeypatch.setattr(logging.getLogger("asyncio"), "level", logging.NOTSET)
  assert len(lost()) == 1
  with run.command_line():
    assert lost() == []
  logging.getLogger("asyncio").setLevel(logging.NOTSET)  # which forgets what it had decided
