"""Several processes play the game of one, in float64: the step, and the whole program."""

import contextlib
import json
import os
import pathlib
import random
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments import dcgan
from jaxgan import run
from jaxgan.run import processes

ROOT = pathlib.Path(__file__).parents[1]
FLAGS = [
  "--resolution=16",
  "--batch-size=16",
  "--limit=100",
  "--log-every=1",
  "--sample-every=4",
  "--checkpoint-every=2",
  "--no-compilation-cache",
]


def free_port(among=(0,)):
  for port in among:
    with contextlib.suppress(OSError), socket.socket() as server:
      server.bind(("127.0.0.1", port))
      return server.getsockname()[1]
  raise AssertionError("no port is free")


def together(commands, devices, *, each=None, **variables):
  """Runs processes side by side, each with so many devices; what they said on stderr.

  Args:
    commands: modules and their flags.
    devices: of each.
    each: environment variables of each process alone.
    variables: of all.
  """
  kept = {k: v for k, v in os.environ.items() if k not in {"XLA_FLAGS", "JAX_PLATFORMS"}}
  flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
  environment = kept | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **variables}
  started = [
    subprocess.Popen(
      [sys.executable, "-m", *command],
      cwd=ROOT,
      env=environment | own,
      stderr=subprocess.PIPE,
      text=True,
    )
    for command, own in zip(commands, each or [{}] * len(commands), strict=True)
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


def extended(workdir, steps, *flags, processes=1, devices=1):
  """Takes the program's run to a number of steps, in float64; what the processes said."""
  command = ["tests.double_precision", f"--workdir={workdir}", *FLAGS, *flags]
  command.append(f"--steps={steps}")
  if processes == 1:
    return together([command], devices, JAX_ENABLE_X64="1")
  several = [f"--coordinator=127.0.0.1:{free_port()}", f"--num-processes={processes}"]
  commands = [[*command, *several, f"--process-id={index}"] for index in range(processes)]
  return together(commands, devices, JAX_ENABLE_X64="1")


def losses(workdir):
  return [(x["step"], x["loss_D"], x["loss_G"]) for x in lines(workdir) if "loss_D" in x]


@pytest.mark.parametrize(
  "networks", ["--dense", pytest.param("--no-dense", marks=pytest.mark.slow)]
)
def test_a_run_moves_between_meshes_and_processes(networks, x64, tmp_path):
  """Eight devices by four groups of two, one device, and two processes, against one all along."""
  moved, still = tmp_path / "moved", tmp_path / "still"
  wide = [networks, "--width=128"]  # of convolutions that are split
  extended(still, 6, *wide)
  extended(moved, 2, *wide, "--model-parallel=2", devices=8)
  extended(moved, 4, *wide)
  said = extended(moved, 6, *wide, "--model-parallel=2", processes=2, devices=2)
  assert "done: 6 steps" in said[0]
  assert "done" not in said[1]
  assert "step/s" not in said[1]
  assert [x[0] for x in losses(moved)] == [1, 2, 3, 4, 5, 6]  # one process wrote
  np.testing.assert_allclose(losses(moved), losses(still), rtol=1e-10)
  # Scores of samples too, which each process draws from whole weights of its own.
  scores = [
    [x["sliced_wasserstein"] for x in lines(folder) if "sliced_wasserstein" in x]
    for folder in (moved, still)
  ]
  assert len(scores[0]) == 3
  np.testing.assert_allclose(*scores, rtol=1e-5)
  game = run.restore(str(moved)).game
  assert int(game.step) == 6
  assert jax.tree.leaves(game.generator.params)[0].dtype == np.float64


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


def slurm(job, index):
  """What srun sets for each of two tasks on a node."""
  return {
    "SLURM_JOB_ID": str(job),
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_PROCID": str(index),
    "SLURM_LOCALID": str(index),
  }


def open_mpi(job, index):
  """What mpirun of version 4 sets for each of two processes on a node."""
  return {
    "OMPI_MCA_orte_hnp_uri": f"{job << 12}.0;tcp://127.0.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": str(index),
    "OMPI_COMM_WORLD_LOCAL_RANK": str(index),
  }


@pytest.mark.parametrize("launcher", [slurm, pytest.param(open_mpi, marks=pytest.mark.slow)])
def test_processes_find_each_other_by_what_their_launcher_sets(launcher, tmp_path):
  """JAX takes the port from the job's number."""
  ports = range(65535 - (1 << 12) + 1, 65536)
  job = free_port(random.sample(ports, len(ports))) - ports[0]
  small = ["--resolution=8", "--width=2", "--latent-dim=4", "--batch-size=8", "--limit=64"]
  flags = [*small, "--log-every=1", "--steps=2", "--coordinator=auto"]
  command = ["experiments.dcgan", f"--workdir={tmp_path / 'run'}", *flags]
  said = together([command] * 2, 1, each=[launcher(job, index) for index in range(2)])
  assert "2 x cpu" in said[0]
  assert "done: 2 steps" in said[0]
  assert "done" not in said[1]
  assert [x[0] for x in losses(tmp_path / "run")] == [1, 2]


def test_a_process_told_by_hand_keeps_all_its_devices(monkeypatch):
  """Under Slurm too, whose task JAX gives one device."""
  told = {}
  monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **options: told.update(options))
  processes.connect(dcgan.Config(workdir="", coordinator="a:1", num_processes=2, process_id=0))
  assert told["cluster_detection_method"] == "deactivate"
  processes.connect(dcgan.Config(workdir="", coordinator="auto"))
  assert told["cluster_detection_method"] is None


@pytest.mark.parametrize(
  ("error", "message"),
  [
    (ValueError("coordinator_address should be defined."), "nothing here tells of other processes"),
    (KeyError("OMPI_COMM_WORLD_SIZE"), "'OMPI_COMM_WORLD_SIZE' is not set"),
    (ConnectionError("metadata.google.internal"), "--coordinator=auto: metadata.google.internal"),
  ],
)
def test_what_cannot_be_found_out_is_said(monkeypatch, error, message):
  def fail(*_, **options):
    raise error

  monkeypatch.setattr(jax.distributed, "initialize", fail)
  with pytest.raises(run.RunError, match=message):
    processes.connect(dcgan.Config(workdir="", coordinator="auto"))
