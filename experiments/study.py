"""Are GANs created equal? Lucic et al. 2017 (arXiv 1711.10337): losses at one budget of tuning.

  python -m experiments.study --out=/tmp/study --dataset=fashion_mnist --held-out=test

A cell is a loss under a penalty. Its runs, hyperparameters drawn from the paper's ranges by seeds,
are trained side by side as one population; the draws are the same in all cells. Each finished cell
is a line of `results.jsonl`, with its cost in CPU time, and the same command goes on where it was
stopped or killed, also within a cell. At the end, or with --hours used up, come a table and a plot
of what there is: `table.md`, `study.png`. `experiments.study_table` compares several studies.

What cannot vary within a program is the same everywhere: no batch norm in D, one update of D to
each of G, Adam, the networks of `jaxgan.models.lucic` and no moving average of G.
"""

# Past 300 lines because of its flags and their checks; cells and tables are modules of their own.

import contextlib
import dataclasses
import json
import pathlib
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import jax
import numpy as np

from experiments import choices, classifier, study_cells, study_table
from experiments.study_cells import Cell, Judge, Population, Sizes
from jaxgan import data, metrics, run, training
from jaxgan._files import read_json, replacing
from jaxgan.run.evidence import Reference, held_out_data
from jaxgan.run.flags import flag
from jaxgan.run.interruption import Interruption
from jaxgan.run.lock import locked
from jaxgan.run.networks import features_named

LOSSES = ("minimax", "non_saturating", "least_squares", "wasserstein")
# Those of the paper but for BEGAN and the VAE, which have networks of their own.
PAPER = (
  Cell("non_saturating", "none"),
  Cell("minimax", "none"),
  Cell("least_squares", "none"),
  Cell("wasserstein", study_cells.CLIPPING),
  Cell("wasserstein", "gradient_penalty"),
  Cell("non_saturating", "dragan"),
)
_MOST = 1 << 30  # bytes of pictures on a device
# What may differ between two starts of one study.
_FREE = ("out", "data_dir", "losses", "penalties", "cells", "hours", "checkpoint_every")


@dataclasses.dataclass(frozen=True)
class Options:
  """Flags of the study."""

  out: Annotated[str, choices.also("--workdir")]
  """Folder of the study. The same command goes on with one that was stopped."""
  dataset: str = "fashion_mnist"
  """A TFDS name, `digits` (embedded) or a path; it must have labels, unless --features is given."""
  split: str = "train"
  """What is trained on."""
  held_out: str | None = None
  """Split that samples are compared with, `test` in the paper; by default the training pictures."""
  data_dir: str | None = None
  """Where TFDS keeps its data sets; TFDS's own default if not given."""
  limit: run.Count | None = None
  """Train on the first N pictures only."""
  resolution: run.Resolution = 28
  """Height and width in pixels, a multiple of 4."""
  losses: str = ""
  """List of losses, each to be combined with each of --penalties: those of the paper."""
  penalties: str = ""
  """List of penalties: none, clipping (of D's weights), gradient_penalty, dragan, r1 ..."""
  cells: str = ""
  """List such as non_saturating/none,wasserstein/clipping, in place of all combinations. Without
  any of the three the cells are the paper's; others may be added to a study later."""
  search: Literal["wide", "narrow"] = "wide"
  """Ranges that hyperparameters are drawn from. wide: learning rate 10^U[-5,-2], b1 of Adam U[0,1];
  narrow: 10^U[-4,-3] and 0.5. In both a penalty's weight is 10^U[-1,2], a bound on D's weights
  10^U[-3,0]."""
  configs: run.Updates = 8
  """Draws of hyperparameters."""
  seeds: run.Updates = 1
  """Runs of each draw."""
  seed: run.Seed = 0
  """Of the draws, and the first of the runs."""
  steps: run.Count = 1000
  """Generator updates of a run."""
  batch_size: run.Width = 64
  """Pictures in a batch."""
  width: run.Width = 16
  """Features of the networks at half the resolution; the paper has 64."""
  samples: Annotated[run.Samples, choices.also("--num")] = 2500
  """Samples that a run is scored by, and real pictures at most; the paper takes 10,000."""
  features: str = ""
  """lite0, inception, or a classifier's .npz; by default a small classifier of the data set itself,
  trained at the start and kept in the user's cache folder."""
  judge_steps: run.Count = 600
  """Updates of that classifier."""
  checkpoint_every: run.Count = 250
  """Steps between two checkpoints of a cell."""
  hours: run.Bound = 1e6
  """Most hours of CPU time of this start; then it saves and stops."""

  def __post_init__(self) -> None:
    """Refuses values that no study can have."""
    run.check_fields(self)
    cells_of(self)
    if self.resolution % 4:
      raise run.RunError(f"--resolution={self.resolution} must be a multiple of 4")


