"""BEGAN: Berthelot, Schumm and Metz 2017 (arXiv 1703.10717), section 3.4.

The discriminator is an autoencoder; a weight k, held by proportional control, keeps the energy of
fakes at a share gamma of that of real pictures.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from jaxgan import latents, models, run, training
from jaxgan.training import Game, objectives
from jaxgan.types import AdversarialLoss, Array, Batch, ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of BEGAN."""

  batch_size: run.Count = 16
  learning_rate: run.Rate = 8e-5
  """Of both players' Adam."""
  halve_every: run.Count = 100_000
  """Updates after which the rate is halved, again and again."""
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment."""
  latent_dim: run.Width = 64
  """Dimensions of the uniform latent, and of the autoencoder's code."""
  gamma: float = 0.5
  """Energy of fakes over that of real pictures at the equilibrium, in (0, 1]; lower is less
  varied."""
  k_rate: run.Weight = 0.001
  """lambda_k: gain of the control."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    super().__post_init__()
    if not 0.0 < self.gamma <= 1.0:
      raise run.RunError(f"--gamma={self.gamma} must be in (0, 1]; the paper has 0.3 to 0.7")


PRESETS: run.Presets = {
  "quick": dict(width=16),
  "measured": dict(
    dataset="fashion_mnist", width=16, learning_rate=5e-4, gamma=0.7, k_rate=0.01, steps=900
  ),
  "paper": dict(dataset="celeb_a", resolution=64, width=128, steps=200_000),
}


def equilibrium(game: Game) -> AdversarialLoss:
  """L_D = L(x) - k L(G(z)) and L_G = L(G(z)) of energies L."""
  return AdversarialLoss(
    discriminator=lambda real, fake: real - game.extra["k"] * fake,
    generator=lambda real, fake: fake,
  )


def build(config: Config, spec: ImageSpec) -> training.System:
  """The BEGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  options = dict(width=config.width, dtype=config.jax_dtype)
  rate = optax.exponential_decay(config.learning_rate, config.halve_every, 0.5, staircase=True)
  adam = optax.adam(rate, b1=config.adam_b1)
  z = latents.uniform(config.latent_dim)

  def balance(batch: Batch) -> tuple[Array, Array]:
    """L(x) and gamma L(x) - L(G(z)) of the whole batch."""
    energies = batch["real_logits"].mean(), batch["fake_logits"].mean()
    real, fake = jax.lax.pmean(energies, training.AXIS)
    return real, config.gamma * real - fake

  def control(batch: Batch, game: Game) -> dict[str, Array]:
    return {"k": jnp.clip(game.extra["k"] + config.k_rate * balance(batch)[1], 0.0, 1.0)}

  def convergence(batch: Batch, game: Game) -> Array:
    """The global measure M, by which runs compare."""
    real, gap = balance(batch)
    return real + jnp.abs(gap)

  return training.system(
    models.autoencoder.Generator(resolution, channels, **options),
    models.autoencoder.AutoEncoder(resolution, hidden=config.latent_dim, **options),
    adam,
    adam,
    objectives.adversarial(
      equilibrium,
      z,
      logits=lambda output: output.energy,
      remember=control,
      measures={"convergence": convergence, "k": lambda batch, game: game.extra["k"]},
      score=lambda energy: energy,
      axis_name=training.AXIS,
    ),
    latents=z,
    spec=spec,
    ema_decay=config.ema_decay,
    extra={"k": jnp.zeros([])},
    probabilities=False,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
