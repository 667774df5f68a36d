"""DCGAN: Radford, Metz and Chintala 2015 (arXiv 1511.06434).

Strided convolutions, batch norm in both players, non-saturating loss, one Adam update of each
player a step, in the form of the standard 64x64 example (4x4 kernels, normal latents).
"""

import dataclasses

from experiments import choices
from jaxgan import latents, losses, models, run, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of DCGAN."""

  latent_dim: run.Width = 100
  """Dimensions of the normal latent."""
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment."""
  game: str = "alternating"
  """How gradients become updates: alternating, simultaneous, extragradient, past_extragradient,
  optimistic, consensus, symplectic, competitive, unrolled, lookahead or top_k."""
  packing: run.Count = 1
  """PacGAN (Lin et al. 2018): pictures that the discriminator judges together."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    super().__post_init__()
    choices.pick(choices.GAMES, "--game", self.game)


PRESETS: run.Presets = {
  "quick": {},
  "measured": dict(dataset="fashion_mnist"),
  # The paper's faces were collected from the web; CelebA stands in. 25 epochs of 162,770.
  "paper": dict(
    dataset="celeb_a",
    resolution=64,
    width=128,
    batch_size=128,
    steps=31_800,
    sample_every=1000,
    checkpoint_every=2000,
  ),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The DCGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  options = dict(width=config.width, dtype=config.jax_dtype, axis_name=training.AXIS)
  generator = models.dcgan.Generator(resolution, channels, **options)
  discriminator = models.dcgan.Discriminator(resolution, **options)
  discriminator = choices.packed(discriminator, config.packing, config.batch_size)
  way = choices.GAMES[config.game]
  adam = way.adam(config.learning_rate, b1=config.adam_b1)
  loss = way.loss(losses.non_saturating(), config.batch_size // config.packing, training.AXIS)
  z = latents.normal(config.latent_dim)
  return training.system(
    generator,
    discriminator,
    adam,
    adam,
    objectives.adversarial(loss, z, axis_name=training.AXIS),
    latents=z,
    spec=spec,
    play=way.play,
    ema_decay=config.ema_decay,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