def cells_of(options: Options) -> list[Cell]:
  """The cells that the flags ask for.

  Raises:
    RunError: a name is none, or a cell is asked for twice.
  """
  if options.cells:
    if options.losses or options.penalties:
      raise run.RunError("--cells names losses and penalties: leave out --losses and --penalties")
    named = []
    for text in options.cells.split(","):
      loss, slash, penalty = text.partition("/")
      if not slash:
        raise run.RunError(f"--cells={text} must be of the form LOSS/PENALTY, such as {PAPER[0]}")
      named.append(Cell(loss, penalty))
  elif options.losses or options.penalties:
    losses = options.losses.split(",") if options.losses else list(LOSSES)
    terms = options.penalties.split(",") if options.penalties else ["none"]
    named = [Cell(loss, term) for loss in losses for term in terms]
  else:
    named = list(PAPER)
  for cell in named:
    choices.pick(choices.LOSSES, "--losses", cell.loss)
    choices.pick(dict.fromkeys(study_cells.PENALTIES), "--penalties", cell.penalty)
  if len(set(named)) < len(named):
    raise run.RunError("--cells, --losses, --penalties: a cell is named twice")
  return named


def main(options: Options) -> int:
  """Trains what is missing, and makes the table of what is there.

  Returns:
    0 at the end or at the limit of --hours, 128 plus the signal's number if one stopped it.
  """
  out = pathlib.Path(options.out)
  config = run.Config(
    workdir=options.out,
    dataset=options.dataset,
    split=options.split,
    data_dir=options.data_dir,
    limit=options.limit,
    resolution=options.resolution,
  )
  pictures = run.load_data(config)
  if pictures.images is None or pictures.images.nbytes > _MOST:
    raise run.RunError(
      f"--dataset={options.dataset} has pictures of more than {_MOST >> 30} GiB, which are kept on "
      "the device: take a smaller --resolution, or the first ones by --limit"
    )
  members = study_cells.settings(
    options.configs, options.seeds, search=options.search, seed=options.seed
  )
  shards = training.population_mesh(len(members)).shape[training.AXIS]
  if options.batch_size % shards:
    raise run.RunError(
      f"--batch-size={options.batch_size} must be divisible by {shards}, the devices that share a "
      "member's: or take a multiple of the devices as --configs"
    )
  sizes = Sizes(options.steps, options.width, options.batch_size, options.checkpoint_every)
  with Interruption() as interruption, _locked(options.out):
    _claim(out, options)
    done = study_table.read(out)
    wanted = [cell for cell in cells_of(options) if cell not in done]
    for cell in done:  # of one that was killed between its line and this
      shutil.rmtree(_state(out, cell), ignore_errors=True)
    images = jax.device_put(pictures.images)

    def stop() -> bool:
      return interruption.signal is not None or time.process_time() > 3600 * options.hours

    by: Judge | None = None
    for index, cell in enumerate(wanted):
      print(
        f"{index + 1} of {len(wanted)}: {cell}, {len(members)} runs of {options.steps:,} steps",
        file=sys.stderr,
        flush=True,
      )
      runs = study_cells.population(cell, members, sizes, pictures)
      by = by or _judge(out, options, config, pictures, runs)
      folder = _state(out, cell)
      began = time.process_time()
      game, trained = study_cells.train(runs, images, sizes, folder, stop)
      if game is None:
        if interruption.signal is not None:
          print(f"stopped and saved in {cell}; the same command goes on", file=sys.stderr)
          return 128 + int(interruption.signal)
        print(f"--hours={options.hours} are used up in {cell}, which is saved", file=sys.stderr)
        break
      before_scores = time.process_time()
      found = study_cells.judge(runs, game, len(members), by)
      scoring = time.process_time() - before_scores
      row = study_table.Row.of(cell, members, found, options.steps, trained, scoring)
      study_table.append(out, row)
      shutil.rmtree(folder)  # the line is there: the state is not needed any more
      said = study_table.line(row, study_table.floor(out))
      print(
        f"{index + 1} of {len(wanted)}: {said} {time.process_time() - began:.0f} s of CPU time now",
        file=sys.stderr,
        flush=True,
      )
  if study_table.read(out):
    study_table.report({_title(options): out}, out)
  return 0


