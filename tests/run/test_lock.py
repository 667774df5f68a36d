"""One run at a time in a workdir; a dead one lets go."""

import os
import signal
import subprocess
import sys

import pytest

from jaxgan import run
from jaxgan.run.lock import locked

HOLD = """
import sys, time
from jaxgan.run.lock import locked
with locked(sys.argv[1]):
  print(flush=True)
  time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path):
  command = [sys.executable, "-c", HOLD, str(tmp_path)]
  with subprocess.Popen(command, stdout=subprocess.PIPE) as first:
    first.stdout.readline()
    with (
      pytest.raises(run.RunError, match=f"is in use by process {first.pid} on"),
      locked(tmp_path),
    ):
      pass
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
  with locked(tmp_path):
    assert f"process {os.getpid()} on" in (tmp_path / "lock").read_text()
  with locked(tmp_path):  # and again
    pass
