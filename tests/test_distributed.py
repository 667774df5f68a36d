"""Several processes play the game of one: the step in float64, and the whole program."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from experiments import dcgan
from jaxgan import run
from jaxgan.run import processes

ROOT = pathlib.Path(__file__).parents[1]
FLAGS = [
  "--resolution=16",
  "--width=4",
  "--batch-size=16",
  "--limit=100",
  "--log-every=1",
  "--sample-every=4",
  "--checkpoint-every=2",
  "--no-compilation-cache",
]


def free_port():
  with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    return server.getsockname()[1]


def together(commands, devices):
  """Runs processes side by side, each with so many devices; what they said on stderr."""
  kept = {k: v for k, v in os.environ.items() if k not in {"XLA_FLAGS", "JAX_PLATFORMS"}}
  environment = kept | {
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    "JAX_PLATFORMS": "cpu",
  }
  started = [
    subprocess.Popen(
      [sys.executable, "-m", *command], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    for command in commands
  ]
  said = [each.communicate(timeout=600)[1] for each in started]
  codes = [each.returncode for each in started]
  assert codes == [0] * len(codes), "\n".join(said)
  return said


@pytest.mark.parametrize("name", ["dcgan", pytest.param("wgan_gp", marks=pytest.mark.slow)])
def test_two_processes_of_four_devices_play_the_game_of_one(name, tmp_path):
  port = free_port()
  worker = "tests.distributed_worker"
  two, one = str(tmp_path / "two.npz"), str(tmp_path / "one.npz")
  together([[worker, name, two, "2", str(index), str(port)] for index in range(2)], devices=4)
  together([[worker, name, one, "1", "0", "0"]], devices=1)
  with np.load(two) as a, np.load(one) as b:
    assert len(a.files) == len(b.files) > 10
    for key in a.files:
      # The logged norms of gradients are computed in float32.
      tolerance = 1e-6 if a[key].dtype == np.float32 else 1e-10
      np.testing.assert_allclose(a[key], b[key], rtol=tolerance, atol=tolerance, err_msg=key)


def lines(workdir):
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_moves_from_two_processes_to_one(tmp_path):
  """Two processes of two devices, then one of one, against one all along."""
  moved, still = tmp_path / "moved", tmp_path / "still"
  several = [f"--coordinator=127.0.0.1:{free_port()}", "--num-processes=2", "--steps=2"]
  said = together(
    [
      ["experiments.dcgan", f"--workdir={moved}", *FLAGS, *several, f"--process-id={index}"]
      for index in range(2)
    ],
    devices=2,
  )
  assert "done: 2 steps" in said[0]
  assert "done" not in said[1]
  assert "step/s" not in said[1]
  for folder in (moved, still):
    together([["experiments.dcgan", f"--workdir={folder}", *FLAGS, "--steps=4"]], devices=1)
  losses = [
    [(x["step"], x["loss_D"], x["loss_G"]) for x in lines(folder) if "loss_D" in x]
    for folder in (moved, still)
  ]
  assert [x[0] for x in losses[0]] == [1, 2, 3, 4]  # one process wrote
  # Adam's first updates are signs of gradients, which rounding can turn: float32 parts so soon.
  np.testing.assert_allclose(*losses, rtol=5e-3)
  assert int(run.restore(str(moved)).game.step) == 4


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (dict(num_processes=2), "--num-processes needs --coordinator=HOST:PORT"),
    (dict(process_id=0), "--process-id needs --coordinator"),
    (dict(coordinator="host"), "--coordinator=host must be HOST:PORT"),
    (dict(coordinator="host:1", num_processes=2), "beside --num-processes and --process-id"),
    (
      dict(coordinator="host:1", num_processes=2, process_id=2),
      "--process-id=2 must be from 0 to one less than --num-processes=2",
    ),
  ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
  with pytest.raises(run.RunError, match=message):
    processes.connect(dcgan.Config(workdir="", **flags))
