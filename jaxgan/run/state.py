"""The state of a run: made, or read back from its workdir."""

import importlib
import re
from typing import NamedTuple

import jax

from jaxgan import data, training
from jaxgan.run.checkpoints import Checkpoints, Which
from jaxgan.run.config import Config, Record, RunError, read_config
from jaxgan.training import Game, System

__all__ = ["Restored", "load_data", "mesh_of", "restore", "start"]


def mesh_of(config: Config) -> tuple[jax.sharding.Mesh, int]:
  """The mesh of all devices, and the number of parts that it takes a batch in.

  Raises:
    RunError: the devices do not divide as the config asks.
  """
  try:
    mesh = training.data_mesh(model=config.model_parallel)
  except ValueError as error:
    raise RunError(
      f"--model-parallel={config.model_parallel} must divide the number of devices, "
      f"{jax.device_count()}"
    ) from error
  shards = mesh.shape[training.AXIS]
  if config.batch_size % shards:
    groups = f"the number of devices, {shards}"
    if config.model_parallel > 1:
      groups = f"the {shards} groups of --model-parallel={config.model_parallel} devices"
    raise RunError(f"--batch-size={config.batch_size} must be divisible by {groups}")
  return mesh, shards


def start(system: System, config: Config, mesh: jax.sharding.Mesh, saved: Checkpoints) -> Game:
  """The newest checkpoint, or a new game if there is none; laid out on the mesh."""
  if saved.latest is not None:
    return saved.restore_newest(_abstract(system, mesh))
  # It runs once: LLVM's optimisation takes several times as long as what it makes faster.
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  init = jax.jit(
    system.init,
    out_shardings=training.state_sharding(_shapes(system), mesh),
    compiler_options={"xla_backend_optimization_level": 0} if on_cpu else None,
  )
  return init(jax.random.key(config.seed))


def _abstract(system: System, mesh: jax.sharding.Mesh) -> Game:
  shapes = _shapes(system)

  def placed(x: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  return jax.tree.map(placed, shapes, training.state_sharding(shapes, mesh))


def _shapes(system: System) -> Game:
  return jax.eval_shape(system.init, jax.random.key(0))


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
  module = importlib.import_module(record.experiment)
  config = read_config(record, module.Config)
  system = module.build(config, record.spec)
  mesh = training.data_mesh(jax.local_devices()[:1])
  with Checkpoints(workdir, read_only=True) as checkpoints:
    game = checkpoints.restore(_abstract(system, mesh), checkpoint)
  return Restored(record, config, system, game)
