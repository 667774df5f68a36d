"""What a run shows of its generator: sample grids of fixed latents, and a score."""

import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import data, metrics, sampling
from jaxgan.run.config import Config, RunError
from jaxgan.run.logs import Log, diverged
from jaxgan.training import Game, System
from jaxgan.types import Array, Key

__all__ = ["Judge"]

_GRID = 64  # pictures in a sample grid
_COMPARED = 500  # of them in the diversity, whose time goes with the square
_SCORED = 1000  # most samples, and as many real pictures, in a score


class Judge:
  """Draws the sample grids and scores checkpoints."""

  def __init__(self, system: System, config: Config, dataset: data.Dataset, log: Log) -> None:
    self._generate = jax.jit(system.generate)
    self._folder = pathlib.Path(config.workdir) / "samples"
    self._log = log
    grid_key, score_key, self._direction_key = _evaluation_keys(config.seed)
    n = min(_SCORED, len(dataset))
    self._grid_latents = system.latents(grid_key, _GRID)
    self._score_latents = system.latents(score_key, n)
    chosen = np.random.default_rng(config.seed).permutation(len(dataset))[:n]
    self._real = np.stack([dataset[int(i)]["image"] for i in chosen])
    self._draw(0, "real", self._real[:_GRID])

  def draw(self, game: Game) -> None:
    """Writes the grid of fixed latents."""
    images = self._images(game, self._grid_latents)
    self._draw(int(game.step), f"step_{int(game.step):06d}", sampling.to_uint8(images))

  def score(self, game: Game) -> float:
    """Sliced Wasserstein distance of samples to real pictures, on pixels in [-1, 1].

    Raises:
      RunError: it is not finite, so that the game must not be saved.
    """
    fake = jnp.asarray(self._images(game, self._score_latents))
    real = jnp.asarray(self._real, jnp.float32) / 127.5 - 1.0
    value = float(metrics.sliced_wasserstein(real, fake, self._direction_key))
    if not math.isfinite(value):
      raise RunError(diverged("the samples", int(game.step)))
    diversity = metrics.sample_diversity(fake[:_COMPARED], real[:_COMPARED])
    self._log.scalars(int(game.step), {"sliced_wasserstein": value, "diversity": float(diversity)})
    return value

  def _images(self, game: Game, latents: Array) -> np.ndarray:
    variables = game.generator.evaluated()
    return sampling.in_batches(lambda z: self._generate(variables, z), latents)

  def _draw(self, step: int, name: str, images: np.ndarray) -> None:
    picture = sampling.grid(images)
    sampling.save_png(self._folder / f"{name}.png", picture)
    self._log.image(step, "real" if name == "real" else "samples", picture)


def _evaluation_keys(seed: int) -> tuple[Key, Key, Key]:
  """Keys of the fixed latents, apart from all that training draws."""
  keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0x5A3), 3)
  return keys[0], keys[1], keys[2]
