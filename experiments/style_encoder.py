"""Training of an encoder of pictures to a trained generator's styles: e4e, Tov et al. 2021.

arXiv 2102.02766, section 3, in the form of a game: the encoder is the generator, a discriminator of
styles tells its styles from the mapping network's. Differences between layers are let in one layer
after the other. It learns on pictures and on the generator's own samples, half each. What it has
learnt is kept in a file that training goes on from.

Past 300 lines because a training, its objectives and its file are read together.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization

from experiments import choices
from jaxgan import compilation, losses, models, penalties, run, training
from jaxgan._arrays import safe_sqrt
from jaxgan._files import replacing
from jaxgan.training import Aux, Game
from jaxgan.types import Array, Batch, Key, PyTree

_R1_EVERY = 16
_DIGEST = hashlib.sha256


@dataclasses.dataclass(frozen=True)
class Settings:
  """Flags of the encoder's training; weights are the paper's."""

  encoder_steps: int = 2000
  """Steps of the encoder's training; the paper's are 200,000."""
  encoder_batch: Annotated[int, choices.also("--encoder-batch-size")] = 16
  """Pictures in a batch, half of them samples; the paper's has 8."""
  encoder_width: int = 32
  """Features of the encoder at full resolution."""
  encoder_max_width: int = 128
  """Its most features."""
  encoder_rate: Annotated[float, choices.also("--encoder-learning-rate")] = 1e-3
  """Of its Adam; the paper has 1e-4 and another optimiser, Ranger."""
  unlock_from: float = 0.1
  """Share of the steps after which the second layer has a style of its own, the paper's 20,000."""
  unlock_until: float = 0.26
  """Share after which all have, the paper's 52,000."""
  pixel_weight: float = 1.0
  """Of the mean squared difference of pixels."""
  feature_weight: float = 0.8
  """Of that of the features."""
  delta_weight: float = 2e-4
  """Of the distances of the layers' styles from the first one's."""
  style_weight: float = 0.1
  """Of the discriminator of styles, 0 for none."""
  style_rate: Annotated[float, choices.also("--style-learning-rate")] = 2e-4
  """Of its Adam; the paper has 2e-5, for as many more steps."""
  style_r1: float = 10.0
  """Of its R1, gamma, taken at every 16th step."""
  pool: int = 50
  """Styles of earlier pictures that the discriminator is shown again, 0 for none."""


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
  apply = compilation.jit(
    lambda params, images: encoder.apply({"params": params}, images, train=False)
  )
  mean = frozen.style.mean(frozen.variables)
  return apply(params, images) + mean[None, None]


def unlocking(settings: Settings, layers: int) -> np.ndarray:
  """Steps from which the second layer, the third and so on have styles of their own."""
  shares = np.linspace(settings.unlock_from, settings.unlock_until, layers - 1)
  return np.ceil(shares * settings.encoder_steps - 1e-6).astype(np.int32)


def objectives_of(
  frozen: Frozen, settings: Settings
) -> tuple[training.Objective, training.Objective]:
  """Of the discriminator of styles, and of the encoder."""
  style, adversarial = frozen.style, losses.non_saturating()
  r1 = penalties.lazily(penalties.r1, every=_R1_EVERY)
  steps = unlocking(settings, style.layers)

  def unlocked(game: Game) -> Array:
    return 1 + (game.step >= jnp.asarray(steps)).sum()

  def styles(params: PyTree, game: Game, images: Array) -> Array:
    apply: Any = game.generator.apply_fn
    found = apply({"params": params}, images, unlocked(game), train=True)
    return found + style.mean(game.extra["painter"])[None, None]

  def judged(params: PyTree, game: Game, w: Array) -> Array:
    apply: Any = game.discriminator.apply_fn
    return apply({"params": params}, w, train=True)

  def of_judge(params: PyTree, game: Game, batch: Batch, key: Key) -> tuple[Array, Aux]:
    painter = game.extra["painter"]
    latents_key, layer_key, pool_key = jax.random.split(key, 3)
    w = styles(game.generator.params, game, batch["image"])
    # One layer of each picture, as the authors' code: all would fill the pool with one batch.
    layer = jax.random.randint(layer_key, [len(w)], 0, unlocked(game))
    newest = jnp.take_along_axis(w, layer[:, None, None], 1)[:, 0]
    fake, pool = training.pool_query(game.extra["pool"], newest, pool_key)
    z = frozen.latents(latents_key, len(w))
    real = jax.lax.stop_gradient(style.mapping(painter, z))

    def critic(w: Array) -> Array:
      return judged(params, game, w)

    loss = adversarial.discriminator(critic(real), critic(fake)).mean()
    penalty = settings.style_r1 / 2.0 * r1(game.step, critic, real).mean()
    return loss + penalty, Aux(metrics={"loss_w": loss}, extra={"pool": pool})

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
      logits = judged(game.discriminator.params, game, w.reshape(-1, w.shape[-1]))
      values = adversarial.generator(None, logits).reshape(w.shape[:2])
      # A layer that is locked repeats the first one, which is to count once.
      own = jnp.arange(style.layers) < unlocked(game)
      loss = loss + settings.style_weight * (values * own[None]).sum(1).mean() / own.sum()
    return loss, Aux(metrics={"pixels": pixels, "features": features, "deltas": deltas})

  return of_judge, of_encoder


