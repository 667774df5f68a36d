"""Plays ten steps of a GAN in float64 as one of several processes, and writes where they end.

`python -m tests.distributed_worker NAME OUT COUNT INDEX PORT`
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np


def main(name: str, out: str, count: int, index: int, port: int) -> None:
  jax.config.update("jax_enable_x64", True)
  if count > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", count, index)

  from experiments import dcgan, wgan_gp
  from jaxgan import training
  from jaxgan.types import ImageSpec

  module = {"dcgan": dcgan, "wgan_gp": wgan_gp}[name]
  config = module.Config(workdir="", resolution=16, width=2, batch_size=16)
  system = module.build(config, ImageSpec((16, 16, 1)))
  mesh = training.data_mesh()
  sharding = training.batch_sharding(mesh)

  def wide(tree):
    return jax.tree.map(
      lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )

  start = jax.jit(lambda key: wide(system.init(key)), out_shardings=training.replicated(mesh))
  game = start(jax.random.key(0))
  step = training.data_parallel(system.step, mesh)
  for i in range(10):
    shape = (system.d_steps, 16, 16, 16, 1)
    images = np.random.default_rng(i).uniform(-1.0, 1.0, shape)
    batch = {"image": jax.make_array_from_callback(shape, sharding, images.__getitem__)}
    game, metrics = step(game, batch)
  if index == 0:
    ends = (game.discriminator.params, game.generator.params, game.generator.average, metrics)
    leaves = [np.asarray(x) for x in jax.tree.leaves(ends)]
    np.savez(out, *leaves)


if __name__ == "__main__":
  main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
