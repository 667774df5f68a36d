"""AC-GAN: Odena, Olah and Shlens 2016 (arXiv 1610.09585), equations 2 and 3.

The discriminator also names the class of each picture, of real ones and of fakes, and both players
want it to be right.
"""

import dataclasses

import optax

from experiments import choices
from jaxgan import latents, losses, models, run, training
from jaxgan.training import Game, objectives
from jaxgan.types import Array, Batch, ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of AC-GAN."""

  batch_size: run.Count = 100
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment."""
  latent_dim: run.Width = 100
  """Dimensions of the normal noise beside the class."""
  class_weight: run.Weight = 1.0
  """Of the class terms L_C in both objectives."""


PRESETS: run.Presets = {
  "quick": {},
  "measured": dict(dataset="fashion_mnist", steps=1200),
  "paper": dict(dataset="cifar10", width=96, steps=50_000),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The AC-GAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  z, _ = choices.labelled(latents.normal(config.latent_dim), spec)
  options = dict(dtype=config.jax_dtype, axis_name=training.AXIS)
  classes = len(spec.classes)
  generator = models.acgan.Generator(classes, resolution, channels, config.width, **options)
  # The paper's networks for CIFAR-10 are 96 and 16 wide.
  discriminator = models.acgan.Discriminator(
    classes, resolution, max(config.width // 6, 1), **options
  )
  adam = optax.adam(config.learning_rate, b1=config.adam_b1)
  weight = config.class_weight

  def class_of_fakes(batch: Batch, game: Game) -> Array:
    labels = z.split(batch["latents"])["label"].argmax(-1)
    return weight * losses.auxiliary_classifier(batch["fake_output"].classes, labels)

  def class_of_real(batch: Batch, game: Game) -> Array:
    return weight * losses.auxiliary_classifier(batch["real_output"].classes, batch["label"])

  return training.system(
    generator,
    discriminator,
    adam,
    adam,
    objectives.adversarial(
      losses.non_saturating(),
      z,
      logits=lambda output: output.logit,
      d_terms={"class_real": class_of_real, "class_fake": class_of_fakes},
      g_terms={"class_G": class_of_fakes},
      axis_name=training.AXIS,
    ),
    latents=z,
    spec=spec,
    ema_decay=config.ema_decay,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
