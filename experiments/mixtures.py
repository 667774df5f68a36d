"""Mixtures of Gaussians in the plane: which losses, penalties and games cover the modes?

The ring of 8 (Metz et al. 2016, arXiv 1611.02163) and the grid of 25 (Srivastava et al. 2017, arXiv
1705.07761), learned by small perceptrons. The seeds are trained side by side, as one population
under `vmap`:

  python -m experiments.mixtures --workdir=/tmp/ring --game=symplectic --penalty=r1
  python -m experiments.mixtures --workdir=/tmp/table --table
"""

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import choices, gaussians
from jaxgan import latents, metrics, models, run, training
from jaxgan.training import games, objectives
from jaxgan.types import Array, Key, PyTree


@dataclasses.dataclass(frozen=True)
class Config:
  """Flags of the mixtures."""

  workdir: str
  """Folder for config.json, metrics.jsonl and the plots."""
  mixture: Literal["ring", "grid"] = "ring"
  """ring: 8 modes, radius 2, deviation 0.02. grid: 25 modes, spacing 2, deviation 0.05."""
  loss: str = "non_saturating"
  """minimax, non_saturating, least_squares, wasserstein, hinge, relativistic or
  relativistic_average."""
  penalty: str = "r1"
  """On the discriminator: none, r1, r1_r2, gradient_penalty or dragan."""
  penalty_weight: float = 0.1
  """Of the penalty: lambda, or half of gamma."""
  game: str = "alternating"
  """alternating, simultaneous, extragradient, past_extragradient, optimistic, consensus,
  symplectic, competitive, unrolled, lookahead or top_k."""
  seeds: int = 5
  """Runs of the population."""
  seed: int = 0
  """Of the population."""
  steps: int = 4000
  """Generator updates."""
  d_steps: int = 1
  """Discriminator updates to each."""
  batch_size: int = 128
  """Points in a batch."""
  learning_rate: float = 2e-3
  """Of both players."""
  adam_b1: float = 0.5
  """Decay of Adam's first moment."""
  latent_dim: int = 16
  """Dimensions of the normal latent."""
  width: int = 64
  """Of both players' two hidden layers."""
  log_every: int = 500
  """Steps between two lines of the log and two snapshots."""
  table: bool = False
  """Run a table of losses by games instead; --loss and --game are not read."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    positive = "seeds steps d_steps batch_size learning_rate latent_dim width log_every"
    for name in positive.split():
      if getattr(self, name) <= 0:
        raise run.RunError(f"--{name.replace('_', '-')}={getattr(self, name)} must be positive")
    choices.pick(choices.LOSSES, "--loss", self.loss)
    choices.pick(choices.PENALTIES, "--penalty", self.penalty)
    choices.pick(choices.GAMES, "--game", self.game)


def mixture_of(config: Config) -> gaussians.Mixture:
  """The mixture of a config."""
  return gaussians.ring() if config.mixture == "ring" else gaussians.grid()


class Toy(NamedTuple):
  """One run, to be mapped over seeds.

  Attributes:
    init: key to the game at step 0.
    step: game to the next game and metrics; draws its own data.
    sample: `(game, key) -> [2500, 2]`.
    logits: `(game, points) -> [n]` of the discriminator.
  """

  init: Callable[[Key], training.Game]
  step: Callable[[training.Game], tuple[training.Game, dict[str, Array]]]
  sample: Callable[[training.Game, Key], Array]
  logits: Callable[[training.Game, Array], Array]


_DATA = 1 << 20  # folded into a step's key beyond what its objectives fold in


def build(config: Config) -> Toy:
  """Players, objectives and step of a config."""
  generator = models.mlp.Generator(2, width=config.width)
  discriminator = models.mlp.Discriminator(width=config.width)
  way = choices.GAMES[config.game]
  adam = way.adam(config.learning_rate, b1=config.adam_b1)
  z = latents.normal(config.latent_dim)
  terms = choices.PENALTIES[config.penalty]
  parts = objectives.adversarial(
    way.loss(choices.LOSSES[config.loss](), config.batch_size, None),
    z,
    penalties=[choices.weighted(config.penalty_weight, term) for term in terms],
  )
  play = training.make_train_step(
    parts.discriminator,
    parts.generator,
    forward=parts.forward,
    d_steps=config.d_steps,
    play=way.play,
  )
  mixture = mixture_of(config)

  def init(key: Key) -> training.Game:
    run_key, d_key, g_key = jax.random.split(key, 3)
    game = training.Game.new(
      run_key,
      training.new_player(discriminator, adam, d_key, jnp.zeros([1, 2])),
      training.new_player(generator, adam, g_key, jnp.zeros([1, config.latent_dim])),
    )
    return games.begin(way.play, game)

  def step(game: training.Game) -> tuple[training.Game, dict[str, Array]]:
    key = jax.random.fold_in(jax.random.fold_in(game.key, game.step), _DATA)
    return play(game, {"image": mixture.sample(key, (config.d_steps, config.batch_size))})

  def sample(game: training.Game, key: Key) -> Array:
    return jnp.asarray(generator.apply(game.generator.variables, z(key, 2500), train=False))

  def logits(game: training.Game, points: Array) -> Array:
    return jnp.asarray(discriminator.apply(game.discriminator.variables, points, train=False))

  return Toy(init, step, sample, logits)


class Result(NamedTuple):
  """What a population came to.

  Attributes:
    coverage: measures of each run, `[seeds]`.
    snapshots: step, samples and discriminator's probabilities over the plane of the first run.
  """

  coverage: metrics.ModeCoverage
  snapshots: list[tuple[int, np.ndarray, np.ndarray]]


def train(config: Config, write: Callable[[dict[str, Any]], None]) -> Result:
  """Trains the population of a config, and writes a line each `log_every` steps."""
  toy, mixture = build(config), mixture_of(config)
  points = mixture.plane()
  population = jax.jit(jax.vmap(toy.init))(
    jax.random.split(jax.random.key(config.seed), config.seeds)
  )

  @jax.jit
  def advance(population: PyTree, steps: Array) -> PyTree:
    def one(_: Array, carry: PyTree) -> PyTree:
      return jax.vmap(toy.step)(carry[0])

    empty = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(jax.vmap(toy.step), population)[1]
    )
    return jax.lax.fori_loop(0, steps, one, (population, empty))

  @jax.jit
  def measure(population: PyTree) -> Any:
    samples = jax.vmap(lambda game: toy.sample(game, jax.random.fold_in(game.key, _DATA)))(
      population
    )
    coverage = jax.vmap(lambda x: metrics.mode_coverage(x, mixture.centres, mixture.std))(samples)
    first = jax.tree.map(lambda x: x[0], population)
    return coverage, samples[0], jax.nn.sigmoid(toy.logits(first, points))

  snapshots = []
  for step in range(0, config.steps, config.log_every):
    chunk = min(config.log_every, config.steps - step)
    population, values = advance(population, jnp.asarray(chunk))
    coverage, samples, landscape = jax.device_get(measure(population))
    snapshots.append((step + chunk, samples, landscape))
    rows = {**coverage._asdict(), **jax.device_get(values)}
    write({"step": step + chunk, **{name: np.asarray(x).tolist() for name, x in rows.items()}})
  return Result(coverage, snapshots)


def plot(path: pathlib.Path, config: Config, snapshots: list[Any]) -> None:
  """Samples of the first run over its discriminator's landscape, at up to six times."""
  import matplotlib.pyplot as plt

  mixture = mixture_of(config)
  chosen = [snapshots[i] for i in np.unique(np.linspace(0, len(snapshots) - 1, 6).astype(int))]
  figure, axes = plt.subplots(1, len(chosen), figsize=(2.2 * len(chosen), 2.5), squeeze=False)
  half = mixture.extent
  for ax, (step, samples, landscape) in zip(axes[0], chosen, strict=True):
    side = round(landscape.size**0.5)
    ax.imshow(
      landscape.reshape(side, side),
      extent=(-half, half, -half, half),
      origin="lower",
      cmap="RdBu",
      vmin=0.0,
      vmax=1.0,
      alpha=0.6,
    )
    ax.scatter(*mixture.centres.T, s=14, marker="+", c="black", linewidths=0.7)
    ax.scatter(*samples[:1000].T, s=1.0, c="tab:green", alpha=0.5, linewidths=0)
    ax.set(xlim=(-half, half), ylim=(-half, half), xticks=[], yticks=[], title=f"step {step}")
  figure.tight_layout(pad=0.4)
  figure.savefig(path, dpi=80, bbox_inches="tight")
  plt.close(figure)


