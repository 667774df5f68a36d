"""What the systems that translate pictures share: two sets of pictures, and how samples are made.

A is what is translated, `batch["input"]`, and B what it becomes, `batch["image"]`. The latents of
such a system are pictures of A that it does not learn from.
"""

# Past 300 lines because flags, data, keys and the two-sided player are one contract of three GANs.

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import data, latents, losses, run, training
from jaxgan.data.sources import choose, parse_split
from jaxgan.training import Game, Step, objectives
from jaxgan.types import AdversarialLoss, Array, Batch, ImageSpec, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of all translators."""

  dataset: str = "digits"
  """Two sets of pictures: `digits` (embedded: outlines, and the digits), an .npz with arrays a and
  b, a folder with sub-folders a and b or trainA and trainB, or, of sets that are no pairs, such a
  name of TFDS."""
  split: str = "train[:90%]"
  """What is learnt from, of both sets."""
  held_out: str = "train[90%:]"
  """What is translated for sample grids and scores, and not learnt from: `test`, or a slice."""
  direction: Literal["a_to_b", "b_to_a"] = "a_to_b"
  """Which of the sets is translated into the other."""
  paired: bool = True
  """The sets are pairs, and come together; without it they are two sets of any numbers."""
  jitter: run.Size = 0
  """Pixels by which pictures are enlarged before a part of the old size is cut out at random; the
  papers' are 30 at 256 pixels."""
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment."""
  decay_steps: run.Count = 2000
  """Steps at whose end the learning rate is 0; it falls on a straight line in the second half."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    super().__post_init__()
    _check_held_out(self.split, self.held_out)
    if self.steps > self.decay_steps:
      raise run.RunError(
        f"--steps={self.steps}: nothing is learnt after --decay-steps={self.decay_steps}, where "
        "the learning rate is 0; give a larger --decay-steps too (with --override in a workdir "
        "that has another)"
      )

  def load(self) -> data.Dataset:
    """Both sets, B with A beside it."""
    try:
      return self.pictures(self.split)
    except data.DataError as error:
      raise run.RunError(f"--dataset: {in_flags(error)}") from error

  def pictures(
    self, split: str, *, paired: bool | None = None, limited: bool = True
  ) -> data.Dataset:
    """Both sets of a split, as pairs or not."""
    options = self.data_options() | {"split": split} | ({} if limited else {"limit": None})
    return data.load_pairs(
      self.dataset,
      paired=self.paired if paired is None else paired,
      backward=self.direction == "b_to_a",
      **options,
    )

  def rate(self) -> optax.Schedule:
    """The learning rate by the updates: constant, then on a straight line to 0."""
    half = self.decay_steps // 2
    return optax.linear_schedule(self.learning_rate, 0.0, self.decay_steps - half, half)


def _check_held_out(split: str, held_out: str) -> None:
  """Refuses pictures that are learnt from; what is written otherwise is refused on loading."""
  try:
    (name, bounds), (held_name, held_bounds) = map(parse_split, (split, held_out))
  except data.DataError:
    return
  if name != held_name:
    return
  shares = [["%" in place for place in each.split(":") if place] for each in (bounds, held_bounds)]
  if {*shares[0], *shares[1]} == {True, False}:
    raise run.RunError(
      f"--held-out={held_out} and --split={split}: give both in per cent, or both in pictures, so "
      "that none is in both"
    )
  first, second = (choose(each, _COUNT) for each in (bounds, held_bounds))
  if max(first.start, second.start) < min(first.stop, second.stop):
    raise run.RunError(
      f"--held-out={held_out} has pictures of --split={split}: name pictures that are not learnt"
    )


_COUNT = 10**9  # more pictures than a set has, so that slices that end anywhere can be compared


def sources(spec: ImageSpec) -> tuple[int, int, int]:
  """The shape of what is translated.

  Raises:
    RunError: there is none, or pictures are not square and of one size.
  """
  if spec.inputs is None or spec.inputs[:2] != spec.shape[:2]:
    raise run.RunError(f"--dataset: pictures {spec} are not two sets of one size to translate")
  return spec.inputs


