"""SAGAN: Zhang, Goodfellow, Metaxas and Odena 2018 (arXiv 1805.08318).

Self-attention in both players, whose weight starts at zero; spectral norm in both; the hinge loss;
two time scales instead of several updates of the discriminator. Classes by conditional batch norm
and projection where the data have them.
"""

import dataclasses

import optax

from experiments import choices
from jaxgan import latents, losses, models, run, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of SAGAN."""

  learning_rate: run.Rate = 1e-4
  """Of the generator's Adam."""
  d_learning_rate: run.Rate = 4e-4
  """Of the discriminator's."""
  adam_b1: run.Decay = 0.0
  """Decay of Adam's first moment."""
  adam_b2: run.Decay = 0.9
  """Decay of its second moment."""
  latent_dim: run.Width = 128
  """Dimensions of the normal latent."""
  attention: run.Resolution = 16
  """Resolution at which positions attend to each other; the paper's is 32, of 128 pixels."""
  conditional: bool = True
  """Tell both players the class, where the data have classes."""


PRESETS: run.Presets = {
  "quick": dict(width=8, steps=1000),
  "measured": dict(dataset="fashion_mnist", width=16, steps=1000),
  "paper": dict(
    dataset="imagenet2012",
    resolution=128,
    width=64,
    batch_size=256,
    attention=32,
    steps=1_000_000,
  ),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The SAGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  noise = latents.normal(config.latent_dim)
  z, conditions, classes = noise, None, None
  if config.conditional and spec.classes:
    z, conditions = choices.labelled(noise, spec)
    classes = len(spec.classes)
  options = dict(attention=config.attention, dtype=config.jax_dtype)
  decay = dict(b1=config.adam_b1, b2=config.adam_b2)
  return training.system(
    models.sagan.Generator(
      classes, resolution, channels, config.width, axis_name=training.AXIS, **options
    ),
    models.sagan.Discriminator(classes, resolution, config.width, **options),
    optax.adam(config.learning_rate, **decay),
    optax.adam(config.d_learning_rate, **decay),
    objectives.adversarial(
      losses.hinge(),
      z,
      conditions=conditions,
      score=lambda logits: logits,
      axis_name=training.AXIS,
    ),
    latents=z,
    conditions=conditions,
    spec=spec,
    ema_decay=config.ema_decay,
    probabilities=False,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
