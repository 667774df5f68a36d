"""Does a conditional generator obey its label, and what does an unsupervised code mean?

    python -m experiments.classifier --dataset=mnist
    python -m experiments.conditions --workdir=/tmp/run --classifier=FILE.npz

Samples are drawn with the label or code spread evenly, and a classifier of real pictures says what
they show. Of a label (cGAN, AC-GAN) the table has the accuracy by class; of InfoGAN's code (Chen et
al. 2016, arXiv 1606.03657) the classes of each code, their purity and the accuracy of the best
one-to-one matching; a generator that makes one class only is pure too, and matches one code. The
classifier errs as well: its accuracy on held-out pictures stands beside.
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

from experiments.restored import Generator, Source, positive, write
from jaxgan import latents, metrics, run, sampling
from jaxgan._files import replacing
from jaxgan.metrics import features
from jaxgan.metrics.features.classifier import Description, features_of, load
from jaxgan.types import Array

_COLUMNS = 10  # of the pictures
_REACH = 2.0  # of a continuous code, which is trained on [-1, 1]


@dataclasses.dataclass(frozen=True)
class Options(Source):
  """Classifies samples of each label, or of each value of a categorical code."""

  classifier: str = tyro.MISSING
  """The .npz file that `python -m experiments.classifier` wrote for the run's data set."""
  num: int = 1000
  """Number of samples, spread evenly over the labels or codes."""
  out: str = "conditions.png"
  """Pictures, a row for each label or code, all rows with the same noise: a .png, an .npz or a
  folder. Those of continuous codes go to a second one, `conditions_codes.png`."""


def main(options: Options) -> dict[str, Any]:
  """Restores the run, draws, classifies, prints and writes."""
  positive(options, "num")
  if options.seed < 0:
    raise run.RunError(f"--seed={options.seed} must be 0 or more")
  description, network = classifier_of(options.classifier)
  drawn = Generator.restore(options)
  part, columns = part_of(drawn)
  k = len(columns)
  if part == "label":
    check_classes(options.classifier, drawn, description)
  values, _, found = classified(drawn, network, part, columns, options.num)
  noise = np.asarray(drawn.latents(_COLUMNS))
  result = metrics.code_purity(values, found, sizes=(k, len(description.classes)))
  player, step = drawn.restored.game.generator, int(drawn.restored.game.step)
  protocol = {
    "step": step,
    "num": options.num,
    "seed": options.seed,
    "ema": options.ema and player.average is not None,
    "truncation": options.truncation,
    "classifier": network.name,
    "classifier_weights": network.weights_hash,
    "classifier_accuracy": description.accuracy,
  }
  content: dict[str, Any] = {
    "part": part,
    "classes": description.classes,
    "counts": result.counts.tolist(),
    "protocol": protocol,
  }
  content |= _obedience(result) if part == "label" else _meaning(result)
  print(
    f"step {step}, {options.num:,} samples of {'averaged' if protocol['ema'] else 'raw'} weights, "
    f"{network.name}, weights {network.weights_hash}, right on {description.accuracy:.1%} of "
    f"held-out pictures\n"
  )
  print(label_table(content) if part == "label" else code_table(content))

  path = pathlib.Path(options.workdir) / f"conditions_{step:06d}.json"
  with replacing(path) as temporary:
    temporary.write_text(json.dumps(content, indent=2) + "\n")
  written = [str(path), *_draw(options, drawn, columns, jnp.asarray(noise))]
  print(f"written: {', '.join(written)}", file=sys.stderr)
  return content


def label_table(content: Mapping[str, Any]) -> str:
  """Accuracy by class, in Markdown."""
  rows = ["| class | samples that show it |", "|---|---|"]
  for name, share in zip(content["classes"], content["accuracy_by_class"], strict=True):
    rows.append(f"| {name} | {share:.1%} |")
  accuracy, error = content["accuracy"], content["standard_error"]
  return "\n".join([*rows, f"| mean | {accuracy:.1%} (standard error {error:.1%}) |"])


def code_table(content: Mapping[str, Any]) -> str:
  """Share of the classes in each code's samples, in Markdown, and what they come to."""
  classes: Sequence[str] = content["classes"]
  rows = [["code", *classes, "matched to"], ["---"] * (len(classes) + 2)]
  for code, (counts, match) in enumerate(zip(content["counts"], content["matching"], strict=True)):
    shares = [f"{count / sum(counts):.0%}" for count in counts]
    rows.append([str(code), *shares, "" if match < 0 else classes[match]])
  return "\n".join(
    [
      *(f"| {' | '.join(row)} |" for row in rows),
      "",
      f"purity {content['purity']:.1%}, accuracy of the best one-to-one matching "
      f"{content['matched']:.1%}",
    ]
  )


