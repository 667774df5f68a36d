"""What a run shows of its generator: sample grids of fixed latents, a score, and its health."""

import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compilation, data, metrics, sampling
from jaxgan.run.conditioning import condition_of
from jaxgan.run.config import Config
from jaxgan.run.logs import DivergedError, Log, Silence
from jaxgan.run.processes import is_first, local
from jaxgan.run.walks import draw_walk, walk_latents
from jaxgan.run.writing import writing
from jaxgan.training import Game, System
from jaxgan.types import Array, Key

__all__ = ["Judge", "grid_latents"]

_GRID = 64  # pictures in a sample grid
_COMPARED = 500  # of them in the diversity, whose time goes with the square
_CONDITIONS = 8  # most labels or codes under which the same noise is compared
_SCORED = 1000  # most samples, and as many real pictures, in a score


class Judge:
  """Draws the sample grids and scores checkpoints."""

  def __init__(
    self, system: System, config: Config, dataset: data.Dataset, log: Log | Silence
  ) -> None:
    self._generate = compilation.jit(system.generate)
    self._workdir = pathlib.Path(config.workdir)
    self._folder = self._workdir / "samples"
    self._log = log
    _, score_key, self._direction_key = _evaluation_keys(config.seed)
    n = min(_SCORED, len(dataset))
    self._grid_latents = grid_latents(system, config)
    self._system, self._walks = system, config.report
    inputs = system.inputs
    self._grid_inputs = None if inputs is None else np.asarray(inputs(self._grid_latents))
    self._score_latents = system.latents(score_key, n)
    chosen = np.random.default_rng(config.seed).permutation(len(dataset))[:n]
    self._real = np.stack([dataset[int(i)]["image"] for i in chosen])
    self._condition_latents = _conditions(system, self._grid_latents)
    self._draw(0, "real", sampling.grid(self._real[:_GRID]))

  def draw(self, game: Game) -> None:
    """Writes the grid of fixed latents."""
    images = sampling.to_uint8(self._images(game, self._grid_latents))
    name = f"step_{int(game.step):06d}"
    if self._grid_inputs is None:
      self._draw(int(game.step), name, sampling.grid(images))
    else:
      inputs, images = sampling.same_channels(sampling.to_uint8(self._grid_inputs), images)
      self._draw(int(game.step), name, sampling.pair_grid(inputs, images))

  def walk(self, game: Game) -> None:
    """Writes a walk between the first of those latents, where they can be walked."""
    z = walk_latents(self._system, self._grid_latents) if self._walks else None
    if z is None:
      return

    def images(z: Array) -> np.ndarray:
      return self._images(game, z)

    if is_first():
      draw_walk(images, z, self._workdir, int(game.step))
    else:
      images(z)  # which the processes ask for at once

  def score(self, game: Game) -> float:
    """Sliced Wasserstein distance of samples to real pictures, on pixels in [-1, 1].

    Raises:
      RunError: it is not finite, so that the game must not be saved.
    """
    fake = self._finite(game, self._score_latents)
    value = float(metrics.sliced_wasserstein(self._scaled(), fake, self._direction_key))
    self._log.scalars(int(game.step), {"sliced_wasserstein": value, **self._spread(game, fake)})
    return value

  def watch(self, game: Game, values: Mapping[str, float]) -> None:
    """Logs what health reads of samples, where it is not the score that ranks checkpoints.

    Args:
      game: the state.
      values: what is known already.

    Raises:
      RunError: the samples are not finite.
    """
    fake = self._finite(game, self._score_latents[:_COMPARED])
    self._log.scalars(int(game.step), {**self._spread(game, fake), **values})

  def _spread(self, game: Game, fake: Array) -> dict[str, float]:
    """Of samples, and how much of it follows their condition if they have one."""
    real = self._scaled()[:_COMPARED]
    values = {"diversity": float(metrics.sample_diversity(fake[:_COMPARED], real))}
    if self._condition_latents is not None:
      conditions, n, _ = self._condition_latents.shape
      z = self._condition_latents.reshape(conditions * n, -1)
      images = self._finite(game, z).reshape(conditions, n, -1)
      values["condition_effect"] = float(metrics.condition_effect(images))
    return values

  def _scaled(self) -> Array:
    return jnp.asarray(self._real, jnp.float32) / 127.5 - 1.0

  def _finite(self, game: Game, latents: Array) -> Array:
    images = self._images(game, latents)
    if not np.isfinite(images).all():
      raise DivergedError(f"the samples are not finite at step {int(game.step)}")
    return jnp.asarray(images)

  def _images(self, game: Game, latents: Array) -> np.ndarray:
    variables = local(game.generator.evaluated())
    return sampling.in_batches(lambda z: self._generate(variables, z), latents)

  def _draw(self, step: int, name: str, picture: np.ndarray) -> None:
    if not is_first():
      return
    path = self._folder / f"{name}.png"
    with writing(path):
      sampling.save_png(path, picture)
    self._log.image(step, "real" if name == "real" else "samples", picture)


def grid_latents(system: System, config: Config) -> Array:
  """The fixed latents of a run's sample grids."""
  return system.latents(_evaluation_keys(config.seed)[0], _GRID)


def _conditions(system: System, grid_latents: Array) -> Array | None:
  """Latents `[conditions, n, d]`: the grid's noise under several values of the label or code."""
  condition = condition_of(system.latents)
  if condition is None:
    return None
  # A power of two, so that all of them are as many as the grid has and share its program.
  classes = len(condition.columns)
  several = 2 ** min(_CONDITIONS.bit_length() - 1, classes.bit_length() - 1)
  values = np.linspace(0, classes - 1, several).round().astype(int)
  z = np.tile(np.asarray(grid_latents)[: _GRID // several], (several, 1, 1))
  z[:, :, condition.columns] = np.eye(classes)[values][:, None]
  return jnp.asarray(z)


def _evaluation_keys(seed: int) -> tuple[Key, Key, Key]:
  """Keys of the fixed latents, apart from all that training draws."""
  keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0x5A3), 3)
  return keys[0], keys[1], keys[2]
