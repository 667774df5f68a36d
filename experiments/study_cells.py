"""A cell of the study: one loss under one penalty, all its settings as one population.

Settings are drawn once and are the same in every cell, seeds included, so that cells are compared
setting by setting. Past 300 lines because drawing, training and scoring share what they describe.
"""

import json
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import choices
from jaxgan import data, latents, metrics, models, penalties, training
from jaxgan._files import read_json, replacing
from jaxgan.metrics import features
from jaxgan.run.checkpoints import Checkpoints
from jaxgan.training import Game, objectives
from jaxgan.types import Array, ImageSpec, PyTree

CLIPPING = "clipping"  # of D's weights: no term of the loss, but it takes a penalty's place
PENALTIES = (*choices.PENALTIES, CLIPPING)
LATENT = 64  # the paper's
_PICTURES = 500  # drawn at a time


class Cell(NamedTuple):
  """A loss under a penalty, by their names."""

  loss: str
  penalty: str

  def __str__(self) -> str:
    return f"{self.loss}/{self.penalty}"


class Setting(NamedTuple):
  """The hyperparameters of one member of a population.

  Attributes:
    config: which draw they are, from 0.
    seed: of weights, latents and the order of the pictures.
    learning_rate: of both players' Adam.
    adam_b1: decay of its first moment.
    weight: lambda of a penalty.
    clip: bound on D's weights, where they are clipped.
  """

  config: int
  seed: int
  learning_rate: float
  adam_b1: float
  weight: float
  clip: float


def settings(
  configs: int, seeds: int, *, search: Literal["wide", "narrow"] = "wide", seed: int = 0
) -> list[Setting]:
  """Draws hyperparameters from the paper's ranges, `seeds` runs of each.

  Lucic et al. 2017, table 2 of the appendix: the wide search has the learning rate in 10^U[-5, -2]
  and Adam's b1 in U[0, 1], the narrow one 10^U[-4, -3] and 0.5. In both lambda is 10^U[-1, 2] and
  the bound of clipped weights 10^U[-3, 0], here by the same draw.

  Args:
    configs: how many; the first draws do not depend on their number.
    seeds: runs of each, whose seeds all differ.
    search: which ranges.
    seed: of the draws, and the first of the runs.

  >>> [(x.config, x.seed) for x in settings(2, 2)]
  [(0, 0), (0, 1), (1, 2), (1, 3)]
  """
  drawn = np.random.default_rng(seed).random((configs, 3)).tolist()
  low, high = (-5, -2) if search == "wide" else (-4, -3)
  return [
    Setting(
      config,
      seed + config * seeds + run_,
      10 ** (low + (high - low) * rate),
      b1 if search == "wide" else 0.5,
      10 ** (-1 + 3 * weight),
      10 ** (-3 + 3 * weight),
    )
    for config, (rate, b1, weight) in enumerate(drawn)
    for run_ in range(seeds)
  ]


class Sizes(NamedTuple):
  """What all cells of a study share.

  Attributes:
    steps: generator updates, to each of which D has one.
    width: of the networks; the paper's is 64.
    batch_size: pictures in a batch.
    checkpoint_every: steps between two checkpoints of a cell.
  """

  steps: int
  width: int
  batch_size: int
  checkpoint_every: int


VARIED = ("learning_rate", "adam_b1", "weight", "clip")


def build(
  cell: Cell, width: int, spec: ImageSpec
) -> Callable[[Mapping[str, Any]], training.System]:
  """The system of a cell by its hyperparameters, as `training.varied` takes it.

  D has no batch norm, which penalties refuse, in any cell, and one update to each of G's.
  """
  resolution, _, channels = spec.shape
  generator = models.lucic.Generator(resolution, channels, width, axis_name=training.AXIS)
  discriminator = models.lucic.Discriminator(width)
  z = latents.uniform(LATENT)
  clipped = cell.penalty == CLIPPING
  terms = choices.Terms() if clipped else choices.PENALTIES[cell.penalty]

  def by_values(values: Mapping[str, Any]) -> training.System:
    adam = optax.adam(values["learning_rate"], b1=values["adam_b1"])

    def clip(params: PyTree) -> PyTree:
      return penalties.clip_weights(params, values["clip"])

    return training.system(
      generator,
      discriminator,
      adam,
      adam,
      objectives.adversarial(
        choices.LOSSES[cell.loss](),
        z,
        penalties=[choices.weighted(values["weight"], term) for term in terms.penalties],
        remember=terms.remember,
        axis_name=training.AXIS,
      ),
      latents=z,
      spec=spec,
      extra=terms.extra(),
      d_constraint=clip if clipped else None,
    )

  return by_values


class Population(NamedTuple):
  """A cell's runs.

  Attributes:
    system: of one.
    start: makes the games at step 0.
    play: `(game, images, rows) -> (game, metrics)`, one step.
    order: the rows of a step.
    abstract: shapes of the games and how they lie on the devices.
  """

  system: training.Varied
  start: Callable[[], Game]
  play: Callable[..., tuple[Game, Any]]
  order: Callable[[int], np.ndarray]
  abstract: Game


