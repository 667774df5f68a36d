"""The state of a run: made, or read back from its workdir."""

import dataclasses
import importlib
import importlib.util
import math
import os
import pathlib
import re
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxgan import data, training
from jaxgan.run.checkpoints import Checkpoints, Which
from jaxgan.run.config import Config, Record, RunError, read_config
from jaxgan.run.flags import flag
from jaxgan.training import Game, System
from jaxgan.types import ImageSpec

__all__ = ["Build", "Restored", "built", "load_data", "mesh_of", "module_of", "restore", "start"]

Build = Callable[[Any, ImageSpec], System]


def built(build: Build, config: Config, spec: ImageSpec) -> System:
  """The system of a config, whose shapes fit each other and whose state fits the memory.

  Args:
    build: from config and shape of the pictures to the system.
    config: what the run was told.
    spec: of the pictures.

  Raises:
    RunError: they do not; nothing is compiled or allocated before it is raised.
  """
  try:
    system = build(config, spec)
    game = jax.eval_shape(system.init, jax.random.key(0))
  except (ValueError, OverflowError) as error:
    message = _with_flags(str(error), *(field.name for field in dataclasses.fields(config)))
    if "--" not in message:
      message = f"--width={config.width}, --resolution={config.resolution}: {message}"
    raise RunError(f"the networks cannot be built from these flags: {message}") from error
  state = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(game))
  _check_memory(state, "the parameters and what is kept of them", f"--width={config.width}")
  updates = system.d_steps(0) if callable(system.d_steps) else system.d_steps
  pictures = 4 * updates * config.batch_size * math.prod(spec.shape)
  _check_memory(pictures, "the pictures of a step", f"--batch-size={config.batch_size}")
  return system


def _check_memory(size: int, what: str, value: str) -> None:
  """Refuses what is more than the whole memory; what is less may still not fit beside the rest."""
  device = jax.local_devices()[0]
  if device.platform == "cpu":
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  else:
    memory = (device.memory_stats() or {}).get("bytes_limit", sys.maxsize) * jax.device_count()
  if size > memory:
    found, there = f"{size / 1e9:,.0f} GB", f"{memory / 1e9:,.0f} GB"
    raise RunError(f"{value}: {what} take {found}, and there are {there}: give a smaller one")


def _with_flags(message: str, *names: str) -> str:
  """A library's message, which speaks of arguments, in the words of the command line."""
  arguments = rf"(?<![-\w])({'|'.join(names)})="
  return re.sub(arguments, lambda match: f"{flag(match[1])}=", message)


def mesh_of(config: Config) -> jax.sharding.Mesh:
  """The mesh of all devices.

  Raises:
    RunError: the devices do not divide as the config asks.
  """
  try:
    return training.data_mesh(model=config.model_parallel)
  except ValueError as error:
    raise RunError(
      f"--model-parallel={config.model_parallel} must divide the number of devices, "
      f"{jax.device_count()}"
    ) from error


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
    return config.load()
  except data.DataError as error:
    raise data.DataError(_with_flags(str(error), *config.data_options())) from error


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
    RunError: there is no run, its record is damaged, or there is no such checkpoint.
  """
  record = Record.load(workdir)
  if record is None:
    raise RunError(f"--workdir={workdir} holds no run: there is no config.json in it")
  if record.config.get("population"):
    raise RunError(
      f"--workdir={workdir} holds a population; take one member out by: python -m "
      f"experiments.population --workdir={workdir} --out=..., and use that"
    )
  module = module_of(record.experiment, pathlib.Path(workdir).resolve())
  config = read_config(record, module.Config)
  system = built(module.build, config, record.spec)
  mesh = training.data_mesh(jax.local_devices()[:1])
  with Checkpoints(workdir, read_only=True) as checkpoints:
    game = checkpoints.restore(_abstract(system, mesh), checkpoint)
  return Restored(record, config, system, game)


def module_of(
  name: str, workdir: pathlib.Path, file: pathlib.Path | None = None
) -> types.ModuleType:
  """The module that a record names, which is imported only from where programs are kept.

  A workdir may come from somebody else. Its record can name any module that is installed, but must
  not bring one along. What it is refused for is said of `file`, by default the workdir's config.
  """
  parts = name.split(".")
  refused = RunError(
    f"{file or workdir / 'config.json'} names {name!r}, which is no experiment that can be "
    "imported: start in the folder of its package, which of jaxgan's own is the root of a checkout"
  )
  if not all(part.isidentifier() for part in parts):
    raise refused
  told = any(pathlib.Path(entry).resolve().is_relative_to(workdir) for entry in sys.path)
  try:
    for count in range(1, len(parts) + 1):  # finding a module imports the packages above it
      found = importlib.util.find_spec(".".join(parts[:count]))
      if found is None:
        raise refused
      places = [*(found.submodule_search_locations or ()), found.origin or ""]
      if not told and any(pathlib.Path(x).resolve().is_relative_to(workdir) for x in places if x):
        raise refused
    module = importlib.import_module(name)
  except (ImportError, ValueError, AttributeError) as error:
    raise refused from error
  if not (isinstance(getattr(module, "Config", None), type) and issubclass(module.Config, Config)):
    raise refused
  if not callable(getattr(module, "build", None)):
    raise refused
  return module
