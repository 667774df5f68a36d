"""GigaGAN: Kang et al. 2023 (arXiv 2303.05511), a text-conditioned GAN at a size that trains here.

A text chooses the generator's kernels, and its positions attend to each other and to the words. The
discriminator judges a pyramid of pictures at every resolution, and real pictures and fakes count as
fake beside the text of another picture. Texts are found as `jaxgan.data.captions` says: names of
emoji, of classes, or a table in a person's own folder. The encoders of the text are trained along;
the paper's frozen CLIP, and the losses that want it or other pretrained networks, are left out.

    python -m experiments.text_to_picture --workdir=/tmp/run --text="red heart" --text="cat face"
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments import choices
from jaxgan import data, latents, losses, models, penalties, run, training
from jaxgan.data import captions
from jaxgan.models.text import TextEncoder
from jaxgan.training import Game, objectives
from jaxgan.types import Array, Batch, Critic, ImageSpec, Key


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of GigaGAN."""

  captions: str | None = None
  """Table with the text of each picture, a .csv with columns file_name and text or a .jsonl; by
  default one in the folder, .txt files beside the pictures, names of emoji or of classes."""
  max_words: run.Updates = 16
  """Words of a text that are read."""
  hold_out: run.Size = 10
  """Each so many-th text that is composed of words of others is not trained on; 0 for all."""
  batch_size: run.Count = 32
  learning_rate: run.Rate = 2.5e-3
  """Of both players' Adam, the discriminator's before its correction for the lazy penalty."""
  width: run.Width = 64
  max_width: run.Width = 512
  """Most features; those at each resolution double from `--width` at the full one."""
  latent_dim: run.Width = 64
  """Dimensions of the noise beside the text."""
  style_dim: run.Width = 512
  """Dimensions of a style w."""
  depth: run.Updates = 4
  """Layers of the mapping network."""
  kernels: run.Updates = 4
  """Kernels that each convolution of the generator chooses among."""
  attention: run.Size = 16
  """The generator has attention from 8 pixels up to so many; 0 for none."""
  attention_d: run.Size = 8
  """The discriminator, to the picture itself."""
  head_width: run.Width = 32
  """Features of an attention's head."""
  text_width: run.Width = 64
  """Features of a word, and of a text."""
  text_depth: run.Updates = 2
  """Layers of the transformers that read texts, one for each player."""
  text_heads: run.Updates = 4
  """Heads of their attention; they divide `--text-width`."""
  matching_weight: run.Weight = 1.0
  """Of the loss on pictures beside the text of another picture."""
  r1_gamma: run.Weight = 0.2
  """gamma of R1, of the mean over all logits."""
  r1_every: run.Updates = 16
  """Steps between two evaluations of R1."""
  group_size: run.Updates = 4
  """Pictures that the discriminator's minibatch standard deviation compares."""
  ema_half_life: choices.Pictures = 10_000.0
  """Pictures in which the moving average forgets half; with 0, `--ema-decay` counts instead."""
  ema_ramp: run.Bound = 0.05
  """Early on the half-life of the moving average is at most this share of the training so far."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    super().__post_init__()
    if self.text_width % self.text_heads:
      raise run.RunError(
        f"--text-heads={self.text_heads} must divide --text-width={self.text_width}"
      )

  def load(self) -> data.Dataset:
    """The pictures with their texts, but for those that are held out."""
    return self.load_parts()[0].dataset

  def load_parts(self) -> tuple["Captioned", "Captioned | None"]:
    """What is trained on, and what is not; None where that is nothing."""
    whole = super().load()
    texts = captions.captions_of(whole, self.captions)
    out = captions.held_out(texts, self.hold_out)
    parts = []
    for keep in (~out, out)[: 1 + out.any()]:
      kept = tuple(text for text, own in zip(texts, keep, strict=True) if own)
      dataset = captions.attach(captions.take(whole, keep), kept, most_words=self.max_words)
      parts.append(Captioned(dataset, kept))
    return parts[0], parts[1] if len(parts) > 1 else None


class Captioned(NamedTuple):
  """A part of a set, and the text of each of its pictures."""

  dataset: data.Dataset
  texts: tuple[str, ...]


_SMALL: dict[str, Any] = dict(latent_dim=64, style_dim=64, depth=2)

PRESETS: run.Presets = {
  "quick": dict(width=8, max_width=32, kernels=2, attention=8, steps=600, **_SMALL),
  "measured": dict(
    dataset="emoji64/train", width=16, max_width=64, kernels=4, steps=3000, **_SMALL
  ),
  "paper": dict(
    dataset="cifar10",
    resolution=64,
    batch_size=512,
    width=512,
    max_width=1024,
    latent_dim=128,
    text_width=768,
    text_depth=4,
    text_heads=12,
    r1_gamma=2.048,
    ema_half_life=500_000.0,
    steps=1_350_000,
    dtype="bfloat16",
  ),
}  # fmt: skip


class Texts:
  """The captions of a set as its networks read them.

  Attributes:
    vocabulary: of their words.
    length: tokens of a text.
  """

  def __init__(self, config: Config, spec: ImageSpec):
    if not spec.captions:
      raise run.RunError(
        f"--dataset={config.dataset}: its pictures have no texts; start experiments.gigagan as a "
        "program, which finds them"
      )
    self.vocabulary = captions.Vocabulary.of(spec.captions)
    self.length = captions.length_of(spec.captions, config.max_words)
    self.tokens = self.vocabulary.encode(spec.captions, self.length)

  def encoder(self, config: Config) -> TextEncoder:
    """A new one, for one of the players."""
    return TextEncoder(
      len(self.vocabulary),
      self.length,
      width=config.text_width,
      depth=config.text_depth,
      heads=config.text_heads,
      dtype=config.jax_dtype,
    )


def attended(most: int, resolution: int) -> tuple[int, ...]:
  """Resolutions from 8 pixels up to `most`."""
  return tuple(size for size in (8 << i for i in range(10)) if size <= min(most, resolution))


def matching(batch: Batch, kinds: tuple[str, ...] = ("real", "fake")) -> Array:
  """`softplus(D(x, c'))` of pictures beside another's text c', real and fake: section 3.4."""
  outputs = [batch[f"{kind}_output"] for kind in kinds]
  return jnp.stack(
    [jax.nn.softplus(out.mismatched).mean(1) * out.counts for out in outputs]
  ).sum(0)  # fmt: skip


def told_apart(batch: Batch, game: Game) -> Array:
  """Share of the real pictures that fit their own text better than another."""
  del game
  out = batch["real_output"]
  return out.logits.mean(1) > out.mismatched.mean(1)


def build(config: Config, spec: ImageSpec) -> training.System:
  """The GigaGAN of a config for pictures with texts."""
  resolution, _, channels = spec.shape
  texts = Texts(config, spec)
  z = latents.mixed(noise=latents.normal(config.latent_dim), text=latents.rows(texts.tokens))
  conditions = objectives.Conditions(
    real=lambda batch: batch["text"], fake=lambda z: z[:, config.latent_dim :]
  )
  options: dict[str, Any] = dict(
    width=config.width,
    max_width=config.max_width,
    head_width=config.head_width,
    dtype=config.jax_dtype,
  )
  words = len(texts.vocabulary)
  generator = models.gigagan.Generator(
    texts.encoder(config),
    words,
    resolution,
    channels,
    style_dim=config.style_dim,
    depth=config.depth,
    kernels=config.kernels,
    attention=attended(config.attention, resolution),
    **options,
  )
  discriminator = models.gigagan.Discriminator(
    texts.encoder(config),
    words,
    resolution,
    attention=attended(config.attention_d, resolution),
    group_size=config.group_size,
    axis_name=training.AXIS,
    **options,
  )

  def r1(critic: Critic, batch: Batch, key: Key, game: Game) -> Array:
    del key, game
    slopes = penalties.r1(lambda images: critic(images).mean(1), batch["image"])
    return config.r1_gamma / 2.0 * slopes

  return training.system(
    generator,
    discriminator,
    optax.adam(config.learning_rate, b1=0.0, b2=0.99),
    penalties.lazy_adam(config.learning_rate, 0.0, 0.99, every=config.r1_every),
    objectives.adversarial(
      losses.non_saturating(),
      z,
      conditions=conditions,
      # Fakes are painted to the texts of the real pictures beside them.
      match=lambda z, batch: jnp.concatenate(
        [z[:, : config.latent_dim], batch["text"].astype(z.dtype)], 1
      ),
      logits=lambda output: output.logits,
      d_terms={"matching": lambda batch, game: config.matching_weight * matching(batch)},
      measures={"told_apart": told_apart},
      penalties=[r1],
      penalties_every=config.r1_every,
      axis_name=training.AXIS,
    ),
    latents=z,
    conditions=conditions,
    spec=spec,
    ema_decay=training.ramped_decay(choices.decay(config), config.ema_ramp),
    batch_multiple=config.group_size,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
