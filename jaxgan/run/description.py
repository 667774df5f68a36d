"""What a run says of itself: what it trains on what, in which environment, and what went wrong."""

import platform
import sys
from typing import Any

import flax
import jax
import numpy as np

import jaxgan
from jaxgan import data
from jaxgan.run.config import Config
from jaxgan.run.processes import local
from jaxgan.training import Game

__all__ = ["describe", "environment", "first_bad"]


def describe(
  game: Game, dataset: data.Dataset, step: int, config: Config, mesh: jax.sharding.Mesh
) -> None:
  """Prints data, sizes, devices and progress before the first step."""

  def millions(tree: Any) -> str:
    return f"{sum(x.size for x in jax.tree.leaves(tree)) / 1e6:.2f} M"

  kind = mesh.devices.flat[0].device_kind
  print(
    f"{dataset.name}: {len(dataset)} pictures {dataset.shape}\n"
    f"generator {millions(game.generator.params)}, discriminator "
    f"{millions(game.discriminator.params)} parameters; {mesh.size} x {kind}\n"
    f"step {step} of {config.steps}, in {config.workdir}",
    file=sys.stderr,
  )


def environment(mesh: jax.sharding.Mesh) -> dict[str, Any]:
  """Versions and devices, for the record."""
  return {
    "jaxgan": jaxgan.__version__,
    "jax": jax.__version__,
    "flax": flax.__version__,
    "python": platform.python_version(),
    "devices": f"{mesh.size} x {mesh.devices.flat[0].device_kind}",
  }


def first_bad(game: Game, player: str) -> str:
  """Names the player's first parameter that is no number, after the words of an error."""
  leaves = jax.tree_util.tree_leaves_with_path(local(getattr(game, player).params))
  for path, leaf in leaves:
    if not np.isfinite(leaf).all():
      return f" (parameters from {jax.tree_util.keystr(path, simple=True, separator='.')} on)"
  return " (its parameters are finite still)"
