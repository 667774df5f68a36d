"""InfoGAN: Chen et al. 2016 (arXiv 1606.03657), equation 6.

Beside its noise the generator gets a categorical code and continuous ones. A head Q on the
discriminator's trunk guesses them from the picture, and both players want it to be right, which
bounds the information that pictures carry of their codes from below.
"""

import dataclasses
import math

import optax

from jaxgan import latents, losses, models, run, training
from jaxgan.training import Game, objectives
from jaxgan.types import Array, Batch, ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of InfoGAN."""

  resolution: run.Resolution = 28
  batch_size: run.Count = 128
  learning_rate: run.Rate = 1e-3
  """Of the generator's Adam."""
  d_learning_rate: run.Rate = 2e-4
  """Of the Adam of the discriminator with Q."""
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment."""
  noise_dim: run.Width = 62
  """Dimensions of the uniform noise."""
  categories: run.Classes = 10
  """Values of the categorical code."""
  continuous: run.Width = 2
  """Number of uniform continuous codes."""
  category_weight: run.Weight = 1.0
  """lambda of the categorical code."""
  continuous_weight: run.Weight = 1.0
  """lambda of the continuous codes."""


PRESETS: run.Presets = {
  "quick": {},
  "measured": dict(dataset="mnist"),
  "paper": dict(dataset="mnist", width=64, steps=5000),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The InfoGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  options = dict(width=config.width, dtype=config.jax_dtype, axis_name=training.AXIS)
  z = latents.mixed(
    noise=latents.uniform(config.noise_dim),
    category=latents.categorical(config.categories),
    continuous=latents.uniform(config.continuous),
  )

  def category(batch: Batch, game: Game) -> Array:
    code = z.split(batch["latents"])["category"]
    guess = batch["fake_output"].category
    return config.category_weight * losses.categorical_information(guess, code)

  def continuous(batch: Batch, game: Game) -> Array:
    code = z.split(batch["latents"])["continuous"]
    guess = batch["fake_output"].mean
    return config.continuous_weight * losses.gaussian_information(guess, code)

  def information(batch: Batch, game: Game) -> Array:
    """Bound on the mutual information of picture and categorical code, in nats."""
    code = z.split(batch["latents"])["category"]
    guess = batch["fake_output"].category
    return math.log(config.categories) - losses.categorical_information(guess, code)

  return training.system(
    models.infogan.Generator(resolution, channels, **options),
    models.infogan.Discriminator(config.categories, config.continuous, **options),
    optax.adam(config.learning_rate, b1=config.adam_b1),
    optax.adam(config.d_learning_rate, b1=config.adam_b1),
    objectives.adversarial(
      losses.non_saturating(),
      z,
      logits=lambda output: output.logit,
      # Q is a part of the discriminator's player, which so must want it to be right too.
      d_terms={"category_D": category, "continuous_D": continuous},
      g_terms={"category_G": category, "continuous_G": continuous},
      measures={"information_bound": information},
      axis_name=training.AXIS,
    ),
    latents=z,
    spec=spec,
    ema_decay=config.ema_decay,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
