"""What a run is told, how it is kept in the workdir, and what may change between two starts.

Past 300 lines because every flag that all experiments share is documented here.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import jax.numpy as jnp
import tyro

from jaxgan import data
from jaxgan._files import read_json, replacing
from jaxgan.run.command import read_flags
from jaxgan.run.flags import (
  Count,
  Decay,
  Range,
  Rate,
  Resolution,
  RunError,
  Samples,
  Seed,
  Width,
  check_fields,
  flag,
)
from jaxgan.run.formats import FORMAT, NAME, check_format
from jaxgan.types import ImageSpec

__all__ = [
  "FREE",
  "Config",
  "Presets",
  "Record",
  "RunError",
  "check_same_game",
  "parse",
  "read_config",
  "span_of",
]


@dataclasses.dataclass(frozen=True)
class Config:
  """What every experiment can be told."""

  workdir: str = tyro.MISSING
  """Folder of the run: config, logs, samples, checkpoints. The same command resumes from it."""
  preset: Literal["quick", "measured", "paper"] = "quick"
  """Base that the other flags override. quick: embedded digits; measured: the run behind a figure
  in the README; paper: the paper's own configuration."""
  dataset: str = "digits"
  """`digits` (embedded), a TFDS name, or a path: a folder of pictures or of a prepared set (see
  `python -m jaxgan.data.prepare --help`), an .npz, an IDX file."""
  split: str = "train"
  """Split of the data set, as TFDS writes it: `train`, `train[:1000]`, `train+test`."""
  data_dir: str | None = None
  """Where TFDS keeps its data sets; TFDS's own default if not given."""
  resolution: Resolution = 32
  """Height and width in pixels to which pictures are cropped and resized."""
  limit: Count | None = None
  """Train on the first N pictures only."""
  channels: Literal[1, 3] | None = None
  """Make all pictures grey (1) or coloured (3); by default they stay as they are."""
  flip: bool = False
  """Mirror pictures at random, left to right."""
  batch_size: Count = 64
  """Pictures in a batch, over all devices together."""
  steps: Count = 2000
  """Generator updates. A larger number extends a finished run."""
  seed: Seed = 0
  """Of weights, latents and the order of the pictures."""
  learning_rate: Rate = 2e-4
  """Step size of both optimisers."""
  width: Width = 32
  """Features of the widest-resolution stage; the others follow from it."""
  ema_decay: Decay = 0.999
  """Decay of the generator's moving average, per update; samples are drawn from the average."""
  dtype: Literal["float32", "bfloat16"] = "float32"
  """Of the networks' computation; parameters, losses and pictures stay float32."""
  steps_per_call: Count = 1
  """Steps that one compiled program plays, which saves the host's time between small steps. It
  divides the three intervals below; results agree with those of other values up to rounding."""
  log_every: Count = 50
  """Steps between two lines of `metrics.jsonl` and of TensorBoard."""
  sample_every: Count = 250
  """Steps between two sample grids."""
  checkpoint_every: Count = 500
  """Steps between two checkpoints. The latest two and the best are kept."""
  eval_every: Annotated[
    int, Range("be positive, or 0 for no evaluation", lambda x: 0 <= x < 2**31)
  ] = 0
  """Steps between two evaluations, at each of which a checkpoint is saved; 0 for none. The best
  checkpoint is then the best by the first of the metrics."""
  eval_metrics: str = "kid,fd,pr"
  """List of kid (kernel distance), fd (Frechet distance), fd_inf (extrapolated to infinitely many
  samples), pr (precision and recall), dc (density and coverage), is (inception score), ms_ssim
  (likeness of samples to each other), swd (sliced Wasserstein distance of pixels), ppl (perceptual
  path length), memorisation (copies of training pictures), parzen (log-likelihood); of conditional
  generators labels (accuracy of their labels), cas (classification accuracy score); of generators
  of styles ppl_w (path length in W)."""
  eval_features: str = "lite0"
  """lite0 (EfficientNet-Lite0), inception (of the published FID), or an .npz file that
  `python -m experiments.classifier` wrote."""
  eval_held_out: str | None = None
  """Split that is not trained on, such as test, for memorisation and parzen."""
  eval_samples: Samples = 1000
  """Samples of an evaluation, and real pictures at most."""
  cache_dir: str | None = None
  """Where decoded pictures are kept; by default jaxgan/data in the user's cache folder."""
  cache_limit: Annotated[
    float, Range("be from 0, for no cache, to 1,000,000", lambda x: 0 <= x <= 1e6)
  ] = 8.0
  """Most gigabytes of decoded pictures to keep there; larger sets are streamed."""
  workers: Annotated[int, Range("be from 0 to 1,000", lambda x: 0 <= x <= 1000)] = 0
  """Processes that decode streamed pictures; 0 uses threads."""
  population: Annotated[
    int, Range("be from 0, for a single run, to 10,000", lambda x: 0 <= x <= 10_000)
  ] = 0
  """Train so many runs side by side, in one program; 0 for a single run. Their seeds count up from
  --seed."""
  vary: tuple[str, ...] = ()
  """Of a population: flags of real numbers and their values, such as learning-rate=1e-4,2e-4; each
  combination has as many seeds."""
  on_nan: Literal["stop", "rollback"] = "stop"
  """When a figure is not finite any more: stop, or go back to the last checkpoint and on with other
  noise, three times at most."""
  coordinator: str | None = None
  """For a run of several processes: HOST:PORT of the first, or auto where Slurm, Open MPI, GKE or
  Cloud TPU tell."""
  num_processes: int | None = None
  """Number of processes, beside `--coordinator=HOST:PORT`."""
  process_id: int | None = None
  """Which of them this is, from 0."""
  model_parallel: Count = 1
  """Devices that share one copy of the state, wide kernels in parts; it divides their number. Each
  such group takes a part of the batch."""
  profile_steps: str | None = None
  """Trace what host and devices do in some steps, for the profile page of TensorBoard: 100:110 for
  the ten after step 100. The first step after a start compiles, which would fill the trace."""
  report: bool = True
  """At the end draw a latent walk and write report.html, a page about the run, into the workdir."""
  compilation_cache: bool = True
  """Keep compiled programs in jaxgan/compiled in the user's cache folder, for a quick start."""
  override: bool = False
  """Go on in a workdir whose run was started with another config."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    check_fields(self)
    for name in ("log_every", "sample_every", "checkpoint_every", "eval_every"):
      if getattr(self, name) % self.steps_per_call:
        raise RunError(
          f"{flag(name)}={getattr(self, name)} must be a multiple of "
          f"--steps-per-call={self.steps_per_call}: what is done between calls comes at their ends"
        )
    if self.population and self.coordinator is not None:
      raise RunError(f"--population={self.population} takes one process: leave out --coordinator")
    if self.population and self.model_parallel > 1:
      raise RunError(
        f"--population={self.population} spreads members over devices: leave out --model-parallel"
      )
    if self.population and self.on_nan == "rollback":
      raise RunError(
        f"--population={self.population} goes on without members that diverge: leave out "
        "--on-nan=rollback"
      )
    if self.vary and not self.population:
      raise RunError(f"--vary={self.vary[0]} needs --population, the number of runs")
    if span_of(self.profile_steps).stop > self.steps:
      raise RunError(
        f"--profile-steps={self.profile_steps} goes on behind the last step, --steps={self.steps}"
      )

  def load(self) -> data.Dataset:
    """The pictures that the flags name; `jaxgan.run.load_data` has its errors speak of flags.

    An experiment that learns from more than pictures has one of its own.
    """
    return data.load(self.dataset, **self.data_options())

  def data_options(self) -> dict[str, Any]:
    """What the flags tell `jaxgan.data.load` beside the name of the set."""
    return dict(
      resolution=self.resolution,
      channels=self.channels,
      split=self.split,
      data_dir=self.data_dir,
      limit=self.limit,
      cache_dir=self.cache_dir,
      cache_limit=int(self.cache_limit * 1e9),
    )

  @property
  def jax_dtype(self) -> Any:
    """The dtype of computation for layers; None leaves it to their inputs."""
    return jnp.bfloat16 if self.dtype == "bfloat16" else None


# What may differ between two starts of one run: it does not change the game that is played.
FREE = frozenset(
  {
    "workdir",
    "preset",
    "data_dir",
    "steps",
    "steps_per_call",
    "log_every",
    "sample_every",
    "checkpoint_every",
    "cache_dir",
    "cache_limit",
    "workers",
    "on_nan",
    "coordinator",
    "num_processes",
    "process_id",
    "model_parallel",
    "profile_steps",
    "report",
    "compilation_cache",
    "override",
  }
)

_TRACED = 1000  # steps; traces of more are too large to be looked at


def span_of(text: str | None) -> range:
  """The steps of `--profile-steps`, by the number of those completed before; empty for None.

  Raises:
    RunError: they are none, or too many.

  >>> span_of("100:110")
  range(100, 110)
  """
  if text is None:
    return range(0)
  found = re.fullmatch(r"(\d{1,10}):(\d{1,10})", text, re.ASCII)
  span = range(int(found[1]), int(found[2])) if found else range(0)
  if not 0 < len(span) <= _TRACED:
    raise RunError(
      f"--profile-steps={text} must be FIRST:LAST, 100:110 for the ten steps after step 100, with "
      f"{_TRACED:,} steps at most"
    )
  return span


ConfigT = TypeVar("ConfigT", bound=Config)
Presets = Mapping[str, Mapping[str, Any]]


def parse(
  config_type: type[ConfigT], presets: Presets, argv: Sequence[str] | None = None
) -> ConfigT:
  """Reads a config from the command line: the preset's values, overridden by the flags.

  Args:
    config_type: the experiment's dataclass.
    presets: name of a preset to the fields that it sets.
    argv: arguments, by default the program's.

  Returns:
    The config. A flag that is unknown or malformed ends the program with a message.

  Raises:
    RunError: a value is out of range.
  """
  first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
  first.add_argument("--preset", default=config_type.preset)
  preset = first.parse_known_args(argv)[0].preset
  # An unknown preset is left to tyro, which reports it like any other malformed flag.
  base = config_type(preset=preset, **presets[preset]) if preset in presets else config_type()
  return read_flags(config_type, argv, default=base)


@dataclasses.dataclass(frozen=True)
class Record:
  """What the workdir keeps of a run besides its state: enough to rebuild the networks.

  Attributes:
    experiment: importable module of the experiment, such as `experiments.dcgan`.
    config: the config's fields.
    spec: shape and classes of the pictures.
    pictures: number of pictures.
    environment: versions and devices of the latest start, for the reader.
  """

  experiment: str
  config: dict[str, Any]
  spec: ImageSpec
  pictures: int
  environment: dict[str, Any] = dataclasses.field(default_factory=dict)

  def save(self, workdir: str | os.PathLike[str]) -> None:
    """Writes `config.json`; the file appears whole or not at all."""
    with replacing(_path(workdir)) as temporary:
      written = {NAME: FORMAT, **self.content()}
      temporary.write_text(json.dumps(written, indent=2) + "\n")

  @classmethod
  def load(cls, workdir: str | os.PathLike[str]) -> "Record | None":
    """Reads `config.json`, None where there is none."""
    path = _path(workdir)
    if not path.exists():
      return None
    try:
      content = read_json(path, 1 << 24)
      writer = dict(content.get("environment", {})).get("jaxgan")
      check_format(content.pop(NAME, 0), str(path), writer)
      return cls.of(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
      raise RunError(
        f"{path} is damaged ({error}); delete it and start with the flags of the run"
      ) from error

  @classmethod
  def of(cls, content: Mapping[str, Any]) -> "Record":
    """From what `save` writes; raises ValueError, KeyError and their like for what it does not."""
    spec, flags = content["spec"], content["config"]
    shape, classes = tuple(spec["shape"]), tuple(spec["classes"])
    inputs = tuple(spec["inputs"]) if spec.get("inputs") else None
    captions = tuple(spec.get("captions", ()))
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in flags.items()}
    record = cls(
      **{**content, "spec": ImageSpec(shape, classes, inputs, captions), "config": config}
    )
    record._check()
    return record

  def content(self) -> dict[str, Any]:
    """What `save` writes beside the format's number, of JSON's types."""
    return dataclasses.asdict(self) | {"spec": self.spec._asdict()}

  def _check(self) -> None:
    """Refuses what `save` does not write."""
    shape, classes, inputs, captions = self.spec
    whole = (*shape, self.pictures, *(inputs or ()))
    if (
      len(shape) != 3
      or len(inputs or shape) != 3
      or not all(type(x) is int and 0 < x < 2**31 for x in whole)
    ):
      raise ValueError(f"{self.pictures} pictures of {shape}")
    if max(*shape, *(inputs or ())) > 1 << 16 or not all(
      isinstance(x, str) for x in (self.experiment, *classes, *captions)
    ):
      raise ValueError(f"pictures of {shape}, classes {classes}, of {self.experiment}")
    if not isinstance(self.config, dict) or not isinstance(self.environment, dict):
      raise ValueError("its config and environment must be objects")


def read_config(record: Record, config_type: type[ConfigT]) -> ConfigT:
  """The config of a recorded run; fields that it did not have yet take their defaults.

  Raises:
    RunError: the record has a field that is not known any more.
  """
  unknown = record.config.keys() - {field.name for field in dataclasses.fields(config_type)}
  if unknown:
    raise RunError(
      f"the run was recorded with {', '.join(sorted(map(flag, unknown)))}, which this version of "
      f"{record.experiment} does not know; take the version of the run: {record.environment}"
    )
  return config_type(**record.config)


def check_same_game(previous: Record, config: Config, experiment: str) -> None:
  """Refuses to go on in a workdir whose run plays another game.

  Raises:
    RunError: the experiment differs, or the config in a field that changes the game and
      `--override` is not given. The message lists the fields.
  """
  if previous.experiment != experiment:
    raise RunError(
      f"--workdir={config.workdir} holds a run of {previous.experiment}, not of {experiment}; "
      "choose another workdir"
    )
  old = dataclasses.asdict(read_config(previous, type(config)))
  new = dataclasses.asdict(config)
  changed = [name for name in new if name not in FREE and old[name] != new[name]]
  if changed and not config.override:
    lines = [f"  {flag(name)}: was {old[name]}, now {new[name]}" for name in changed]
    raise RunError(
      f"--workdir={config.workdir} holds a run with another config:\n"
      + "\n".join(lines)
      + "\ngive the old values, choose another workdir, or go on with the new ones by --override"
    )


def _path(workdir: str | os.PathLike[str]) -> pathlib.Path:
  return pathlib.Path(workdir) / "config.json"
