"""What a study of losses came to: its lines, its arithmetic, table and plot.

  python -m experiments.study_table --studies=/tmp/study,/tmp/digits --out=/tmp/both

The arithmetic is that of Lucic et al. 2017 (arXiv 1711.10337), section 6: of a cell's scores the
median, the best and the spread, and the score to be expected of the best of k draws. A run that
diverged counts as much as one that was not trained.
"""

# Past 300 lines because every number of the table is a documented function.

import dataclasses
import itertools
import json
import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.study_cells import Cell, Result, Setting
from jaxgan import run
from jaxgan._files import read_json, replacing

BASELINE = Cell("non_saturating", "none")
_RESULTS, _DRAWS = "results.jsonl", 10_000


class Row(NamedTuple):
  """A cell's result, a line of `results.jsonl`.

  Attributes:
    loss: its name.
    penalty: its name.
    members: settings and scores of each run, draws outside, seeds inside.
    steps: of a run.
    training_cpu_seconds: of all runs together, compilation included.
    scoring_cpu_seconds: of their scores.
  """

  loss: str
  penalty: str
  members: list[dict[str, Any]]
  steps: int
  training_cpu_seconds: float
  scoring_cpu_seconds: float

  @classmethod
  def of(
    cls,
    cell: Cell,
    members: Sequence[Setting],
    found: Sequence[Result],
    steps: int,
    training: float,
    scoring: float,
  ) -> "Row":
    """From what a cell has come to; numbers that are none become None, as JSON has no such."""
    both = [
      {**setting._asdict(), **{k: None if x != x else x for k, x in result._asdict().items()}}
      for setting, result in zip(members, found, strict=True)
    ]
    return cls(cell.loss, cell.penalty, both, steps, round(training, 1), round(scoring, 1))

  @property
  def cell(self) -> Cell:
    """Which."""
    return Cell(self.loss, self.penalty)

  def scores(self, floor: float) -> Float[np.ndarray, "configs seeds"]:
    """Frechet distances; that of a failure is `floor`."""
    values = [floor if each["failed"] else each["fd"] for each in self.members]
    return np.array(values, np.float64).reshape(max(x["config"] for x in self.members) + 1, -1)

  @property
  def cpu_seconds(self) -> float:
    """Training and scores."""
    return self.training_cpu_seconds + self.scoring_cpu_seconds


def read(out: pathlib.Path) -> dict[Cell, Row]:
  """The cells of a study that are done.

  Raises:
    RunError: a line of the file is none of them.
  """
  path = out / _RESULTS
  lines = path.read_text().splitlines() if path.exists() else []
  try:
    rows = [Row(**json.loads(line)) for line in lines]
    return {row.cell: row for row in rows}
  except (ValueError, TypeError) as error:
    raise run.RunError(f"{path} has a line that is no cell ({error}); delete that line") from error


def append(out: pathlib.Path, row: Row) -> None:
  """Adds a cell. The whole file anew, so that a program killed here leaves no half line."""
  rows = {**read(out), row.cell: row}
  with replacing(out / _RESULTS) as temporary:
    temporary.write_text("".join(json.dumps(each._asdict()) + "\n" for each in rows.values()))


def floor(out: pathlib.Path) -> float:
  """The Frechet distance of an untrained generator, which failures count as."""
  try:
    return float(read_json(out / "judge.json", 1 << 16)["untrained_fd"])
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise run.RunError(f"{out} holds no study ({error}); give the --out of one") from error


