"""The projection discriminator: Miyato and Koyama 2018 (arXiv 1802.05637), equation 3.

The class enters the discriminator as an inner product with its features, and the generator by
conditional batch norm; networks, loss and schedule are SNGAN's.
"""

import dataclasses
from typing import Literal

from experiments import choices, sngan
from jaxgan import latents, models, run, training
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(sngan.Config):
  """Flags of the projection discriminator; its networks are residual."""

  network: Literal["cnn", "resnet"] = "resnet"
  """Residual, as in the paper."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    super().__post_init__()
    if self.network != "resnet":
      raise run.RunError(f"--network={self.network} must be resnet")


PRESETS: run.Presets = {
  "quick": dict(
    width=8,
    n_dis=1,
    g_multiple=1,
    adam_b1=0.5,
    adam_b2=0.999,
    steps=1000,
    decay_steps=1000,
  ),
  "measured": dict(
    dataset="fashion_mnist",
    width=16,
    n_dis=1,
    g_multiple=1,
    adam_b1=0.5,
    adam_b2=0.999,
    steps=1000,
    decay_steps=1000,
  ),
  "paper": dict(dataset="cifar10", width=128, steps=50_000, decay_steps=50_000),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The conditional SNGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  z, conditions = choices.labelled(latents.normal(config.latent_dim), spec)
  classes, options = len(spec.classes), dict(dtype=config.jax_dtype)
  return sngan.played(
    config,
    models.sngan.ResNetGenerator(
      classes, resolution, channels, 2 * config.width, axis_name=training.AXIS, **options
    ),
    models.sngan.ResNetDiscriminator(classes, resolution, config.width, **options),
    z,
    spec,
    conditions,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
