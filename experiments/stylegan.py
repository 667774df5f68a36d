"""StyleGAN: Karras, Laine and Aila 2018 (arXiv 1812.04948).

A mapping network turns latents into styles, which normalise every layer of a generator that starts
from a constant; noise varies each layer, and pictures of two styles keep layers from relying on
each other. The discriminator's slope at real pictures is penalised (R1). Both networks have their
full resolution from the start; the paper grows them from 8 pixels.
"""

import dataclasses
from typing import Any

import optax

from experiments import choices
from jaxgan import latents, losses, models, penalties, run, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of StyleGAN."""

  batch_size: run.Count = 32
  learning_rate: run.Rate = 1e-3
  """Of both players' Adam; the paper's is 1.5e-3 at 128 pixels, 2e-3 at 256 and 3e-3 beyond."""
  conditional: bool = False
  """Tell the generator's mapping network and the discriminator the class of each picture."""
  width: run.Width = 512
  max_width: run.Width = 512
  """Most features; those at each resolution double from `--width` at the full one."""
  latent_dim: run.Width = 512
  """Dimensions of the normal latent."""
  style_dim: run.Width = 512
  """Dimensions of a style w."""
  depth: run.Updates = 8
  """Layers of the mapping network."""
  mixing: run.Share = 0.9
  """Share of the pictures that are made of two styles while training."""
  group_size: run.Updates = 4
  """Pictures that the discriminator's minibatch standard deviation compares."""
  r1_gamma: run.Weight = 10.0
  """gamma of R1; it grows with the resolution squared, and 10 is for 1024 pixels."""
  ema_half_life: choices.Pictures = 10_000.0
  """Pictures in which the moving average forgets half; with 0, `--ema-decay` counts instead."""


_SMALL: dict[str, Any] = dict(latent_dim=64, style_dim=64, depth=2, r1_gamma=0.01)

PRESETS: run.Presets = {
  "quick": dict(width=16, max_width=32, steps=600, **_SMALL),
  "measured": dict(
    dataset="emoji64/train", flip=True, width=16, max_width=64, steps=1500, **_SMALL
  ),
  # The paper's faces (FFHQ, 1024 pixels) are no TFDS set; CelebA stands in. 25 million pictures.
  "paper": dict(dataset="celeb_a", resolution=128, width=128, learning_rate=1.5e-3, steps=781_250),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The StyleGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  z: latents.Sampler = latents.normal(config.latent_dim)
  conditions = classes = None
  if config.conditional:
    z, conditions = choices.labelled(z, spec)
    classes = len(spec.classes)
  options: dict[str, Any] = dict(
    width=config.width, max_width=config.max_width, dtype=config.jax_dtype
  )
  generator = models.stylegan.Generator(
    classes,
    resolution,
    channels,
    style_dim=config.style_dim,
    depth=config.depth,
    mixing=config.mixing,
    axis_name=training.AXIS,
    **options,
  )
  discriminator = models.stylegan2.Discriminator(
    classes, resolution, residual=False, group_size=config.group_size, **options
  )
  adam = optax.adam(config.learning_rate, b1=0.0, b2=0.99)
  return training.system(
    generator,
    discriminator,
    adam,
    adam,
    objectives.adversarial(
      losses.non_saturating(),
      z,
      conditions=conditions,
      penalties=[
        lambda critic, batch, key, game: (
          config.r1_gamma / 2.0 * penalties.r1(critic, batch["image"])
        )
      ],
      axis_name=training.AXIS,
    ),
    latents=z,
    conditions=conditions,
    spec=spec,
    ema_decay=choices.decay(config),
    batch_multiple=config.group_size,
    style=training.style_of(generator),
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