def held_out_inputs(config: Config) -> latents.Sampler:
  """Pictures of A that are not learnt from, read when the first are drawn.

  Raises:
    RunError: they cannot be had; when they are drawn.
  """

  def read() -> np.ndarray:
    return np.asarray(held_out(config).beside["input"])

  picked = latents.rows(read)

  def sample(key: Key, n: int, *, axis_name: latents.AxisName | None = None) -> Array:
    return scaled(picked(key, n, axis_name=axis_name))

  return sample


def held_out(config: Config, *, paired: bool | None = None) -> data.Dataset:
  """Both sets of the pictures that are not learnt from.

  Raises:
    RunError: they cannot be had.
  """
  try:
    return config.pictures(config.held_out, paired=paired, limited=False)
  except data.DataError as error:
    raise run.RunError(f"--held-out={config.held_out}: {in_flags(error)}") from error


def in_flags(error: Exception) -> str:
  """What an error of the data says, in words of flags."""
  return str(error).replace("paired=False", "--no-paired")


def scaled(pictures: Any) -> Array:
  """Levels from 0 to 255 as networks take them, exactly as batches have them."""
  return (jnp.asarray(pictures, jnp.float32) - 127.5) / 127.5


def blank(spec: ImageSpec) -> latents.Sampler:
  """Stands for inputs where their shape alone counts: training takes those of its batch."""
  shape = sources(spec)
  return lambda key, n, *, axis_name=None: jnp.zeros([n, *shape])


def translator(
  system: training.System,
  config: Config,
  spec: ImageSpec,
  generate: Callable[[PyTree, Array], Array],
) -> training.System:
  """The system as run loop and tools see it: its latents are held-out pictures of A."""
  inputs = held_out_inputs(config)

  def check() -> None:
    found = inputs(jax.random.key(0), 1).shape[1:]
    if found != sources(spec):
      raise run.RunError(
        f"--held-out={config.held_out}: its pictures are {found} and those to learn from "
        f"{sources(spec)}: give --channels"
      )

  return system._replace(
    step=jittered(system.step, config),
    latents=inputs,
    generate=generate,
    inputs=lambda inputs: inputs,
    check=check,
  )


def one_by_one(apply: Callable[..., Any]) -> Callable[[PyTree, Array], Array]:
  """Translates each picture as a batch of its own, with noise that is drawn from the picture.

  So a picture becomes the same whatever pictures it comes with.

  Args:
    apply: of the network, `apply(variables, inputs [1, H, W, C], train=..., rngs=...)`.
  """

  def generate(variables: PyTree, inputs: Array) -> Array:
    def one(picture: Array) -> Array:
      streams = {"dropout": picture_key(picture)}
      return apply(variables, picture[None], train=False, rngs=streams)[0]

    return jax.vmap(one)(inputs)

  return generate


def picture_key(picture: Array) -> Key:
  """A key that is the same for the same picture in [-1, 1], up to the rounding of its levels."""
  levels = jnp.rint((picture.ravel() + 1.0) * 127.5).astype(jnp.uint32)
  # Of odd multiples none is lost modulo 2^32.
  places = 2 * jnp.arange(levels.size, dtype=jnp.uint32) + 1
  return jax.random.key((levels * places * jnp.uint32(2654435761)).sum(dtype=jnp.uint32))


_JITTER = 2**31 - 1  # of the step's key, of which updates fold in small numbers


def jittered(step: Step, config: Config) -> Step:
  """The step with pictures that are enlarged a little and cut out at random, pairs alike."""
  if not config.jitter:
    return step

  def cut(pictures: Array, key: Key) -> Array:
    groups, n, h, w, c = pictures.shape
    large = (h + config.jitter, w + config.jitter, c)
    keys = latents.example_keys(key, n, axis_name=training.AXIS)

    def one(picture: Array, key: Key) -> Array:
      y, x = jax.random.randint(key, [2], 0, config.jitter + 1)
      larger = jax.image.resize(picture, large, "cubic").clip(-1.0, 1.0)
      return jax.lax.dynamic_slice(larger, (y, x, 0), (h, w, c))

    return jnp.stack([jax.vmap(one)(pictures[i], keys) for i in range(groups)])

  def played(game: Game, batch: Batch) -> tuple[Game, Metrics]:
    key = jax.random.fold_in(jax.random.fold_in(game.key, game.step), _JITTER)
    ours, others = jax.random.fold_in(key, 0), jax.random.fold_in(key, 0 if config.paired else 1)
    image, inputs = cut(batch["image"], ours), cut(batch["input"], others)
    return step(game, {**batch, "image": image, "input": inputs})

  return played