def expected_minimum(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
  """The least of k values, on average over all choices of k of them, for k from 1 to n.

  The i-th smallest of n (from 0) is the least of k in C(n-1-i, k-1) of the C(n, k) choices.

  >>> expected_minimum(np.array([3.0, 1.0, 2.0])).round(3).tolist()
  [2.0, 1.333, 1.0]
  """
  ordered, n = np.sort(np.asarray(values, np.float64)), len(values)
  return np.array(
    [
      sum(math.comb(n - 1 - i, k - 1) * float(x) for i, x in enumerate(ordered)) / math.comb(n, k)
      for k in range(1, n + 1)
    ]
  )


def wins(
  a: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"], *, draws: int = _DRAWS, seed: int = 0
) -> float:
  """In which share of searches the best of a is below the best of b.

  A search is a bootstrap: n draws of hyperparameters with replacement from those that were tried,
  the same for both. Equal ones count half. With 7^7 searches or fewer all are enumerated.

  >>> wins(np.array([1.0, 5.0]), np.array([2.0, 3.0]))  # of the four searches 00, 01, 10, 11
  0.75
  """
  n = len(a)
  if n**n <= 7**7:
    chosen = np.array(list(itertools.product(range(n), repeat=n)))
  else:
    chosen = np.random.default_rng(seed).integers(0, n, (draws, n))
  least_a, least_b = a[chosen].min(1), b[chosen].min(1)
  return float(((least_a < least_b) + 0.5 * (least_a == least_b)).mean())


class Shares(NamedTuple):
  """Parts of a variance, which sum to 1.

  Attributes:
    cells: between means of cells.
    configs: between means of draws of hyperparameters.
    interaction: of what draws do to one cell and not to the others; with one seed, of seeds too.
    seeds: within runs of one cell and draw.
  """

  cells: float
  configs: float
  interaction: float
  seeds: float


def variance_shares(values: Float[np.ndarray, "cells configs seeds"]) -> Shares:
  """The analysis of variance of a balanced table, two ways.

  >>> variance_shares(np.array([[[0.0], [2.0]], [[1.0], [3.0]]]))
  Shares(cells=0.2, configs=0.8, interaction=0.0, seeds=0.0)
  """
  mean = values.mean()
  both = values.mean(2, keepdims=True)
  cells = values.mean((1, 2), keepdims=True)
  configs = values.mean((0, 2), keepdims=True)
  parts = (cells - mean, configs - mean, both - cells - configs + mean, values - both)
  sums = [float(np.square(np.broadcast_to(part, values.shape)).sum()) for part in parts]
  total = sum(sums) or 1.0
  return Shares(*(each / total for each in sums))


class Summary(NamedTuple):
  """Of a cell's scores.

  Attributes:
    failed: runs that diverged.
    runs: all.
    quartiles: 25, 50 and 75% of the runs' scores.
    best: mean over seeds of the best draw of hyperparameters.
    best_deviation: standard deviation over its seeds; NaN of one.
    best_config: which it is.
    precision: of its runs, mean.
    recall: of its runs, mean.
  """

  failed: int
  runs: int
  quartiles: tuple[float, float, float]
  best: float
  best_deviation: float
  best_config: int
  precision: float
  recall: float


def summary(row: Row, floor: float) -> Summary:
  """Median, best and spread of a cell."""
  scores = row.scores(floor)
  means = scores.mean(1)
  config = int(means.argmin())
  of_best = [each for each in row.members if each["config"] == config]
  low, middle, high = np.percentile(scores, [25, 50, 75]).tolist()
  return Summary(
    sum(each["failed"] for each in row.members),
    scores.size,
    (low, middle, high),
    float(means[config]),
    float(scores[config].std(ddof=1)) if scores.shape[1] > 1 else math.nan,
    config,
    float(np.mean([each["precision"] for each in of_best])),
    float(np.mean([each["recall"] for each in of_best])),
  )


def line(row: Row, floor: float, baseline: Row | None = None) -> str:
  """A row of the table."""
  found, scores = summary(row, floor), row.scores(floor)
  low, middle, high = found.quartiles
  best = f"{found.best:.1f}"
  if not math.isnan(found.best_deviation):
    best += f" ± {found.best_deviation:.1f}"
  chosen = next(each for each in row.members if each["config"] == found.best_config)
  beats = ""
  if baseline is not None and baseline.cell != row.cell:
    beats = f"{100 * wins(scores.mean(1), baseline.scores(floor).mean(1)):.0f}"
  cells = [
    row.loss,
    row.penalty,
    f"{found.failed} of {found.runs}",
    f"{middle:.1f} ({low:.1f} to {high:.1f})",
    best,
    f"{chosen['learning_rate']:.1e}, {chosen['adam_b1']:.2f}",
    f"{found.precision:.2f}, {found.recall:.2f}",
    beats,
    f"{row.cpu_seconds:.0f}",
  ]
  return f"| {' | '.join(cells)} |"


def markdown(rows: Sequence[Row], floor: float) -> str:
  """The table of a study."""
  baseline = next((row for row in rows if row.cell == BASELINE), None)
  head = [
    "loss",
    "penalty",
    "diverged",
    "FD of all runs: median (quartiles)",
    "FD of the best draw",
    "its learning rate, b1",
    "its precision, recall",
    f"searches in which it beats {BASELINE}, %",
    "CPU s",
  ]
  lines = [line(row, floor, baseline) for row in rows]
  return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])


def conclusion(rows: Sequence[Row], floor: float) -> str:
  """The paper's two claims, in numbers."""
  baseline = next((row for row in rows if row.cell == BASELINE), None)
  scores = np.stack([row.scores(floor) for row in rows])
  bests = scores.mean(2).min(1)
  widths = [np.subtract(*np.percentile(each, [75, 25])) for each in scores]
  shares = variance_shares(np.log(scores))
  said = [
    f"Between cells: best draws from {bests.min():.1f} to {bests.max():.1f}, medians from "
    f"{np.median(scores, (1, 2)).min():.1f} to {np.median(scores, (1, 2)).max():.1f}. Within a "
    f"cell: quartiles {np.median(widths):.1f} apart (median over cells).",
    f"Variance of log FD: hyperparameters {shares.configs:.0%}, cells {shares.cells:.0%}, what "
    f"hyperparameters do to single cells {shares.interaction:.0%}, seeds {shares.seeds:.0%}.",
  ]
  if scores.shape[2] == 1:
    said[1] = said[1].replace(f", seeds {shares.seeds:.0%}", " (with the seeds')")
  if baseline is not None:
    base = baseline.scores(floor).mean(1)
    shares_of = {str(r.cell): wins(r.scores(floor).mean(1), base) for r in rows if r != baseline}
    better = [name for name, share in shares_of.items() if share >= 0.95]
    worse = [name for name, share in shares_of.items() if share <= 0.05]
    said.append(
      f"Better than {BASELINE} in 95% of searches or more: {', '.join(better) or 'none'}; worse: "
      f"{', '.join(worse) or 'none'}."
    )
  return "\n".join(said)


