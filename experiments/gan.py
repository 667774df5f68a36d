"""GAN: Goodfellow et al. 2014 (arXiv 1406.2661), Algorithm 1.

A generator of three dense layers against maxout with dropout, by stochastic gradient descent with
momentum. Both players move at once from one minibatch, as in the paper's code.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp

from experiments import choices, parzen
from jaxgan import latents, losses, models, run, training
from jaxgan.training import games, objectives
from jaxgan.types import Array, ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of the first GAN."""

  resolution: run.Resolution = 28
  batch_size: run.Count = 100
  width: run.Width = 1200
  """Of the generator's hidden layers; the discriminator's are a fifth as wide."""
  learning_rate: run.Rate = 0.1
  """Of both players at the start; each update divides it by 1.000004."""
  momentum_steps: run.Count = 125_000
  """Updates over which momentum grows from 0.5 to 0.7: the paper's 250 epochs of 500 batches."""
  latent_dim: run.Width = 100
  """Dimensions of the uniform latent."""
  loss: Literal["non_saturating", "minimax"] = "non_saturating"
  """Of the generator: -log D(G(z)), or log(1 - D(G(z))) as Algorithm 1 has it."""
  d_steps: run.Updates = 1
  """Discriminator updates to each of the generator's: k. Above 1 the last is simultaneous."""
  packing: run.Count = 1
  """PacGAN: pictures that the discriminator judges together."""
  parzen_samples: run.Samples = 10_000
  """Samples of the Parzen window estimate at the end."""


PRESETS: run.Presets = {
  "quick": dict(parzen_samples=1000),
  "measured": dict(dataset="fashion_mnist", steps=4000, momentum_steps=4000, sample_every=2000),
  "paper": dict(dataset="mnist", split="train[:50000]", steps=125_000, sample_every=5000),
}


def unit_uniform(dimension: int) -> Callable[..., Array]:
  """Uniform latents of unit variance."""
  base = latents.uniform(dimension)
  return lambda key, n, *, axis_name=None: jnp.sqrt(3.0) * base(key, n, axis_name=axis_name)


def build(config: Config, spec: ImageSpec) -> training.System:
  """The GAN of a config for pictures of a shape."""
  sgd = choices.early_sgd(config.learning_rate, 1.000004, config.momentum_steps)
  resolution, _, channels = spec.shape
  generator = models.gan.Generator(resolution, channels, config.width, dtype=config.jax_dtype)
  discriminator = models.gan.Discriminator(
    width=max(config.width // 5, 1), dtype=config.jax_dtype, axis_name=training.AXIS
  )
  loss = {"non_saturating": losses.non_saturating, "minimax": losses.minimax}[config.loss]()
  loss = choices.halved(loss)  # the code's: its rates go with the mean of D's two halves
  z = unit_uniform(config.latent_dim)
  system = training.system(
    generator,
    choices.packed(discriminator, config.packing, config.batch_size),
    sgd,
    sgd,
    objectives.adversarial(loss, z, axis_name=training.AXIS),
    latents=z,
    spec=spec,
    d_steps=config.d_steps,
    play=games.simultaneous,
    ema_decay=config.ema_decay,
  )
  return parzen.reported(system, config, config.parzen_samples)


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
