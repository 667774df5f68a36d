"""A member of a population as a run of its own."""

import dataclasses
import json
import math
import pathlib
import shlex
import shutil
from collections.abc import Mapping
from typing import Any, Literal

import jax

from jaxgan import training
from jaxgan._files import replacing
from jaxgan.run.checkpoints import Checkpoints, Ranked, Which
from jaxgan.run.config import Config, Record, RunError, flag, read_config
from jaxgan.run.members import config_of
from jaxgan.run.population import Population
from jaxgan.run.ranking import read_ranking
from jaxgan.run.reports import folder_of
from jaxgan.run.state import module_of

__all__ = ["export_member"]


def export_member(
  workdir: str, out: str, *, member: int | Literal["best"] = "best", checkpoint: Which = "latest"
) -> str:
  """Writes a member's checkpoint, config, log and samples as an ordinary workdir.

  Args:
    workdir: folder of the population.
    out: folder of the run; it must be empty or not there.
    member: its number, or `"best"` by the scores at that checkpoint.
    checkpoint: a step, `"latest"` or `"best"`, which is where the best member was best.

  Returns:
    How the run goes on: the flags that it would have been started with.

  Raises:
    RunError: there is no population, no such member or checkpoint, or something in the way.
  """
  record = Record.load(workdir)
  if record is None or not record.config.get("population"):
    raise RunError(f"--workdir={workdir} holds no population; take the folder that one was told")
  if pathlib.Path(out).exists() and any(pathlib.Path(out).iterdir()):
    raise RunError(f"--out={out} is not empty: choose another folder")
  module = module_of(record.experiment, pathlib.Path(workdir).resolve())
  config = read_config(record, module.Config)
  mesh = training.population_mesh(config.population, jax.local_devices()[:1])
  population = Population(module.build, config, record.spec, mesh)
  with Checkpoints(workdir, read_only=True) as checkpoints:
    games = checkpoints.restore(population.abstract, checkpoint)
  step = int(games.step)
  metric, ranking = read_ranking(workdir, step)
  index = min(ranking, key=lambda row: row.score).member if member == "best" else member
  if not 0 <= index < len(ranking):
    raise RunError(f"--member={member} must be from 0 to {len(ranking) - 1}, or best")
  single = dataclasses.replace(config_of(config, population.members[index]), workdir=out)

  system = module.build(single, record.spec)
  like = jax.eval_shape(system.init, jax.random.key(0))
  leaves = jax.tree.leaves(training.member(games, index).replace(hyperparameters={}))
  game = jax.tree.unflatten(jax.tree.structure(like), leaves)
  _copy_log(folder_of(workdir, index), pathlib.Path(out), step)
  score = ranking[index].score
  with Checkpoints(out) as checkpoints:
    checkpoints.save(game, Ranked(metric, score) if math.isfinite(score) else None)
  # Last: a folder without it is no run yet.
  dataclasses.replace(record, config=dataclasses.asdict(single)).save(out)
  flags = _flags(single, module.Config())
  command = f"python -m {record.experiment} --workdir={shlex.quote(out)} {flags}".rstrip()
  return f"member {index} at step {step} is now the run in {out}; it goes on by: {command}"


def _flags(config: Config, default: Config) -> str:
  """The flags whose values are not those of the experiment without any."""
  given = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(config)
    if getattr(config, field.name) != getattr(default, field.name) and field.name != "workdir"
  }
  return " ".join(_flag(name, value) for name, value in given.items())


def _flag(name: str, value: Any) -> str:
  if isinstance(value, bool):
    return flag(name) if value else flag(f"no_{name}")
  return f"{flag(name)}={shlex.quote(str(value))}"


def _copy_log(source: pathlib.Path, out: pathlib.Path, step: int) -> None:
  """The member's samples, and its log up to the step."""
  out.mkdir(parents=True, exist_ok=True)
  if (source / "samples").is_dir():
    shutil.copytree(source / "samples", out / "samples")
  for name in ("metrics.jsonl", "health.jsonl", "scores.jsonl"):
    path = source / name
    if path.exists():
      lines = path.read_text().splitlines(keepends=True)
      kept = [line for line in lines if _step_of(json.loads(line)) <= step]
      with replacing(out / name) as temporary:
        temporary.write_text("".join(kept))


def _step_of(line: Mapping[str, Any]) -> int:
  return int(line["step"])
