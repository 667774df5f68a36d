"""Scores of a run's samples, each with the protocol that made it."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from jaxgan import compilation
from jaxgan._files import replacing
from jaxgan.metrics import Protocol, Score
from jaxgan.run.checkpoints import Ranked
from jaxgan.run.config import RunError
from jaxgan.run.evidence import PICTURES, Evidence, Reference
from jaxgan.run.measures import MEASURES, Measure, check, measures_named
from jaxgan.run.networks import features_named, pixels
from jaxgan.run.processes import local
from jaxgan.run.writing import writing
from jaxgan.training import Game, System
from jaxgan.types import Array, PyTree

__all__ = [
  "MEASURES",
  "Evaluator",
  "Measure",
  "append_scores",
  "features_named",
  "measures_named",
  "read_scores",
]


class Evaluator:
  """Scores the generator of a run against its data.

  Real pictures are a fixed choice of the run's, as many as samples where there are enough; their
  features are kept in the user's cache folder, found by the pictures and the network.

  Args:
    system: the run's.
    reference: what its samples are compared with, by which features.
    measures: by name, as of `measures_named`.
    seed: of the samples.

  Raises:
    RunError: a measure needs something that is not there; nothing has been computed then.
  """

  def __init__(
    self, system: System, reference: Reference, measures: Mapping[str, Measure], *, seed: int = 0
  ) -> None:
    check(measures, reference, system)
    self._generate = compilation.jit(system.generate)
    self._latents = system.latents
    self._style = None
    if system.style is not None:
      self._style = compilation.jit(system.style.mapping), compilation.jit(system.style.paint)
    self._reference, self._measures, self._seed = reference, dict(measures), seed

  def __call__(
    self,
    game: Game,
    *,
    average: bool = True,
    variables: PyTree | None = None,
    statistics: str | None = None,
  ) -> list[Score]:
    """The scores of a game's generator, in the order of the measures.

    Args:
      game: the state.
      average: sample from the moving average of the weights where there is one.
      variables: what is sampled from instead, if it has other batch statistics than those weights.
      statistics: where they are from, for the protocol.
    """
    if variables is None:
      variables = local(game.generator.evaluated(average=average))
    parts: dict[str, Callable[[Array], Array]] = {}
    if self._style is not None:
      mapping, paint = self._style
      parts = {
        "mapping": lambda z: mapping(variables, z),
        "paint": lambda w: paint(variables, w),
      }
    evidence = Evidence(
      self._reference, lambda z: self._generate(variables, z), self._latents, self._seed, **parts
    )
    if any(measure.pixels for measure in self._measures.values()):
      evidence.pictures  # noqa: B018  # first, so that features are of these and none is drawn twice
    ema = average and game.generator.average is not None
    return [
      Score(name, value, error, self._protocol(measure, ema, statistics))
      for measure in self._measures.values()
      for name, value, error in measure.score(evidence)
    ]

  def ranked(self, scores: Sequence[Score]) -> Ranked:
    """What the best checkpoint has least of: the first score, turned round if more is better."""
    sign = next(iter(self._measures.values())).sign
    return Ranked(f"{scores[0].name} by {scores[0].protocol}", sign * scores[0].value)

  def _protocol(self, measure: Measure, ema: bool, statistics: str | None) -> Protocol:
    reference = self._reference
    config, dataset, network = reference.config, reference.dataset, reference.network
    real, fake = reference.count, reference.num
    if measure.pixels:
      network, real, fake = pixels(dataset.shape), min(real, PICTURES), min(fake, PICTURES)
    return Protocol.of(
      network,
      real=real,
      fake=fake,
      resize=network.resize,
      dtype=config.dtype,
      dataset=dataset.name,
      split=config.split,
      resolution=config.resolution,
      seed=self._seed,
      ema=ema,
      settings={
        **measure.settings(reference),
        **({} if statistics is None else {"statistics": statistics}),
      },
    )


_SCORES = "scores.jsonl"


def append_scores(workdir: str | os.PathLike[str], step: int, scores: Sequence[Score]) -> None:
  """Adds the scores of a step to the workdir's; what a dead run left of later steps goes."""
  kept = [line for line in read_scores(workdir) if line[0] < step]
  lines = [
    json.dumps({"step": at, **score.to_dict()})
    for at, score in [*kept, *((step, score) for score in scores)]
  ]
  path = pathlib.Path(workdir) / _SCORES
  with writing(path), replacing(path) as temporary:
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
