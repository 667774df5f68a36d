"""UNIT: Liu, Breuel and Kautz 2017 (arXiv 1703.00848), equation 7.

Two sets without pairs and one space of codes: an autoencoder for each set, with tied layers around
the code. A picture is to be made again of its code, and of the code of its translation; translated
pictures are made of the same code by the other decoder. Adversarial terms are least squares, and
weights a tenth of the paper's, which leaves their ratios, as in the authors' later code: Adam does
not see a common factor, but weight decay stands beside it.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import optax

from experiments import translation
from jaxgan import losses, models, run, training
from jaxgan.training import Aux, Game, objectives
from jaxgan.types import AdversarialLoss, Array, Batch, ImageSpec, Key, PyTree


@dataclasses.dataclass(frozen=True)
class Config(translation.Config):
  """Flags of UNIT."""

  batch_size: run.Count = 1
  paired: bool = False
  learning_rate: run.Rate = 1e-4
  weight_decay: run.Weight = 1e-4
  """Of the parameters, added to the gradient."""
  gan_weight: run.Weight = 1.0
  """lambda_0 of the adversarial terms."""
  kl_weight: run.Weight = 0.01
  """lambda_1 and lambda_3, a feature: of codes, which autoencoder and cycle both count, and of
  codes of translations."""
  reconstruction_weight: run.Weight = 10.0
  """lambda_2 of pictures made of their own codes, a pixel."""
  cycle_weight: run.Weight = 10.0
  """lambda_4 of pictures made of the codes of their translations, a pixel."""
  blocks: run.Count = 4
  """Residual blocks of an encoder, and of a decoder."""
  tied: run.Size = 1
  """How many of them, nearest to the code, both sets have in common."""
  scales: run.Count = 3
  """Sizes of a picture that its discriminator looks at."""
  patch_layers: run.Count = 4
  """Layers of it that halve the resolution."""
  halvings: run.Size = 0
  """Times that the learning rate is halved in --decay-steps, at equal distances, as the later code
  does; with 0 it falls on a straight line in the second half."""

  def rate(self) -> optax.Schedule:
    """The learning rate by the updates."""
    if not self.halvings:
      return super().rate()
    each = -(-self.decay_steps // self.halvings)
    return optax.exponential_decay(self.learning_rate, each, 0.5, staircase=True)


PRESETS: run.Presets = {
  "quick": dict(
    batch_size=8, blocks=2, scales=2, patch_layers=3, width=8, steps=300, learning_rate=5e-4
  ),
  "measured": dict(
    dataset="openmoji_pairs64.npz",
    flip=True,
    batch_size=4,
    blocks=3,
    scales=2,
    patch_layers=3,
    width=16,
    learning_rate=5e-4,
    steps=1200,
    decay_steps=1200,
  ),
  # The later code's million pictures.
  "paper": dict(
    dataset="cycle_gan/summer2winter_yosemite",
    split="train",
    held_out="test",
    resolution=256,
    jitter=30,
    flip=True,
    width=64,
    ema_decay=0.0,
    steps=1_000_000,
    decay_steps=1_000_000,
    halvings=10,
    sample_every=10_000,
    checkpoint_every=10_000,
  ),
}


def passes(net: models.unit.Generator, a: Array, b: Array) -> dict[str, Array]:
  """Pictures made again, translated, and translated back, with a draw of each code on the way."""
  mean_a, mean_b = net.encode_a(a), net.encode_b(b)
  code_a, code_b = net.sampled(mean_a, train=True), net.sampled(mean_b, train=True)
  fake_a, fake_b = net.decode_a(code_b), net.decode_b(code_a)
  back_a, back_b = net.encode_b(fake_b), net.encode_a(fake_a)
  return {
    "fake_a": fake_a,
    "fake_b": fake_b,
    "same_a": net.decode_a(code_a),
    "same_b": net.decode_b(code_b),
    "cycled_a": net.decode_a(net.sampled(back_a, train=True)),
    "cycled_b": net.decode_b(net.sampled(back_b, train=True)),
    "kl": jnp.stack([jnp.square(mean).mean() / 2 for mean in (mean_a, mean_b, back_a, back_b)]),
  }


def build(config: Config, spec: ImageSpec) -> training.System:
  """The UNIT of a config for two sets of pictures."""
  channels = (translation.sources(spec)[-1], spec.shape[-1])
  options: dict[str, Any] = dict(width=config.width, dtype=config.jax_dtype)
  discriminator = models.unit.Discriminator(config.scales, config.patch_layers, **options)
  generator = models.unit.Generator(
    channels, blocks=config.blocks, tied=config.tied, axis_name=training.AXIS, **options
  )
  squares = translation.squares()
  loss = AdversarialLoss(
    # `judged` halves once more: squares of reals, fakes and both sets are added.
    lambda real, fake: 4.0 * config.gan_weight * squares.discriminator(real, fake),
    squares.generator,
  )

  def forward(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Batch, Aux]:
    a, b, streams = batch["input"], batch["image"], {"dropout": key}
    found: Any = generator.apply({"params": params}, a, b, method=passes, rngs=streams)
    return found, Aux()

  def translate(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    a, b, d = batch["input"], batch["image"], game.discriminator
    logits, _ = objectives.apply(d, d.params, batch["fake_a"], batch["fake_b"])
    gan = translation.summed(loss.generator, logits, logits)
    same = losses.cycle_consistency(a, batch["same_a"], b, batch["same_b"]).mean()
    cycle = losses.cycle_consistency(a, batch["cycled_a"], b, batch["cycled_b"]).mean()
    terms = {
      "kl": config.kl_weight * (2.0 * batch["kl"][:2] + batch["kl"][2:]).sum(),
      "reconstruction": config.reconstruction_weight * same,
      "cycle": config.cycle_weight * cycle,
    }
    value = config.gan_weight * gan + sum(terms.values())
    return value, Aux({}, {"loss_G": gan, **terms})

  adam = optax.chain(
    optax.add_decayed_weights(config.weight_decay),
    optax.adam(config.rate(), b1=config.adam_b1),
  )
  parts = objectives.Objectives(translation.judged(loss), translate, forward)
  return translation.two_sided(generator, discriminator, adam, parts, config, spec)


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
