"""Games of gradients alone."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jaxgan.training.games.moves import (
  ROLES,
  Moves,
  Play,
  Remembering,
  begin,
  early_steps,
  field,
  kept,
  params_of,
  until_joint,
  update_both,
  with_params,
)
from jaxgan.types import Array, Batch, Key, Metrics

if TYPE_CHECKING:
  from jaxgan.training.state import Game


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
  game, final = early_steps(moves, game, batch, key)
  d_key = jax.random.fold_in(key, moves.d_steps - 1)
  fakes = moves.forward(game, final, d_key)
  grads, d_aux = moves.gradient("discriminator", game, final, d_key, fakes)
  game = moves.update("discriminator", game, grads, d_aux)
  for j in range(moves.g_steps):
    g_key = jax.random.fold_in(key, moves.d_steps + j)
    grads, g_aux = moves.gradient("generator", game, final, g_key, fakes if j == 0 else None)
    game = moves.update("generator", game, grads, g_aux)
  return game, {**d_aux.metrics, **g_aux.metrics}


def simultaneous(moves: Moves, game: "Game", batch: Batch, key: Key) -> tuple["Game", Metrics]:
  """Both players move by the gradients at the same parameters, from one forward pass.

  On `min_x max_y xy` it spirals outwards, by `sqrt(1 + eta^2)` a step; with both players on
  `optax.optimistic_gradient_descent` (Daskalakis et al. 2017, arXiv 1711.00141) it converges.

  Args:
    moves: gradients and updates; with `d_steps` above 1, D makes the others alone and first.
    game: state before the step.
    batch: real data, `[d_steps, B, ...]`.
    key: the step's key.

  Returns:
    State and metrics after the step.

  Raises:
    ValueError: `g_steps` is above 1.
  """
  game, joint = until_joint(moves, game, batch, key)
  return update_both(moves, game, *field(moves, game, joint))


def extragradient(moves: Moves, game: "Game", batch: Batch, key: Key) -> tuple["Game", Metrics]:
  """Both players move by the gradients at the place to which their gradients would lead them.

  Korpelevich 1976; Gidel et al. 2018 (arXiv 1802.10551), algorithm 2:

    w' = w - eta F(w),    w <- w - eta F(w')

  The step to w' is one of the optimisers, whose moments it moves too, so that with Adam this is
  ExtraAdam (algorithm 4) and a schedule counts two to a step. Statistics and averages are written
  by the second step only. Both steps see the same batch and latents.

  Args:
    moves: gradients and updates; with `d_steps` above 1, D makes the others alone and first.
    game: state before the step.
    batch: real data, `[d_steps, B, ...]`.
    key: the step's key.

  Returns:
    State and metrics after the step.

  Raises:
    ValueError: `g_steps` is above 1.
  """
  game, joint = until_joint(moves, game, batch, key)
  ahead, _ = update_both(moves, game, *field(moves, game, joint))
  grads, auxes = field(moves, with_params(game, params_of(ahead)), joint)
  return update_both(moves, _with_moments(game, ahead), grads, auxes)


def _extragradient_from_past(
  moves: Moves, game: "Game", batch: Batch, key: Key
) -> tuple["Game", Metrics]:
  previous = kept(game, _PAST)
  game, joint = until_joint(moves, game, batch, key)
  ahead = game
  for role in ROLES:
    player = getattr(game, role)
    updates, opt_state = player.tx.update(previous[role], player.opt_state, player.params)
    params = jax.tree.map(jnp.add, player.params, updates)
    ahead = ahead.replace(**{role: player.replace(params=params, opt_state=opt_state)})
  grads, auxes = field(moves, with_params(game, params_of(ahead)), joint)
  game, metrics = update_both(moves, _with_moments(game, ahead), grads, auxes)
  return game.replace(extra={**game.extra, _PAST: grads}), metrics


def _remember_gradient(game: "Game") -> "Game":
  zeros = jax.tree.map(jnp.zeros_like, params_of(game))
  return game.replace(extra={**game.extra, _PAST: zeros})


def _with_moments(game: "Game", ahead: "Game") -> "Game":
  return game.replace(
    **{
      role: getattr(game, role).replace(opt_state=getattr(ahead, role).opt_state) for role in ROLES
    }
  )


_PAST = "past_gradient"

past_extragradient = Remembering(_extragradient_from_past, _remember_gradient)
"""Extragradient that looks ahead by the last step's gradient: one evaluation of F a step.

Popov 1980; Gidel et al. 2018 (arXiv 1802.10551), algorithm 3, with the first look ahead of length
0:

  w'_t = w_t - eta F(w'_{t-1}),    w_{t+1} = w_t - eta F(w'_t)

`F(w'_{t-1})` is kept in `game.extra`: start from `games.begin(past_extragradient, game)`.
"""


def lookahead(play: Play, *, k: int = 5, alpha: float = 0.5) -> Remembering:
  """Draws both players back towards where they were k steps ago.

  Lookahead-minimax, Chavdarova et al. 2020 (arXiv 2006.14567), algorithm 1: after every k joint
  steps, for both players together,

    slow <- slow + alpha (fast - slow),    fast <- slow

  Optimisers and moving averages go on with the fast weights.

  Args:
    play: the way of playing between.
    k: steps between, 1 or more.
    alpha: how far the slow weights follow, in (0, 1].

  Returns:
    A way of playing that keeps the slow weights in `game.extra`: start from
    `games.begin(play, game)`, as `training.system` does.

  Raises:
    ValueError: an argument is out of range; at the start, that `play` is a lookahead itself.

  >>> from jaxgan.training import games
  >>> play = lookahead(games.extragradient, k=5, alpha=0.5)
  """
  if k < 1:
    raise ValueError(f"k={k} must be 1 or more: the paper takes 5")
  if not 0.0 < alpha <= 1.0:
    raise ValueError(f"alpha={alpha} must lie in (0, 1]: the paper takes 0.5")

  def start(game: "Game") -> "Game":
    game = begin(play, game)
    if _SLOW in game.extra:
      raise ValueError(f"game.extra already has {_SLOW!r}: one lookahead cannot hold another")
    # Copies, since the step donates its state and a buffer can be donated only once.
    return game.replace(extra={**game.extra, _SLOW: jax.tree.map(jnp.copy, params_of(game))})

  def step(moves: Moves, game: "Game", batch: Batch, key: Key) -> tuple["Game", Metrics]:
    slow = kept(game, _SLOW)
    due = (game.step + 1) % k == 0
    game, metrics = play(moves, game, batch, key)
    fast = params_of(game)

    def follow(slow: Array, fast: Array) -> Array:
      return jnp.where(due, slow + alpha * (fast - slow), slow)

    slow = jax.tree.map(follow, slow, fast)
    fast = jax.tree.map(lambda slow, fast: jnp.where(due, slow, fast), slow, fast)
    game = with_params(game, fast)
    return game.replace(extra={**game.extra, _SLOW: slow}), metrics

  return Remembering(step, start)


_SLOW = "slow_weights"
