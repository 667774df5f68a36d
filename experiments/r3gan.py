"""R3GAN: Huang, Gokaslan, Kuleshov and Tompkin 2024 (arXiv 2501.05441).

A relativistic loss, which compares each fake with a real picture beside it, and the discriminator's
slope penalised at real pictures and at fakes (R1 + R2) in every step: with this loss the game has
been shown to converge locally, and the networks need no tricks. They are plain residual networks of
grouped convolutions. Rates, weight of the penalty and averages change along a half cosine over the
burn-in and then stay.

`--preset=paper` is the run on CIFAR-10; `ffhq64`, `ffhq256`, `imagenet32`, `imagenet64` and
`stacked_mnist` are the paper's others, as long as their burn-in (FFHQ and Stacked MNIST are no TFDS
sets: give `--dataset` a folder or a file).
"""

import dataclasses
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import optax

from experiments import choices
from jaxgan import augment, latents, losses, models, penalties, run, training
from jaxgan.training import Game, objectives
from jaxgan.types import Array, Batch, Critic, ImageSpec, Key

Preset = Literal[
  "quick",
  "measured",
  "paper",
  "ffhq64",
  "ffhq256",
  "imagenet32",
  "imagenet64",
  "stacked_mnist",
]


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of R3GAN."""

  preset: Preset = "quick"  # type: ignore[assignment]
  """Base that the other flags override: quick, measured, paper (CIFAR-10), or another run of the
  paper."""
  burn_in: Annotated[int, choices.SOME] = 32_000
  """Pictures over which what follows changes; 0 for its last values from the start."""
  learning_rate: run.Rate = 2e-4
  """Of both players' Adam at the start, whose decay of the first moment is 0."""
  last_learning_rate: run.Rate = 5e-5
  """At the end of the burn-in."""
  adam_b2: run.Decay = 0.9
  """Decay of Adam's second moment at the start."""
  last_adam_b2: run.Decay = 0.99
  """At the end of the burn-in."""
  gamma: run.Weight = 1.0
  """Of (gamma / 2)(R1 + R2) at the start."""
  last_gamma: run.Weight = 0.1
  """At the end of the burn-in."""
  ema_half_life: choices.Pictures = 10_000.0
  """Pictures in which the moving average forgets half, at the end of the burn-in; it starts at 0.
  With 0 here, `--ema-decay` counts instead."""
  augment_p: run.Share = 0.0
  """Probability of ADA's transforms before the discriminator at the end of the burn-in; 0 at the
  start."""
  conditional: bool = False
  """Tell both players the class of each picture; a fake has that of the real one beside it."""
  latent_dim: run.Width = 64
  """Dimensions of the normal latent."""
  widths: str = ""
  """Features at 4, 8, 16 ... pixels, as `768,768,384`; by default `--width` at each."""
  group_size: run.Width = 16
  """Features of a group of the 3x3 convolutions; it divides twice the widths."""
  accumulate: run.Updates = 1
  """Pieces in which a batch is taken; the batch of a device divides by it."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    super().__post_init__()
    given = f"--widths={self.widths}" if self.widths else f"--width={self.width}"
    for width in self.stage_widths or (self.width,):
      if 2 * width % self.group_size:
        raise run.RunError(
          f"--group-size={self.group_size} must divide {2 * width}, twice the width of a stage, "
          f"with {given}"
        )

  @property
  def stage_widths(self) -> tuple[int, ...] | None:
    """What `--widths` says."""
    try:
      widths = tuple(int(width) for width in self.widths.split(",")) if self.widths else None
    except ValueError:
      widths = (0,)
    if widths and min(widths) < 1:
      raise run.RunError(f"--widths={self.widths} must be positive whole numbers, as 768,768,384")
    return widths


def _published(burn_in: int, batch_size: int, **options: Any) -> dict[str, Any]:
  steps = -(-burn_in // batch_size)
  return dict(
    width=768, dtype="bfloat16", burn_in=burn_in, batch_size=batch_size, steps=steps
  ) | options  # fmt: skip


_FFHQ: dict[str, Any] = dict(dataset="ffhq", flip=True, ema_half_life=5e5, augment_p=0.3)
_IMAGENET: dict[str, Any] = dict(
  width=1536, group_size=32, conditional=True, ema_half_life=5e7, accumulate=8
)

PRESETS: run.Presets = {
  "quick": dict(width=16, steps=600),
  "measured": dict(
    dataset="emoji64/train",
    flip=True,
    batch_size=32,
    widths="96,64,32,16",
    steps=1200,
    burn_in=38_400,
    learning_rate=5e-4,
    last_learning_rate=2e-4,
    gamma=0.5,
    last_gamma=0.05,
  ),
  "paper": _published(
    20_000_000,
    512,
    dataset="cifar10",
    conditional=True,
    gamma=0.05,
    last_gamma=0.005,
    ema_half_life=5e6,
    augment_p=0.55,
    steps=488_282,
  ),
  "ffhq64": _published(
    20_000_000,
    256,
    resolution=64,
    widths="768,768,768,768,384",
    gamma=2.0,
    last_gamma=0.2,
    **_FFHQ,
  ),
  "ffhq256": _published(
    20_000_000,
    256,
    resolution=256,
    widths="768,768,768,768,384,192,96",
    gamma=150.0,
    last_gamma=15.0,
    **_FFHQ,
  ),
  "imagenet32": _published(
    200_000_000,
    4096,
    dataset="imagenet_resized/32x32",
    gamma=0.5,
    last_gamma=0.05,
    augment_p=0.5,
    **_IMAGENET,
  ),
  "imagenet64": _published(
    200_000_000,
    4096,
    dataset="imagenet_resized/64x64",
    resolution=64,
    gamma=1.0,
    last_gamma=0.1,
    augment_p=0.4,
    **_IMAGENET,
  ),
  "stacked_mnist": _published(
    2_000_000,
    512,
    dataset="stacked_mnist",
    last_learning_rate=2e-4,
    gamma=1.0,
    last_gamma=0.1,
    ema_half_life=0.0,
    steps=19_532,
  ),
}


def half_cosine(config: Config, first: float, last: float) -> optax.Schedule:
  """From the first value to the last one over the burn-in, by steps before."""
  steps = max(config.burn_in / config.batch_size, 1e-8)

  def value(step: Array) -> Array:
    left = 0.5 + 0.5 * jnp.cos(jnp.pi * jnp.minimum(jnp.maximum(step, 0) / steps, 1.0))
    return last + left * (first - last) if config.burn_in else jnp.asarray(last)

  return value


def average(config: Config) -> float | optax.Schedule:
  """The decay of the moving average by updates, of which the first is 1."""
  if not config.ema_half_life:
    return config.ema_decay
  half_life = half_cosine(config, 0.0, config.ema_half_life)
  return lambda update: 0.5 ** (config.batch_size / jnp.maximum(half_life(update - 1), 1e-8))


def penalty(gamma: optax.Schedule) -> objectives.Penalty:
  """(gamma / 2)(R1 + R2)."""

  def term(critic: Critic, batch: Batch, key: Key, game: Game) -> Array:
    del key
    norms = penalties.r1(critic, batch["image"]) + penalties.r2(critic, batch["fake"])
    return gamma(game.step) / 2.0 * norms

  return term


def augmentation(p: Array) -> augment.Augmentation:
  """ADA's transforms with the paper's shares of the probability."""
  return augment.compose(
    augment.pixel_blitting(p),
    augment.ada_geometry(p),
    augment.ada_colour(0.5 * p),
    augment.ada_cutout(p),
  )


def build(config: Config, spec: ImageSpec) -> training.System:
  """The R3GAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  z: latents.Sampler = latents.normal(config.latent_dim)
  told: dict[str, Any] = {}
  conditions = classes = None
  if config.conditional:
    z, conditions = choices.labelled(z, spec)
    classes, real = len(spec.classes), conditions.real
    told["match"] = lambda z, batch: jnp.concatenate([z[:, : config.latent_dim], real(batch)], 1)
  if config.augment_p:
    p = half_cosine(config, 0.0, config.augment_p)
    told["adaptive_augment"] = lambda game: augmentation(p(game.step))
  options: dict[str, Any] = dict(
    width=config.width,
    widths=config.stage_widths,
    group_size=config.group_size,
    dtype=config.jax_dtype,
  )
  adam = optax.inject_hyperparams(optax.adam, static_args=("b1", "eps", "eps_root"))(
    half_cosine(config, config.learning_rate, config.last_learning_rate),
    b1=0.0,
    b2=half_cosine(config, config.adam_b2, config.last_adam_b2),
  )
  return training.system(
    models.r3gan.Generator(classes, resolution, channels, **options),
    models.r3gan.Discriminator(classes, resolution, **options),
    adam,
    adam,
    objectives.adversarial(
      losses.relativistic(),
      z,
      conditions=conditions,
      penalties=[penalty(half_cosine(config, config.gamma, config.last_gamma))],
      score=lambda logits: logits,
      axis_name=training.AXIS,
      **told,
    ),
    latents=z,
    conditions=conditions,
    spec=spec,
    ema_decay=average(config),
    accumulate=config.accumulate,
    probabilities=False,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
