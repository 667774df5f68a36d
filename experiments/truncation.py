"""Truncation swept: what a class-conditional generator gains in accuracy and loses in variety.

    python -m experiments.truncation --workdir=/tmp/run --classifier=FILE.npz --standing=16

The trade of Brock et al. 2018 (arXiv 1809.11096), section 3.1, by a classifier of real pictures: at
each threshold the share of samples that show their class, and how far samples of one class are from
each other, over how far real pictures of one class are (1 is as varied as the data). Distances are
on pixels.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro

from experiments.conditions import check_classes, classified, classifier_of, part_of
from experiments.restored import Generator, Source, positive, write
from jaxgan import metrics, run
from jaxgan._files import replacing

_COLUMNS = 10  # of the pictures
_PER_CLASS = 100  # real pictures of a class, at most, whose distances are taken


@dataclasses.dataclass(frozen=True)
class Options(Source):
  """Sweeps the truncation of a class-conditional run."""

  classifier: str = tyro.MISSING
  """The .npz file that `python -m experiments.classifier` wrote for the run's data set."""
  thresholds: str = "0.25,0.5,0.75,1,1.5,2"
  """List of thresholds; the whole normal distribution comes last by itself."""
  num: int = 1000
  """Samples at each threshold, spread evenly over the labels."""
  out: str = "truncation.png"
  """The plot, a .png; pictures, a row for each threshold, go to `truncation_samples.png`."""
  data_dir: str | None = None
  """Where TFDS keeps its data sets, if not where the run found them."""


def main(options: Options) -> dict[str, Any]:
  """Restores the run, sweeps, prints and writes."""
  positive(options, "num")
  if pathlib.Path(options.out).suffix.lower() != ".png":
    raise run.RunError(f"--out={options.out} must end in .png")
  if options.truncation is not None:
    raise run.RunError("--truncation is what is swept here: give --thresholds=0.5,1")
  thresholds = [*_thresholds(options.thresholds), None]
  description, network = classifier_of(options.classifier)
  drawn = Generator.restore(options)
  part, columns = part_of(drawn)
  if part != "label":
    raise run.RunError(f"--workdir={options.workdir} has codes but no labels to obey")
  check_classes(options.classifier, drawn, description)
  k = len(columns)
  if options.num < 2 * k:
    raise run.RunError(f"--num={options.num} must be at least {2 * k}, two samples a class")
  real = _real(options, drawn, k)

  rows, pictures = [], []
  for threshold in thresholds:
    truncated = Generator.of(dataclasses.replace(options, truncation=threshold), drawn.restored)
    values, samples, found = classified(truncated, network, part, columns, options.num)
    diversity = [metrics.sample_diversity(_floats(samples[values == c]), real[c]) for c in real]
    accuracy = float((found == values).mean())
    rows.append({"threshold": threshold, "accuracy": accuracy, "diversity": _mean(diversity)})
    pictures.append(samples[:_COLUMNS])

  step = int(drawn.restored.game.step)
  content = {
    "rows": rows,
    "protocol": {
      "step": step,
      "num": options.num,
      "seed": options.seed,
      "ema": options.ema and drawn.restored.game.generator.average is not None,
      "standing": options.standing,
      "classifier": network.name,
      "classifier_weights": network.weights_hash,
      "classifier_accuracy": description.accuracy,
    },
  }
  print(table(rows))
  with replacing(pathlib.Path(options.workdir) / f"truncation_{step:06d}.json") as temporary:
    temporary.write_text(json.dumps(content, indent=2) + "\n")
  out = pathlib.Path(options.out)
  plot(out, rows, description.accuracy)
  grid = out.with_name(f"{out.stem}_samples{out.suffix}")
  write(str(grid), np.concatenate(pictures), _COLUMNS)
  print(f"written: {out}, {grid}, and the figures in {options.workdir}", file=sys.stderr)
  return content


def table(rows: Sequence[Mapping[str, Any]]) -> str:
  """Accuracy and diversity by threshold, in Markdown."""
  lines = [
    "| threshold | samples that show their class | diversity within a class |",
    "|---|---|---|",
  ]
  for row in rows:
    name = "none" if row["threshold"] is None else f"{row['threshold']:g}"
    lines.append(f"| {name} | {row['accuracy']:.1%} | {row['diversity']:.3f} |")
  return "\n".join(lines)


def plot(path: pathlib.Path, rows: Sequence[Mapping[str, Any]], ceiling: float) -> None:
  """Accuracy against diversity, a point a threshold."""
  import matplotlib.pyplot as plt

  figure, ax = plt.subplots(figsize=(4.2, 3.0))
  x, y = ([row[name] for row in rows] for name in ("diversity", "accuracy"))
  ax.plot(x, y, marker="o", markersize=4)
  for row in rows:
    name = "none" if row["threshold"] is None else f"{row['threshold']:g}"
    ax.annotate(name, (row["diversity"], row["accuracy"]), (4, 4), textcoords="offset points")
  ax.axhline(ceiling, color="grey", linestyle=":", label="on held-out pictures")
  ax.axvline(1.0, color="grey", linestyle="--", label="diversity of the data")
  ax.set(xlabel="diversity within a class", ylabel="samples that show their class")
  ax.legend(fontsize=7)
  ax.grid(alpha=0.3)
  figure.tight_layout()
  with replacing(path) as temporary:
    figure.savefig(temporary, dpi=100, format="png")
  plt.close(figure)


def _thresholds(text: str) -> list[float]:
  try:
    found = [float(part) for part in text.split(",")]
  except ValueError:
    found = []
  if not found or not all(0.0 < x < np.inf for x in found):
    raise run.RunError(f"--thresholds={text} must be positive numbers, like 0.5,1,2")
  return sorted(found)


def _real(options: Options, drawn: Generator, classes: int) -> dict[int, Any]:
  """Pictures of each class, of those with two at least."""
  config = drawn.restored.config
  if options.data_dir is not None:
    config = dataclasses.replace(config, data_dir=options.data_dir)
  dataset = run.load_data(config)
  found: dict[int, list[np.ndarray]] = {c: [] for c in range(classes)}
  for i in np.random.default_rng(0).permutation(len(dataset)):
    example = dataset[int(i)]
    kept = found[int(example["label"])]
    if len(kept) < _PER_CLASS:
      kept.append(example["image"])
    if all(len(pictures) == _PER_CLASS for pictures in found.values()):
      break
  return {c: _floats(np.stack(pictures)) for c, pictures in found.items() if len(pictures) > 1}


def _floats(pictures: np.ndarray) -> Any:
  return jnp.asarray(pictures, jnp.float32) / 127.5 - 1.0


def _mean(values: Sequence[Any]) -> float:
  return float(np.mean([float(value) for value in values]))


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
