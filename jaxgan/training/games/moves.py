"""What a way of playing has at hand, and the parts that several of them share."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from jaxgan.types import Batch, Key, Metrics, PyTree

if TYPE_CHECKING:
  from jaxgan.training.state import Game

ROLES = ("discriminator", "generator")

UNROLLED = 8  # sub-steps traced one by one; beyond, a loop keeps compilation short


class Fakes(NamedTuple):
  """One forward pass of the generator that both players use.

  Attributes:
    entries: what it adds to the batch.
    pull: from the cotangent of the entries to the gradient of the generator's parameters.
    aux: what it rewrote and measured.
  """

  entries: Batch
  pull: Callable[[PyTree], tuple[PyTree]]
  aux: Any


class Moves(NamedTuple):
  """What a way of playing has at hand.

  Attributes:
    forward: `(game, batch, key) -> Fakes`, or None where the players share no fakes.
    gradient: `(role, game, batch, key, fakes=None, through=None) -> (gradient, aux)` of
      `"discriminator"` or `"generator"`, averaged over the devices. `through(game, batch)` is
      played between the parameters and the objective, and differentiated. A pure function of the
      game, so that it can be differentiated again; average what comes out, by `mean`.
    update: `(role, game, gradient, aux) -> game` by the player's optimiser.
    move: `(role, game, displacement, aux) -> game` without the optimiser.
    mean: average of a pytree over the devices.
    d_steps: discriminator updates a step.
    g_steps: generator updates a step.
  """

  forward: Callable[["Game", Batch, Key], Fakes | None]
  gradient: Callable[..., tuple[PyTree, Any]]
  update: Callable[[str, "Game", PyTree, Any], "Game"]
  move: Callable[[str, "Game", PyTree, Any], "Game"]
  mean: Callable[[PyTree], PyTree]
  d_steps: int
  g_steps: int


Play = Callable[[Moves, "Game", Batch, Key], tuple["Game", Metrics]]


@dataclasses.dataclass(frozen=True)
class Remembering:
  """A way of playing that keeps something in `Game.extra` from step to step.

  Attributes:
    play: the way of playing.
    begin: puts what is kept into a game at step 0.
  """

  play: Play
  begin: Callable[["Game"], "Game"]

  def __call__(self, moves: Moves, game: "Game", batch: Batch, key: Key) -> tuple["Game", Metrics]:
    """Plays."""
    return self.play(moves, game, batch, key)


def begin(play: Play, game: "Game") -> "Game":
  """The game at step 0 with what the way of playing keeps in `Game.extra`, if anything.

  Args:
    play: such as `alternating` or `lookahead(simultaneous)`.
    game: from `Game.new`.

  Returns:
    The game to hand to the first step.
  """
  return play.begin(game) if isinstance(play, Remembering) else game


def kept(game: "Game", name: str) -> PyTree:
  """What a way of playing keeps under a name; raises if the game was begun without it."""
  if name not in game.extra:
    raise ValueError(
      f"game.extra has no {name!r}, only {sorted(game.extra)}: start from games.begin(play, game)"
    )
  return game.extra[name]


class Joint(NamedTuple):
  """The part of a step in which both players move.

  Attributes:
    batch: real data, `[B, ...]`.
    keys: that of each objective, by role.
  """

  batch: Batch
  keys: dict[str, Key]


def early_steps(moves: Moves, game: "Game", batch: Batch, key: Key) -> tuple["Game", Batch]:
  """All updates of D in a step but the last, and the batch of that."""
  last = moves.d_steps - 1

  def turn(game: "Game", xs: Any) -> tuple["Game", None]:
    batch, index = xs
    grads, aux = moves.gradient("discriminator", game, batch, jax.random.fold_in(key, index))
    return moves.update("discriminator", game, grads, aux), None

  if last > UNROLLED:
    earlier = jax.tree.map(lambda x: x[:last], dict(batch))
    game, _ = jax.lax.scan(turn, game, (earlier, jax.numpy.arange(last)))
  else:
    for i in range(last):
      game, _ = turn(game, (jax.tree.map(lambda x, i=i: x[i], batch), i))
  return game, jax.tree.map(lambda x: x[last], batch)


def until_joint(moves: Moves, game: "Game", batch: Batch, key: Key) -> tuple["Game", Joint]:
  """Plays the `d_steps - 1` updates of D alone that precede a joint move."""
  if moves.g_steps > 1:
    raise ValueError(
      f"g_steps={moves.g_steps} must be 1 where both players move at once; games.alternating "
      "takes more"
    )
  game, final = early_steps(moves, game, batch, key)
  keys = {
    "discriminator": jax.random.fold_in(key, moves.d_steps - 1),
    "generator": jax.random.fold_in(key, moves.d_steps),
  }
  return game, Joint(final, keys)


def field(moves: Moves, game: "Game", joint: Joint) -> tuple[PyTree, PyTree]:
  """Both gradients at the same parameters, from one forward pass, and both auxiliary outputs."""
  fakes = moves.forward(game, joint.batch, joint.keys["discriminator"])
  return split(
    {role: moves.gradient(role, game, joint.batch, joint.keys[role], fakes) for role in ROLES}
  )


def split(results: dict[str, tuple[PyTree, Any]]) -> tuple[PyTree, PyTree]:
  """From gradient and auxiliary output by role to two pytrees by role."""
  return {r: results[r][0] for r in ROLES}, {r: results[r][1] for r in ROLES}


def update_both(moves: Moves, game: "Game", grads: PyTree, auxes: PyTree) -> tuple["Game", Metrics]:
  """Both optimisers' updates, and the metrics of both objectives."""
  for role in ROLES:
    game = moves.update(role, game, grads[role], auxes[role])
  return game, metrics_of(auxes)


def metrics_of(auxes: PyTree) -> Metrics:
  """The metrics of both objectives."""
  return {**auxes["discriminator"].metrics, **auxes["generator"].metrics}


def params_of(game: "Game") -> PyTree:
  """Parameters of both players by role."""
  return {role: getattr(game, role).params for role in ROLES}


def with_params(game: "Game", params: PyTree) -> "Game":
  """The game at other parameters, of one player or both."""
  return game.replace(
    **{role: getattr(game, role).replace(params=value) for role, value in params.items()}
  )
