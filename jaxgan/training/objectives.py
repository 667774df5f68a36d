"""Objectives of the two players, composed from a loss, latents, penalties and an augmentation."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.penalties.critics import mixing
from jaxgan.training.state import Game, Player
from jaxgan.training.step import Aux, Forward, Objective
from jaxgan.types import AdversarialLoss, Array, Batch, Critic, Key, PyTree

__all__ = ["Objectives", "Penalty", "Regularizer", "Remember", "adversarial"]


Penalty = Callable[[Critic, Batch, Key, Game], Array]
Regularizer = Callable[[PyTree], Array]
Remember = Callable[[Batch, Game], Mapping[str, PyTree]]

# Each use of an objective's key folds in a number of its own; penalties count on from theirs.
_LATENTS = 0
_AUGMENT_REAL = 1
_AUGMENT_FAKE = 2
_AUGMENT_G_FAKE = 3
_AUGMENT_G_REAL = 4
_AUGMENT_PENALTY = 5
_PENALTIES = 6


class Objectives(NamedTuple):
  """What `make_train_step` takes: the objectives of both players, and the pass that they share."""

  discriminator: Objective
  generator: Objective
  forward: Forward


def adversarial(
  loss: AdversarialLoss,
  latents: Callable[..., Array],
  *,
  penalties: Sequence[Penalty] = (),
  d_regularizers: Sequence[Regularizer] = (),
  g_regularizers: Sequence[Regularizer] = (),
  augment: Callable[..., Array] | None = None,
  adaptive_augment: Callable[[Game], Callable[..., Array]] | None = None,
  remember: Remember | None = None,
  score: Callable[[Array], Array] = jax.nn.sigmoid,
  axis_name: str | None = None,
) -> Objectives:
  """The objectives of an unconditional GAN.

  Real and fake pictures pass the discriminator apart, so that each batch norm sees one kind only
  (Radford et al. 2015). The discriminator's collections are written in its own step, by the pass
  over real pictures; the generator's by the pass of its own step.

  Args:
    loss: a pair from `jaxgan.losses`.
    latents: `latents(key, n, axis_name=...) -> [n, ...]`, such as `jaxgan.latents.normal(100)`.
    penalties: terms of D's loss, `penalty(critic, batch, key, game)` with the weight inside, per
      example or scalar. `critic` maps pictures to logits, augmentation included; `batch` holds the
      real `"image"` and the `"fake"`, neither augmented, and the logits that the loss took,
      `"real_logits"` and `"fake_logits"`.
    d_regularizers: terms of D's loss, `regularizer(params)`, scalar, with the weight inside.
    g_regularizers: the generator's.
    augment: `augment(images, key, axis_name=...) -> images`, put before D wherever D looks (Zhao et
      al. 2020, arXiv 2006.10738); see `jaxgan.augment`.
    adaptive_augment: instead of `augment`, one that depends on the game:
      `lambda game: jaxgan.augment.ada(game.extra["ada"].p)`.
    remember: `remember(batch, game) -> entries` of `game.extra` after an update of D, with `batch`
      as penalties see it; equal on all devices. It keeps what a penalty or augmentation carries
      from step to step; `Game.new(..., extra=...)` or `training.system(..., extra=...)` starts it.
    score: turns logits into the logged D(x) and D(G(z)).
    axis_name: the mapped axis over which the batch is split, if any.

  Returns:
    `(discriminator, generator, forward)` for `make_train_step`. They log `loss_D`, `D_x`,
    `D_G_z1` and `D_accuracy`, the share of logits on the right side of 0 (D before its update),
    `loss_G` and `D_G_z2` (D after it); with penalties `penalty`, and `loss_D` is the adversarial
    part alone.

  Raises:
    ValueError: both augmentations are given; or, while the step is traced: a penalty takes the
      critic's gradient in its input or estimates it, but the discriminator keeps batch statistics,
      so that its examples mix.

  WGAN-GP, with the paper's weight of 10:

  >>> from jaxgan import latents, losses, penalties
  >>> parts = adversarial(
  ...   losses.wasserstein(),
  ...   latents.normal(128),
  ...   penalties=[
  ...     lambda critic, batch, key, game: (
  ...       10.0 * penalties.gradient_penalty(critic, batch["image"], batch["fake"], key)
  ...     )
  ...   ],
  ...   score=lambda logits: logits,
  ... )

  ADA, whose probability travels in the game (start it by `extra={"ada": augment.ada_init()}`):

  >>> from jaxgan import augment
  >>> parts = adversarial(
  ...   losses.non_saturating(),
  ...   latents.normal(128),
  ...   adaptive_augment=lambda game: augment.ada(game.extra["ada"].p),
  ...   remember=lambda batch, game: {
  ...     "ada": augment.ada_update(game.extra["ada"], batch["real_logits"])
  ...   },
  ... )
  """
  if augment is not None and adaptive_augment is not None:
    raise ValueError("augment and adaptive_augment are both given: compose them in the latter")

  def seen(images: Array, key: Key, use: int, game: Game) -> Array:
    chosen = augment if adaptive_augment is None else adaptive_augment(game)
    if chosen is None:
      return images
    return chosen(images, jax.random.fold_in(key, use), axis_name=axis_name)

  def forward(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Batch, Aux]:
    z = latents(jax.random.fold_in(key, _LATENTS), batch["image"].shape[0], axis_name=axis_name)
    fake, written = _apply(game.generator, params, z)
    return {"fake": fake}, Aux(written)

  def penalty(params: PyTree, game: Game, batch: Batch, key: Key) -> Array:
    def critic(images: Array) -> Array:
      x = seen(images, key, _AUGMENT_PENALTY, game)
      return _apply(game.discriminator, params, x)[0]

    mixes = "batch_stats" in game.discriminator.collections
    with _guarded(critic) if mixes else contextlib.nullcontext(critic) as allowed:
      terms = [
        term(allowed, batch, jax.random.fold_in(key, _PENALTIES + i), game).mean()
        for i, term in enumerate(penalties)
      ]
    return jnp.asarray(sum(terms))

  def d_objective(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    if "fake" not in batch:
      batch = {**batch, **forward(game.generator.params, game, batch, key)[0]}
    real_logits, written = _apply(
      game.discriminator, params, seen(batch["image"], key, _AUGMENT_REAL, game)
    )
    fake_logits, _ = _apply(
      game.discriminator, params, seen(batch["fake"], key, _AUGMENT_FAKE, game)
    )
    batch = {**batch, "real_logits": real_logits, "fake_logits": fake_logits}
    value = loss.discriminator(real_logits, fake_logits).mean()
    metrics = {
      "loss_D": value,
      "D_x": score(real_logits).mean(),
      "D_G_z1": score(fake_logits).mean(),
      "D_accuracy": ((real_logits > 0).mean() + (fake_logits < 0).mean()) / 2,
    }
    if penalties:
      metrics["penalty"] = penalty(params, game, batch, key)
      value = value + metrics["penalty"]
    value = value + sum(term(params) for term in d_regularizers)
    extra = {} if remember is None else jax.lax.stop_gradient(remember(batch, game))
    return value, Aux(written, metrics, extra)

  def g_objective(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    written: Mapping[str, PyTree] = {}
    if "fake" not in batch:
      entries, (written, *_) = forward(params, game, batch, key)
      batch = {**batch, **entries}
    player = game.discriminator
    fake_logits, _ = _apply(player, player.params, seen(batch["fake"], key, _AUGMENT_G_FAKE, game))
    # Compilation removes this pass where the loss does not read it.
    real_logits, _ = _apply(player, player.params, seen(batch["image"], key, _AUGMENT_G_REAL, game))
    value = loss.generator(real_logits, fake_logits).mean()
    metrics = {"loss_G": value, "D_G_z2": score(fake_logits).mean()}
    value = value + sum(term(params) for term in g_regularizers)
    return value, Aux(written, metrics)

  return Objectives(d_objective, g_objective, forward)


def _apply(player: Player, params: PyTree, x: Array) -> tuple[Array, PyTree]:
  """Output of a player's network in training mode, and the collections that it rewrote."""
  output, written = player.apply_fn(
    {"params": params, **player.collections}, x, train=True, mutable=list(player.collections)
  )
  return jnp.asarray(output), written


@contextlib.contextmanager
def _guarded(critic: Critic) -> Iterator[Critic]:
  """The critic, whose gradient in its input cannot be taken before the end of the `with`.

  A gradient that passes through it later is one of the whole objective (games that differentiate
  D's gradient in G's parameters send it through the fakes), which batch norm does not falsify.
  """
  open_ = True

  @jax.custom_vjp
  def guard(images: Array) -> Array:
    return images

  def refuse(_: None, cotangent: Array) -> tuple[Array]:
    if open_:
      raise ValueError(_MIXES)
    return (cotangent,)

  guard.defvjp(lambda images: (images, None), refuse)
  yield mixing(lambda images: critic(guard(images)), _MIXES)
  open_ = False


_MIXES = (
  "a penalty takes the critic's gradient in its input, but the discriminator has batch norm "
  "(collection 'batch_stats'), which mixes examples: take layer, instance or spectral norm there"
)
