"""Scores of a run's samples on a feature network, each with the protocol that made it."""

import dataclasses
import hashlib
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan import data, metrics, sampling
from jaxgan._files import replacing, user_cache
from jaxgan.metrics import Protocol, Score, features
from jaxgan.metrics.features import Features, Outputs
from jaxgan.run.config import Config, RunError
from jaxgan.training import Game, System
from jaxgan.types import Key

__all__ = [
  "MEASURES",
  "Evaluator",
  "Measure",
  "append_scores",
  "features_named",
  "measures_named",
  "read_scores",
]

Values = list[tuple[str, float, float | None]]  # name, value, standard error


class Measure(NamedTuple):
  """A way of scoring samples.

  Attributes:
    score: from outputs of real pictures and of samples, and the features, to values.
    settings: its options, for the protocol.
    sign: 1 if less of the first value is better, -1 if more is.
    fewest: pictures that it needs.
  """

  score: Callable[[Outputs, Outputs, Features], Values]
  settings: Mapping[str, int] = {}
  sign: int = 1
  fewest: int = 4


def _frechet(real: Outputs, fake: Outputs, network: Features) -> Values:
  value = metrics.frechet_distance(real.features, fake.features)
  return [(metrics.frechet_name(network), value, None)]


def _kernel(real: Outputs, fake: Outputs, network: Features) -> Values:
  value, error = metrics.kernel_distance(real.features, fake.features)
  return [(metrics.kernel_name(network), value, error)]


def _precision_recall(real: Outputs, fake: Outputs, network: Features) -> Values:
  values = metrics.precision_recall(real.features, fake.features, k=3)
  return _named(values._asdict(), network)


def _density_coverage(real: Outputs, fake: Outputs, network: Features) -> Values:
  values = metrics.density_coverage(real.features, fake.features, k=5)
  return _named(values._asdict(), network)


def _inception_score(real: Outputs, fake: Outputs, network: Features) -> Values:
  del real
  if fake.probabilities is None:
    raise RunError(f"the metric 'is' needs a classifier, and {network.name} has no classes")
  mean, deviation = metrics.inception_score(fake.probabilities, splits=10)
  # Splits of one set of samples: their spread says how a tenth of them scores.
  return [(metrics.inception_score_name(network), mean, deviation / 10**0.5)]


def _named(values: Mapping[str, float], network: Features) -> Values:
  return [(metrics.feature_score_name(k, network), value, None) for k, value in values.items()]


# What people write after --metrics on one side, functions on the other.
MEASURES: dict[str, Measure] = {
  "kid": Measure(_kernel),
  "fd": Measure(_frechet),
  "pr": Measure(_precision_recall, {"k": 3}, sign=-1),
  "dc": Measure(_density_coverage, {"k": 5}, sign=-1, fewest=6),
  "is": Measure(_inception_score, {"splits": 10}, sign=-1, fewest=10),
}


def measures_named(names: str, flag: str) -> dict[str, Measure]:
  """The measures of a comma-separated list.

  Raises:
    RunError: the list is empty or has an unknown name.
  """
  chosen = [name.strip() for name in names.split(",") if name.strip()]
  unknown = [name for name in chosen if name not in MEASURES]
  if unknown or not chosen:
    raise RunError(f"{flag}={names} must be a list like kid,fd of {', '.join(MEASURES)}")
  return {name: MEASURES[name] for name in chosen}


def features_named(name: str, flag: str) -> Features:
  """The feature network of a flag: `lite0`, `inception`, or a classifier's file.

  Args:
    name: `lite0` (EfficientNet-Lite0 of `jaxgan[metrics]`), `inception` (the published FID's,
      downloaded once), or an .npz that `python -m experiments.classifier` wrote.
    flag: what the message calls it.

  Raises:
    RunError: the weights cannot be had.
  """
  try:
    if name == "lite0":
      return features.efficientnet_lite0()
    if name == "inception":
      return features.inception_v3()
    if pathlib.Path(name).suffix == ".npz":
      return features.classifier.features_of(*features.classifier.load(name))
  except features.WeightsError as error:
    raise RunError(f"{flag}={name}: {error}") from error
  raise RunError(f"{flag}={name} must be lite0, inception or a classifier's .npz file")


