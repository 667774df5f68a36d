"""Scores the translations of pairs that a run has not learnt from, beside what costs nothing.

    python -m experiments.translation_scores --workdir=/tmp/run

It prints a table, and writes figures, their protocol and a grid of inputs, translations and truths
to the workdir. Of each way to translate:

- L1: mean difference to the truth, of a pixel's channels, as a share of the range from 0 to 255.
- Feature distance: half the squared distance between the features of translation and truth, each
  made one long, which is one less their cosine: 0 for the same direction. It is in the manner of
  LPIPS (Zhang et al. 2018, arXiv 1801.03924), but it is **not LPIPS**: one layer of another
  network, averaged over the picture, with no weights that people's judgements were fitted to.
- Kernel distance of all translations to all truths. It asks whether they look alike as a set, not
  whether a picture is translated rightly.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from experiments import translate, translation
from experiments.restored import positive
from jaxgan import data, metrics, run, sampling
from jaxgan._files import replacing
from jaxgan.metrics import features
from jaxgan.metrics.features import Features
from jaxgan.metrics.scores import kernel_name
from jaxgan.run.networks import features_named

_COLUMNS, _ROWS = 12, 3  # of the grid: pictures beside each other, and how often


@dataclasses.dataclass(frozen=True)
class Options:
  """Scores a run that translates pictures."""

  workdir: str
  """Folder of the run."""
  held_out: str | None = None
  """Split of the pairs; by default the run's own --held-out."""
  num: int = 1000
  """Most pairs."""
  backward: bool = False
  """The other way: cyclegan and unit alone."""
  features: str = "lite0"
  """lite0 (EfficientNet-Lite0), inception (of the published FID) or a classifier's .npz file."""
  checkpoint: Literal["latest", "best"] | int = "latest"
  """Which checkpoint: latest, best or a step."""
  ema: bool = True
  """Translate by the moving average of the generator."""
  data_dir: str | None = None
  """Where TFDS keeps its data sets, if not where the run found them."""


def main(options: Options) -> dict[str, Any]:
  """Restores the run, translates, scores, prints and writes."""
  positive(options, "num")
  network = features_named(options.features, "--features")
  restored = run.restore(options.workdir, options.checkpoint)
  apply, _ = translate.translator(restored, backward=options.backward, ema=options.ema)
  config: Any = restored.config
  told = {"held_out": options.held_out, "data_dir": options.data_dir}
  config = dataclasses.replace(config, **{k: v for k, v in told.items() if v is not None})

  try:
    trained = config.pictures(config.split, paired=True)
  except data.DataError as error:
    raise run.RunError(f"scores want pairs: {error}") from error
  inputs, truths = _sides(translation.held_out(config, paired=True), options)
  chosen = np.random.default_rng(0).permutation(len(truths))[: options.num]
  if len(chosen) < 4:
    raise run.RunError(f"--held-out={config.held_out} has {len(chosen)} pairs, but 4 are needed")
  inputs, truths = inputs[chosen], truths[chosen]
  made = {
    "translations": translate.translated(apply, inputs, 64),
    **baselines(inputs, *_sides(trained, options)),
  }
  there = _features(network, truths)
  rows = {
    name: scored(images, truths, _features(network, images), there) for name, images in made.items()
  }

  step = int(restored.game.step)
  name = f"translation_{step:06d}{'_backward' if options.backward else ''}"
  content = {
    "rows": rows,
    "protocol": {
      "step": step,
      "pairs": len(truths),
      "trained_on": len(trained),
      "dataset": config.dataset,
      "held_out": config.held_out,
      "direction": config.direction,
      "backward": options.backward,
      "resolution": config.resolution,
      "ema": options.ema,
      "features": network.name,
      "features_weights": network.weights_hash,
      "kernel_distance": kernel_name(network),
    },
  }
  workdir = pathlib.Path(options.workdir)
  with replacing(workdir / f"{name}.json") as temporary:
    temporary.write_text(json.dumps(content, indent=2) + "\n")
  sampling.save_png(workdir / f"{name}.png", grid(inputs, made["translations"], truths))
  print(table(rows, network))
  print(f"written to {workdir}: {name}.json and {name}.png", file=sys.stderr)
  return content


def baselines(
  inputs: np.ndarray, trained_inputs: np.ndarray, trained: np.ndarray
) -> dict[str, np.ndarray]:
  """What translates without learning: uint8 pictures of the shape of the targets.

  The input as it is; everywhere the mean colour of the training targets; and the target of the
  training input that is nearest by its pixels.
  """
  colour = np.rint(trained.mean((0, 1, 2))).astype(np.uint8)
  flat = [x.reshape(len(x), -1).astype(np.float32) for x in (inputs, trained_inputs)]
  nearest = metrics.nearest_neighbours(*flat).indices[:, 0]
  channels = trained.shape[-1]
  same = inputs
  if inputs.shape[-1] < channels:
    same = np.repeat(inputs, channels, -1)
  elif inputs.shape[-1] > channels:
    same = np.rint(inputs.mean(-1, keepdims=True)).astype(np.uint8)
  return {
    "the input": same,
    "mean colour": np.broadcast_to(colour, (len(inputs), *trained.shape[1:])).copy(),
    "nearest training input's target": np.asarray(trained[nearest]),
  }


def scored(
  images: np.ndarray, truths: np.ndarray, own: np.ndarray, there: np.ndarray
) -> dict[str, float]:
  """The figures of pictures and their features beside those of the truths."""
  kernel = metrics.kernel_distance(there, own)
  return {
    "l1": float(np.abs(images.astype(np.float32) - truths).mean() / 255.0),
    "feature_distance": float((1.0 - (_unit(own) * _unit(there)).sum(-1)).mean()),
    "kernel_distance": float(kernel.value),
    "kernel_distance_error": float(kernel.standard_error),
  }


def table(rows: Mapping[str, Mapping[str, float]], network: Features) -> str:
  """The figures in Markdown."""
  lines = [
    f"| | L1 | feature distance ({network.name}) | {kernel_name(network)} |",
    "|---|---|---|---|",
  ]
  for name, row in rows.items():
    kernel = f"{row['kernel_distance']:.3f} ± {row['kernel_distance_error']:.3f}"
    lines.append(f"| {name} | {row['l1']:.3f} | {row['feature_distance']:.3f} | {kernel} |")
  return "\n".join(lines)


def grid(*sets: np.ndarray) -> np.ndarray:
  """Pictures of several sets below each other: the first of each set, the second ..."""
  sets = sampling.same_channels(*sets)
  columns = min(_COLUMNS, len(sets[0]))
  starts = range(0, min(_ROWS * columns, len(sets[0]) - columns + 1), columns)
  blocks = [np.concatenate([each[i : i + columns] for each in sets]) for i in starts]
  return np.concatenate([sampling.grid(block, columns) for block in blocks])


def _sides(pairs: data.Dataset, options: Options) -> tuple[np.ndarray, np.ndarray]:
  """What is translated, and the truth."""
  if pairs.images is None:
    raise run.RunError("scores want pairs that fit into --cache-limit")
  sides = np.asarray(pairs.beside["input"]), np.asarray(pairs.images)
  return (sides[1], sides[0]) if options.backward else sides


def _features(network: Features, images: np.ndarray) -> np.ndarray:
  return np.asarray(features.extract_all(network, images).features)


def _unit(rows: np.ndarray) -> np.ndarray:
  return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
