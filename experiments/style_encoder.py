"""Training of an encoder of pictures to a trained generator's styles: e4e, Tov et al. 2021.

arXiv 2102.02766, section 3, in the form of a game: the encoder is the generator, a discriminator of
styles tells its styles from the mapping network's. Differences between layers are let in one layer
after the other. It learns on pictures and on the generator's own samples, half each.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import losses, models, penalties, training
from jaxgan._arrays import safe_sqrt
from jaxgan.training import Aux, Game
from jaxgan.types import Array, Batch, Key, PyTree

_ENCODER, _JUDGE, _R1_EVERY = 0, 1, 16


@dataclasses.dataclass(frozen=True)
class Settings:
  """Flags of the encoder's training; weights are the paper's. No pool of styles is kept."""

  encoder_steps: int = 2000
  """Steps of the encoder's training; the paper's are 200,000."""
  encoder_batch: int = 16
  """Pictures in a batch, half of them samples; the paper's has 8."""
  encoder_width: int = 32
  """Features of the encoder at full resolution."""
  encoder_max_width: int = 128
  """Its most features."""
  encoder_rate: float = 1e-3
  """Of its Adam; the paper has 1e-4 and another optimiser, Ranger."""
  unlock_from: float = 0.1
  """Share of the steps after which the second layer has a style of its own, the paper's 20,000."""
  unlock_until: float = 0.5
  """Share after which all have."""
  pixel_weight: float = 1.0
  """Of the mean squared difference of pixels."""
  feature_weight: float = 0.8
  """Of that of the features."""
  delta_weight: float = 2e-4
  """Of the squared differences of styles between layers."""
  style_weight: float = 0.1
  """Of the discriminator of styles, 0 for none."""
  style_rate: float = 2e-5
  """Of its Adam."""
  style_r1: float = 10.0
  """Of its R1, gamma, taken at every 16th step."""


class Frozen(NamedTuple):
  """The generator that is encoded for.

  Attributes:
    style: its parts.
    variables: its variables.
    latents: its sampler.
    features: of pictures, what is compared beside pixels.
  """

  style: training.Style
  variables: PyTree
  latents: Callable[..., Array]
  features: Callable[[Array], PyTree]


def encoder_of(frozen: Frozen, settings: Settings, resolution: int) -> models.e4e.Encoder:
  """The network of the settings."""
  return models.e4e.Encoder(
    frozen.style.layers,
    frozen.style.mean(frozen.variables).shape[0],
    resolution,
    settings.encoder_width,
    settings.encoder_max_width,
  )


def encode(encoder: models.e4e.Encoder, params: PyTree, frozen: Frozen, images: Array) -> Array:
  """Styles `[n, layers, d]` of pictures."""
  apply = jax.jit(lambda params, images: encoder.apply({"params": params}, images, train=False))
  mean = frozen.style.mean(frozen.variables)
  return apply(params, images) + mean[None, None]


