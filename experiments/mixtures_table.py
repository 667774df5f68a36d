"""Losses by games on a mixture: a row is one population, and a table goes on where it stopped."""

import json
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments import choices
from jaxgan import metrics, run
from jaxgan._files import replacing
from jaxgan.types import Array

LOSSES = (
  "non_saturating",
  "least_squares",
  "wasserstein",
  "hinge",
  "relativistic",
  "kullback_leibler",
)
GAMES = tuple(choices.GAMES)


class Row(NamedTuple):
  """A population's result, a line of `table.jsonl`.

  Attributes:
    loss: its name.
    game: its name.
    covered: modes, of each seed.
    high_quality: fraction of samples, of each seed.
    reverse_kl: in nats, of each seed.
    seconds: that the population took, compilation included.
  """

  loss: str
  game: str
  covered: list[int]
  high_quality: list[float]
  reverse_kl: list[float]
  seconds: float


def claim(workdir: pathlib.Path, settings: Mapping[str, Any], *, unread: Sequence[str]) -> None:
  """Writes the settings to `config.json`, and keeps what others have made from being replaced.

  Args:
    workdir: made if it is not there.
    settings: of the command.
    unread: names of those that a table does not read.

  Raises:
    RunError: the workdir holds a run or a table with other settings.
  """
  path = workdir / "config.json"
  previous = _parsed(path, path.read_text()) if path.exists() else None
  if previous is not None:
    names = [name for name in {**previous, **settings} if name not in unread]
    lines = [
      f"  --{name.replace('_', '-')}: was {previous.get(name)}, now {settings.get(name)}"
      for name in names
      if previous.get(name) != settings.get(name)
    ]
    if lines:
      raise run.RunError(
        f"--workdir={workdir} was started with other settings:\n"
        + "\n".join(lines)
        + "\ngive the old ones or choose another workdir"
      )
  with replacing(path) as temporary:
    temporary.write_text(json.dumps(settings, indent=2) + "\n")


def fill(path: pathlib.Path, train: Callable[[str, str], metrics.ModeCoverage]) -> list[Row]:
  """Trains the populations whose rows are missing.

  Args:
    path: of the rows that are done, as JSON lines; each new one is added at once.
    train: from the names of a loss and a game to what their population came to.

  Returns:
    All rows, losses outside, games inside.

  Raises:
    RunError: a line of the file is no row.
  """
  lines = path.read_text().splitlines() if path.exists() else []
  done = {(row.loss, row.game): row for row in (_row(path, line) for line in lines)}
  wanted = [(loss, game) for loss in LOSSES for game in GAMES]
  for i, (loss, game) in enumerate(wanted):
    if (loss, game) in done:
      continue
    started = time.perf_counter()
    measures = {name: np.asarray(x).tolist() for name, x in train(loss, game)._asdict().items()}
    row = Row(loss, game, **measures, seconds=round(time.perf_counter() - started, 1))
    done[loss, game] = row
    # The whole file anew, so that a program killed here leaves no half line.
    with replacing(path) as temporary:
      temporary.write_text("".join(json.dumps(r._asdict()) + "\n" for r in done.values()))
    print(f"{i + 1} of {len(wanted)}: {_cells(row)}", file=sys.stderr, flush=True)
  return [done[pair] for pair in wanted]


def markdown(rows: Sequence[Row], modes: int) -> str:
  """The table: median and range over the seeds."""
  head = ["loss", "game", f"modes of {modes}", "high quality, %", "s"]
  return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *map(_cells, rows)])


def spread(values: Sequence[float] | Array, form: str) -> str:
  """Median and range."""
  low, middle, high = np.percentile(np.asarray(values), [0, 50, 100])
  return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def _cells(row: Row) -> str:
  quality = spread([100 * fraction for fraction in row.high_quality], ".0f")
  cells = [row.loss, row.game, spread(row.covered, ".0f"), quality, f"{row.seconds:.0f}"]
  return f"| {' | '.join(cells)} |"


def _row(path: pathlib.Path, line: str) -> Row:
  try:
    return Row(**_parsed(path, line))
  except TypeError as error:
    raise run.RunError(f"{path} has a line that is no row ({error}); delete that line") from error


def _parsed(path: pathlib.Path, text: str) -> dict[str, Any]:
  try:
    return dict(json.loads(text))
  except (ValueError, TypeError) as error:
    raise run.RunError(f"{path} is damaged ({error}); choose another workdir") from error
