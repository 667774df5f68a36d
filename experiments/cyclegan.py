"""CycleGAN: Zhu, Park, Isola and Efros 2017 (arXiv 1703.10593), equation 3.

Two sets without pairs: G makes pictures b of pictures a, F pictures a of pictures b, two
discriminators see newest and earlier fakes by turns, and F(G(a)) is to be a again, G(F(b)) b.
"""

import dataclasses

import optax

from experiments import translation
from jaxgan import losses, models, run, training
from jaxgan.training import Aux, Game, objectives
from jaxgan.types import Array, Batch, ImageSpec, Key, PyTree


@dataclasses.dataclass(frozen=True)
class Config(translation.Config):
  """Flags of CycleGAN."""

  batch_size: run.Count = 1
  paired: bool = False
  cycle_weight: run.Weight = 10.0
  """lambda of equation 3."""
  identity_weight: run.Weight = 0.5
  """Of |G(b) - b| + |F(a) - a|, as a share of --cycle-weight; both sets need as many channels."""
  pool_size: run.Size = 50
  """Fakes of each set that are kept for the discriminators; 0 shows them the newest alone."""
  blocks: run.Size = 0
  """Residual blocks of a generator; 0 takes the paper's 6, or 9 from 256 pixels on."""
  patch_layers: run.Size = 3
  """Layers of the PatchGANs that halve the resolution; 3 see 70 pixels."""


PRESETS: run.Presets = {
  "quick": dict(batch_size=8, blocks=2, patch_layers=2, width=8, steps=300),
  "measured": dict(
    dataset="openmoji_pairs64.npz",
    flip=True,
    batch_size=4,
    blocks=4,
    patch_layers=2,
    width=24,
    identity_weight=0.0,
    learning_rate=4e-4,
    steps=1500,
    decay_steps=1500,
  ),
  # 200 epochs of 1,334 zebras, at 256 pixels cut out of 286. The paper has the identity term for
  # paintings and photographs alone; its code has it here too.
  "paper": dict(
    dataset="cycle_gan/horse2zebra",
    split="train",
    held_out="test",
    resolution=256,
    jitter=30,
    flip=True,
    width=64,
    ema_decay=0.0,
    identity_weight=0.0,
    steps=266_800,
    decay_steps=266_800,
    sample_every=4000,
    checkpoint_every=4000,
  ),
}


def build(config: Config, spec: ImageSpec) -> training.System:
  """The CycleGAN of a config for two sets of pictures."""
  channels = (translation.sources(spec)[-1], spec.shape[-1])
  if config.identity_weight and channels[0] != channels[1]:
    raise run.RunError(
      f"--identity-weight={config.identity_weight} compares pictures of {channels[0]} and "
      f"{channels[1]} channels: give --channels=3, or --identity-weight=0"
    )
  blocks = config.blocks or models.cyclegan.default_blocks(spec.shape[0])
  options = dict(width=config.width, dtype=config.jax_dtype)
  generator = models.cyclegan.Generator(channels, blocks=blocks, **options)
  discriminator = models.cyclegan.Discriminator(config.patch_layers, **options)
  loss = translation.squares()

  def forward(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Batch, Aux]:
    """(G(a), F(b)), and there and back again."""
    a, b = batch["input"], batch["image"]
    (fake_b, fake_a), _ = objectives.apply(game.generator, params, a, b)
    (cycled_b, cycled_a), _ = objectives.apply(game.generator, params, fake_a, fake_b)
    found = {"fake_a": fake_a, "fake_b": fake_b, "cycled_a": cycled_a, "cycled_b": cycled_b}
    if config.identity_weight:
      (found["same_b"], found["same_a"]), _ = objectives.apply(game.generator, params, b, a)
    return found, Aux()

  def translate(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    a, b, d = batch["input"], batch["image"], game.discriminator
    logits, _ = objectives.apply(d, d.params, batch["fake_a"], batch["fake_b"])
    gan = translation.summed(loss.generator, logits, logits)
    cycle = losses.cycle_consistency(a, batch["cycled_a"], b, batch["cycled_b"]).mean()
    terms = {"cycle": config.cycle_weight * cycle}
    if config.identity_weight:
      same = losses.identity_mapping(a, batch["same_a"], b, batch["same_b"]).mean()
      terms["identity"] = config.identity_weight * config.cycle_weight * same
    return gan + sum(terms.values()), Aux({}, {"loss_G": gan, **terms})

  return translation.two_sided(
    generator,
    discriminator,
    optax.adam(config.rate(), b1=config.adam_b1),
    objectives.Objectives(translation.judged(loss), translate, forward),
    config,
    spec,
    pool_size=config.pool_size,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