def squares() -> AdversarialLoss:
  """Least squares as CycleGAN and UNIT have them.

  D's are `((D(real) - 1)^2 + D(fake)^2) / 2`, G's `(D(fake) - 1)^2`, without a half.
  """
  halves = losses.least_squares()
  return AdversarialLoss(
    halves.discriminator, lambda real, fake: 2.0 * halves.generator(real, fake)
  )


def judged(loss: AdversarialLoss) -> objectives.Objective:
  """The objective of a player with a discriminator for each set, of the mean of both losses.

  It judges `batch["fake_a"]` and `batch["fake_b"]`, or what the pools of `game.extra` give back in
  their place.

  Args:
    loss: of logits, or of those of each scale, over which it is summed.
  """

  def objective(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Any]:
    seen, pools = [batch["fake_a"], batch["fake_b"]], {}
    for i, name in enumerate(("pool_a", "pool_b")):
      if name in game.extra:
        pool, one = game.extra[name], jax.random.fold_in(key, i)
        seen[i], pools[name] = training.pool_query(pool, seen[i], one, axis_name=training.AXIS)
    real, _ = objectives.apply(game.discriminator, params, batch["input"], batch["image"])
    fake, _ = objectives.apply(game.discriminator, params, *seen)
    value = summed(loss.discriminator, real, fake) / 2
    metrics = {"loss_D": value, "D_x": _mean(real), "D_G_z1": _mean(fake)}
    return value, training.Aux({}, metrics, pools)

  return objective


def _mean(outputs: PyTree) -> Array:
  return jnp.stack([x.mean() for x in jax.tree.leaves(outputs)]).mean()


def summed(loss: Callable[..., Array], real: PyTree, fake: PyTree) -> Array:
  """Means of a loss over the logits of each discriminator and scale, added."""
  return jnp.asarray(sum(x.mean() for x in jax.tree.leaves(jax.tree.map(loss, real, fake))))


def pools(size: int, spec: ImageSpec) -> dict[str, training.Pool]:
  """Entries of `game.extra` for `judged`: fakes of both sets; none where none are kept."""
  if not size:
    return {}
  shapes = {"pool_a": sources(spec), "pool_b": spec.shape}
  return {
    k: training.pool_init(size, jax.ShapeDtypeStruct(x, jnp.float32)) for k, x in shapes.items()
  }


def two_sided(
  generator: training.Network,
  discriminator: training.Network,
  adam: optax.GradientTransformation,
  parts: objectives.Objectives,
  config: Config,
  spec: ImageSpec,
  *,
  pool_size: int = 0,
) -> training.System:
  """The system of two players that each hold the networks of both directions.

  Args:
    generator: called as `generator(a, b, train=...)`, with a method `forward`.
    discriminator: called as `discriminator(a, b, train=...)`.
    adam: optimiser of both.
    parts: their objectives.
    config: flags.
    spec: of the pictures.
    pool_size: fakes that are kept of each set.
  """

  def init(key: Key) -> Game:
    run_key, d_key, g_key = jax.random.split(key, 3)
    a, b = jnp.zeros([1, *sources(spec)]), jnp.zeros([1, *spec.shape])
    return Game.new(
      run_key,
      training.new_player(discriminator, adam, d_key, a, b),
      training.new_player(generator, adam, g_key, a, b, average=True),
      extra=pools(pool_size, spec),
    )

  def generate(variables: PyTree, inputs: Array) -> Array:
    return generator.apply(variables, inputs, train=False, method="forward")

  step = training.make_train_step(
    parts.discriminator,
    parts.generator,
    forward=parts.forward,
    ema_decay=config.ema_decay,
    axis_name=training.AXIS,
  )
  system = training.System(init, step, blank(spec), generate, d_steps=1, probabilities=False)
  return translator(system, config, spec, generate)