def spread(values: Array, form: str) -> str:
  """Median and range."""
  low, middle, high = np.percentile(np.asarray(values), [0, 50, 100])
  return f"{middle:{form}} ({low:{form}} to {high:{form}})"


_TABLE_LOSSES = ("non_saturating", "hinge")
_TABLE_GAMES = tuple(choices.GAMES)


def table(config: Config, write: Callable[[dict[str, Any]], None]) -> str:
  """Losses by games, a population each: median and range over the seeds, in Markdown."""
  modes = len(mixture_of(config).centres)
  head = " | ".join(f"{name}: modes of {modes}, high quality" for name in _TABLE_LOSSES)
  rows = [f"| game | {head} | s |", "|---" * (len(_TABLE_LOSSES) + 2) + "|"]
  for game in _TABLE_GAMES:
    cells, started = [], time.perf_counter()
    for loss in _TABLE_LOSSES:
      chosen = dataclasses.replace(config, loss=loss, game=game)
      names = {"loss": loss, "game": game}

      def tell(line: dict[str, Any], names: dict[str, str] = names) -> None:
        write({**names, **line})

      coverage = train(chosen, tell).coverage
      quality = spread(100 * coverage.high_quality, ".0f")
      cells.append(f"{spread(coverage.covered, '.0f')}, {quality}%")
    seconds = (time.perf_counter() - started) / len(_TABLE_LOSSES)
    rows.append(f"| {game} | {' | '.join(cells)} | {seconds:.0f} |")
    print(rows[-1], file=sys.stderr, flush=True)
  return "\n".join(rows)


def main(config: Config) -> None:
  """Trains, measures and draws; or makes the table."""
  workdir = pathlib.Path(config.workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  (workdir / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
  with (workdir / "metrics.jsonl").open("w") as file:

    def write(line: dict[str, Any]) -> None:
      file.write(json.dumps(line) + "\n")
      file.flush()

    if config.table:
      text = table(config, write)
      (workdir / "table.md").write_text(text + "\n")
      print(text)
      return
    coverage, snapshots = train(config, write)

  plot(workdir / "samples.png", config, snapshots)
  modes = len(mixture_of(config).centres)
  print("seed  modes covered  high quality  reverse KL")
  for seed, (covered, quality, divergence) in enumerate(zip(*coverage, strict=True)):
    print(f"{seed:4}  {covered:5} of {modes:2}     {quality:11.1%}  {divergence:10.3f}")
  print(
    f"median (range): {spread(coverage.covered, '.0f')} modes, "
    f"{spread(100 * coverage.high_quality, '.1f')}% high quality, "
    f"reverse KL {spread(coverage.reverse_kl, '.3f')}; plot in {workdir / 'samples.png'}"
  )


if __name__ == "__main__":
  with run.command_line():
    main(tyro.cli(Config, description=__doc__))
