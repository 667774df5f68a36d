"""State, objectives, step, games and sharding: what turns losses into a training run."""

from jaxgan.training import games, objectives
from jaxgan.training.averages import ramped_decay
from jaxgan.training.sharding import (
  AXIS,
  batch_sharding,
  data_mesh,
  data_parallel,
  replicated,
  scanned,
)
from jaxgan.training.state import Game, Network, Player, new_player
from jaxgan.training.step import Aux, Forward, Objective, Step, make_train_step
from jaxgan.training.system import Style, StyleNetwork, System, style_of, system

__all__ = [
  "AXIS",
  "Aux",
  "Forward",
  "Game",
  "Network",
  "Objective",
  "Player",
  "Step",
  "Style",
  "StyleNetwork",
  "System",
  "batch_sharding",
  "data_mesh",
  "data_parallel",
  "games",
  "make_train_step",
  "new_player",
  "objectives",
  "ramped_decay",
  "replicated",
  "scanned",
  "style_of",
  "system",
]