def _obedience(result: metrics.CodePurity) -> dict[str, Any]:
  by_class = result.counts.diagonal() / result.counts.sum(1)
  total = int(result.counts.sum())
  accuracy = float(result.counts.trace() / total)
  return {
    "accuracy": accuracy,
    "standard_error": float(np.sqrt(accuracy * (1.0 - accuracy) / total)),
    "accuracy_by_class": by_class.tolist(),
  }


def _meaning(result: metrics.CodePurity) -> dict[str, Any]:
  return {
    "purity": result.purity,
    "matched": result.matched,
    "matching": result.matching.tolist(),
  }


def classifier_of(path: str) -> tuple[Description, features.Features]:
  """The classifier of a `--classifier` flag.

  Raises:
    RunError: there is none.
  """
  if pathlib.Path(path).suffix != ".npz":
    raise run.RunError(
      f"--classifier={path} must be an .npz file that python -m experiments.classifier wrote"
    )
  try:
    description, params = load(path)
  except features.WeightsError as error:
    raise run.RunError(f"--classifier={path}: {error}") from error
  return description, features_of(description, params)


def part_of(drawn: Generator) -> tuple[str, Array]:
  """The part of the latents that is looked at, label or category, and its coordinates.

  Raises:
    RunError: the latents have neither.
  """
  sampler = drawn.restored.system.latents
  names = list(sampler.parts) if isinstance(sampler, latents.Mixed) else []
  for name in ("label", "category"):
    if name in names:
      assert isinstance(sampler, latents.Mixed)
      return name, sampler.split(jnp.arange(drawn.dimension))[name]
  raise run.RunError(
    f"--workdir={drawn.options.workdir}: the latents of {drawn.restored.record.experiment} have "
    f"neither a label nor a category ({', '.join(names) or 'no parts'}); take a run of a "
    "class-conditional GAN, such as experiments.acgan, or of experiments.infogan"
  )


def check_classes(path: str, drawn: Generator, description: Description) -> None:
  """Refuses a classifier of other classes than the run's."""
  classes = drawn.restored.record.spec.classes
  if description.classes != classes:
    raise run.RunError(
      f"--classifier={path} tells the classes of {description.dataset} apart "
      f"({', '.join(description.classes)}), but the run's are {', '.join(classes)}: train one by "
      f"python -m experiments.classifier --dataset={drawn.restored.config.dataset}"
    )


def classified(
  drawn: Generator, network: features.Features, part: str, columns: Array, num: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Samples with a label or code spread evenly, and what a classifier says that they show.

  Returns:
    Values of the label or code `[num]`, pictures in uint8, classes that were found `[num]`.
  """
  k = len(columns)
  if num < k:
    raise run.RunError(f"--num={num} must be at least {k}, one sample for each {part}")
  values = np.arange(num) % k
  z = np.array(drawn.latents(num))
  z[:, columns] = np.eye(k)[values]
  samples = drawn.pictures(jnp.asarray(z))
  outputs = features.extract_all(network, samples, batch_size=drawn.options.batch_size)
  assert outputs.probabilities is not None
  return np.asarray(values), samples, np.asarray(outputs.probabilities.argmax(1))


def _draw(options: Options, drawn: Generator, columns: Array, noise: Array) -> list[str]:
  """Writes the pictures, a row for each value of the label or code; returns the names."""
  rows = sampling.sweep_classes(noise, int(columns[0]), len(columns))
  z = rows.swapaxes(0, 1).reshape(-1, noise.shape[1])
  write(options.out, drawn.pictures(z), _COLUMNS, latents=z)
  sampler = drawn.restored.system.latents
  assert isinstance(sampler, latents.Mixed)
  if "continuous" not in sampler.parts:
    return [options.out]
  codes = sampler.split(jnp.arange(drawn.dimension))["continuous"]
  steps = jnp.linspace(-_REACH, _REACH, _COLUMNS)
  z = jnp.concatenate([sampling.sweep(noise[:1], int(code), steps)[0] for code in codes])
  path = pathlib.Path(options.out)
  second = str(path.with_name(f"{path.stem}_codes{path.suffix}"))
  write(second, drawn.pictures(z), _COLUMNS, latents=z)
  return [options.out, second]


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
