"""Which member of a population is the best: the scores at its checkpoints."""

import contextlib
import json
import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxgan._files import replacing
from jaxgan.run import checkpoints
from jaxgan.run.config import RunError, flag
from jaxgan.run.members import Member
from jaxgan.run.writing import writing

__all__ = ["Ranked", "Ranking", "append_ranking", "ranking_table", "read_ranking"]

_RANKING = "population.jsonl"


class Ranked(NamedTuple):
  """What a member scored; the lowest is the best.

  Attributes:
    member: its number.
    seed: its own.
    values: what varies.
    score: infinite if it has diverged or was not scored.
  """

  member: int
  seed: int
  values: dict[str, float]
  score: float


def append_ranking(
  workdir: str, step: int, members: Sequence[Member], scores: Sequence[checkpoints.Ranked | None]
) -> None:
  """Adds the scores of a checkpoint, None for members that have diverged."""
  path = pathlib.Path(workdir) / _RANKING
  kept = []
  for line in path.read_text().splitlines() if path.exists() else []:
    with contextlib.suppress(ValueError, LookupError, TypeError):  # of a line that was cut off
      if json.loads(line)["step"] < step:
        kept.append(line)
  rows = [
    {**each._asdict(), "score": None if score is None else score.value}
    for each, score in zip(members, scores, strict=True)
  ]
  metric = next((score.name for score in scores if score is not None), "")
  kept.append(json.dumps({"step": step, "metric": metric, "members": rows}))
  with writing(path), replacing(path) as temporary:
    temporary.write_text("".join(line + "\n" for line in kept))


class Ranking(NamedTuple):
  """The members' scores at a checkpoint.

  Attributes:
    metric: what they are, with its protocol; turned round if more of it is better.
    members: in their order.
  """

  metric: str
  members: list[Ranked]


def read_ranking(workdir: str, step: int) -> Ranking:
  """What was written of a checkpoint.

  Raises:
    RunError: there are none, or the file is damaged.
  """
  path = pathlib.Path(workdir) / _RANKING
  try:
    lines = map(json.loads, path.read_text().splitlines())
    line = next(line for line in lines if line["step"] == step)
    members = [
      Ranked(i, row["seed"], row["values"], math.inf if row["score"] is None else row["score"])
      for i, row in enumerate(line["members"])
    ]
    return Ranking(line["metric"], members)
  except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
    raise RunError(
      f"{path} has no scores of step {step}: take --checkpoint=best, which has some, or a member "
      "by its number"
    ) from error


def ranking_table(workdir: str, step: int) -> str:
  """Markdown: a row a setting, with mean and standard deviation over its seeds."""
  groups: dict[str, list[Ranked]] = {}
  metric, members = read_ranking(workdir, step)
  for row in members:
    setting = " ".join(f"{flag(name)}={value:g}" for name, value in row.values.items())
    groups.setdefault(setting or "as given", []).append(row)
  lines = [
    f"| setting | members | diverged | {metric.partition(' by ')[0]}: mean | deviation | best |",
    "|---" * 6 + "|",
  ]
  for setting, rows in groups.items():
    scores = [row.score for row in rows if math.isfinite(row.score)]
    best = min(rows, key=lambda row: row.score)
    mean, deviation = (f"{f(scores):.4g}" if scores else "" for f in (np.mean, np.std))
    lines.append(
      f"| {setting} | {len(rows)} | {len(rows) - len(scores)} | {mean} | {deviation} | "
      f"{best.score:.4g} (member {best.member}, seed {best.seed}) |"
    )
  return "\n".join(lines)
