"""What a workdir tells of its run, read with care: it may be a stranger's, damaged, or huge."""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxgan._files import read_json
from jaxgan.metrics import Score
from jaxgan.metrics.health import Verdict
from jaxgan.run.page.rows import noting, rows, whole_step

__all__ = ["POINTS", "Curve", "Findings", "Frame", "Member", "find"]

POINTS = 400  # of a curve, at most
_NAMES = 100  # metrics
_LARGEST = 1e100  # beyond which a value is none
_SCORES = 5000  # of a training
_KINDS = 50
_ENTRIES = 20_000  # of a folder
_VERDICTS = 50
_MEMBERS = 64
_NAME = 120  # characters of a score's name, at most
_TEXT = 2000  # characters of a verdict, at most


class Curve(NamedTuple):
  """A metric by the step."""

  steps: list[int]
  values: list[float]


class Frame(NamedTuple):
  """A picture of a step."""

  step: int
  path: pathlib.Path


class Member(NamedTuple):
  """One of a population.

  Attributes:
    number: its own.
    setting: what it has of its own, for a reader.
    score: None if it has none, as those that diverged.
    health: its verdicts.
    frame: its last samples.
  """

  number: int
  setting: str
  score: float | None
  health: list[Verdict]
  frame: Frame | None


@dataclasses.dataclass
class Findings:
  """What was found.

  Attributes:
    name: of the folder.
    record: of `config.json`, empty if there is none.
    curves: metrics by name.
    scores: with their steps; those of training, and of the last evaluation.
    health: verdicts; of a population, each kind once with the members that it is of.
    frames: sample grids by step.
    real: the grid of real pictures.
    walk: the newest latent walk.
    members: of a population.
    metric: what the members' scores are.
    shown: of a population, the member whose samples are `frames`.
    notes: what was left out, for a reader.
  """

  name: str
  record: dict[str, Any] = dataclasses.field(default_factory=dict)
  curves: dict[str, Curve] = dataclasses.field(default_factory=dict)
  scores: list[tuple[int, Score]] = dataclasses.field(default_factory=list)
  evaluation: list[tuple[int, Score]] = dataclasses.field(default_factory=list)
  health: list[Verdict] = dataclasses.field(default_factory=list)
  frames: list[Frame] = dataclasses.field(default_factory=list)
  real: pathlib.Path | None = None
  walk: Frame | None = None
  members: list[Member] = dataclasses.field(default_factory=list)
  metric: str = ""
  shown: int | None = None
  notes: list[str] = dataclasses.field(default_factory=list)

  @property
  def config(self) -> dict[str, Any]:
    """The flags of the run."""
    found = self.record.get("config")
    return found if isinstance(found, dict) else {}

  @property
  def step(self) -> int:
    """The last step that anything tells of."""
    ends = [curve.steps[-1] for curve in self.curves.values()]
    ends += [frame.step for frame in self.frames[-1:]]
    return max([*ends, *(step for step, _ in [*self.scores, *self.evaluation])], default=0)


def find(workdir: str | os.PathLike[str]) -> Findings:
  """Reads a workdir. What is missing or damaged is left out, and said in the notes.

  Nothing is imported or executed, and what is read is bounded, whatever the files hold.
  """
  folder = pathlib.Path(workdir)
  found = Findings(folder.resolve().name or str(folder))
  with noting(found.notes, "config.json"):
    record = read_json(folder / "config.json", 1 << 20)
    if not isinstance(record, dict):
      raise ValueError("no object")
    found.record = record
  found.curves = _curves(rows(folder / "metrics.jsonl", found.notes), found)
  found.scores = _scores(folder, found)
  found.evaluation = _evaluation(folder, found)
  found.health = _health(folder, found)
  found.frames = _numbered(folder / "samples", "step")
  real = folder / "samples" / "real.png"
  found.real = real if real.is_file() else None
  found.walk = next(reversed(_numbered(folder, "walk")), None)
  _find_members(folder, found)
  return found


def _curves(lines: Sequence[dict[str, Any]], found: Findings) -> dict[str, Curve]:
  columns: dict[str, Curve] = {}
  ignored = set()
  for row in lines:
    for name, value in row.items():
      if name == "step" or isinstance(value, bool) or not isinstance(value, int | float):
        continue
      if name not in columns and len(columns) >= _NAMES:
        ignored.add(name)
        continue
      with contextlib.suppress(OverflowError):  # of 400 digits it is none
        if abs(value) < _LARGEST:
          curve = columns.setdefault(name[:_NAME], Curve([], []))
          curve.steps.append(row["step"])
          curve.values.append(float(value))
  if ignored:
    found.notes.append(f"metrics.jsonl has {len(ignored):,} more metrics than {_NAMES}, left out")
  longest = max((len(curve.steps) for curve in columns.values()), default=0)
  if longest > POINTS:
    found.notes.append(
      f"curves show the means of every {-(-longest // POINTS):,} lines of metrics.jsonl"
    )
  return {name: _thinned(curve) for name, curve in columns.items()}