def population(
  cell: Cell, members: Sequence[Setting], sizes: Sizes, pictures: data.Dataset
) -> Population:
  """What trains the members of a cell side by side."""
  spec = ImageSpec(pictures.shape, pictures.classes)
  values = [{name: jnp.asarray(getattr(x, name)) for name in VARIED} for x in members]
  plain = {name: getattr(members[0], name) for name in VARIED}
  system = training.varied(build(cell, sizes.width, spec), plain)
  keys = [jax.random.key(each.seed) for each in members]
  mesh = training.population_mesh(len(members))
  shapes = jax.eval_shape(lambda: training.stack([system.init(keys[0], values[0])] * len(members)))
  sharding = training.population_sharding(shapes, mesh)
  abstract = jax.tree.map(
    lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), shapes, sharding
  )
  schedules = [data.Schedule(each.seed, len(pictures), 1, sizes.batch_size) for each in members]

  def start() -> Game:
    init = jax.jit(system.init)
    games = [init(key, scalars) for key, scalars in zip(keys, values, strict=True)]
    return jax.device_put(training.stack(games), sharding)

  def assemble(images: Array, rows: Array) -> Any:
    return data.assemble(images, None, rows, jnp.zeros(rows.shape, bool))

  def order(step: int) -> np.ndarray:
    return np.stack([each.records(step) for each in schedules])[None]

  play = training.population_parallel(system.step, len(members), mesh, assemble)
  return Population(system, start, play, order, abstract)


def train(
  runs: Population,
  images: Array,
  sizes: Sizes,
  workdir: pathlib.Path,
  stop: Callable[[], bool],
) -> tuple[Game | None, float]:
  """Trains a cell, from its newest checkpoint if there is one.

  Args:
    runs: of the cell.
    images: all pictures, on the devices.
    sizes: of the study.
    workdir: of the cell's checkpoints.
    stop: asked after each step; True has it saved and left.

  Returns:
    The games after their last step, or None where they were left before; and the seconds of CPU
    time that they have taken, earlier starts included (but for what a kill has lost).
  """
  began = time.process_time()
  cost = workdir / "cost.json"
  before = read_json(cost, 1 << 16)["cpu_seconds"] if cost.exists() else 0.0

  def spent() -> float:
    return before + time.process_time() - began

  with Checkpoints(workdir) as checkpoints:
    saved = checkpoints.latest is not None
    game = checkpoints.restore_newest(runs.abstract) if saved else runs.start()
    step = int(game.step)
    while step < sizes.steps:
      game, _ = runs.play(game, images, runs.order(step))
      step += 1
      stopping = stop()
      if step % sizes.checkpoint_every == 0 or stopping or step == sizes.steps:
        checkpoints.save(game, None)
        with replacing(cost) as temporary:
          temporary.write_text(json.dumps({"cpu_seconds": spent()}))
      if stopping:
        return None, spent()
  return game, spent()


class Judge(NamedTuple):
  """What samples are compared with.

  Attributes:
    network: the features.
    real: those of real pictures, `[n, d]`.
    samples: number of samples.
    seed: of their latents, the same for all generators.
  """

  network: features.Features
  real: np.ndarray
  samples: int
  seed: int


class Result(NamedTuple):
  """What a member came to.

  Attributes:
    fd: Frechet distance of its samples; NaN of a failure.
    precision: share of samples that are like data.
    recall: share of data that are like samples.
    failed: a number in its networks or pictures is not finite.
  """

  fd: float
  precision: float
  recall: float
  failed: bool


FAILURE = Result(math.nan, 0.0, 0.0, True)


def judge(runs: Population, game: Game, count: int, by: Judge) -> list[Result]:
  """Scores the members of a cell, by their last weights, which the paper does not average."""
  generate = jax.jit(runs.system.generate)
  z = latents.uniform(LATENT)
  keys = jax.random.split(jax.random.key(by.seed), -(-by.samples // _PICTURES))
  drawn = [z(key, _PICTURES) for key in keys]
  found = []
  for index in range(count):
    one = jax.device_put(training.member(game, index), jax.local_devices()[0])
    one = one.replace(generator=one.generator.replace(average=None))
    pictures = np.concatenate([np.asarray(generate(one, each)) for each in drawn])[: by.samples]
    players = (one.discriminator.params, one.generator.variables)
    if not all(
      np.isfinite(x).all() for x in (*map(np.asarray, jax.tree.leaves(players)), pictures)
    ):
      found.append(FAILURE)
      continue
    fake = np.asarray(features.extract_all(by.network, pictures, batch_size=_PICTURES).features)
    fd = metrics.frechet_distance(by.real, fake)
    found.append(Result(fd, *metrics.precision_recall(by.real, fake), failed=False))
  return found
