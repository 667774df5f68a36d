"""Scores of several runs over training: a plot by steps times batch size, and tables.

    python -m experiments.compare --workdir=/tmp/none --workdir=/tmp/ada --out=scores.png

The runs were made with `--eval-every`. Scores of different protocols are refused. Steps times batch
size are the pictures that were seen, but for systems whose critic is updated several times a step.
"""

import dataclasses
import pathlib
import sys
from typing import Annotated

import tyro

from experiments.evaluate import plot
from jaxgan import run
from jaxgan.metrics import Score
from jaxgan.run import evaluation

History = list[tuple[int, Score]]


@dataclasses.dataclass(frozen=True)
class Options:
  """Compares the scores that runs have kept while they trained."""

  workdirs: Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]],
    tyro.conf.arg(metavar="FOLDER", aliases=["--workdir"]),
  ] = ()
  """Folder of a run; give it again for each run, or a list of them."""
  names: str = ""
  """List of what to call them; by default as their folders."""
  scores: str = ""
  """Names of scores, or how they begin, such as `KID,precision`; by default all that there are."""
  out: str = "scores.png"
  """Picture to write."""


def main(options: Options) -> None:
  """Reads, checks, draws and prints."""
  folders = [pathlib.Path(folder) for each in options.workdirs for folder in each.split(",")]
  if not folders:
    raise run.RunError("--workdir names the folder of a run, and is missing")
  names = options.names.split(",") if options.names else [folder.name for folder in folders]
  if len(set(names)) < len(folders) or len(names) != len(folders):
    raise run.RunError(
      f"--names={options.names} must be {len(folders)} different names, one for each --workdir"
    )
  histories = {
    name: seen(folder, options.scores.split(","))
    for name, folder in zip(names, folders, strict=True)
  }
  comparable(histories)
  plot(pathlib.Path(options.out), histories, "steps x batch size")
  print(table(histories))
  print(f"written to {options.out}", file=sys.stderr)


def seen(folder: pathlib.Path, wanted: list[str]) -> History:
  """A run's scores by its steps times its batch size."""
  record = run.Record.load(folder)
  if record is None:
    raise run.RunError(f"--workdir={folder} holds no run")
  batch_size = record.config["batch_size"]
  history = [
    (step * batch_size, score)
    for step, score in evaluation.read_scores(folder)
    if score.name.startswith(tuple(wanted))
  ]
  if not history and record.config.get("population"):
    raise run.RunError(
      f"--workdir={folder} is a population, whose scores are in members/N/scores.jsonl: take a "
      "member out by experiments.population, or see the table of its report"
    )
  if not history:
    raise run.RunError(
      f"--workdir={folder} has no such scores: train with --eval-every, and see --scores"
    )
  return history


def comparable(histories: dict[str, History]) -> None:
  """Refuses scores of one name and several protocols."""
  first: dict[str, tuple[str, Score]] = {}
  for run_name, history in histories.items():
    for _, score in history:
      other, known = first.setdefault(score.name, (run_name, score))
      try:
        score.compare(known)
      except ValueError as error:
        raise run.RunError(f"{score.name} of {other} and of {run_name}: {error}") from error


def table(histories: dict[str, History]) -> str:
  """A Markdown table for each score: a row for each number of pictures, a column for each run."""
  parts = []
  for kind in dict.fromkeys(score.name for history in histories.values() for _, score in history):
    columns = [
      {pictures: score for pictures, score in history if score.name == kind}
      for history in histories.values()
    ]
    rows = [
      f"| {kind}, after steps x batch size | {' | '.join(histories)} |",
      "|---" * (len(columns) + 1) + "|",
    ]
    for pictures in sorted(set().union(*columns)):
      cells = [cell(column.get(pictures)) for column in columns]
      rows.append(f"| {pictures:,} | {' | '.join(cells)} |")
    parts.append("\n".join(rows))
  return "\n\n".join(parts)


def cell(score: Score | None) -> str:
  """A value with its standard error."""
  if score is None:
    return ""
  error = "" if score.standard_error is None else f" ± {score.standard_error:.3f}"
  return f"{score.value:.3f}{error}"


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