def begin(frozen: Frozen, settings: Settings, shape: tuple[int, ...], seed: int) -> Game:
  """The game at step 0, for pictures of a shape."""
  encoder = encoder_of(frozen, settings, shape[0])
  judge = models.e4e.StyleDiscriminator(width=encoder.style_dim)

  def start(key: Key) -> Game:
    keys = jax.random.split(key, 3)
    w = jnp.zeros([encoder.style_dim])
    return Game.new(
      keys[0],
      training.new_player(judge, optax.adam(settings.style_rate), keys[1], w[None]),
      training.new_player(
        encoder, optax.adam(settings.encoder_rate), keys[2], jnp.zeros([1, *shape])
      ),
      extra={"painter": frozen.variables, "pool": training.pool_init(settings.pool, w)},
    )

  # It runs once: LLVM's optimisation takes longer than what it makes faster.
  on_cpu = jax.default_backend() == "cpu"
  options: Any = {"xla_backend_optimization_level": 0} if on_cpu else None
  return compilation.jit(start, compiler_options=options)(jax.random.key(seed))


def train_encoder(
  frozen: Frozen,
  settings: Settings,
  game: Game,
  pictures: np.ndarray,
  seed: int,
  after: Callable[[int, Game, dict[str, Array]], None] = lambda step, game, metrics: None,
) -> Game:
  """Plays what is left of the steps, on one device.

  Batches and keys are functions of the seed and the step, so that it does not matter where the game
  was stopped.

  Args:
    frozen: the generator.
    settings: of the training.
    game: to start from, see `begin`.
    pictures: uint8 `[n, h, w, c]`.
    seed: of the order of the pictures.
    after: called after each step with the number of steps, the game and its figures.

  Returns:
    The game after the last step; the encoder's parameters are `generator.params`.
  """
  step = training.make_train_step(*objectives_of(frozen, settings))
  samples = max(settings.encoder_batch // 2, 1)

  @compilation.jit
  def advance(game: Game, real: Array) -> tuple[Game, dict[str, Array]]:
    key = jax.random.fold_in(jax.random.fold_in(game.key, game.step), 2**31)
    painter = game.extra["painter"]
    w = frozen.style.mapping(painter, frozen.latents(key, samples))
    drawn = jnp.clip(frozen.style.paint(painter, w), -1.0, 1.0)
    images = jnp.concatenate([real.astype(jnp.float32) / 127.5 - 1.0, drawn])
    game, metrics = step(game, {"image": images[None]})
    return game, dict(metrics)

  for i in range(int(game.step), settings.encoder_steps):
    rng = np.random.default_rng((seed, i))
    rows = rng.integers(len(pictures), size=max(settings.encoder_batch - samples, 1))
    game, metrics = advance(game, jnp.asarray(pictures[rows]))
    after(i + 1, game, metrics)
  return game


def save(path: pathlib.Path, game: Game, settings: Mapping[str, Any]) -> None:
  """Writes a game, without its generator of pictures, and the settings that it is played by."""
  leaves = {name: np.asarray(leaf) for name, leaf in _leaves(game).items()}
  content = serialization.msgpack_serialize({"settings": dict(settings), "leaves": leaves})
  with replacing(path) as temporary:
    temporary.write_bytes(_DIGEST(content).digest() + content)


def resume(path: pathlib.Path, game: Game, settings: Mapping[str, Any]) -> tuple[Game, list[str]]:
  """The game of a file that `save` wrote.

  Args:
    path: of the file.
    game: of the same settings, at any step.
    settings: as they are now.

  Returns:
    The file's game and no names, or the given game and the names of the settings that differ.

  Raises:
    RunError: the file cannot be read, or is not what was written.
  """
  try:
    written = path.read_bytes()
  except OSError as error:
    raise run.RunError(f"{path} cannot be read: {error.strerror}") from error
  digest, content = written[: _DIGEST().digest_size], written[_DIGEST().digest_size :]
  if _DIGEST(content).digest() != digest:
    raise _damaged(path, "its checksum differs")
  wanted = _leaves(game)
  try:
    kept = serialization.msgpack_restore(content)
    there, found = dict(kept["settings"]), dict(kept["leaves"])
    changed = [name for name in settings if there.get(name) != settings[name]]
    if changed or there.keys() != settings.keys():
      return game, changed or ["of another version"]
    if _forms(found) != _forms(wanted) or not 0 <= found["['step']"] <= settings["encoder_steps"]:
      raise ValueError("its arrays are not those of the settings")
  # Bytes of a stranger may raise whatever they like; nothing in them is executed.
  except Exception as error:
    raise _damaged(path, f"{error}") from error
  structure = jax.tree.structure(_stored(game))
  stored = jax.tree.unflatten(structure, [jnp.asarray(found[name]) for name in wanted])
  extra = {**game.extra, "pool": stored.pop("pool")}
  return game.replace(**stored, extra=extra), []


def _damaged(path: pathlib.Path, reason: str) -> run.RunError:
  return run.RunError(
    f"{path} is not a whole state of the encoder's training ({reason}): delete it, and the encoder "
    "is trained anew"
  )


def _stored(game: Game) -> dict[str, PyTree]:
  """What of a game its seed and the generator do not tell."""
  return {
    "step": game.step,
    "discriminator": game.discriminator,
    "generator": game.generator,
    "pool": game.extra["pool"],
  }


def _forms(leaves: Mapping[str, Any]) -> dict[str, Any]:
  return {name: (leaf.shape, leaf.dtype) for name, leaf in leaves.items()}


def _leaves(game: Game) -> dict[str, Array]:
  flat, _ = jax.tree_util.tree_flatten_with_path(_stored(game))
  return {jax.tree_util.keystr(path): leaf for path, leaf in flat}
