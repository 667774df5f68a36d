"""The state of a game: two players, one key, one step count; a pytree from top to bottom."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.training import train_state

from jaxgan.types import Array, Key, PyTree

__all__ = ["Game", "Network", "Player", "new_player"]


class Network(Protocol):
  """What training asks of a network: linen's `init` and `apply`."""

  def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns the variables, `{"params": ..., **collections}`."""

  def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns the output, with the written collections if `mutable` names any."""


class Player(train_state.TrainState):
  """One side of the game: parameters, optimiser and what else the networks keep.

  Attributes:
    collections: the other variables of the networks, such as `batch_stats`.
    average: exponential moving average of `{"params": ..., **collections}`, or None.
  """

  collections: PyTree = struct.field(default_factory=dict)
  average: PyTree = None

  @property
  def variables(self) -> dict[str, PyTree]:
    """Current variables, as `apply_fn` takes them."""
    return {"params": self.params, **self.collections}

  def evaluated(self, *, average: bool = True) -> dict[str, PyTree]:
    """Variables to evaluate with: the moving average where there is one and `average` is true.

    Batch statistics are averaged along with the parameters: averaged weights under the statistics
    of the raw ones give washed-out samples.
    """
    return self.average if average and self.average is not None else self.variables


class Game(struct.PyTreeNode):
  """Everything that a training run carries from step to step.

  Attributes:
    step: int32 scalar, completed steps.
    key: the run's key; every draw folds the step into it, so that a run resumed at step n draws
      what the uninterrupted run drew.
    discriminator: the player that tells real from fake.
    generator: the player that makes fakes.
    hyperparameters: scalars that a population of runs may vary.
    extra: what some systems carry besides (a penalty's running mean, a pool of images).
  """

  step: Array
  key: Key
  discriminator: Player
  generator: Player
  hyperparameters: dict[str, Array] = struct.field(default_factory=dict)
  extra: dict[str, PyTree] = struct.field(default_factory=dict)

  @classmethod
  def new(
    cls,
    key: Key,
    discriminator: Player,
    generator: Player,
    *,
    hyperparameters: Mapping[str, Array] | None = None,
    extra: Mapping[str, PyTree] | None = None,
  ) -> "Game":
    """A game at step 0."""
    return cls(
      step=jnp.zeros([], jnp.int32),
      key=key,
      discriminator=discriminator,
      generator=generator,
      hyperparameters=dict(hyperparameters or {}),
      extra=dict(extra or {}),
    )


def new_player(
  network: Network,
  optimizer: optax.GradientTransformation,
  key: Key,
  *inputs: Array,
  average: bool = False,
) -> Player:
  """Initialises a network and its optimiser.

  Args:
    network: a linen module called as `network(*inputs, train=...)`.
    optimizer: the player's optax transformation.
    key: key of the initial weights.
    *inputs: example inputs; only their shapes and dtypes matter.
    average: keep an exponential moving average of the variables.

  Returns:
    The player at its first step.
  """
  variables = dict(network.init(key, *inputs, train=False))
  params = variables.pop("params")
  # Copies, since the step donates its state and a buffer can be donated only once.
  ema = jax.tree.map(jnp.copy, {"params": params, **variables}) if average else None
  player = Player.create(
    apply_fn=network.apply, params=params, tx=optimizer, collections=variables, average=ema
  )
  return player.replace(step=jnp.zeros([], jnp.int32))
