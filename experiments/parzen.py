"""The Parzen window estimate of a run's likelihood, as the papers of 2014 to 2016 report it."""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compilation, data, metrics, run, sampling
from jaxgan.training import Game, System

_VALIDATED = 1000  # held-out pictures that choose the bandwidth
_TESTED = 10_000  # most that are then scored


def reported(system: System, config: run.Config, samples: int) -> System:
  """The system with Parzen's estimate among its figures, where the data have a split `test`.

  Pixels in [0, 1]. The first pictures held out (1000, or half of them) choose the bandwidth, the
  others are scored. The moving average of the generator is sampled where the config has one.

  Args:
    system: whose figures there are none of yet.
    config: the run's.
    samples: centres of the estimate.

  Raises:
    RunError: there are no samples, or the run trains on what is to be held out.
  """
  if samples < 1:
    raise run.RunError(f"--parzen-samples={samples} must be positive")
  if "test" in config.split:
    raise run.RunError(f"--split={config.split} trains on what the Parzen estimate holds out")
  generate = compilation.jit(system.generate)

  @functools.cache
  def held_out() -> np.ndarray | None:
    try:
      test = run.load_data(dataclasses.replace(config, split="test", limit=None))
    except data.DataError:
      return None
    pictures = [test[i]["image"] for i in range(min(len(test), _VALIDATED + _TESTED))]
    return np.stack(pictures).reshape(len(pictures), -1).astype(np.float32) / 255.0

  def report(game: Game) -> Mapping[str, float]:
    pictures = held_out()
    if pictures is None:
      return {}
    variables = game.generator.evaluated()
    z = system.latents(jax.random.key(config.seed), samples)
    images = sampling.in_batches(lambda z: generate(variables, z), z, 500)
    centres = (np.asarray(images).reshape(samples, -1) + 1.0) / 2.0
    chosen = min(_VALIDATED, len(pictures) // 2)
    bandwidth = metrics.parzen_bandwidth(centres, pictures[:chosen])
    estimate = metrics.parzen_log_likelihood(
      jnp.asarray(centres), pictures[chosen:], bandwidth.sigma
    )
    return {
      "parzen_log_likelihood": estimate.mean,
      "parzen_standard_error": estimate.standard_error,
      "parzen_sigma": estimate.sigma,
    }

  return system._replace(report=report)
