"""pix2pix: Isola, Zhu, Zhou and Efros 2016 (arXiv 1611.07004).

Pairs of pictures: a U-Net translates x, a PatchGAN tells pairs (x, y) from pairs (x, G(x)), and an
L1 term keeps G(x) near y, equation 4. There is no latent: noise is dropout, later too.
"""

import dataclasses
from typing import Any, Literal

import optax

from experiments import choices, translation
from jaxgan import losses, run, training
from jaxgan.models import pix2pix
from jaxgan.training import objectives
from jaxgan.types import AdversarialLoss, ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(translation.Config):
  """Flags of pix2pix."""

  batch_size: run.Count = 1
  l1_weight: run.Weight = 100.0
  """lambda of equation 4."""
  gan_weight: run.Weight = 1.0
  """Of the generator's adversarial term; 0 is L1 alone."""
  dropout: run.Share = 0.5
  """Rate of the noise in the layers of 2, 4 and 8 pixels."""
  patch_layers: run.Size = 3
  """Layers of the PatchGAN that halve the resolution; 0 is a PixelGAN, 3 sees 70 pixels."""
  norm: Literal["batch", "instance"] = "batch"
  """Batch norm by the statistics of the batch, or instance norm, which is the same with
  `--batch-size=1` and does not depend on the batch with others. Samples are made one by one, so
  that a larger batch with batch norm learns by other statistics than it samples by."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    super().__post_init__()
    if not self.paired:
      raise run.RunError("--no-paired: pix2pix learns from pairs; take experiments.cyclegan")
    if self.dropout == 1.0:
      raise run.RunError(f"--dropout={self.dropout} must be in [0, 1)")


PRESETS: run.Presets = {
  "quick": dict(batch_size=16, norm="instance", patch_layers=2, width=16, steps=300),
  "measured": dict(
    dataset="openmoji_pairs64.npz",
    resolution=64,
    flip=True,
    batch_size=4,
    norm="instance",
    patch_layers=2,
    learning_rate=4e-4,
    width=32,
  ),
  # 200 epochs of 400 facades, at 256 pixels cut out of 286: a folder with trainA, trainB, testA ...
  # The paper's rate does not fall, so only the half where it is constant is played.
  "paper": dict(
    dataset="facades",
    split="train",
    held_out="test",
    direction="b_to_a",
    resolution=256,
    jitter=30,
    flip=True,
    width=64,
    ema_decay=0.0,
    steps=80_000,
    decay_steps=160_000,
    sample_every=4000,
    checkpoint_every=4000,
  ),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The pix2pix of a config for pairs of pictures."""
  resolution, _, channels = spec.shape

  def options(axis_name: str | None) -> dict[str, Any]:
    norms = {
      "batch": pix2pix.batch_norm(axis_name=axis_name, dtype=config.jax_dtype),
      "instance": pix2pix.instance_norm(dtype=config.jax_dtype),
    }
    named = dict(dtype=config.jax_dtype, axis_name=axis_name)
    return dict(width=config.width, norm=norms[config.norm], **named)

  def unet(axis_name: str | None) -> pix2pix.UNet:
    return pix2pix.UNet(resolution, channels, dropout=config.dropout, **options(axis_name))

  generator = unet(training.AXIS)
  discriminator = pix2pix.PatchDiscriminator(config.patch_layers, **options(training.AXIS))
  halved = choices.halved(losses.non_saturating())  # so that D does not learn faster than G
  loss = AdversarialLoss(
    halved.discriminator,
    lambda real, fake: config.gan_weight * halved.generator(real, fake),
  )
  adam = optax.adam(config.rate(), b1=config.adam_b1)
  inputs = translation.blank(spec)
  conditions = objectives.Conditions(real=lambda batch: batch["input"], fake=lambda x: x)
  parts = objectives.adversarial(
    loss,
    inputs,
    match=lambda _, batch: batch["input"],
    conditions=conditions,
    g_terms={
      "l1": lambda batch, game: config.l1_weight * losses.l1(batch["fake"], batch["image"]),
    },
    axis_name=training.AXIS,
  )
  system = training.system(
    generator,
    discriminator,
    adam,
    adam,
    parts,
    latents=inputs,
    conditions=conditions,
    spec=spec,
    ema_decay=config.ema_decay,
  )
  return translation.translator(system, config, spec, translation.one_by_one(unet(None).apply))


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
