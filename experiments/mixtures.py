"""Mixtures of Gaussians in the plane: which losses, penalties and games cover the modes?

The ring of 8 (Metz et al. 2016, arXiv 1611.02163) and the grid of 25 (Srivastava et al. 2017, arXiv
1705.07761), learned by small perceptrons. The seeds are trained side by side, as one population
under `vmap`:

  python -m experiments.mixtures --workdir=/tmp/ring --game=symplectic --penalty=r1
  python -m experiments.mixtures --workdir=/tmp/grid --mixture=grid
  python -m experiments.mixtures --workdir=/tmp/table --table

Past 300 lines because of its flags and their checks; tables and plots are modules of their own.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from experiments import choices, gaussians, mixtures_table
from jaxgan import latents, metrics, models, penalties, run, training
from jaxgan.training import games, objectives
from jaxgan.types import Array, Key, PyTree


@dataclasses.dataclass(frozen=True)
class Config:
  """Flags of the mixtures."""

  workdir: str = tyro.MISSING
  """Folder for config.json, metrics.jsonl and the plot, or for the table. The same command goes on
  with a table that was stopped."""
  mixture: Literal["ring", "grid"] = "ring"
  """ring: 8 modes, radius 2, deviation 0.02. grid: 25 modes, spacing 2, deviation 0.05. The other
  flags' defaults depend on it."""
  loss: Annotated[str, choices.listed(choices.LOSSES, "Of both players")] = "non_saturating"
  penalty: Annotated[str, choices.listed(choices.PENALTIES, "On the discriminator")] = "r1"
  penalty_weight: run.Weight = 0.1
  """Of the penalty: lambda, or half of gamma."""
  clip: run.Bound | None = None
  """Bound on every weight of the discriminator; WGAN takes 0.01."""
  packing: run.Count = 1
  """PacGAN (Lin et al. 2018): points that the discriminator judges together."""
  game: Annotated[str, choices.listed(choices.GAMES, "How gradients become updates")] = (
    "alternating"
  )
  seeds: run.Updates = 5
  """Runs of the population."""
  seed: run.Seed = 0
  """Of the population."""
  steps: run.Count = 4000
  """Generator updates."""
  d_steps: run.Updates = 1
  """Discriminator updates to each."""
  batch_size: run.Width = 128
  """Points in a batch."""
  learning_rate: run.Rate = 4e-3
  """Of both players' Adam, at the start. (Competitive descent has a fixed rate of its own.)"""
  rate_left: run.Share = 0.01
  """Share of it that is left at the last step, at the end of a cosine; 1 keeps it constant."""
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment."""
  latent_dim: run.Width = 2
  """Dimensions of the normal latent."""
  width: run.Width = 64
  """Of both players' hidden layers."""
  depth: run.Updates = 2
  """Number of both players' hidden layers."""
  log_every: run.Count = 500
  """Steps between two lines of the log and two snapshots."""
  table: bool = False
  """Make a table of losses by games instead; --loss, --game and --log-every are not read."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    run.check_fields(self)
    if self.packing > 1 and self.penalty != "none":
      raise run.RunError(
        f"--packing={self.packing} needs --penalty=none: penalties look at single points"
      )
    choices.pick(choices.LOSSES, "--loss", self.loss)
    choices.pick(choices.PENALTIES, "--penalty", self.penalty)
    way = choices.pick(choices.GAMES, "--game", self.game)
    if self.clip is not None and (self.table or not way.uses_optimizers):
      raise run.RunError(
        f"--clip={self.clip} is a part of Adam, which --game=competitive (a row of --table too) "
        "does not use: leave it out"
      )


PRESETS: Mapping[str, Mapping[str, Any]] = {
  "ring": {},
  "grid": dict(depth=3, steps=10_000),
}


def parse(argv: Sequence[str] | None = None) -> Config:
  """Reads the flags; the mixture's preset has their defaults."""
  first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
  first.add_argument("--mixture", default=Config.mixture)
  mixture = first.parse_known_args(argv)[0].mixture
  # An unknown mixture is left to tyro, which reports it like any other malformed flag.
  base = Config(mixture=mixture, **PRESETS[mixture]) if mixture in PRESETS else Config()
  return run.read_flags(Config, argv, default=base, description=__doc__)


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
  generator = models.mlp.Generator(2, width=config.width, depth=config.depth)
  discriminator = choices.packed(
    models.mlp.Discriminator(width=config.width, depth=config.depth),
    config.packing,
    config.batch_size,
  )
  way = choices.GAMES[config.game]

  def adam(updates: int) -> optax.GradientTransformation:
    rate = optax.cosine_decay_schedule(
      config.learning_rate, updates * config.steps, alpha=config.rate_left
    )
    return way.adam(rate, b1=config.adam_b1)

  g_adam, d_adam = adam(way.updates), adam(way.updates + config.d_steps - 1)
  if config.clip is not None:
    d_adam = optax.chain(d_adam, penalties.weight_clipping(config.clip))
  z = latents.normal(config.latent_dim)
  terms = choices.PENALTIES[config.penalty]
  parts = objectives.adversarial(
    way.loss(choices.LOSSES[config.loss](), config.batch_size, None),
    z,
    penalties=[choices.weighted(config.penalty_weight, term) for term in terms.penalties],
    remember=terms.remember,
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
    d_player = training.new_player(discriminator, d_adam, d_key, jnp.zeros([1, 2]))
    if config.clip is not None:
      d_player = d_player.replace(params=penalties.clip_weights(d_player.params, config.clip))
    g_player = training.new_player(generator, g_adam, g_key, jnp.zeros([1, config.latent_dim]))
    game = training.Game.new(run_key, d_player, g_player, extra=terms.extra())
    return games.begin(way.play, game)

  def step(game: training.Game) -> tuple[training.Game, dict[str, Array]]:
    key = jax.random.fold_in(jax.random.fold_in(game.key, game.step), _DATA)
    return play(game, {"image": mixture.sample(key, (config.d_steps, config.batch_size))})

  def sample(game: training.Game, key: Key) -> Array:
    return jnp.asarray(generator.apply(game.generator.variables, z(key, 2500), train=False))

  def logits(game: training.Game, points: Array) -> Array:
    points = jnp.repeat(points, config.packing, axis=0)  # a pack of copies for each
    return jnp.asarray(discriminator.apply(game.discriminator.variables, points, train=False))

  return Toy(init, step, sample, logits)


class Result(NamedTuple):
  """What a population came to.

  Attributes:
    coverage: measures of each run, `[seeds]`.
    snapshots: of the first run.
  """

  coverage: metrics.ModeCoverage
  snapshots: list[gaussians.Snapshot]


def train(config: Config, write: Callable[[dict[str, Any]], None]) -> Result:
  """Trains the population of a config, and writes a line each `log_every` steps."""
  toy, mixture = build(config), mixture_of(config)
  points = mixture.plane()
  # Only the steps are worth compiling: what else runs, runs a few times and op by op, and a table's
  # populations share those operations.
  population = jax.vmap(toy.init)(jax.random.split(jax.random.key(config.seed), config.seeds))
  together = jax.jit(jax.vmap(toy.step))  # under jit it is traced once for both of its uses
  empty = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(together, population)[1]
  )

  @jax.jit
  def advance(population: PyTree, steps: Array) -> PyTree:
    def one(_: Array, carry: PyTree) -> PyTree:
      return together(carry[0])

    return jax.lax.fori_loop(0, steps, one, (population, empty))

  def measure(population: PyTree) -> tuple[metrics.ModeCoverage, Array, Array]:
    samples = jax.vmap(lambda game: toy.sample(game, jax.random.fold_in(game.key, _DATA)))(
      population
    )
    coverage = jax.vmap(lambda x: metrics.mode_coverage(x, mixture.centres, mixture.std))(samples)
    first = jax.tree.map(lambda x: x[0], population)
    return coverage, samples[0], toy.logits(first, points)

  snapshots = []
  for step in range(0, config.steps, config.log_every):
    chunk = min(config.log_every, config.steps - step)
    population, values = advance(population, jnp.asarray(chunk))
    coverage, samples, landscape = jax.device_get(measure(population))
    snapshots.append(gaussians.Snapshot(step + chunk, samples, landscape))
    rows = {**coverage._asdict(), **jax.device_get(values)}
    write({"step": step + chunk, **{name: np.asarray(x).tolist() for name, x in rows.items()}})
  return Result(coverage, snapshots)


