"""StyleGAN2: Karras et al. 2019 (arXiv 1912.04958), with ADA (2006.06676) or DiffAugment.

Styles modulate the kernels of every layer. The discriminator's slope at real pictures is penalised
(R1) and the generator is to move equally far for every step of a style (path length), both lazily;
with little data, augmentations before the discriminator keep it from learning them by heart.
`--preset=paper` is the configuration of ADA's code for CIFAR-10; G's Adam is not corrected there,
since no path length is taken.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments import choices
from jaxgan import augment, latents, losses, models, penalties, regularizers, run, training
from jaxgan.run.flags import Range
from jaxgan.training import Game, objectives
from jaxgan.types import Array, Batch, ImageSpec, Key, PyTree


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of StyleGAN2."""

  batch_size: run.Count = 32
  learning_rate: run.Rate = 2e-3
  """Of both players' Adam, before its correction for lazy terms."""
  conditional: bool = False
  """Tell both players the class of each picture."""
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
  residual: bool = True
  """Residual blocks in the discriminator."""
  group_size: run.Updates = 4
  """Pictures that the discriminator's minibatch standard deviation compares."""
  r1_gamma: run.Weight | None = None
  """gamma of R1; by default 0.0002 resolution^2 / batch, ADA's rule of thumb."""
  r1_every: run.Updates = 16
  """Steps between two evaluations of R1."""
  path_weight: run.Weight = 2.0
  """Of the path length, 0 for none."""
  path_every: run.Updates = 4
  """Steps between two evaluations of it, on half a batch."""
  ema_half_life: choices.Pictures = 10_000.0
  """Pictures in which the moving average forgets half; with 0, `--ema-decay` counts instead."""
  ema_ramp: run.Bound = 0.05
  """Early on the half-life of the moving average is at most this share of the training so far."""
  augment: Literal["none", "ada", "diffaugment"] = "none"
  """Augmentation of all that the discriminator sees."""
  ada_target: Annotated[float, Range("be in [-1, 1]", lambda x: -1.0 <= x <= 1.0)] = 0.6
  """Mean sign of the discriminator at real pictures that the probability is steered to."""
  ada_speed: run.Bound = 500_000
  """Pictures in which ADA's probability goes from 0 to 1."""


_SMALL: dict[str, Any] = dict(latent_dim=64, style_dim=64, depth=2, mixing=0.0)

PRESETS: run.Presets = {
  "quick": dict(width=16, max_width=32, steps=600, **_SMALL),
  "measured": dict(
    dataset="emoji64/train",
    flip=True,
    width=16,
    max_width=64,
    r1_gamma=0.2,
    ada_speed=50_000,
    steps=2500,
    **_SMALL,
  ),
  "paper": dict(
    dataset="cifar10",
    conditional=True,
    augment="ada",
    batch_size=64,
    learning_rate=2.5e-3,
    depth=2,
    mixing=0.0,
    residual=False,
    group_size=32,
    r1_gamma=0.01,
    path_weight=0.0,
    ema_half_life=500_000.0,
    steps=1_562_500,
  ),
}  # fmt: skip

Augment = Callable[[Game], augment.Augmentation]


class Augmented(NamedTuple):
  """An augmentation, and what it carries from step to step."""

  options: Mapping[str, Any]
  extra: Mapping[str, PyTree]
  measures: Mapping[str, objectives.Term]


def augmentation(config: Config) -> Augmented:
  """The augmentation of a config, as options of the objectives."""
  if config.augment == "diffaugment":
    policy = augment.compose(augment.colour, augment.translation, augment.cutout)
    return Augmented({"augment": policy}, {}, {})
  if config.augment == "none":
    return Augmented({}, {}, {})

  def remember(batch: Batch, game: Game) -> Mapping[str, PyTree]:
    state = augment.ada_update(
      game.extra["ada"],
      batch["real_logits"],
      target=config.ada_target,
      speed=config.ada_speed,
      axis_name=training.AXIS,
    )
    return {"ada": state}

  return Augmented(
    {"adaptive_augment": lambda game: augment.ada(game.extra["ada"].p), "remember": remember},
    {"ada": augment.ada_init()},
    {"augment_p": lambda batch, game: game.extra["ada"].p},
  )


def path_length(z: latents.Sampler, weight: float) -> objectives.GeneratorPenalty:
  """The path length of section 3.2, on fakes of half a batch."""

  def penalty(batch: Batch, key: Key, game: Game) -> tuple[Array, Mapping[str, PyTree]]:
    n = max(len(batch["image"]) // 2, 1)
    z_key, mixing_key, noise_key, image_key = jax.random.split(key, 4)
    player = game.generator
    generator: Any = player.apply_fn

    def synthesis(styles: Array) -> Array:
      rngs = {"dropout": noise_key}
      return generator(player.variables, styles, train=True, method="synthesize", rngs=rngs)

    styles = generator(
      player.variables,
      z(z_key, n, axis_name=training.AXIS),
      train=True,
      method="styles",
      rngs={"dropout": mixing_key},
    )
    lengths = regularizers.path_lengths(synthesis, styles, image_key, axis_name=training.AXIS)
    values, mean = regularizers.path_length(
      lengths, game.extra["path_length"], axis_name=training.AXIS
    )
    return weight * values, {"path_length": mean}

  return penalty


def build(config: Config, spec: ImageSpec) -> training.System:
  """The StyleGAN2 of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  z: latents.Sampler = latents.normal(config.latent_dim)
  conditions = classes = None
  if config.conditional:
    z, conditions = choices.labelled(z, spec)
    classes = len(spec.classes)
  options: dict[str, Any] = dict(
    width=config.width, max_width=config.max_width, dtype=config.jax_dtype
  )
  generator = models.stylegan2.Generator(
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
    classes,
    resolution,
    residual=config.residual,
    group_size=config.group_size,
    **options,
  )
  gamma = config.r1_gamma
  if gamma is None:
    gamma = 0.0002 * resolution**2 / config.batch_size
  augmented = augmentation(config)
  extra, measures = dict(augmented.extra), dict(augmented.measures)
  g_penalties = []
  if config.path_weight:
    g_penalties = [path_length(z, config.path_weight)]
    extra["path_length"] = jnp.zeros([])
    measures["path_length"] = lambda batch, game: game.extra["path_length"]

  def adam(every: int) -> optax.GradientTransformation:
    return penalties.lazy_adam(config.learning_rate, 0.0, 0.99, every=every)

  return training.system(
    generator,
    discriminator,
    adam(config.path_every) if g_penalties else optax.adam(config.learning_rate, b1=0.0, b2=0.99),
    adam(config.r1_every),
    objectives.adversarial(
      losses.non_saturating(),
      z,
      conditions=conditions,
      penalties=[
        lambda critic, batch, key, game: gamma / 2.0 * penalties.r1(critic, batch["image"])
      ],
      penalties_every=config.r1_every,
      g_penalties=g_penalties,
      g_penalties_every=config.path_every if g_penalties else None,
      measures=measures,
      axis_name=training.AXIS,
      **augmented.options,
    ),
    latents=z,
    conditions=conditions,
    spec=spec,
    ema_decay=training.ramped_decay(choices.decay(config), config.ema_ramp),
    extra=extra,
    batch_multiple=config.group_size,
    style=training.style_of(generator),
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
