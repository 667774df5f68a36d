"""State, objectives, step, games and sharding: what turns losses into a training run."""

from jaxgan.training import games, objectives
from jaxgan.training.sharding import (
  AXIS,
  MODEL_AXIS,
  batch_sharding,
  data_mesh,
  data_parallel,
  replicated,
  scanned,
  state_sharding,
)
from jaxgan.training.state import Game, Network, Player, new_player
from jaxgan.training.step import Aux, Forward, Objective, Step, make_train_step
from jaxgan.training.system import System, system

__all__ = [
  "AXIS",
  "MODEL_AXIS",
  "Aux",
  "Forward",
  "Game",
  "Network",
  "Objective",
  "Player",
  "Step",
  "System",
  "batch_sharding",
  "data_mesh",
  "data_parallel",
  "games",
  "make_train_step",
  "new_player",
  "objectives",
  "replicated",
  "scanned",
  "state_sharding",
  "system",
]
