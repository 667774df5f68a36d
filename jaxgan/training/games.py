"""How the gradients of two players become their updates."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from jaxgan.types import Batch, Key, Metrics, PyTree

if TYPE_CHECKING:
  from jaxgan.training.state import Game

__all__ = ["Fakes", "Moves", "Play", "alternating"]


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
    gradient: `(role, game, batch, key, fakes=None) -> (gradient, aux)` of `"discriminator"` or
      `"generator"`, averaged over the devices.
    update: `(role, game, gradient, aux) -> game` by the player's optimiser.
    d_steps: discriminator updates a step.
    g_steps: generator updates a step.
  """

  forward: Callable[["Game", Batch, Key], Fakes | None]
  gradient: Callable[..., tuple[PyTree, Any]]
  update: Callable[[str, "Game", PyTree, Any], "Game"]
  d_steps: int
  g_steps: int


Play = Callable[[Moves, "Game", Batch, Key], tuple["Game", Metrics]]

_UNROLLED = 8  # sub-steps traced one by one; beyond, a loop keeps compilation short


def alternating(moves: Moves, game: "Game", batch: Batch, key: Key) -> tuple["Game", Metrics]:
  """`d_steps` updates of D, then `g_steps` of G against the updated D.

  Goodfellow et al. 2014 (arXiv 1406.2661), Algorithm 1. Where the objectives have a common forward
  pass, the last update of D and the first of G judge the same fakes, as in DCGAN.

  Args:
    moves: gradients and updates.
    game: state before the step.
    batch: real data, `[d_steps, B, ...]`.
    key: the step's key.

  Returns:
    State and metrics after the step.
  """
  last = moves.d_steps - 1
  final = jax.tree.map(lambda x: x[last], batch)

  def turn(
    role: str, game: "Game", batch: Batch, index: Any, fakes: Fakes | None = None
  ) -> tuple["Game", Metrics]:
    grads, aux = moves.gradient(role, game, batch, jax.random.fold_in(key, index), fakes)
    return moves.update(role, game, grads, aux), dict(aux.metrics)

  def early(game: "Game", xs: Any) -> tuple["Game", None]:
    game, _ = turn("discriminator", game, *xs)
    return game, None

  if last > _UNROLLED:
    earlier = jax.tree.map(lambda x: x[:last], dict(batch))
    game, _ = jax.lax.scan(early, game, (earlier, jax.numpy.arange(last)))
  else:
    for i in range(last):
      game, _ = early(game, (jax.tree.map(lambda x, i=i: x[i], batch), i))

  fakes = moves.forward(game, final, jax.random.fold_in(key, last))
  game, d_metrics = turn("discriminator", game, final, last, fakes)
  for j in range(moves.g_steps):
    shared = fakes if j == 0 else None
    game, g_metrics = turn("generator", game, final, moves.d_steps + j, shared)
  return game, {**d_metrics, **g_metrics}
