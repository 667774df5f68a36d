"""Objectives of the two players, composed from a loss and a source of latents."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.training.state import Game, Player
from jaxgan.training.step import Aux, Forward, Objective
from jaxgan.types import AdversarialLoss, Array, Batch, Key, PyTree

__all__ = ["Objectives", "adversarial"]


_LATENTS = 0  # each use of an objective's key folds in a number of its own


class Objectives(NamedTuple):
  """What `make_train_step` takes: the objectives of both players, and the pass that they share."""

  discriminator: Objective
  generator: Objective
  forward: Forward


def adversarial(
  loss: AdversarialLoss,
  latents: Callable[..., Array],
  *,
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
    score: turns logits into the logged D(x) and D(G(z)).
    axis_name: the mapped axis over which the batch is split, if any.

  Returns:
    `(discriminator, generator, forward)` for `make_train_step`. They log `loss_D`, `D_x` and
    `D_G_z1` (D before its update), `loss_G` and `D_G_z2` (D after it).
  """

  def forward(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Batch, Aux]:
    z = latents(jax.random.fold_in(key, _LATENTS), batch["image"].shape[0], axis_name=axis_name)
    fake, written = _apply(game.generator, params, z)
    return {"fake": fake}, Aux(written)

  def d_objective(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    if "fake" not in batch:
      batch = {**batch, **forward(game.generator.params, game, batch, key)[0]}
    real_logits, written = _apply(game.discriminator, params, batch["image"])
    fake_logits, _ = _apply(game.discriminator, params, batch["fake"])
    value = loss.discriminator(real_logits, fake_logits).mean()
    metrics = {
      "loss_D": value,
      "D_x": score(real_logits).mean(),
      "D_G_z1": score(fake_logits).mean(),
    }
    return value, Aux(written, metrics)

  def g_objective(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    written: Mapping[str, PyTree] = {}
    if "fake" not in batch:
      entries, (written, *_) = forward(params, game, batch, key)
      batch = {**batch, **entries}
    d_params = game.discriminator.params
    fake_logits, _ = _apply(game.discriminator, d_params, batch["fake"])
    # Compilation removes this pass where the loss does not read it.
    real_logits, _ = _apply(game.discriminator, d_params, batch["image"])
    value = loss.generator(real_logits, fake_logits).mean()
    return value, Aux(written, {"loss_G": value, "D_G_z2": score(fake_logits).mean()})

  return Objectives(d_objective, g_objective, forward)


def _apply(player: Player, params: PyTree, x: Array) -> tuple[Array, PyTree]:
  """Output of a player's network in training mode, and the collections that it rewrote."""
  output, written = player.apply_fn(
    {"params": params, **player.collections}, x, train=True, mutable=list(player.collections)
  )
  return jnp.asarray(output), written
