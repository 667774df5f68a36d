"""A whole GAN as the run loop sees it: how to start, step and sample it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxgan.training import games
from jaxgan.training.objectives import Conditions, Objectives
from jaxgan.training.sharding import AXIS
from jaxgan.training.state import Game, Network, new_player
from jaxgan.training.step import Step, make_train_step
from jaxgan.types import Array, ImageSpec, Key, PyTree

__all__ = ["Style", "StyleNetwork", "System", "style_of", "system"]


class StyleNetwork(Network, Protocol):
  """A generator in two parts, such as `jaxgan.models.stylegan2.Generator`.

  It has the methods `map(z) -> w` and `synthesize(styles, train=...) -> images`, and keeps the mean
  of its styles as the variable `w` of the collection "averages".
  """

  @property
  def num_layers(self) -> int:
    """Number of layers that take a style."""


class Style(NamedTuple):
  """The two parts of a style-based generator, in evaluation mode.

  The noise of the synthesis is fixed, the collection `variables["noise"]`, so that styles always
  make the same picture.

  Attributes:
    mapping: `(variables, latents [n, d]) -> w [n, dimension]`; labels, where there are any, are
      part of the latents.
    synthesis: `(variables, styles [n, layers, dimension]) -> images [n, H, W, C]` around [-1, 1].
    mean: `variables -> [dimension]`, the mean of w over training.
    layers: number of layers that take a style.
  """

  mapping: Callable[[PyTree, Array], Array]
  synthesis: Callable[[PyTree, Array], Array]
  mean: Callable[[PyTree], Array]
  layers: int

  def paint(self, variables: PyTree, w: Array) -> Array:
    """Pictures of one style each, `[n, dimension]`, for all layers."""
    return self.synthesis(variables, jnp.repeat(w[:, None], self.layers, 1))


def style_of(generator: StyleNetwork) -> Style:
  """The two parts of a style-based generator, for `system`.

  Args:
    generator: such as `jaxgan.models.stylegan2.Generator(...)`.

  Returns:
    Functions of its variables.

  >>> from jaxgan import models
  >>> generator = models.stylegan2.Generator(width=4, max_width=4, style_dim=8, depth=1)
  >>> style, z = style_of(generator), jnp.ones([2, 8])
  >>> variables = jax.jit(lambda: generator.init(jax.random.key(0), z, train=False))()
  >>> w = style.mapping(variables, z)
  >>> w.shape, style.mean(variables).shape, style.layers
  ((2, 8), (8,), 8)
  >>> style.paint(variables, w).shape
  (2, 32, 32, 3)
  """
  return Style(
    mapping=lambda variables, z: generator.apply(variables, z, method="map"),
    synthesis=lambda variables, styles: generator.apply(
      variables, styles, train=False, method="synthesize"
    ),
    mean=lambda variables: variables["averages"]["w"],
    layers=generator.num_layers,
  )


class System(NamedTuple):
  """What an experiment hands to the run loop.

  Attributes:
    init: key to the game at step 0.
    step: `(game, batch) -> (game, metrics)`, to be wrapped by `data_parallel`.
    latents: `(key, n) -> [n, ...]`, the latents of n samples.
    generate: `(variables, latents) -> images [n, H, W, C]` in [-1, 1], in evaluation mode.
    d_steps: real batches that a step consumes: of every step, or by the step.
    probabilities: D's logits are log odds, so that the logged D(x) lies in [0, 1].
    report: figures of the system's own, of a whole game and so too costly for every line of the
      log; None for none.
    batch_multiple: what divides the batch of a device: its pieces by the pictures of a pack.
    check: reads what data the system wants of its own, or raises; called before training only.
    style: the parts of a style-based generator, for truncation, mixing and inversion; None where
      the generator is in one piece.
    inputs: `latents -> pictures [n, H, W, C]` in [-1, 1] that the latents hold, where pictures are
      translated: samples are shown below them; None where they are made of noise.
    step_at: the step to play after so many, where steps differ in more than their numbers: growing
      networks. Equal functions share a compilation. None where it is always `step`.
  """

  init: Callable[[Key], Game]
  step: Step
  latents: Callable[..., Array]
  generate: Callable[[PyTree, Array], Array]
  d_steps: int | Callable[[int], int]
  probabilities: bool = True
  report: Callable[[Game], Mapping[str, float]] | None = None
  batch_multiple: int = 1
  check: Callable[[], None] | None = None
  style: Style | None = None
  step_at: Callable[[int], Step] | None = None
  inputs: Callable[[Array], Array] | None = None


def system(
  generator: Network,
  discriminator: Network,
  g_optimizer: optax.GradientTransformation,
  d_optimizer: optax.GradientTransformation,
  objectives: Objectives,
  *,
  latents: Callable[..., Array],
  spec: ImageSpec,
  conditions: Conditions | None = None,
  d_steps: int | Callable[[int], int] = 1,
  g_steps: int = 1,
  play: games.Play = games.alternating,
  ema_decay: float | Array | Callable[[Array], Array] = 0.999,
  accumulate: int = 1,
  extra: Mapping[str, PyTree] | Callable[[Game], Mapping[str, PyTree]] | None = None,
  d_constraint: Callable[[PyTree], PyTree] | None = None,
  d_average: bool = False,
  probabilities: bool = True,
  report: Callable[[Game], Mapping[str, float]] | None = None,
  batch_multiple: int = 1,
  style: Style | None = None,
  inputs: Callable[[Array], Array] | None = None,
) -> System:
  """Puts networks, optimisers and objectives together for `jaxgan.run`.

  Args:
    generator: linen module from latents to pictures, `generator(z, train=...)`.
    discriminator: linen module from pictures to logits, `discriminator(x, train=...)`.
    g_optimizer: optax transformation of the generator.
    d_optimizer: optax transformation of the discriminator.
    objectives: such as `jaxgan.training.objectives.adversarial(...)`.
    latents: such as `jaxgan.latents.normal(100)`.
    spec: shape of the pictures.
    conditions: those of the objectives, where the discriminator is called `(x, condition)`.
    d_steps: discriminator updates a step; a function of the step where the number changes.
    g_steps: generator updates a step.
    play: how gradients become updates, see `jaxgan.training.games`.
    ema_decay: decay of the generator's moving average per update, or a function of the updates such
      as `ramped_decay(0.9978, 0.05)`.
    accumulate: pieces that each batch is taken in, see `make_train_step`.
    extra: entries of `Game.extra` at step 0, for objectives that carry some; a function of the
      game without them, where they depend on the players.
    d_average: keep a moving average of the discriminator too, to evaluate it.
    d_constraint: projection of D's parameters onto those that are allowed, such as
      `lambda params: penalties.clip_weights(params, 0.01)`: of the initial ones, and after each
      update by D's optimiser.
    probabilities: D's logits are log odds; False for Wasserstein, relativistic, least-squares and
      energy losses.
    report: figures of the system's own, logged with each evaluation and at the end.
    batch_multiple: what divides a piece of a device's batch, such as the group of a minibatch
      standard deviation.
    style: of `style_of(generator)`, where the generator has a mapping and a synthesis network.
    inputs: from latents to the pictures that they hold, of a generator that translates them.

  Returns:
    The system; its step expects the mapped axis `AXIS`.
  """
  if d_constraint is not None:
    d_optimizer = optax.chain(d_optimizer, _projection(d_constraint))

  def init(key: Key) -> Game:
    run_key, d_key, g_key, z_key = jax.random.split(key, 4)
    z = latents(z_key, 1)
    inputs = [jnp.zeros((1, *spec.shape))] + ([] if conditions is None else [conditions.fake(z)])
    d_player = new_player(discriminator, d_optimizer, d_key, *inputs, average=d_average)
    if d_constraint is not None:
      params = d_constraint(d_player.params)
      average = d_player.average
      if average is not None:
        average = {**average, "params": jax.tree.map(jnp.copy, params)}
      d_player = d_player.replace(params=params, average=average)
    game = Game.new(
      run_key,
      d_player,
      new_player(generator, g_optimizer, g_key, z, average=True),
    )
    entries = extra(game) if callable(extra) else extra
    # Copies, since the step donates its state.
    game = game.replace(extra=jax.tree.map(lambda x: jnp.array(x, copy=True), dict(entries or {})))
    return games.begin(play, game)

  def generate(variables: PyTree, z: Array) -> Array:
    return generator.apply(variables, z, train=False)

  step = make_train_step(
    objectives.discriminator,
    objectives.generator,
    forward=objectives.forward,
    d_lazy=objectives.d_lazy,
    g_lazy=objectives.g_lazy,
    d_steps=None if callable(d_steps) else d_steps,
    g_steps=g_steps,
    play=play,
    ema_decay=ema_decay,
    accumulate=accumulate,
    axis_name=AXIS,
  )
  packing = getattr(discriminator, "packing", 1)  # of jaxgan.layers.Packed
  return System(
    init,
    step,
    latents,
    generate,
    d_steps,
    probabilities,
    report,
    batch_multiple=accumulate * packing * batch_multiple,
    style=style,
    inputs=inputs,
  )


def _projection(constraint: Callable[[PyTree], PyTree]) -> optax.GradientTransformation:
  def update(updates: PyTree, params: PyTree | None) -> PyTree:
    moved = constraint(jax.tree.map(jnp.add, params, updates))
    return jax.tree.map(jnp.subtract, moved, params)

  return optax.stateless(update)
