"""A DCGAN whose whole program plays in float64, where JAX_ENABLE_X64 is set: for tests of runs.

`python -m tests.double_precision --workdir=...`
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from experiments import dcgan
from jaxgan import latents, layers, losses, run, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(dcgan.Config):
  """Flags of DCGAN."""

  dense: bool = True
  """Networks that compile in no time."""


PRESETS: run.Presets = {"quick": {}, "measured": {}, "paper": {}}


class Painter(nn.Module):
  shape: tuple[int, int, int]

  @nn.compact
  def __call__(self, z, *, train):
    x = nn.Dense(256, use_bias=False)(z)
    x = layers.BatchNorm(not train, axis_name=training.AXIS, momentum=0.9)(x)
    height, width, channels = self.shape
    return jnp.tanh(nn.Dense(height * width * channels)(nn.relu(x))).reshape(-1, *self.shape)


class Judge(nn.Module):
  @nn.compact
  def __call__(self, x, *, train):
    x = nn.Dense(256, use_bias=False)(x.reshape(len(x), -1))
    x = layers.BatchNorm(not train, axis_name=training.AXIS, momentum=0.9)(x)
    return nn.Dense(1)(nn.relu(x))[:, 0]


def build(config: Config, spec: ImageSpec) -> training.System:
  """The system of a config, with a state that starts in float64."""
  system = dcgan.build(config, spec)
  if config.dense:
    z, adam = latents.normal(8), optax.adam(2e-4, b1=0.5)
    parts = objectives.adversarial(losses.non_saturating(), z, axis_name=training.AXIS)
    system = training.system(Painter(spec.shape), Judge(), adam, adam, parts, latents=z, spec=spec)

  def init(key):
    return jax.tree.map(
      lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
      system.init(key),
    )

  return system._replace(init=init)


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