def table(config: Config) -> None:
  """Makes the table, or what is missing of it, and prints it."""
  workdir = pathlib.Path(config.workdir)

  def coverage(loss: str, game: str) -> metrics.ModeCoverage:
    chosen = dataclasses.replace(config, loss=loss, game=game, log_every=config.steps)
    return train(chosen, lambda line: None).coverage

  rows = mixtures_table.fill(workdir / "table.jsonl", coverage)
  text = mixtures_table.markdown(rows, len(mixture_of(config).centres))
  (workdir / "table.md").write_text(text + "\n")
  print(text)


def main(config: Config) -> None:
  """Trains, measures and draws; or makes the table."""
  workdir = pathlib.Path(config.workdir)
  unread = ("workdir", *(["loss", "game", "log_every"] if config.table else []))
  mixtures_table.claim(workdir, dataclasses.asdict(config), unread=unread)
  if config.table:
    table(config)
    return
  with (workdir / "metrics.jsonl").open("w") as file:

    def write(line: dict[str, Any]) -> None:
      file.write(json.dumps(line) + "\n")
      file.flush()

    coverage, snapshots = train(config, write)

  mixture = mixture_of(config)
  gaussians.plot(workdir / "samples.png", mixture, snapshots)
  print("seed  modes covered  high quality  reverse KL")
  for seed, (covered, quality, divergence) in enumerate(zip(*coverage, strict=True)):
    print(
      f"{seed:4}  {covered:5} of {len(mixture.centres):2}     {quality:11.1%}  {divergence:10.3f}"
    )
  spread = mixtures_table.spread
  print(
    f"median (range): {spread(coverage.covered, '.0f')} modes, "
    f"{spread(100 * coverage.high_quality, '.1f')}% high quality, "
    f"reverse KL {spread(coverage.reverse_kl, '.3f')}; plot in {workdir / 'samples.png'}"
  )


if __name__ == "__main__":
  with run.command_line():
    main(parse())