class Evaluator:
  """Scores the generator of a run against its data.

  Real pictures are a fixed choice of the run's, as many as samples where there are enough; their
  features are kept in the user's cache folder, found by the pictures and the network.

  Args:
    system: the run's.
    config: the run's.
    dataset: the run's.
    network: the features.
    measures: by name, as of `measures_named`.
    num: samples, and real pictures at most.
    seed: of the samples.

  Raises:
    RunError: a measure needs more pictures than there are.
  """

  def __init__(
    self,
    system: System,
    config: Config,
    dataset: data.Dataset,
    network: Features,
    measures: Mapping[str, Measure],
    *,
    num: int,
    seed: int = 0,
  ) -> None:
    self._generate = jax.jit(system.generate)
    self._latents = system.latents
    self._network, self._measures = network, dict(measures)
    self._num, self._seed = num, seed
    n = min(num, len(dataset))
    for name, measure in measures.items():
      if n < measure.fewest:
        raise RunError(
          f"the metric '{name}' needs {measure.fewest} pictures or more, and there are {n}"
        )
    chosen = np.random.default_rng(0).permutation(len(dataset))[:n]
    self._real = _real_outputs(dataset, np.sort(chosen), network)
    self._protocol = Protocol.of(
      network,
      real=n,
      fake=num,
      resize=network.resize,
      dtype=config.dtype,
      dataset=dataset.name,
      split=config.split,
      resolution=config.resolution,
      seed=seed,
    )

  def __call__(self, game: Game, *, average: bool = True) -> list[Score]:
    """The scores of a game's generator, in the order of the measures.

    Args:
      game: the state.
      average: sample from the moving average of the weights where there is one.
    """
    variables = game.generator.evaluated(average=average)

    def draw(key: Key, n: int) -> Any:
      return sampling.in_batches(lambda z: self._generate(variables, z), self._latents(key, n))

    # Samples pass by a few hundred at a time; their features stay.
    samples = features.generated(draw, jax.random.key(self._seed), self._num, batch_size=256)
    fake = features.extract_all(self._network, samples)
    ema = average and game.generator.average is not None
    scores = []
    for measure in self._measures.values():
      protocol = dataclasses.replace(self._protocol, ema=ema, settings=dict(measure.settings))
      for name, value, error in measure.score(self._real, fake, self._network):
        scores.append(Score(name, value, error, protocol))
    return scores

  def rank(self, scores: Sequence[Score]) -> float:
    """What the best checkpoint has least of: the first score, turned round if more is better."""
    return next(iter(self._measures.values())).sign * scores[0].value


def _real_outputs(dataset: data.Dataset, chosen: np.ndarray, network: Features) -> Outputs:
  pictures = np.stack([dataset[int(i)]["image"] for i in chosen])
  digest = hashlib.sha256(f"{network.name} {network.weights_hash} {network.resize}".encode())
  digest.update(str(pictures.shape).encode())
  digest.update(np.ascontiguousarray(pictures).tobytes())
  # Functions without weights may change under one name.
  path = user_cache("features", f"{digest.hexdigest()[:32]}.npz") if network.weights_hash else None
  if path is not None and (kept := _read_outputs(path)) is not None:
    return kept
  outputs = features.extract_all(network, pictures)
  if path is not None:
    arrays = {k: v for k, v in outputs._asdict().items() if v is not None}
    try:
      with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    except OSError:
      pass  # a cache that cannot be written costs time alone
  return outputs


def _read_outputs(path: pathlib.Path) -> Outputs | None:
  try:
    with np.load(path, allow_pickle=False) as file:
      return Outputs(**{name: file[name] for name in file.files})
  except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
    return None


_SCORES = "scores.jsonl"


def append_scores(workdir: str | os.PathLike[str], step: int, scores: Sequence[Score]) -> None:
  """Adds the scores of a step to the workdir's; what a dead run left of later steps goes."""
  kept = [line for line in read_scores(workdir) if line[0] < step]
  lines = [
    json.dumps({"step": at, **score.to_dict()})
    for at, score in [*kept, *((step, score) for score in scores)]
  ]
  with replacing(pathlib.Path(workdir) / _SCORES) as temporary:
    temporary.write_text("".join(line + "\n" for line in lines))


def read_scores(workdir: str | os.PathLike[str]) -> list[tuple[int, Score]]:
  """The scores that a run's training has kept, with their steps.

  Raises:
    RunError: the file is damaged.
  """
  path = pathlib.Path(workdir) / _SCORES
  if not path.exists():
    return []
  try:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row.pop("step"), Score.from_dict(row)) for row in rows]
  except (ValueError, KeyError, TypeError) as error:
    raise RunError(f"{path} is damaged ({error}): delete it, the run goes on without") from error
