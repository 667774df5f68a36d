"""The state of a run: made, or read back from its workdir."""

import importlib
import re
from typing import NamedTuple

import jax

from jaxgan import data, training
from jaxgan.run.checkpoints import Checkpoints, Which
from jaxgan.run.config import Config, Record, RunError, read_config
from jaxgan.training import Game, System

__all__ = ["Restored", "load_data", "restore", "start"]


def start(system: System, config: Config, mesh: jax.sharding.Mesh, saved: Checkpoints) -> Game:
  """The newest checkpoint, or a new game if there is none; replicated over the mesh."""
  if saved.latest is not None:
    return saved.restore_newest(_abstract(system, mesh))
  # It runs once: LLVM's optimisation takes several times as long as what it makes faster.
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  init = jax.jit(
    system.init,
    out_shardings=training.replicated(mesh),
    compiler_options={"xla_backend_optimization_level": 0} if on_cpu else None,
  )
  return init(jax.random.key(config.seed))


def _abstract(system: System, mesh: jax.sharding.Mesh) -> Game:
  sharding = training.replicated(mesh)
  shapes = jax.eval_shape(system.init, jax.random.key(0))
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def load_data(config: Config) -> data.Dataset:
  """The pictures that a config names.

  Raises:
    DataError: they cannot be had; the message speaks of flags.
  """
  try:
    return data.load(
      config.dataset,
      resolution=config.resolution,
      channels=config.channels,
      split=config.split,
      data_dir=config.data_dir,
      limit=config.limit,
      cache_dir=config.cache_dir,
      cache_limit=int(config.cache_limit * 1e9),
    )
  except data.DataError as error:
    arguments = r"(?<![-\w])(resolution|channels|split|data_dir|limit|cache_dir|cache_limit)="
    flags = re.sub(arguments, lambda match: f"--{match[1].replace('_', '-')}=", str(error))
    raise data.DataError(flags) from error


class Restored(NamedTuple):
  """A run read back from its workdir."""

  record: Record
  config: Config
  system: System
  game: Game


def restore(workdir: str, checkpoint: Which = "latest") -> Restored:
  """Rebuilds the networks of a run and reads a checkpoint; needs neither data nor flags.

  Args:
    workdir: folder of the run.
    checkpoint: a step, `"latest"` or `"best"`.

  Raises:
    RunError: there is no run, or no such checkpoint.
  """
  record = Record.load(workdir)
  if record is None:
    raise RunError(f"--workdir={workdir} holds no run: there is no config.json in it")
  if record.config.get("population"):
    raise RunError(
      f"--workdir={workdir} holds a population; take one member out by: python -m "
      f"experiments.population --workdir={workdir} --out=..., and use that"
    )
  module = importlib.import_module(record.experiment)
  config = read_config(record, module.Config)
  system = module.build(config, record.spec)
  mesh = training.data_mesh(jax.local_devices()[:1])
  with Checkpoints(workdir, read_only=True) as checkpoints:
    game = checkpoints.restore(_abstract(system, mesh), checkpoint)
  return Restored(record, config, system, game)
