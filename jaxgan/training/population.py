"""Many runs of one game side by side.

A population is one `Game` whose leaves have a leading axis of members. Its counters have none: all
members are at the same step, and a condition on the step (a lazily applied penalty, say) stays a
condition, where one on a mapped value would compute both of its branches.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from jaxgan.training.state import Game, Player
from jaxgan.training.step import Step
from jaxgan.types import Batch, Metrics, PyTree

__all__ = ["apart", "joined", "member", "population", "stack"]


def population(step: Step, n: int) -> Step:
  """The step of n members at once, by `vmap`.

  Args:
    step: of one member, from `make_train_step`, or of `varied`.
    n: members, at least 1.

  Returns:
    `(game, batch) -> (game, metrics)` of a game from `stack` and batches `[n, d_steps, B, ...]`,
    one a member, with metrics `[n]`. `population_parallel` spreads it over devices.

  Raises:
    ValueError: n is below 1, or a batch is not for n members.

  >>> from jaxgan.training import Game
  >>> def step(game, batch):
  ...   total = game.extra["total"] + batch["x"].sum()
  ...   return game.replace(step=game.step + 1, extra={"total": total}), {"total": total}
  >>> from jaxgan.training.population import _nobody
  >>> games = [_nobody().replace(extra={"total": jnp.asarray(x)}) for x in (1.0, 2.0)]
  >>> game, metrics = population(step, 2)(stack(games), {"x": jnp.ones([2, 1, 3])})
  >>> metrics["total"].tolist(), int(game.step), float(member(game, 1).extra["total"])
  ([4.0, 5.0], 1, 5.0)
  """
  if n < 1:
    raise ValueError(f"n={n} must be at least 1, the number of members")

  def together(game: Game, batch: Batch) -> tuple[Game, Metrics]:
    for name, value in batch.items():
      if value.shape[:1] != (n,):
        raise ValueError(f"batch[{name!r}] has shape {value.shape}; its first axis must be n={n}")
    counters, rest = apart(game)

    def one(rest: Game, batch: Batch) -> tuple[tuple[PyTree, Game], Metrics]:
      game, metrics = step(joined(counters, rest), batch)
      return apart(game), metrics

    (counters, rest), metrics = jax.vmap(one, out_axes=((None, 0), 0))(rest, batch)
    return joined(counters, rest), metrics

  return together


def stack(games: Sequence[Game]) -> Game:
  """A population of games at the same step, as `population` takes it.

  >>> stack([_nobody(), _nobody()]).key.shape
  (2,)
  """
  counters, _ = apart(games[0])
  rest = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(apart(game)[1] for game in games))
  return joined(counters, rest)


def member(game: Game, index: int) -> Game:
  """One game of a population, with the hyperparameters that it was varied by.

  >>> member(stack([_nobody(), _nobody()]), 1).key.shape
  ()
  """
  counters, rest = apart(game)
  return joined(counters, jax.tree.map(lambda leaf: leaf[index], rest))


def apart(game: Game) -> tuple[PyTree, Game]:
  """The counters, which all members share, and the game without them."""
  d, g = game.discriminator, game.generator
  bare = {"step": None, "discriminator": d.replace(step=None), "generator": g.replace(step=None)}
  return (game.step, d.step, g.step), game.replace(**bare)


def joined(counters: PyTree, rest: Game) -> Game:
  """What `apart` took apart."""
  step, d_step, g_step = counters
  return rest.replace(
    step=step,
    discriminator=rest.discriminator.replace(step=d_step),
    generator=rest.generator.replace(step=g_step),
  )


@functools.cache
def _nobody() -> Game:
  """A game without networks, for examples."""
  player = Player.create(apply_fn=None, params={}, tx=optax.identity())
  player = player.replace(step=jnp.zeros([], jnp.int32))
  return Game.new(jax.random.key(0), player, player)
