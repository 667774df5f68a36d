"""The members of a population: what each is told, and where it is logged."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxgan.run.config import FREE, Config, RunError, flag
from jaxgan.run.preparation import Build
from jaxgan.training import System
from jaxgan.types import Array, ImageSpec

__all__ = ["Member", "config_of", "members_of", "scalar_build"]


class Member(NamedTuple):
  """One run of a population.

  Attributes:
    seed: its own.
    values: fields of the config that it has of its own, besides.
  """

  seed: int
  values: dict[str, float]

  def __str__(self) -> str:
    """The flags that make it a run of its own."""
    varied = (f"{flag(name)}={value:g}" for name, value in self.values.items())
    return " ".join([*varied, f"--seed={self.seed}"])


def members_of(config: Config) -> list[Member]:
  """The members that the flags ask for: all seeds of the first combination of values, and so on.

  Raises:
    RunError: a flag that is not a real number or does not play a part in the game, a value out of
      its range, or a number of members that the combinations do not divide.
  """
  choices = dict(_choice(config, text) for text in config.vary)
  if len(choices) < len(config.vary):
    raise RunError(f"--vary={' '.join(config.vary)} names a flag twice")
  settings = [
    dict(zip(choices, each, strict=True)) for each in itertools.product(*choices.values())
  ]
  if config.population % len(settings):
    raise RunError(
      f"--population={config.population} must be a multiple of {len(settings)}, the number of "
      "combinations of --vary, so that each has as many seeds"
    )
  seeds = range(config.seed, config.seed + config.population // len(settings))
  members = [Member(seed, values) for values in settings for seed in seeds]
  for member in members:
    config_of(config, member)  # which refuses values out of range
  return members


def config_of(config: Config, member: Member) -> Config:
  """The config of a single run that plays as the member does."""
  own: dict[str, Any] = {"population": 0, "vary": (), "seed": member.seed, **member.values}
  return dataclasses.replace(config, **own)


def scalar_build(
  build: Build, config: Config, spec: ImageSpec
) -> Callable[[Mapping[str, float | Array]], System]:
  """What `training.varied` takes: the system by scalars that may be traced."""

  def by_scalars(values: Mapping[str, float | Array]) -> System:
    single = dataclasses.replace(config, population=0, vary=())
    for name, value in values.items():  # past checks that only numbers can pass
      object.__setattr__(single, name, value)
    return build(single, spec)

  return by_scalars


def _choice(config: Config, text: str) -> tuple[str, list[float]]:
  given, _, listed = text.removeprefix("--").partition("=")
  name = given.replace("-", "_")
  fields = {field.name for field in dataclasses.fields(config)} - FREE
  can_vary = sorted(each for each in fields if isinstance(getattr(config, each), float))
  if name not in can_vary:
    raise RunError(f"--vary={text}: what can vary is {', '.join(map(flag, can_vary))}")
  try:
    values = [float(value) for value in listed.split(",")]
  except ValueError as error:
    raise RunError(f"--vary={text} must be of the form {given}=1,2: a list of numbers") from error
  if not all(map(math.isfinite, values)) or len(set(values)) < len(values):
    raise RunError(f"--vary={text}: the values must be finite, each once")
  return name, values
