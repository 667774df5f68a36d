"""Systems whose scalars are read from the state, where the members of a population differ."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from jaxgan.training.state import Game, Player
from jaxgan.training.step import Step
from jaxgan.training.system import System
from jaxgan.types import Array, Batch, Key, Metrics

__all__ = ["Varied", "varied"]


class Varied(NamedTuple):
  """A system whose scalars are read from the state.

  Attributes:
    init: from key and scalars by name to the game at step 0, whose `hyperparameters` they are.
    step: `(game, batch) -> (game, metrics)`.
    generate: `(game, latents) -> images`, of the generator's moving average if it has one.
  """

  init: Callable[[Key, Mapping[str, Array]], Game]
  step: Step
  generate: Callable[[Game, Array], Array]


def varied(
  build: Callable[[Mapping[str, float | Array]], System], values: Mapping[str, float]
) -> Varied:
  """A system whose scalars a population may vary.

  `build` is called with numbers once, and again whenever a function of the result is traced, then
  with the traced scalars of `Game.hyperparameters`. What it does arithmetic with may vary: learning
  rates and their schedules, weights of penalties, decays; not what decides the form of a program.

  Args:
    build: from scalars by name to the system.
    values: some for which it can be built.

  Returns:
    The system's functions. They raise `jax.errors.ConcretizationTypeError` when they are traced if
    `build` decides by a scalar.
  """
  plain = jax.eval_shape(build(values).init, jax.random.key(0))

  def built(scalars: Mapping[str, Array]) -> tuple[System, Game]:
    system = build(scalars)
    return system, jax.eval_shape(system.init, jax.random.key(0))

  def init(key: Key, scalars: Mapping[str, Array]) -> Game:
    game = build(scalars).init(key)
    return _of(plain, game).replace(hyperparameters=dict(scalars))

  def step(game: Game, batch: Batch) -> tuple[Game, Metrics]:
    system, like = built(game.hyperparameters)
    after, metrics = system.step(_of(like, game), batch)
    return _of(plain, after), metrics

  def generate(game: Game, latents: Array) -> Array:
    system, _ = built(game.hyperparameters)
    return system.generate(game.generator.evaluated(), latents)

  return Varied(init, step, generate)


def _of(like: Game, game: Game) -> Game:
  """The game with another's functions, which hold the scalars that they were built with."""

  def player(role: str) -> Player:
    functions = getattr(like, role)
    return getattr(game, role).replace(tx=functions.tx, apply_fn=functions.apply_fn)

  return game.replace(discriminator=player("discriminator"), generator=player("generator"))
