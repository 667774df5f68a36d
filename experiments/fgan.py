"""f-GAN: Nowozin, Cseke and Tomioka 2016 (arXiv 1606.00709), section 4.2.

Any f-divergence between data and samples is bounded from below by a variational function; here by
perceptrons, with the generator's objective that the paper recommends in section 3.2.
"""

import dataclasses
from typing import Annotated

import optax

from experiments import choices, parzen
from jaxgan import latents, losses, models, run, training
from jaxgan.losses import FDivergence
from jaxgan.training import games, objectives
from jaxgan.types import ImageSpec

DIVERGENCES: dict[str, FDivergence] = {
  "kullback_leibler": losses.kullback_leibler,
  "reverse_kullback_leibler": losses.reverse_kullback_leibler,
  "pearson": losses.pearson,
  "neyman": losses.neyman,
  "squared_hellinger": losses.squared_hellinger,
  "jensen_shannon": losses.jensen_shannon,
  "gan_divergence": losses.gan_divergence,
  "total_variation": losses.total_variation,
}


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of f-GAN."""

  divergence: Annotated[str, choices.listed(DIVERGENCES, "What is minimised")] = "kullback_leibler"
  resolution: run.Resolution = 28
  width: run.Width = 1200
  """Of the generator's hidden layers; the discriminator's are a fifth as wide."""
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment."""
  latent_dim: run.Width = 100
  """Dimensions of the uniform latent."""
  packing: run.Count = 1
  """PacGAN: pictures that the discriminator judges together."""
  parzen_samples: run.Samples = 16_000
  """Samples of the Parzen window estimate at the end."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    super().__post_init__()
    choices.pick(DIVERGENCES, "--divergence", self.divergence)


PRESETS: run.Presets = {
  "quick": dict(parzen_samples=1000),
  "measured": dict(dataset="fashion_mnist", batch_size=256, steps=2000, sample_every=1000),
  "paper": dict(dataset="mnist", batch_size=4096, steps=10_000),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The f-GAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  options = dict(dtype=config.jax_dtype, axis_name=training.AXIS)
  discriminator = models.fgan.Discriminator(max(config.width // 5, 1), dtype=config.jax_dtype)
  adam = optax.adam(config.learning_rate, b1=config.adam_b1)
  z = latents.uniform(config.latent_dim)
  divergence = DIVERGENCES[config.divergence]
  loss = losses.f_divergence(divergence)
  system = training.system(
    models.fgan.Generator(resolution, channels, config.width, **options),
    choices.packed(discriminator, config.packing, config.batch_size),
    adam,
    adam,
    objectives.adversarial(
      loss,
      z,
      # D maximises the bound and is told to minimise its negative.
      measures={
        "divergence_bound": lambda batch, game: (
          -loss.discriminator(batch["real_logits"], batch["fake_logits"])
        )
      },
      score=lambda logits: logits,
      axis_name=training.AXIS,
    ),
    latents=z,
    spec=spec,
    play=games.simultaneous,
    ema_decay=config.ema_decay,
    probabilities=False,
  )
  return parzen.reported(system, config, config.parzen_samples)


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
