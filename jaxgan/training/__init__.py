"""State, objectives, step, games and sharding: what turns losses into a training run."""

from jaxgan.training import games, objectives
from jaxgan.training.averages import ramped_decay
from jaxgan.training.pool import Pool, pool_init, pool_query
from jaxgan.training.population import member, population, stack
from jaxgan.training.sharding import (
  AXIS,
  MEMBERS,
  MODEL_AXIS,
  batch_sharding,
  data_mesh,
  data_parallel,
  population_mesh,
  population_parallel,
  population_sharding,
  replicated,
  scanned,
  state_sharding,
)
from jaxgan.training.state import Game, Network, Player, new_player
from jaxgan.training.step import Aux, Forward, Lazy, Objective, Step, make_train_step
from jaxgan.training.system import Style, StyleNetwork, System, style_of, system
from jaxgan.training.varied import Varied, varied

__all__ = [
  "AXIS",
  "MEMBERS",
  "MODEL_AXIS",
  "Aux",
  "Forward",
  "Game",
  "Lazy",
  "Network",
  "Objective",
  "Player",
  "Pool",
  "Step",
  "Style",
  "StyleNetwork",
  "System",
  "Varied",
  "batch_sharding",
  "data_mesh",
  "data_parallel",
  "games",
  "make_train_step",
  "member",
  "new_player",
  "objectives",
  "pool_init",
  "pool_query",
  "population",
  "population_mesh",
  "population_parallel",
  "population_sharding",
  "ramped_decay",
  "replicated",
  "scanned",
  "stack",
  "state_sharding",
  "style_of",
  "system",
  "varied",
]
