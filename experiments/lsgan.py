"""LSGAN: Mao et al. 2016 (arXiv 1611.04076), equation 2, on the networks of DCGAN."""

import dataclasses

import optax

from experiments import choices
from jaxgan import latents, losses, models, run, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of LSGAN."""

  learning_rate: run.Rate = 1e-3
  """Of both players' Adam; the paper's for its LSUN pictures."""
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment."""
  latent_dim: run.Width = 100
  """Dimensions of the uniform latent; the paper's 112-pixel networks take 1024."""
  fake_target: run.Target = 0.0
  """a: what D answers to fakes. With -1, 1 and 0 the game minimises Pearson's chi-squared."""
  real_target: run.Target = 1.0
  """b: what D answers to real pictures."""
  generator_target: run.Target = 1.0
  """c: what G wants D to answer to fakes."""
  packing: run.Count = 1
  """PacGAN: pictures that the discriminator judges together."""


PRESETS: run.Presets = {
  "quick": dict(learning_rate=2e-4),
  "measured": dict(dataset="fashion_mnist", learning_rate=2e-4, width=16),
  "paper": dict(
    dataset="lsun/church_outdoor", resolution=64, width=64, latent_dim=1024, steps=100_000
  ),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The LSGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  options = dict(width=config.width, dtype=config.jax_dtype, axis_name=training.AXIS)
  discriminator = models.dcgan.Discriminator(resolution, **options)
  adam = optax.adam(config.learning_rate, b1=config.adam_b1)
  z = latents.uniform(config.latent_dim)
  loss = losses.least_squares(a=config.fake_target, b=config.real_target, c=config.generator_target)
  return training.system(
    models.dcgan.Generator(resolution, channels, **options),
    choices.packed(discriminator, config.packing, config.batch_size),
    adam,
    adam,
    objectives.adversarial(loss, z, score=lambda logits: logits, axis_name=training.AXIS),
    latents=z,
    spec=spec,
    ema_decay=config.ema_decay,
    probabilities=False,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
