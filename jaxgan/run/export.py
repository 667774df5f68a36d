"""A member of a population as a run of its own."""

import dataclasses
import json
import math
import pathlib
import shlex
import shutil
from typing import Any, Literal, cast

import jax

from jaxgan import training
from jaxgan._files import replacing
from jaxgan.run.checkpoints import Checkpoints, Note, Ranked, Which
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
  place = pathlib.Path(out)
  if place.exists() and not (place.is_dir() and not any(place.iterdir())):
    raise RunError(f"--out={out} is not empty, or no folder: choose another")
  module = module_of(record.experiment, pathlib.Path(workdir).resolve())
  config = read_config(record, module.Config)
  mesh = training.population_mesh(config.population, jax.local_devices()[:1])
  population = Population(module.build, config, record.spec, mesh)
  with Checkpoints(workdir, read_only=True) as checkpoints:
    games = checkpoints.restore(population.abstract, checkpoint)
    step = int(games.step)
    note = checkpoints.note(step)
  ranking = read_ranking(workdir, step) if member == "best" else None
  index = member if ranking is None else min(ranking.members, key=lambda row: row.score).member
  if not 0 <= cast(int, index) < len(population.members):
    raise RunError(f"--member={member} must be from 0 to {len(population.members) - 1}, or best")
  index = cast(int, index)
  single = dataclasses.replace(config_of(config, population.members[index]), workdir=out)

  system = module.build(single, record.spec)
  like = jax.eval_shape(system.init, jax.random.key(0))
  leaves = jax.tree.leaves(training.member(games, index).replace(hyperparameters={}))
  game = jax.tree.unflatten(jax.tree.structure(like), leaves)
  _copy_log(folder_of(workdir, index), pathlib.Path(out), step)
  pending = {name: [row[index] for row in rows] for name, rows in note.pending.items()}
  with Checkpoints(out) as checkpoints:
    checkpoints.save(game, _score(workdir, step, index), Note(pending, owed=note.owed))
  # Last: a folder without it is no run yet.
  dataclasses.replace(record, config=dataclasses.asdict(single)).save(out)
  base = getattr(module, "PRESETS", {}).get(single.preset, {})
  flags = _flags(single, module.Config(preset=single.preset, **base), module.Config().preset)
  command = f"python -m {record.experiment} --workdir={shlex.quote(out)} {flags}".rstrip()
  return f"member {index} at step {step} is now the run in {out}; it goes on by: {command}"


def _score(workdir: str, step: int, index: int) -> Ranked | None:
  """The member's score at a checkpoint, if it has one."""
  try:
    ranking = read_ranking(workdir, step)
  except RunError:
    return None
  value = ranking.members[index].score
  return Ranked(ranking.metric, value) if math.isfinite(value) else None


def _flags(config: Config, base: Config, preset: str) -> str:
  """The preset, if it is not the default, and the flags whose values are not the preset's."""
  given = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(config)
    if getattr(config, field.name) != getattr(base, field.name) and field.name != "workdir"
  }
  if config.preset != preset:
    given = {"preset": config.preset, **given}
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
      kept = [line for line in lines if _within(line, step)]
      with replacing(out / name) as temporary:
        temporary.write_text("".join(kept))


def _within(line: str, step: int) -> bool:
  """Whether a line is of the steps so far; one that was cut off is of none."""
  try:
    return int(json.loads(line)["step"]) <= step
  except (ValueError, LookupError, TypeError):
    return False
