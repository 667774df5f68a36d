"""Objectives of the two players, composed from a loss, latents, penalties and an augmentation.

Past 300 lines because `adversarial` is one closure over its options, of which half is their
documentation.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.latents import Mixed
from jaxgan.penalties.critics import mixing
from jaxgan.training.state import Game, Player
from jaxgan.training.step import Aux, Forward, Lazy, Objective
from jaxgan.types import AdversarialLoss, Array, Batch, Critic, Key, PyTree

__all__ = [
  "Conditions",
  "GeneratorPenalty",
  "Objectives",
  "Penalty",
  "Regularizer",
  "Remember",
  "Term",
  "adversarial",
  "apply",
  "class_conditions",
]


Penalty = Callable[[Critic, Batch, Key, Game], Array]
GeneratorPenalty = Callable[[Batch, Key, Game], tuple[Array, Mapping[str, PyTree]]]
Regularizer = Callable[[PyTree], Array]
Remember = Callable[[Batch, Game], Mapping[str, PyTree]]
Term = Callable[[Batch, Game], Array]

# Each use of an objective's key folds in a number of its own; penalties count on from theirs.
_LATENTS = 0
_AUGMENT_REAL = 1
_AUGMENT_FAKE = 2
_AUGMENT_G_FAKE = 3
_AUGMENT_G_REAL = 4
_AUGMENT_PENALTY = 5
_DROPOUT = 6  # and the two after it: of real pictures, of fakes, of the penalties
_DROPOUT_G = 9
_PENALTIES = 12


class Objectives(NamedTuple):
  """What `make_train_step` takes: the objectives of both players, and the pass that they share.

  Where each draws fakes of its own there is none. Penalties that are taken lazily are objectives of
  their own.
  """

  discriminator: Objective
  generator: Objective
  forward: Forward | None
  d_lazy: Lazy | None = None
  g_lazy: Lazy | None = None


class Conditions(NamedTuple):
  """What a conditional discriminator is told of each picture.

  Attributes:
    real: from a batch to the conditions of its real pictures, `[B, k]`.
    fake: from the latents of fakes to theirs, `[B, k]`.
  """

  real: Callable[[Batch], Array]
  fake: Callable[[Array], Array]


def class_conditions(latents: Mixed, classes: int, *, part: str = "label") -> Conditions:
  """One-hot labels: those of the data for real pictures, a part of the latent for fakes.

  Args:
    latents: with a categorical part, such as
      `latents.mixed(noise=latents.normal(100), label=latents.categorical(10))`.
    classes: of the data.
    part: name of that part.

  Returns:
    The conditions, for `adversarial` and `training.system`.

  Raises:
    ValueError: the data have no classes.

  >>> from jaxgan import latents
  >>> z = latents.mixed(noise=latents.normal(100), label=latents.categorical(10))
  >>> class_conditions(z, 10).fake(z(jax.random.key(0), 4)).shape
  (4, 10)
  """
  if classes < 2:
    raise ValueError(f"classes={classes}: the pictures have no labels; take a data set that has")
  return Conditions(
    real=lambda batch: jax.nn.one_hot(batch["label"], classes, dtype=jnp.float32),
    fake=lambda z: latents.split(z)[part],
  )


def apply(
  player: Player, params: PyTree, *inputs: Array, key: Key | None = None, writes: bool = True
) -> tuple[Any, PyTree]:
  """A player's network in training mode.

  Args:
    player: whose network and collections.
    params: its parameters, the ones that are differentiated.
    *inputs: of the network.
    key: of dropout and noise in the network (stream "dropout"), if it has any.
    writes: whether this is the pass whose collections are kept. Others may not iterate: the
      collection "spectral", the power iteration of spectral norm, is then read only.

  Returns:
    Its output, and the collections that it rewrote.
  """
  variables = {"params": params, **player.collections}
  streams = {} if key is None else {"rngs": {"dropout": key}}
  mutable = [name for name in player.collections if writes or name != "spectral"]
  output, written = player.apply_fn(variables, *inputs, train=True, mutable=mutable, **streams)
  return jax.tree.map(jnp.asarray, output), written


def adversarial(
  loss: AdversarialLoss | Callable[[Game], AdversarialLoss],
  latents: Callable[..., Array],
  *,
  conditions: Conditions | None = None,
  logits: Callable[[Any], Array] = lambda output: output,
  d_terms: Mapping[str, Term] | None = None,
  g_terms: Mapping[str, Term] | None = None,
  measures: Mapping[str, Term] | None = None,
  penalties: Sequence[Penalty] = (),
  g_penalties: Sequence[GeneratorPenalty] = (),
  penalties_every: int | None = None,
  g_penalties_every: int | None = None,
  d_regularizers: Sequence[Regularizer] = (),
  g_regularizers: Sequence[Regularizer] = (),
  augment: Callable[..., Array] | None = None,
  adaptive_augment: Callable[[Game], Callable[..., Array]] | None = None,
  remember: Remember | None = None,
  match: Callable[[Array, Batch], Array] | None = None,
  g_multiple: int | None = None,
  score: Callable[[Array], Array] = jax.nn.sigmoid,
  axis_name: str | None = None,
) -> Objectives:
  """The objectives of a GAN with one generator and one discriminator.

  Real and fake pictures pass the discriminator apart, so that each batch norm sees one kind only
  (Radford et al. 2015). The discriminator's collections are written in its own step, by the pass
  over real pictures; the generator's by the pass of its own step.

  Args:
    loss: a pair from `jaxgan.losses`, or one that depends on the game.
    latents: `latents(key, n, axis_name=...) -> [n, ...]`, such as `jaxgan.latents.normal(100)`.
    conditions: what D is told of each picture as its second input, see `class_conditions`; G takes
      it from its latent.
    logits: from D's output, which may be any tuple of arrays, to the logits that the loss takes.
    d_terms: further terms of D's loss by name, `term(batch, game)`, per example or scalar, with
      the weight inside. `batch` holds the real `"image"` and what came with it (`"label"`), the
      `"latents"` and the `"fake"` pictures, D's `"real_output"` and `"fake_output"`, and their
      `"real_logits"` and `"fake_logits"`; of the parameters in `game` the player's own are the
      ones being differentiated. They are logged under their names.
    g_terms: the generator's, in the same form; names apart from those of D.
    measures: what is logged of D's step beside the losses, in the same form.
    penalties: terms of D's loss that look at D elsewhere, `penalty(critic, batch, key, game)`
      with the weight inside, per example or scalar. `critic` maps as many pictures as a batch has
      to logits, augmentation included and under the conditions of the real pictures; the pictures
      in `batch`, which is that of `d_terms`, are not augmented.
    g_penalties: terms of G's loss that look at G elsewhere, such as a path length,
      `penalty(batch, key, game) -> (value, entries)` with the weight inside, per example or scalar,
      and the entries of `game.extra` that it changes, equal on all devices.
    penalties_every: lazy regularisation (Karras et al. 2019, arXiv 1912.04958, appendix B): the
      penalties are no terms of D's loss but have, at every k-th step, an update of their own, in
      which they count k times. They see the batch without outputs of D. Adam wants
      `jaxgan.penalties.lazy_adam` then. None has them in every step, as part of the loss.
    g_penalties_every: the same of `g_penalties`.
    d_regularizers: terms of D's loss, `regularizer(params)`, scalar, with the weight inside.
    g_regularizers: the generator's.
    augment: `augment(images, key, axis_name=...) -> images`, put before D wherever D looks (Zhao et
      al. 2020, arXiv 2006.10738); see `jaxgan.augment`.
    adaptive_augment: instead of `augment`, one that depends on the game:
      `lambda game: jaxgan.augment.ada(game.extra["ada"].p)`.
    remember: `remember(batch, game) -> entries` of `game.extra` after an update of D, with `batch`
      as penalties see it; equal on all devices. It keeps what a penalty or augmentation carries
      from step to step; `Game.new(..., extra=...)` or `training.system(..., extra=...)` starts it.
    match: `match(latents, batch) -> latents`, what the latents of fakes take over from the real
      pictures beside them: their classes, where a relativistic loss is to compare like with like.
    g_multiple: the generator's step draws fakes of its own, so many times as many as a batch has
      (SNGAN and WGAN-GP take 2); its loss and terms then see the real pictures beside them. None
      has it judge those of D's last update once more, which saves a pass.
    score: turns logits into the logged D(x) and D(G(z)).
    axis_name: the mapped axis over which the batch is split, if any.

  Returns:
    What `make_train_step` takes, by the names of its arguments. They log `loss_D`, `D_x`,
    `D_G_z1` and `D_accuracy`, the share of logits on the right side of 0 (D before its update),
    `loss_G` and `D_G_z2` (D after it); with penalties `penalty`, and `loss_D` is the adversarial
    part alone; with those of G `penalty_G`. Lazy ones are logged as they count: 0 at
    most steps, k times themselves at the others, so that means over steps compare.

  Raises:
    ValueError: both augmentations are given, or `g_multiple` is below 1, or above 1 beside `match`;
      lazy penalties that are none, or every less than 1 steps; or, while the step is
      traced: a penalty takes the critic's gradient in its input or estimates it, but the
      discriminator keeps batch statistics, so that its examples mix.

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

  AC-GAN, whose D returns a logit and class logits:

  >>> z = latents.mixed(noise=latents.normal(100), label=latents.categorical(10))
  >>> parts = adversarial(
  ...   losses.non_saturating(),
  ...   z,
  ...   logits=lambda output: output.logit,
  ...   d_terms={
  ...     "class_D": lambda batch, game: losses.auxiliary_classifier(
  ...       batch["real_output"].classes, batch["label"]
  ...     )
  ...   },
  ...   g_terms={
  ...     "class_G": lambda batch, game: losses.auxiliary_classifier(
  ...       batch["fake_output"].classes, z.split(batch["latents"])["label"].argmax(-1)
  ...     )
  ...   },
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
  if g_multiple is not None and g_multiple < 1:
    raise ValueError(f"g_multiple={g_multiple} must be at least 1, or None for D's own fakes")
  if match is not None and (g_multiple or 1) > 1:
    raise ValueError(f"g_multiple={g_multiple}: match has one real picture for each fake, give 1")

  for name, every, terms in (
    ("penalties", penalties_every, penalties),
    ("g_penalties", g_penalties_every, g_penalties),
  ):
    if every is not None and (every < 1 or not terms):
      raise ValueError(
        f"{name}_every={every} must be 1 or more, with some {name}; got {len(terms)}"
      )

  def seen(images: Array, key: Key, use: int, game: Game) -> Array:
    chosen = augment if adaptive_augment is None else adaptive_augment(game)
    if chosen is None:
      return images
    return chosen(images, jax.random.fold_in(key, use), axis_name=axis_name)

  def judged(
    player: Player,
    params: PyTree,
    images: Array,
    condition: Array | None,
    key: Key,
    writes: bool = False,
  ) -> tuple[Any, PyTree]:
    inputs = [images] if condition is None else [images, condition]
    return apply(player, params, *inputs, key=key, writes=writes)

  def paint(
    params: PyTree, game: Game, batch: Batch, key: Key, writes: bool, multiple: int = 1
  ) -> tuple[Batch, PyTree]:
    n = multiple * batch["image"].shape[0]
    z = latents(jax.random.fold_in(key, _LATENTS), n, axis_name=axis_name)
    z = z if match is None else match(z, batch)
    dropout = jax.random.fold_in(key, _DROPOUT_G + 2)
    fake, written = apply(game.generator, params, z, key=dropout, writes=writes)
    return {"fake": fake, "latents": z}, written

  def forward(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Batch, Aux]:
    entries, written = paint(params, game, batch, key, writes=True)
    return entries, Aux(written)

  def penalty(params: PyTree, game: Game, batch: Batch, key: Key) -> Array:
    def critic(images: Array) -> Array:
      x = seen(images, key, _AUGMENT_PENALTY, game)
      condition = None if conditions is None else conditions.real(batch)
      dropout = jax.random.fold_in(key, _DROPOUT + 2)
      return logits(judged(game.discriminator, params, x, condition, dropout)[0])

    mixes = "batch_stats" in game.discriminator.collections
    with _guarded(critic) if mixes else contextlib.nullcontext(critic) as allowed:
      terms = [
        term(allowed, batch, jax.random.fold_in(key, _PENALTIES + i), game).mean()
        for i, term in enumerate(penalties)
      ]
    return jnp.asarray(sum(terms))

  def outputs(
    params: PyTree,
    game: Game,
    batch: Batch,
    key: Key,
    uses: tuple[int, int, int],
    writes: bool,
  ) -> tuple[Batch, PyTree]:
    """D's outputs on both kinds, and what its pass over the real pictures has written."""
    augment_real, augment_fake, dropout = uses
    player, found = game.discriminator, dict(batch)
    given: list[Array | None] = [None, None]
    if conditions is not None:
      given = [conditions.real(batch), conditions.fake(batch["latents"])]
    real = seen(batch["image"], key, augment_real, game)
    fake = seen(batch["fake"], key, augment_fake, game)
    keys = [jax.random.fold_in(key, dropout + i) for i in range(2)]
    found["real_output"], written = judged(player, params, real, given[0], keys[0], writes)
    found["fake_output"], _ = judged(player, params, fake, given[1], keys[1])
    for kind in ("real", "fake"):
      found[f"{kind}_logits"] = logits(found[f"{kind}_output"])
    return found, written

  def pair(game: Game) -> AdversarialLoss:
    return loss if isinstance(loss, AdversarialLoss) else loss(game)

  def added(terms: Mapping[str, Term] | None, batch: Batch, game: Game) -> dict[str, Array]:
    return {name: term(batch, game).mean() for name, term in (terms or {}).items()}

  def d_objective(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    game = game.replace(discriminator=game.discriminator.replace(params=params))
    if "fake" not in batch:
      batch = {**batch, **paint(game.generator.params, game, batch, key, writes=False)[0]}
    uses = (_AUGMENT_REAL, _AUGMENT_FAKE, _DROPOUT)
    batch, written = outputs(params, game, batch, key, uses, writes=True)
    real_logits, fake_logits = batch["real_logits"], batch["fake_logits"]
    value = pair(game).discriminator(real_logits, fake_logits).mean()
    metrics = {
      "loss_D": value,
      "D_x": score(real_logits).mean(),
      "D_G_z1": score(fake_logits).mean(),
      "D_accuracy": ((real_logits > 0).mean() + (fake_logits < 0).mean()) / 2,
      **added(measures, batch, game),
    }
    terms = added(d_terms, batch, game)
    if penalties and penalties_every is None:
      terms["penalty"] = penalty(params, game, batch, key)
    value = value + sum(terms.values()) + sum(term(params) for term in d_regularizers)
    extra = {} if remember is None else jax.lax.stop_gradient(remember(batch, game))
    return value, Aux(written, {**metrics, **terms}, extra)

  def g_penalty(batch: Batch, key: Key, game: Game) -> tuple[Array, dict[str, PyTree]]:
    found = [
      term(batch, jax.random.fold_in(key, _PENALTIES + i), game)
      for i, term in enumerate(g_penalties)
    ]
    value = jnp.asarray(sum(each.mean() for each, _ in found))
    return value, {name: x for _, entries in found for name, x in entries.items()}

  def g_objective(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    written: Mapping[str, PyTree] = {}
    game = game.replace(generator=game.generator.replace(params=params))
    if "fake" not in batch:
      entries, written = paint(params, game, batch, key, writes=True, multiple=g_multiple or 1)
      batch = {**batch, **entries}
    # Compilation removes the pass over real pictures where nothing reads it.
    uses = (_AUGMENT_G_REAL, _AUGMENT_G_FAKE, _DROPOUT_G)
    batch, _ = outputs(game.discriminator.params, game, batch, key, uses, writes=False)
    value = pair(game).generator(batch["real_logits"], batch["fake_logits"]).mean()
    metrics = {"loss_G": value, "D_G_z2": score(batch["fake_logits"]).mean()}
    terms = added(g_terms, batch, game)
    extra: dict[str, PyTree] = {}
    if g_penalties and g_penalties_every is None:
      terms["penalty_G"], extra = g_penalty(batch, key, game)
    value = value + sum(terms.values()) + sum(term(params) for term in g_regularizers)
    return value, Aux(written, {**metrics, **terms}, jax.lax.stop_gradient(extra))

  def d_lazy(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    game = game.replace(discriminator=game.discriminator.replace(params=params))
    # Compilation removes the fakes where no penalty reads them.
    batch = {**batch, **paint(game.generator.params, game, batch, key, writes=False)[0]}
    value = penalty(params, game, batch, key)
    value = (penalties_every or 1) * value
    return value, Aux({}, {"penalty": value})

  def g_lazy(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    game = game.replace(generator=game.generator.replace(params=params))
    value, extra = g_penalty(batch, key, game)
    value = (g_penalties_every or 1) * value
    return value, Aux({}, {"penalty_G": value}, jax.lax.stop_gradient(extra))

  return Objectives(
    d_objective,
    g_objective,
    forward if g_multiple is None else None,
    None if penalties_every is None else Lazy(d_lazy, penalties_every),
    None if g_penalties_every is None else Lazy(g_lazy, g_penalties_every),
  )


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
