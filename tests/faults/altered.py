"""DCGAN as `python -m experiments.dcgan` runs it, in a world that something is wrong with.

`python -m tests.faults.altered [--nan=STEP] [--once] [--rate=X] [--clock] FLAGS...`: loss and
parameters of the generator are NaN at a step, with `--once` only under the noise that the run began
with, with `--rate` only of members of that learning rate; the clock goes backwards.
"""

import argparse
import sys
import time


def main() -> None:
  parser = argparse.ArgumentParser(allow_abbrev=False)
  parser.add_argument("--nan", type=int)
  parser.add_argument("--once", action="store_true")
  parser.add_argument("--rate", type=float)
  parser.add_argument("--clock", action="store_true")
  options, flags = parser.parse_known_args()
  if options.clock:
    start, now, now_ns = time.time(), time.time, time.time_ns
    time.time = lambda: 2.0 * start - now() - 4e7  # more than a year ago, and on to the past
    time.time_ns = lambda: int(2e9 * start) - now_ns() - int(4e16)

  import jax
  import jax.numpy as jnp

  from experiments import dcgan
  from jaxgan import run

  def build(config: dcgan.Config, spec: object) -> object:
    system = dcgan.build(config, spec)
    if options.nan is None:
      return system

    def step(game: object, batch: object) -> object:
      after, metrics = system.step(game, batch)
      bad = after.step == options.nan
      if options.once:
        began = jax.random.split(jax.random.key(config.seed), 4)[0]
        bad &= (jax.random.key_data(game.key) == jax.random.key_data(began)).all()
      if options.rate is not None:
        bad &= jnp.float32(config.learning_rate) == jnp.float32(options.rate)
      spoil = jnp.where(bad, jnp.nan, 0.0)
      params = jax.tree.map(lambda x: x + spoil.astype(x.dtype), after.generator.params)
      metrics = {**metrics, "loss_G": metrics["loss_G"] + spoil}
      return after.replace(generator=after.generator.replace(params=params)), metrics

    return system._replace(step=step)

  build.__module__ = dcgan.__name__
  sys.argv[0] = "altered"
  run.main(build, dcgan.Config, dcgan.PRESETS, flags)


if __name__ == "__main__":
  main()
