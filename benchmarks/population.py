"""What a population costs against its members one by one: `python -m benchmarks.population`.

Alternates a step of one DCGAN with a step of n of them in one program, in one process.
"""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import tyro

from benchmarks import machine, models

__all__ = ["Options", "main", "measure"]


@dataclasses.dataclass(frozen=True)
class Options:
  """Times one run's step and a population's."""

  members: int = 8
  """Runs in the population."""
  resolution: int = 32
  """Height and width."""
  width: int = 32
  """Features of the widest-resolution stage."""
  batch_size: int = 64
  """Pictures in a member's batch."""
  rounds: int = 8
  """Times that each is taken, in turn."""
  json: bool = False
  """Print JSON rather than a sentence."""


def measure(options: Options) -> dict[str, Any]:
  """Median seconds of both steps, and of the population's over as many single ones."""
  for field in dataclasses.fields(options):
    if field.type is int and getattr(options, field.name) < 1:
      flag = field.name.replace("_", "-")
      raise ValueError(f"--{flag}={getattr(options, field.name)} must be positive")
  single, together = _steps(options)
  for step in (single, together):
    step()  # compiles
  times: dict[str, list[float]] = {"single": [], "population": []}
  for _ in range(options.rounds):
    for name, step in (("single", single), ("population", together)):
      began = time.perf_counter()
      step()
      times[name].append(time.perf_counter() - began)
  rounds = zip(times["population"], times["single"], strict=True)
  ratios = [many / (options.members * one) for many, one in rounds]
  return {
    "single": statistics.median(times["single"]),
    "population": statistics.median(times["population"]),
    "ratio": statistics.median(ratios),
    "quartiles": statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios,
  }


def _steps(options: Options) -> tuple[Callable[[], None], Callable[[], None]]:
  import jax
  import jax.numpy as jnp

  from benchmarks import jaxgan_steps
  from jaxgan import training

  size = models.Size(
    resolution=options.resolution, batch_size=options.batch_size, width=options.width, channels=1
  )
  gan = jaxgan_steps.dcgan_system(size)
  n, mesh = options.members, training.population_mesh(options.members, jax.devices()[:1])
  shape = (1, options.batch_size, options.resolution, options.resolution, 1)
  images = jax.random.uniform(jax.random.key(0), shape, minval=-1.0)

  def repeated(step: Callable[..., Any], game: training.Game, *batch: Any) -> Callable[[], None]:
    state = [game]

    def run() -> None:
      state[0], metrics = step(state[0], *batch)
      jax.block_until_ready(metrics)

    return run

  init = jax.jit(gan.init)
  games = [init(jax.random.key(i)) for i in range(n)]
  single = training.data_parallel(gan.step, training.data_mesh(jax.devices()[:1]))
  together = training.population_parallel(gan.step, n, mesh)
  batches = {"image": jnp.broadcast_to(images, (1, n, *shape))}
  return (
    repeated(single, init(jax.random.key(n)), {"image": images}),
    repeated(together, training.stack(games), None, batches),
  )


def main(options: Options) -> None:
  found = measure(options)
  if options.json:
    print(json.dumps({**machine.describe("benchmarks.population"), **found}))
    return
  low, _, high = found["quartiles"]
  print(
    f"{options.members} members in one program: {found['population']:.3f} s a step, one alone "
    f"{found['single']:.3f} s: {found['ratio']:.2f} ({low:.2f} to {high:.2f}) of {options.members} "
    "single steps"
  )


if __name__ == "__main__":
  machine.keep_memory()
  main(tyro.cli(Options))
