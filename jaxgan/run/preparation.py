"""What a run checks before it touches its workdir, and what it is then made of."""

import sys
from collections.abc import Callable
from typing import NamedTuple

from jax.sharding import Mesh

from jaxgan import data, training
from jaxgan.run.config import Config, Record, RunError, check_same_game
from jaxgan.run.evaluation import Evaluator
from jaxgan.run.evidence import Reference, held_out_data
from jaxgan.run.measures import measures_named
from jaxgan.run.networks import Named, network_named, pixels
from jaxgan.run.state import Build, built, load_data
from jaxgan.training import System
from jaxgan.types import ImageSpec

__all__ = ["Build", "Plan", "evaluator", "prepare"]


class Plan(NamedTuple):
  """A run that can be made.

  Attributes:
    experiment: importable name of its module.
    system: the GAN.
    dataset: the pictures.
    spec: their shape and classes.
  """

  experiment: str
  system: System
  dataset: data.Dataset
  spec: ImageSpec


def prepare(build: Build, config: Config, mesh: Mesh) -> Plan:
  """Reads the data and builds the system; compiles nothing and writes nothing.

  Args:
    build: from config and shape of the pictures to the system.
    config: what the run was told.
    mesh: the devices, which split a batch over its axis `training.AXIS`.

  Raises:
    RunError: the workdir holds another run, or the flags fit no network or no batch.
    DataError: the data set cannot be read.
  """
  experiment = _experiment(build)
  previous = Record.load(config.workdir)
  if previous is not None:
    check_same_game(previous, config, experiment)
  shards = mesh.shape[training.AXIS]
  if config.batch_size % shards:
    groups = f"the number of devices, {shards}"
    if training.MEMBERS in mesh.shape:
      groups = f"{shards}, the devices that share a member's"
    elif shards < mesh.size:
      groups = f"{shards}, the groups of {mesh.size // shards} devices that share a batch"
    raise RunError(f"--batch-size={config.batch_size} must be divisible by {groups}")
  dataset = load_data(config)
  spec = ImageSpec(dataset.shape, dataset.classes, dataset.inputs, dataset.captions)
  if previous is not None and (previous.spec, previous.pictures) != (spec, len(dataset)):
    raise RunError(
      f"--dataset={config.dataset} has {len(dataset)} pictures {_shown(spec)}, but the run in "
      f"{config.workdir} was trained on {previous.pictures} {_shown(previous.spec)}; "
      "choose another workdir"
    )
  system = built(build, config, spec)
  if config.batch_size % (shards * system.batch_multiple):
    raise RunError(
      f"--batch-size={config.batch_size} must be divisible by {shards * system.batch_multiple}: "
      f"by {shards} devices, whose batches come in parts, packs or groups"
    )
  if system.check is not None:
    system.check()
  return Plan(experiment, system, dataset, spec)


def _shown(spec: ImageSpec) -> ImageSpec:
  """With the first texts only, of which there may be thousands."""
  return spec._replace(captions=spec.captions[:3])


def evaluator(config: Config, dataset: data.Dataset) -> Callable[[System], Evaluator]:
  """What the flags of evaluation ask for, of a system with those data.

  Raises:
    RunError: it cannot be had.
  """
  measures = measures_named(config.eval_metrics, "--eval-metrics")
  if next(iter(measures)) == "ms_ssim":
    raise RunError(
      f"--eval-metrics={config.eval_metrics}: the first ranks checkpoints, and neither more nor "
      "less likeness is better; put another before ms_ssim"
    )
  held_out = None
  if config.eval_held_out is not None:
    held_out = held_out_data(config, config.eval_held_out, dataset.shape, "--eval-held-out")
  network = Named(pixels(dataset.shape))
  if not all(measure.pixels for measure in measures.values()):
    network = network_named(config.eval_features, "--eval-features")
  reference = Reference(
    config,
    dataset,
    network.features,
    config.eval_samples,
    network.classes,
    held_out=held_out,
    held_out_split=config.eval_held_out or "",
    prefix="--eval-",
  )
  return lambda system: Evaluator(system, reference, measures)


def _experiment(build: Build) -> str:
  """Importable name of the module that holds `build`, also if it runs as the main program."""
  spec = sys.modules[build.__module__].__spec__
  if spec is None:
    raise RunError(f"start {sys.argv[0]} as a module: python -m package.name --workdir=...")
  return spec.name
