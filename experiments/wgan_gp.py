"""WGAN-GP: Gulrajani et al. 2017 (arXiv 1704.00028), Algorithm 1.

A penalty holds the norm of the critic's gradient at 1 between data and samples, in place of WGAN's
clipping. The critic has no batch norm, which would mix the examples of that gradient.
"""

import dataclasses
from typing import Annotated, Literal

import optax

from experiments import choices
from jaxgan import latents, layers, losses, models, penalties, run, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of WGAN-GP."""

  network: Literal["cnn", "resnet"] = "cnn"
  """cnn: 5x5 convolutions, the paper's for MNIST at 28 pixels and for CIFAR-10 at 32; resnet: its
  residual networks."""
  critic_norm: Literal["none", "layer"] = "none"
  """Normalisation in the critic: none or layer norm, as the paper's 64-pixel critic has."""
  learning_rate: run.Rate = 1e-4
  """Of both players' Adam at the start."""
  rate_left: run.Share = 1.0
  """Share of it that is left at the last step, on a straight line."""
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment; the paper's is 0 for residual networks."""
  latent_dim: run.Width = 128
  """Dimensions of the normal latent."""
  n_critic: Annotated[run.Updates, choices.also("--d-steps")] = 5
  """Critic updates to each of the generator's."""
  penalty_weight: run.Weight = 10.0
  """lambda of equation 3."""
  g_multiple: run.Updates = 1
  """Fakes of the generator's step, in batches; the paper's code takes 2 on CIFAR-10."""
  decay_steps: run.Count = 100_000
  """Steps over which the learning rate falls, where `--rate-left` is below 1."""


PRESETS: run.Presets = {
  "quick": dict(width=16, steps=600),
  "measured": dict(dataset="fashion_mnist", width=16, steps=800, learning_rate=5e-4),
  "paper": dict(
    dataset="cifar10",
    network="resnet",
    width=128,
    learning_rate=2e-4,
    rate_left=0.0,
    adam_b1=0.0,
    g_multiple=2,
    steps=100_000,
  ),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The WGAN-GP of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  family = models.resnet if config.network == "resnet" else models.wgan_gp
  options = dict(width=config.width, dtype=config.jax_dtype)
  norm = layers.LayerNorm if config.critic_norm == "layer" else None
  z = latents.normal(config.latent_dim)

  def adam(updates: int) -> optax.GradientTransformation:
    rate = optax.linear_schedule(
      config.learning_rate, config.rate_left * config.learning_rate, updates * config.decay_steps
    )
    return optax.adam(rate, b1=config.adam_b1, b2=0.9)

  return training.system(
    family.Generator(resolution, channels, axis_name=training.AXIS, **options),
    family.Critic(resolution, norm=norm, **options),
    adam(1),
    adam(config.n_critic),
    objectives.adversarial(
      losses.wasserstein(),
      z,
      penalties=[
        lambda critic, batch, key, game: (
          config.penalty_weight
          * penalties.gradient_penalty(
            critic, batch["image"], batch["fake"], key, axis_name=training.AXIS
          )
        )
      ],
      measures={
        "wasserstein_estimate": lambda batch, game: (
          batch["real_logits"].mean() - batch["fake_logits"].mean()
        )
      },
      g_multiple=config.g_multiple,
      score=lambda value: value,
      axis_name=training.AXIS,
    ),
    latents=z,
    spec=spec,
    d_steps=config.n_critic,
    ema_decay=config.ema_decay,
    probabilities=False,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
