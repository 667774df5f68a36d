"""EBGAN: Zhao, Mathieu and LeCun 2016 (arXiv 1609.03126), equations 1 to 4.

The discriminator is an autoencoder, whose error of reconstruction is an energy: low for data,
above a margin for fakes. The pulling-away term keeps the codes of fakes apart.
"""

import dataclasses

import optax

from jaxgan import latents, losses, models, run, training
from jaxgan.training import Game, objectives
from jaxgan.types import Array, Batch, ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of EBGAN."""

  learning_rate: run.Rate = 1e-3
  """Of both players' Adam; the paper's on MNIST."""
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment."""
  latent_dim: run.Width = 100
  """Dimensions of the normal latent."""
  margin: run.Bound = 10.0
  """m: energy that fakes are pushed up to, in the unit of the error, the Euclidean norm over all
  pixels in [-1, 1]. Near the energy of real pictures; above it by far, D ignores them."""
  pulling_away_weight: run.Weight = 0.1
  """Of the pulling-away term."""


PRESETS: run.Presets = {
  "quick": {},
  "measured": dict(dataset="fashion_mnist", learning_rate=2e-4, width=16, steps=1200),
  "paper": dict(dataset="celeb_a", resolution=64, width=64, margin=20.0, steps=100_000),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The EBGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  options = dict(width=config.width, dtype=config.jax_dtype, axis_name=training.AXIS)
  adam = optax.adam(config.learning_rate, b1=config.adam_b1)
  z = latents.normal(config.latent_dim)

  def pulling_away(batch: Batch, game: Game) -> Array:
    codes = batch["fake_output"].code
    return config.pulling_away_weight * losses.pulling_away(codes, axis_name=training.AXIS)

  return training.system(
    models.dcgan.Generator(resolution, channels, **options),
    models.autoencoder.ConvAutoEncoder(resolution, **options),
    adam,
    adam,
    objectives.adversarial(
      losses.energy_based(config.margin),
      z,
      logits=lambda output: output.energy,
      g_terms={"pulling_away": pulling_away},
      score=lambda energy: energy,
      axis_name=training.AXIS,
    ),
    latents=z,
    spec=spec,
    ema_decay=config.ema_decay,
    probabilities=False,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