def plot(path: pathlib.Path, studies: Mapping[str, tuple[Sequence[Row], float]]) -> None:
  """Of each study all runs by cell, and the best to be expected of k draws.

  Args:
    path: of the picture.
    studies: by name, rows and the score of no training.
  """
  import matplotlib.pyplot as plt
  from matplotlib import ticker

  figure, axes = plt.subplots(len(studies), 2, figsize=(10, 3.4 * len(studies)), squeeze=False)
  markers = itertools.cycle("osv^D<>pPX*")
  styles = {row.cell: next(markers) for rows, _ in studies.values() for row in rows}
  for (runs_ax, ax), (name, (rows, floor)) in zip(axes, studies.items(), strict=True):
    for place, row in enumerate(rows):
      scores = row.scores(floor)
      color = f"C{place % 10}"
      failed = np.array([each["failed"] for each in row.members]).reshape(scores.shape)
      ys = np.full(scores.shape, float(place))
      runs_ax.scatter(scores[~failed], ys[~failed], s=16, color=color, alpha=0.6)
      runs_ax.scatter(scores[failed], ys[failed], s=24, color=color, marker="x")
      runs_ax.plot([np.median(scores)] * 2, [place - 0.3, place + 0.3], color="black")
      curve = expected_minimum(scores.mean(1))
      ks = np.arange(1, len(curve) + 1)
      ax.plot(ks, curve, label=str(row.cell), color=color, marker=styles[row.cell], markersize=4)
    runs_ax.axvline(floor, color="grey", linestyle=":", linewidth=1)
    runs_ax.set(
      xscale="log", xlabel="FD (dotted: untrained; x: diverged; bar: median)", title=f"{name}: runs"
    )
    runs_ax.set_yticks(range(len(rows)), [str(row.cell) for row in rows], fontsize=7)
    runs_ax.invert_yaxis()
    ax.set(
      yscale="log",
      xlabel="hyperparameters tried, k",
      ylabel="FD",
      title=f"{name}: best of k, expected",
    )
    ax.legend(fontsize=6)
    for axis in (runs_ax.xaxis, ax.yaxis):
      axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
      axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
      axis.set_minor_formatter(ticker.NullFormatter())
    for each in (runs_ax, ax):
      each.title.set_fontsize(9)
      each.grid(alpha=0.3)
  figure.tight_layout()
  with replacing(path) as temporary:
    figure.savefig(temporary, dpi=90, format="png")
  plt.close(figure)


def report(studies: Mapping[str, pathlib.Path], out: pathlib.Path) -> None:
  """Prints and writes the tables, and draws the plot.

  Args:
    studies: their folders by name.
    out: folder of `table.md` and `study.png`.
  """
  read_all = {name: (list(read(path).values()), floor(path)) for name, path in studies.items()}
  parts = []
  for name, (rows, untrained) in read_all.items():
    judged = read_json(studies[name] / "judge.json", 1 << 16)
    cost = sum(row.cpu_seconds for row in rows)
    runs = sum(len(row.members) for row in rows)
    parts.append(
      f"{name}: {judged['score']}, {judged['samples']:,} samples against {judged['real']:,} "
      f"pictures of {judged['of']}; untrained {untrained:.1f}. {runs} runs of {rows[0].steps:,} "
      f"steps in {cost / 3600:.2f} CPU hours.\n\n{markdown(rows, untrained)}\n\n"
      f"{conclusion(rows, untrained)}"
    )
  text = "\n\n".join(parts)
  with replacing(out / "table.md") as temporary:
    temporary.write_text(text + "\n")
  plot(out / "study.png", read_all)
  print(text)
  print(f"written to {out / 'table.md'} and {out / 'study.png'}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Options:
  """Puts the tables and plots of several studies together."""

  studies: str
  """List of the studies' folders."""
  names: str = ""
  """List of what to call them; by default as their folders."""
  out: str = "."
  """Folder of `table.md` and `study.png`."""


def main(options: Options) -> None:
  """Reads, prints, writes and draws."""
  folders = [pathlib.Path(folder) for folder in options.studies.split(",")]
  names = options.names.split(",") if options.names else [folder.name for folder in folders]
  if len(set(names)) < len(folders) or len(names) != len(folders):
    raise run.RunError(
      f"--names={options.names} must be {len(folders)} different names, one for each of --studies"
    )
  for folder in folders:
    if not read(folder):
      raise run.RunError(f"--studies: {folder} has no finished cell")
  report(dict(zip(names, folders, strict=True)), pathlib.Path(options.out))


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options, description=__doc__))
