"""Names for flags: what a person types on one side, functions on the other."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import optax

from jaxgan import losses, penalties
from jaxgan.run import RunError
from jaxgan.training import Game, games, objectives
from jaxgan.types import AdversarialLoss, Array, Batch, Critic, Key

T = TypeVar("T")


def pick(choices: Mapping[str, T], flag: str, name: str) -> T:
  """The choice of a name; an unknown one is an error that lists them."""
  if name not in choices:
    raise RunError(f"{flag}={name} must be one of {', '.join(choices)}")
  return choices[name]


LOSSES: dict[str, Callable[[], AdversarialLoss]] = {
  "minimax": losses.minimax,
  "non_saturating": losses.non_saturating,
  "least_squares": losses.least_squares,
  "wasserstein": losses.wasserstein,
  "hinge": losses.hinge,
  "relativistic": losses.relativistic,
  "relativistic_average": losses.relativistic_average,
}


def _r1(critic: Critic, batch: Batch, key: Key, game: Game) -> Array:
  del key, game
  return penalties.r1(critic, batch["image"])


def _r2(critic: Critic, batch: Batch, key: Key, game: Game) -> Array:
  del key, game
  return penalties.r2(critic, batch["fake"])


def _gradient_penalty(critic: Critic, batch: Batch, key: Key, game: Game) -> Array:
  del game
  return penalties.gradient_penalty(critic, batch["image"], batch["fake"], key)


def _dragan(critic: Critic, batch: Batch, key: Key, game: Game) -> Array:
  del game
  return penalties.dragan(critic, batch["image"], key)


# Each without its weight, which is a flag.
PENALTIES: dict[str, tuple[objectives.Penalty, ...]] = {
  "none": (),
  "r1": (_r1,),
  "r1_r2": (_r1, _r2),
  "gradient_penalty": (_gradient_penalty,),
  "dragan": (_dragan,),
}


def weighted(weight: float, penalty: objectives.Penalty) -> objectives.Penalty:
  """A penalty times its weight."""
  return lambda *args: weight * penalty(*args)


class Way(NamedTuple):
  """A way of playing, and what goes with it.

  Attributes:
    play: of `jaxgan.training.games`.
    adam: both players' optimiser, `(learning_rate, b1=...)`.
    loss: `(loss, batch_size, axis_name) -> loss`.
  """

  play: games.Play
  adam: Callable[..., optax.GradientTransformation] = optax.adam
  loss: Callable[[AdversarialLoss, int, str | None], AdversarialLoss] = lambda loss, *_: loss


def _optimistic_adam(learning_rate: float, *, b1: float) -> optax.GradientTransformation:
  return optax.optimistic_adam_v2(learning_rate, b1=b1, nesterov=False)


def _adam_with_slope(learning_rate: float, *, b1: float) -> optax.GradientTransformation:
  return optax.adam(learning_rate, b1=b1, eps_root=1e-10)  # see games.unrolled


def _best_half(loss: AdversarialLoss, batch_size: int, axis_name: str | None) -> AdversarialLoss:
  return games.top_k(loss, max(1, batch_size // 2), axis_name=axis_name)


GAMES: dict[str, Way] = {
  "alternating": Way(games.alternating),
  "simultaneous": Way(games.simultaneous),
  "extragradient": Way(games.extragradient),
  "past_extragradient": Way(games.past_extragradient),
  "optimistic": Way(games.simultaneous, _optimistic_adam),
  "consensus": Way(games.consensus(gamma=1.0)),
  "symplectic": Way(games.symplectic()),
  "competitive": Way(games.competitive(0.2, iterations=4)),
  "unrolled": Way(games.unrolled(k=5), _adam_with_slope),
  "lookahead": Way(games.lookahead(games.alternating)),
  "top_k": Way(games.alternating, loss=_best_half),
}
