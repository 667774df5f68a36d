"""The real program, killed and interrupted: it ends where the undisturbed run ends, bit for bit."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np

from jaxgan import run
from jaxgan.run.checkpoints import Checkpoints

STEPS = 300
FLAGS = [
  "--resolution=16",
  "--width=4",
  "--batch-size=16",
  "--limit=100",
  "--flip",
  f"--steps={STEPS}",
  "--log-every=10",
  "--sample-every=1000",
  "--checkpoint-every=50",
]


def launch(workdir, errors):
  """The program as people start it, on two devices."""
  command = [sys.executable, "-m", "experiments.dcgan", f"--workdir={workdir}", *FLAGS]
  environment = {
    **os.environ,
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    "JAX_COMPILATION_CACHE_DIR": str(errors.parent / "compiled"),
  }
  with errors.open("w") as file:
    return subprocess.Popen(command, stderr=file, env=environment)


def wait_for(process, errors, condition):
  deadline = time.monotonic() + 600
  while not condition():
    assert process.poll() is None, errors.read_text()
    assert time.monotonic() < deadline, errors.read_text()
    time.sleep(0.01)


def finish(workdir, errors):
  assert launch(workdir, errors).wait(timeout=600) == 0, errors.read_text()


def leaves(workdir):
  game = run.restore(str(workdir)).game
  assert int(game.step) == STEPS
  named = jax.tree_util.tree_leaves_with_path(game.replace(key=jax.random.key_data(game.key)))
  return {jax.tree_util.keystr(path): np.asarray(x) for path, x in named}


def lines(workdir):
  """Of the log, without times."""
  rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  timing = {"steps_per_second", "data_wait_ms_per_step"}
  return [{name: x for name, x in row.items() if name not in timing} for row in rows]


def test_kill_and_interruption_change_nothing(tmp_path):
  disturbed, whole, errors = tmp_path / "disturbed", tmp_path / "whole", tmp_path / "stderr"

  process = launch(disturbed, errors)
  wait_for(process, errors, (disturbed / "checkpoints" / "step_50" / "_CHECKPOINT_METADATA").exists)
  process.kill()
  process.wait()

  process = launch(disturbed, errors)
  wait_for(process, errors, lambda: "first step after" in errors.read_text())
  process.send_signal(signal.SIGTERM)
  assert process.wait(timeout=300) == 128 + signal.SIGTERM
  stopped = re.search(r"stopped and saved at step (\d+); go on with: (.*)", errors.read_text())
  assert 50 < int(stopped[1]) < STEPS
  assert f"-m experiments.dcgan --workdir={disturbed}" in stopped[2]
  with Checkpoints(disturbed) as checkpoints:
    assert checkpoints.latest == int(stopped[1])

  finish(disturbed, errors)
  finish(whole, errors)
  expected, got = leaves(whole), leaves(disturbed)
  assert expected.keys() == got.keys()
  assert [name for name in expected if not np.array_equal(expected[name], got[name])] == []
  assert lines(disturbed) == lines(whole)
