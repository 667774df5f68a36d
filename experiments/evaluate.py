"""Scores of a trained run: a table, a JSON file, and a plot of the scores over training."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax

from experiments.restored import variables_of
from jaxgan import run
from jaxgan._files import read_json, replacing
from jaxgan.metrics import Score
from jaxgan.run import evaluation
from jaxgan.run.evidence import Reference, held_out_data
from jaxgan.run.networks import Named, network_named, pixels
from jaxgan.run.state import Restored


@dataclasses.dataclass(frozen=True)
class Options:
  """Scores the samples of a run against the data that it was trained on."""

  workdir: str
  """Folder of the run."""
  metrics: str = "kid,fd,pr"
  """List of kid (kernel distance), fd (Frechet distance), fd_inf (extrapolated to infinitely many
  samples), pr (precision and recall), dc (density and coverage), is (inception score), ms_ssim
  (likeness of samples to each other), swd (sliced Wasserstein distance of pixels), ppl (perceptual
  path length), memorisation (copies of training pictures), parzen (log-likelihood); of conditional
  generators labels (accuracy of their labels), cas (classification accuracy score); of generators
  of styles ppl_w (path length in W)."""
  features: str = "lite0"
  """lite0 (EfficientNet-Lite0), inception (of the published FID) or a classifier's .npz file."""
  num: int = 1000
  """Samples, and real pictures at most. Scores of different numbers do not compare."""
  checkpoint: Literal["latest", "best"] | int = "latest"
  """Which checkpoint: latest, best or a step."""
  ema: bool = True
  """Sample from the moving average of the generator."""
  standing: int = 0
  """Estimate batch statistics anew from so many batches of 256 samples, with the weights that are
  sampled (Brock et al. 2018); 0 takes those that `--statistics` names."""
  statistics: Literal["averaged", "raw"] = "averaged"
  """Batch statistics beside averaged weights: averaged like them, or the last ones of training."""
  split: str | None = None
  """Compare with another split of the data set, such as test."""
  held_out: str | None = None
  """Split that the run was not trained on, such as test, for memorisation and parzen."""
  data_dir: str | None = None
  """Where TFDS keeps its data sets, if not where the run found them."""
  seed: int = 0
  """Of the samples."""


def main(options: Options) -> list[Score]:
  """Restores the run, scores it, prints and writes."""
  if options.standing < 0:
    raise run.RunError(f"--standing={options.standing} must be 0 or more")
  if options.num < 1 or options.seed < 0:
    raise run.RunError(f"--num={options.num} must be positive, --seed={options.seed} 0 or more")
  measures = evaluation.measures_named(options.metrics, "--metrics")
  restored = run.restore(options.workdir, options.checkpoint)
  evaluator = evaluation.Evaluator(
    restored.system, _reference(options, restored, measures), measures, seed=options.seed
  )
  scores = evaluator(restored.game, average=options.ema, **_variables(options, restored))
  step, workdir = int(restored.game.step), pathlib.Path(options.workdir)
  print(table(scores, step))
  name = f"evaluation_{step:06d}.json"
  new = {(score.name, score.protocol) for score in scores}
  kept = [score for score in _earlier(workdir / name) if (score.name, score.protocol) not in new]
  with replacing(workdir / name) as temporary:
    content = {"step": step, "scores": [score.to_dict() for score in [*kept, *scores]]}
    temporary.write_text(json.dumps(content, indent=2) + "\n")
  written = [name]
  if history := evaluation.read_scores(workdir):
    plot(workdir / "scores.png", {workdir.name: history})
    written.append("scores.png")
  print(
    f"written to {workdir}: {', '.join(written)}; into its report by: python -m experiments.report "
    f"--workdir={options.workdir}",
    file=sys.stderr,
  )
  return scores


def _earlier(path: pathlib.Path) -> list[Score]:
  """Scores of this checkpoint that were measured before."""
  try:
    return [Score.from_dict(row) for row in read_json(path, 1 << 24)["scores"]]
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return []


