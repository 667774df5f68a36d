"""PacGAN: Lin, Khetan, Fanti and Oh 2018 (arXiv 1712.04086).

The discriminator judges several pictures at a time, so that a generator without variety gives
itself away. Here on DCGAN; `gan`, `lsgan`, `fgan`, `wgan` and `mixtures` have the flag `--packing`
too.
"""

import dataclasses

from experiments import dcgan
from jaxgan import run, training
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(dcgan.Config):
  """Flags of PacGAN."""

  packing: run.Count = 2
  """m: pictures that the discriminator judges together."""


PRESETS: run.Presets = {
  "quick": {},
  "measured": dict(dataset="fashion_mnist", width=16),
  "paper": dict(dataset="celeb_a", resolution=64, width=64, steps=50_000),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """DCGAN with a packed discriminator."""
  return dcgan.build(config, spec)


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
