"""DRAGAN: Kodali, Abernethy, Hays and Kira 2017 (arXiv 1705.07215).

The norm of the discriminator's gradient is held at 1 around the data alone, where sharp gradients
go with mode collapse. DCGAN's networks; layer norm in the discriminator, since batch norm would mix
the examples of that gradient.
"""

import dataclasses

import optax

from jaxgan import latents, layers, losses, models, penalties, run, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of DRAGAN."""

  learning_rate: run.Rate = 1e-4
  """Of both players' Adam."""
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment."""
  adam_b2: run.Decay = 0.9
  """Decay of its second moment."""
  latent_dim: run.Width = 100
  """Dimensions of the normal latent."""
  penalty_weight: run.Weight = 10.0
  """lambda."""


PRESETS: run.Presets = {
  "quick": {},
  "measured": dict(dataset="fashion_mnist", learning_rate=2e-4, width=16),
  "paper": dict(dataset="cifar10", width=64, steps=100_000),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The DRAGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  options = dict(width=config.width, dtype=config.jax_dtype, axis_name=training.AXIS)
  adam = optax.adam(config.learning_rate, b1=config.adam_b1, b2=config.adam_b2)
  z = latents.normal(config.latent_dim)
  return training.system(
    models.dcgan.Generator(resolution, channels, **options),
    models.dcgan.Discriminator(resolution, norm=lambda train: layers.LayerNorm(), **options),
    adam,
    adam,
    objectives.adversarial(
      losses.non_saturating(),
      z,
      penalties=[
        lambda critic, batch, key, game: (
          config.penalty_weight
          * penalties.dragan(critic, batch["image"], key, axis_name=training.AXIS)
        )
      ],
      axis_name=training.AXIS,
    ),
    latents=z,
    spec=spec,
    ema_decay=config.ema_decay,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