def objectives_of(
  frozen: Frozen, settings: Settings
) -> tuple[training.Objective, training.Objective]:
  """Of the discriminator of styles, and of the encoder."""
  style, adversarial = frozen.style, losses.non_saturating()
  r1 = penalties.lazily(penalties.r1, every=_R1_EVERY)

  def styles(params: PyTree, game: Game, images: Array) -> Array:
    share = game.step / max(settings.encoder_steps, 1)
    reach = max(settings.unlock_until - settings.unlock_from, 1e-8)
    unlocked = 1 + style.layers * (share - settings.unlock_from) / reach
    apply: Any = game.generator.apply_fn
    found = apply({"params": params}, images, unlocked, train=True)
    return found + style.mean(game.extra["painter"])[None, None]

  def judged(params: PyTree, game: Game, w: Array) -> Array:
    apply: Any = game.discriminator.apply_fn
    return apply({"params": params}, w, train=True)

  def flat(w: Array) -> Array:
    return w.reshape(-1, w.shape[-1])

  def of_judge(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    painter, images = game.extra["painter"], batch["image"]
    w = jax.lax.stop_gradient(styles(game.generator.params, game, images))
    z = frozen.latents(jax.random.fold_in(key, _JUDGE), w.shape[0] * w.shape[1])
    real = jax.lax.stop_gradient(style.mapping(painter, z))

    def critic(w: Array) -> Array:
      return judged(params, game, w)

    loss = adversarial.discriminator(critic(real), critic(flat(w))).mean()
    penalty = settings.style_r1 / 2.0 * r1(game.step, critic, real).mean()
    return loss + penalty, Aux(metrics={"loss_w": loss})

  def of_encoder(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    del key
    images = batch["image"]
    w = styles(params, game, images)
    made = style.synthesis(game.extra["painter"], w)
    pixels = jnp.square(made - images).mean()
    apart = jax.tree.map(
      lambda a, b: jnp.square(a - b).mean(), frozen.features(made), frozen.features(images)
    )
    features = jax.tree.reduce(jnp.add, apart)
    deltas = safe_sqrt(jnp.square(w[:, 1:] - w[:, :1]).sum(2)).sum(1).mean()
    loss = settings.pixel_weight * pixels + settings.feature_weight * features
    loss = loss + settings.delta_weight * deltas
    if settings.style_weight:
      logits = judged(game.discriminator.params, game, flat(w))
      loss = loss + settings.style_weight * adversarial.generator(None, logits).mean()
    return loss, Aux(metrics={"pixels": pixels, "features": features, "deltas": deltas})

  return of_judge, of_encoder


def train_encoder(
  frozen: Frozen,
  settings: Settings,
  pictures: np.ndarray,
  seed: int,
  report: Callable[[int, dict[str, Array]], None] = lambda step, metrics: None,
) -> tuple[models.e4e.Encoder, PyTree]:
  """Trains an encoder on one device.

  Args:
    frozen: the generator.
    settings: of the training.
    pictures: uint8 `[n, h, w, c]`.
    seed: of weights, samples and the order of the pictures.
    report: called after each step.

  Returns:
    The network and its parameters.
  """
  encoder = encoder_of(frozen, settings, pictures.shape[1])
  judge = models.e4e.StyleDiscriminator(width=encoder.style_dim)
  of_judge, of_encoder = objectives_of(frozen, settings)
  step = training.make_train_step(of_judge, of_encoder)
  samples = max(settings.encoder_batch // 2, 1)
  shape = pictures.shape[1:]

  def start(key: Key) -> Game:
    keys = jax.random.split(key, 3)
    adam = optax.adam(settings.encoder_rate), optax.adam(settings.style_rate, b1=0.0, b2=0.99)
    return Game.new(
      keys[0],
      training.new_player(judge, adam[1], keys[1], jnp.zeros([1, encoder.style_dim])),
      training.new_player(encoder, adam[0], keys[2], jnp.zeros([1, *shape])),
      extra={"painter": frozen.variables},
    )

  @jax.jit
  def advance(game: Game, real: Array) -> tuple[Game, dict[str, Array]]:
    key = jax.random.fold_in(jax.random.fold_in(game.key, game.step), 2**31)
    painter = game.extra["painter"]
    w = frozen.style.mapping(painter, frozen.latents(key, samples))
    spread = jnp.repeat(w[:, None], frozen.style.layers, 1)
    drawn = jnp.clip(frozen.style.synthesis(painter, spread), -1.0, 1.0)
    images = jnp.concatenate([real.astype(jnp.float32) / 127.5 - 1.0, drawn])
    return step(game, {"image": images[None]})

  game = jax.jit(start)(jax.random.key(seed))
  for i in range(settings.encoder_steps):
    rng = np.random.default_rng((seed, i))
    rows = rng.integers(len(pictures), size=max(settings.encoder_batch - samples, 1))
    game, metrics = advance(game, jnp.asarray(pictures[rows]))
    report(i, metrics)
  return encoder, game.generator.params
