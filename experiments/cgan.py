"""Conditional GAN: Mirza and Osindero 2014 (arXiv 1411.1784), section 4.1.

Both networks are told the class: the generator makes a picture of it, the discriminator judges
whether a picture is a real one of its class.
"""

import dataclasses

from experiments import choices
from jaxgan import losses, models, run, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of the conditional GAN."""

  resolution: run.Resolution = 28
  batch_size: run.Count = 100
  width: run.Width = 1200
  """Of the generator's last hidden layer; the other layers keep the paper's proportions to it."""
  learning_rate: run.Rate = 0.1
  """Of both players at the start; each update divides it by 1.00004, down to 1e-6."""
  momentum_steps: run.Count = 125_000
  """Updates over which momentum grows from 0.5 to 0.7."""
  latent_dim: run.Width = 100
  """Dimensions of the noise beside the class, uniform in the unit hypercube."""


PRESETS: run.Presets = {
  "quick": {},
  "measured": dict(dataset="fashion_mnist", steps=4000, momentum_steps=4000, sample_every=2000),
  "paper": dict(dataset="mnist", split="train[:50000]", steps=125_000, sample_every=5000),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The conditional GAN of a config for pictures of a shape."""
  sgd = choices.early_sgd(config.learning_rate, 1.00004, config.momentum_steps)
  resolution, _, channels = spec.shape
  z, conditions = choices.labelled(choices.unit_cube(config.latent_dim), spec)
  width = config.width
  options = dict(dtype=config.jax_dtype, axis_name=training.AXIS)
  generator = models.cgan.Generator(
    len(spec.classes),
    resolution,
    channels,
    noise_width=max(width // 6, 1),
    label_width=max(width * 5 // 6, 1),
    width=width,
    **options,
  )
  discriminator = models.cgan.Discriminator(
    len(spec.classes), width=max(width // 5, 1), label_width=max(width // 24, 1), **options
  )
  return training.system(
    generator,
    discriminator,
    sgd,
    sgd,
    objectives.adversarial(
      losses.non_saturating(), z, conditions=conditions, axis_name=training.AXIS
    ),
    latents=z,
    conditions=conditions,
    spec=spec,
    ema_decay=config.ema_decay,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
