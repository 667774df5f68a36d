"""SNGAN: Miyato et al. 2018 (arXiv 1802.05957).

Every layer of the discriminator is divided by its spectral norm, which one step of the power
iteration a training step estimates, so that the discriminator's slope is bounded everywhere.
"""

import dataclasses
from typing import Annotated, Literal

import optax

from experiments import choices
from jaxgan import latents, losses, models, run, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of SNGAN."""

  network: Literal["cnn", "resnet"] = "cnn"
  """The paper's plain convolutional networks, or its residual ones."""
  loss: Literal["hinge", "non_saturating"] = "hinge"
  """Of both players."""
  rate_left: run.Share = 0.0
  """Share of the learning rate that is left at the end of its fall, on a straight line."""
  decay_steps: run.Count = 2000
  """Steps over which the learning rate falls; longer runs go on with what is left."""
  adam_b1: run.Decay = 0.0
  """Decay of Adam's first moment."""
  adam_b2: run.Decay = 0.9
  """Decay of its second moment."""
  latent_dim: run.Width = 128
  """Dimensions of the normal latent."""
  n_dis: Annotated[run.Updates, choices.also("--d-steps")] = 5
  """Discriminator updates to each of the generator's."""
  g_multiple: run.Updates = 2
  """Fakes of the generator's step, in batches."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    super().__post_init__()
    if self.rate_left == 0.0 and self.steps > self.decay_steps:
      raise run.RunError(
        f"--steps={self.steps}: nothing is learnt after --decay-steps={self.decay_steps} with "
        "--rate-left=0; give a larger --decay-steps too (with --override in a workdir that has "
        "another), or a --rate-left"
      )


PRESETS: run.Presets = {
  "quick": dict(width=16, n_dis=1, g_multiple=1, adam_b1=0.5, adam_b2=0.999),
  "measured": dict(
    dataset="fashion_mnist",
    width=16,
    n_dis=1,
    g_multiple=1,
    adam_b1=0.5,
    adam_b2=0.999,
    steps=1500,
    decay_steps=1500,
  ),
  "paper": dict(dataset="cifar10", network="resnet", width=128, steps=50_000, decay_steps=50_000),
}


def rate(config: Config, updates: int) -> optax.Schedule:
  """The learning rate by the updates of an optimiser that makes so many a step."""
  last = config.rate_left * config.learning_rate
  return optax.linear_schedule(config.learning_rate, last, updates * config.decay_steps)


def played(
  config: Config,
  generator: training.Network,
  discriminator: training.Network,
  z: latents.Sampler,
  spec: ImageSpec,
  conditions: objectives.Conditions | None = None,
) -> training.System:
  """The game of both papers between two networks."""
  loss = {"hinge": losses.hinge, "non_saturating": losses.non_saturating}[config.loss]()

  def adam(updates: int) -> optax.GradientTransformation:
    return optax.adam(rate(config, updates), b1=config.adam_b1, b2=config.adam_b2)

  return training.system(
    generator,
    discriminator,
    adam(1),
    adam(config.n_dis),
    objectives.adversarial(
      loss,
      z,
      conditions=conditions,
      g_multiple=config.g_multiple,
      score=lambda logits: logits,
      axis_name=training.AXIS,
    ),
    latents=z,
    conditions=conditions,
    spec=spec,
    d_steps=config.n_dis,
    ema_decay=config.ema_decay,
    probabilities=False,
  )


def build(config: Config, spec: ImageSpec) -> training.System:
  """The SNGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  options = dict(dtype=config.jax_dtype)
  generator: training.Network
  discriminator: training.Network
  if config.network == "resnet":
    # At 32 pixels the paper's generator is twice as wide as its discriminator.
    generator = models.sngan.ResNetGenerator(
      None, resolution, channels, 2 * config.width, axis_name=training.AXIS, **options
    )
    discriminator = models.sngan.ResNetDiscriminator(None, resolution, config.width, **options)
  else:
    generator = models.sngan.Generator(
      resolution, channels, config.width, axis_name=training.AXIS, **options
    )
    discriminator = models.sngan.Discriminator(resolution, config.width, **options)
  return played(config, generator, discriminator, latents.normal(config.latent_dim), spec)


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