def _variables(options: Options, restored: Restored) -> dict[str, Any]:
  """What is sampled from, where its batch statistics are not those of its weights."""
  if options.standing:
    variables = variables_of(
      restored,
      jax.jit(lambda key, n: restored.system.latents(key, n), static_argnums=1),
      ema=options.ema,
      standing=options.standing,
      seed=options.seed,
    )
    return {"variables": variables, "statistics": f"standing of {options.standing} batches"}
  if options.statistics == "averaged" or not options.ema:
    return {}
  player = restored.game.generator
  return {"variables": {**player.evaluated(), **player.collections}, "statistics": "raw"}


def _reference(
  options: Options, restored: Restored, measures: Mapping[str, evaluation.Measure]
) -> Reference:
  """What the samples are compared with."""
  data_dir = options.data_dir or restored.config.data_dir
  trained = dataclasses.replace(restored.config, data_dir=data_dir)
  config = dataclasses.replace(trained, split=options.split or trained.split)
  dataset = run.load_data(config)
  held_out = learnt = None
  if options.held_out is not None:
    held_out = held_out_data(trained, options.held_out, dataset.shape, "--held-out")
    learnt = run.load_data(trained)
    if len(learnt) != restored.record.pictures:
      raise run.RunError(
        f"--held-out={options.held_out}: the run was trained on {restored.record.pictures} "
        f"pictures of a set that has {len(learnt)} now, so that what is held out may have been "
        "learnt from: train again in another workdir"
      )
  network = Named(pixels(dataset.shape))
  if not all(measure.pixels for measure in measures.values()):
    network = network_named(options.features, "--features")
  return Reference(
    config,
    dataset,
    network.features,
    options.num,
    network.classes,
    trained_on=learnt,
    held_out=held_out,
    held_out_split=options.held_out or "",
  )


def table(scores: list[Score], step: int) -> str:
  """The scores in Markdown, under the protocol that they share."""
  protocol = max((score.protocol for score in scores), key=lambda x: bool(x.weights_hash))
  rows = [
    f"step {step}, {protocol.real:,} real pictures of {protocol.dataset} ({protocol.split}), "
    f"{protocol.fake:,} samples of {'averaged' if protocol.ema else 'raw'} weights, "
    f"{protocol.resolution} px, weights {protocol.weights_hash}, resize: {protocol.resize}",
    "",
    "| score | value | standard error |",
    "|---|---|---|",
  ]
  for score in scores:
    error = "" if score.standard_error is None else f"{score.standard_error:.2g}"
    rows.append(f"| {score.name} | {score.value:.4g} | {error} |")
  return "\n".join(rows)


def plot(
  path: pathlib.Path, histories: Mapping[str, Sequence[tuple[int, Score]]], along: str = "step"
) -> None:
  """Each score of each run over its training, with twice its standard error.

  Args:
    path: of the picture.
    histories: by the name of the run, its scores by their place in the training.
    along: what tells the place.
  """
  import matplotlib.pyplot as plt

  names = list(dict.fromkeys(score.name for history in histories.values() for _, score in history))
  figure, axes = plt.subplots(1, len(names), figsize=(3.4 * len(names), 2.6), squeeze=False)
  for ax, name in zip(axes[0], names, strict=True):
    for run_name, history in histories.items():
      points = [(place, score) for place, score in history if score.name == name]
      errors = [2 * (score.standard_error or 0.0) for _, score in points]
      values = [score.value for _, score in points]
      places = [place for place, _ in points]
      ax.errorbar(places, values, errors, marker=".", capsize=2, label=run_name)
    ax.set(title=name, xlabel=along)
    ax.title.set_fontsize(9)
    ax.grid(alpha=0.3)
  if len(histories) > 1:
    axes[0, 0].legend(fontsize=8)
  figure.tight_layout()
  with replacing(path) as temporary:
    figure.savefig(temporary, dpi=90, format="png")
  plt.close(figure)


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