def _state(out: pathlib.Path, cell: Cell) -> pathlib.Path:
  return out / "cells" / f"{cell.loss}-{cell.penalty}"


def _title(options: Options) -> str:
  return pathlib.PurePath(options.dataset).stem


def _judge(
  out: pathlib.Path,
  options: Options,
  config: run.Config,
  pictures: data.Dataset,
  runs: Population,
) -> Judge:
  """What samples are compared with; `judge.json` says so, and how it scores no training."""
  began = time.process_time()
  print("first the network that scores is made ready", file=sys.stderr, flush=True)
  if options.features:
    network = features_named(options.features, "--features")
  else:
    how = classifier.Training(steps=options.judge_steps)
    network, _ = classifier.obtain(pictures, how)
  compared = pictures
  if options.held_out is not None:
    compared = held_out_data(config, options.held_out, pictures.shape, "--held-out")
  reference = Reference(config, compared, network, options.samples)
  by = Judge(network, np.asarray(reference.real.features), options.samples, options.seed)
  path = out / "judge.json"
  if not path.exists():
    untrained = study_cells.judge(runs, runs.start(), 1, by)[0]
    record = {
      "score": metrics.frechet_name(network),
      "weights": network.weights_hash,
      "real": reference.count,
      "of": options.held_out or options.split,
      "samples": options.samples,
      "untrained_fd": untrained.fd,
      "cpu_seconds": time.process_time() - began,
    }
    with replacing(path) as temporary:
      temporary.write_text(json.dumps(record, indent=2) + "\n")
  elif read_json(path, 1 << 16)["weights"] != network.weights_hash:
    raise run.RunError(
      f"--out={out}: its cells were scored by another network than {network.name} "
      f"{network.weights_hash}: give its --features, or another folder"
    )
  return by


def _claim(out: pathlib.Path, options: Options) -> None:
  """Writes the settings to `config.json`, and keeps cells of other settings out.

  Raises:
    RunError: the folder holds a study with other settings.
  """
  path = out / "config.json"
  settings = dataclasses.asdict(options)
  if path.exists():
    try:
      previous: Mapping[str, Any] = dict(read_json(path, 1 << 16))
    except (ValueError, TypeError, OSError) as error:
      raise run.RunError(f"{path} is damaged ({error}): choose another --out") from error
    changed = [
      f"  {flag(name)}: was {previous.get(name)}, now {settings.get(name)}"
      for name in {**previous, **settings}
      if name not in _FREE and previous.get(name) != settings.get(name)
    ]
    if changed:
      raise run.RunError(
        f"--out={out} holds a study with other settings:\n"
        + "\n".join(changed)
        + "\ngive the old ones or choose another folder"
      )
  with replacing(path) as temporary:
    temporary.write_text(json.dumps(settings, indent=2) + "\n")


@contextlib.contextmanager
def _locked(out: str) -> Iterator[None]:
  """The lock of a workdir, whose message here speaks of --out."""
  try:
    with locked(out):
      yield
  except run.RunError as error:
    raise run.RunError(str(error).replace("--workdir=", "--out=")) from error


if __name__ == "__main__":
  with run.command_line():
    run.keep_freed_memory()
    run.use_compilation_cache()
    sys.exit(main(run.read_flags(Options, description=__doc__)))