def _thinned(curve: Curve) -> Curve:
  """Means of so many neighbours that few enough points are left."""
  n = len(curve.steps)
  size = -(-n // POINTS)
  if size <= 1:
    return curve
  starts = range(0, n, size)
  return Curve(
    [curve.steps[min(start + size, n) - 1] for start in starts],
    [math.fsum(part) / len(part) for part in (curve.values[at : at + size] for at in starts)],
  )


def _scores(folder: pathlib.Path, found: Findings) -> list[tuple[int, Score]]:
  scores, kinds = [], set()
  for row in rows(folder / "scores.jsonl", found.notes)[-_SCORES:]:
    with noting(found.notes, "scores.jsonl"):
      step, score = row.pop("step"), _score(row)
      kinds.add((score.name, score.protocol))
      if len(kinds) > _KINDS:
        raise ValueError(f"more than {_KINDS} kinds of scores")
      scores.append((step, score))
  return scores


def _score(row: Any) -> Score:
  score = Score.from_dict(row)
  hash(score.protocol)  # whose fields may be anything
  if not isinstance(score.name, str) or abs(score.value) > _LARGEST:
    raise ValueError("a score is no number, or has no name")
  error = score.standard_error
  small = error if error is None or error < _LARGEST else None
  return dataclasses.replace(score, name=score.name[:_NAME], standard_error=small)


def _evaluation(folder: pathlib.Path, found: Findings) -> list[tuple[int, Score]]:
  """The scores of the newest `evaluation_*.json`."""
  newest = next(reversed(_numbered(folder, "evaluation", "json")), None)
  if newest is None:
    return []
  with noting(found.notes, newest.path.name):
    content = read_json(newest.path, 1 << 20)
    step = whole_step(content["step"])
    return [(step, _score(row)) for row in content["scores"][:_KINDS]]
  return []


def _health(folder: pathlib.Path, found: Findings) -> list[Verdict]:
  verdicts = []
  for row in rows(folder / "health.jsonl", found.notes, 1 << 20):
    with noting(found.notes, "health.jsonl"):
      name, evidence, advice = (str(row[key])[:_TEXT] for key in ("name", "evidence", "advice"))
      verdicts.append(Verdict(name, row["step"], evidence, advice))
  if len(verdicts) > _VERDICTS:
    found.notes.append(
      f"health.jsonl has {len(verdicts):,} verdicts: the last {_VERDICTS} are shown"
    )
  return verdicts[-_VERDICTS:]


def _numbered(folder: pathlib.Path, stem: str, suffix: str = "png") -> list[Frame]:
  """The files `<stem>_<step>.<suffix>` of a folder, by step."""
  pattern = re.compile(rf"{stem}_(\d{{1,15}})\.{suffix}", re.ASCII)
  frames = []
  with contextlib.suppress(OSError), os.scandir(folder) as entries:
    for entry, _ in zip(entries, range(_ENTRIES), strict=False):
      if (match := pattern.fullmatch(entry.name)) and entry.is_file():
        frames.append(Frame(int(match[1]), folder / entry.name))
  return sorted(frames)


def _find_members(folder: pathlib.Path, found: Findings) -> None:
  """What is told of the members of a population, and the best one's samples as the run's."""
  ranking: dict[str, Any] = {}
  lines = rows(folder / "population.jsonl", found.notes)
  with noting(found.notes, "population.jsonl"):
    ranking = lines[-1] if lines else {}
    found.metric = str(ranking.get("metric", "")).partition(" by ")[0][:_TEXT]
    for index, row in enumerate(ranking.get("members", [])[:_MEMBERS]):
      values = [f"{name}={value:g}" for name, value in dict(row["values"]).items()]
      own = folder / "members" / str(index)
      aside = Findings("")  # a member's damaged lines are told by a report of its own
      found.members.append(
        Member(
          index,
          " ".join([*values, f"seed={int(row['seed'])}"])[:_TEXT],
          None if row["score"] is None else float(row["score"]),
          _health(own, aside),
          next(reversed(_numbered(own / "samples", "step")), None),
        )
      )
    if len(ranking.get("members", [])) > _MEMBERS:
      found.notes.append(f"the first {_MEMBERS} of {len(ranking['members']):,} members are shown")
  found.health += _together(found.members)
  alive = [member for member in found.members if member.score is not None]
  if alive and not found.frames:
    best = min(alive, key=lambda member: member.score or 0.0)
    samples = folder / "members" / str(best.number) / "samples"
    found.shown, found.frames = best.number, _numbered(samples, "step")
    found.real = samples / "real.png" if (samples / "real.png").is_file() else None


def _together(members: Sequence[Member]) -> list[Verdict]:
  """Each kind of verdict as the first member had it, with the numbers of all that did."""
  kinds: dict[str, dict[int, Verdict]] = {}
  for member in members:
    for verdict in member.health:
      kinds.setdefault(verdict.name, {}).setdefault(member.number, verdict)
  together = []
  for of in kinds.values():
    first = min(of.values(), key=lambda verdict: verdict.step)
    numbers = ", ".join(map(str, of))
    said = f"member {numbers}" if len(of) == 1 else f"members {numbers}, of whom the first"
    together.append(first._replace(evidence=f"{said}: {first.evidence}"))
  return together[:_VERDICTS]
