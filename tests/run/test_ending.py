"""Processes of a run that end together, and the line that is left of a runtime's abort."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from jaxgan.run import ending

WORKER = """
import sys, time
from experiments.dcgan import Config
from jaxgan import run
from jaxgan.run import ending, processes
processes._PATIENCE = int(sys.argv[4])
index = int(sys.argv[2])
with run.command_line():
  address = f"127.0.0.1:{sys.argv[1]}"
  processes.connect(Config(workdir="", coordinator=address, num_processes=2, process_id=index))
  with ending.together():
    assert processes.gather(f"I am {index}") == ["I am 0", "I am 1"]
    if sys.argv[3] == "refused" and index == 1:
      raise run.RunError("--flag=1 must be 2")
    if sys.argv[3] == "failed" and index == 0:
      raise KeyError("x")
    time.sleep(100)
"""


def start(*args):
  kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  return subprocess.Popen(
    [sys.executable, "-c", *map(str, args)],
    env={**kept, "JAX_PLATFORMS": "cpu"},
    stderr=subprocess.PIPE,
    text=True,
  )


def port():
  with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    return server.getsockname()[1]


@pytest.mark.parametrize(
  ("what", "victim", "code", "said"),
  [
    ("refused", 1, 2, "error: --flag=1 must be 2"),
    pytest.param("failed", 0, 1, "KeyError: 'x'", marks=pytest.mark.slow),
  ],
)
def test_where_one_process_cannot_go_on_no_other_waits(what, victim, code, said):
  at = port()
  both = [start(WORKER, at, index, what, 60) for index in range(2)]
  errors = [each.communicate(timeout=200)[1] for each in both]
  assert both[victim].returncode == code, errors
  assert said in errors[victim]
  assert both[1 - victim].returncode == ending.ENDED, errors
  (last,) = [line for line in errors[1 - victim].splitlines() if line.startswith("error: ")]
  reason = "--flag=1 must be 2" if what == "refused" else "KeyError: 'x'"
  assert last == f"error: process {victim} of the run ended, and this one with it: {reason}"


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_process_does_not_wait_for_ever_for_the_others(index):
  alone = start(WORKER, port(), index, "", 3)
  said = alone.communicate(timeout=200)[1]
  assert alone.returncode == 2, said
  assert "not all processes came within 3 s" in said


ABORT = """
import os, sys
from jaxgan.run import ending
def abort():
  os.write(2, b"unseen")
  errors.say("error: gone\\n")
  os._exit(75)
errors = ending._Errors(abort)
print("of the program", file=sys.stderr)
os.write(2, b"a warning\\n")
os.write(2, sys.argv[1].encode() + b"\\n    @ 0x7f  a trace\\n")
os.abort()
"""


def test_the_runtimes_abort_becomes_a_line():
  lost = start(ABORT, "E1122 coordination_service_agent.cc:289] Polled an error")
  bug = start(ABORT, "F1122 a bug in the compiler")
  said = lost.communicate(timeout=100)[1]
  assert lost.returncode == 75
  assert sorted(said.splitlines()) == ["a warning", "error: gone", "of the program"]
  said = bug.communicate(timeout=100)[1]
  assert bug.returncode == -signal.SIGABRT
  assert "a bug in the compiler" in said
  assert "a trace" in said


def test_alone_nothing_is_changed():
  before = sys.stderr
  with ending.together():
    assert sys.stderr is before
