"""The loop around a step: configs, logs, samples, checkpoints. Needs `jaxgan[experiments]`."""

from jaxgan.run.artefacts import LoadedGenerator, load_generator, read_weights, save_weights
from jaxgan.run.command import command_line, read_flags
from jaxgan.run.config import Config, Presets, Record, RunError
from jaxgan.run.export import export_member
from jaxgan.run.flags import (
  Bound,
  Classes,
  Count,
  Decay,
  Rate,
  Resolution,
  Samples,
  Seed,
  Share,
  Size,
  Target,
  Updates,
  Weight,
  Width,
  check_fields,
)
from jaxgan.run.loop import main, train
from jaxgan.run.population import train_population
from jaxgan.run.startup import keep_freed_memory, use_compilation_cache
from jaxgan.run.state import load_data, restore

__all__ = [
  "Bound",
  "Classes",
  "Config",
  "Count",
  "Decay",
  "LoadedGenerator",
  "Presets",
  "Rate",
  "Record",
  "Resolution",
  "RunError",
  "Samples",
  "Seed",
  "Share",
  "Size",
  "Target",
  "Updates",
  "Weight",
  "Width",
  "check_fields",
  "command_line",
  "export_member",
  "keep_freed_memory",
  "load_data",
  "load_generator",
  "main",
  "read_flags",
  "read_weights",
  "restore",
  "save_weights",
  "train",
  "train_population",
  "use_compilation_cache",
]
