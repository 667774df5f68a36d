"""Names for flags: what a person types on one side, functions on the other."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import optax
import tyro

from jaxgan import latents, layers, losses, penalties
from jaxgan.run import Config, RunError
from jaxgan.run.flags import Range
from jaxgan.training import Game, games, objectives
from jaxgan.types import AdversarialLoss, Array, Batch, Critic, ImageSpec, Key, PyTree

T = TypeVar("T")

SOME = Range("be from 0 to 10^12", lambda x: 0 <= x <= 1e12)
Pictures = Annotated[float, SOME]


def pick(choices: Mapping[str, T], flag: str, name: str) -> T:
  """The choice of a name; an unknown one is an error that lists them."""
  if name not in choices:
    raise RunError(f"{flag}={name} must be one of {', '.join(choices)}")
  return choices[name]


def listed(choices: Mapping[str, Any], about: str) -> Any:
  """What `Annotated` tells tyro of a flag: its help ends with the names that there are."""
  return tyro.conf.arg(metavar="NAME", help=f"{about}: {', '.join(choices)}.")


def also(*flags: str) -> Any:
  """What `Annotated` tells tyro of a flag that other programs call by these names."""
  return tyro.conf.arg(aliases=flags)


class Averaged(Protocol):
  """Flags of a moving average whose half-life is told in pictures."""

  @property
  def batch_size(self) -> int:
    """Pictures a step."""

  @property
  def ema_half_life(self) -> float:
    """Pictures in which the average forgets half; 0 for `ema_decay`."""

  @property
  def ema_decay(self) -> float:
    """Decay a step."""


def decay(config: Averaged) -> float:
  """Decay a step of the moving average, whatever the batch."""
  half_life = config.ema_half_life
  if not half_life:
    return config.ema_decay
  if config.ema_decay != Config.ema_decay:
    raise RunError(
      f"--ema-decay={config.ema_decay} would not count beside --ema-half-life={half_life}: give "
      "--ema-half-life=0 with it"
    )
  return 0.5 ** (config.batch_size / half_life)


# Without `energy_based`, which takes the energy of an autoencoder and not a logit, and without the
# alpha-divergences, which a name alone does not choose.
LOSSES: dict[str, Callable[[], AdversarialLoss]] = {
  "minimax": losses.minimax,
  "non_saturating": losses.non_saturating,
  "least_squares": losses.least_squares,
  "wasserstein": losses.wasserstein,
  "hinge": losses.hinge,
  "relativistic": losses.relativistic,
  "relativistic_average": losses.relativistic_average,
  "relativistic_average_hinge": lambda: losses.relativistic_average(losses.hinge()),
  "relativistic_average_least_squares": lambda: losses.relativistic_average(
    losses.least_squares(a=-1.0, b=1.0)
  ),
  "kullback_leibler": lambda: losses.f_divergence(losses.kullback_leibler),
  "reverse_kullback_leibler": lambda: losses.f_divergence(losses.reverse_kullback_leibler),
  "pearson": lambda: losses.f_divergence(losses.pearson),
  "neyman": lambda: losses.f_divergence(losses.neyman),
  "squared_hellinger": lambda: losses.f_divergence(losses.squared_hellinger),
  "jensen_shannon": lambda: losses.f_divergence(losses.jensen_shannon),
  "gan_divergence": lambda: losses.f_divergence(losses.gan_divergence),
  "total_variation": lambda: losses.f_divergence(losses.total_variation),
}


class Terms(NamedTuple):
  """Penalties that go together, and what they carry from step to step.

  Attributes:
    penalties: each without its weight, which is a flag.
    remember: of `objectives.adversarial`.
    extra: makes the entries of `Game.extra` at step 0.
  """

  penalties: tuple[objectives.Penalty, ...] = ()
  remember: objectives.Remember | None = None
  extra: Callable[[], Mapping[str, PyTree]] = dict


def _at(penalty: Callable[..., Array], *entries: str, keyed: bool = False) -> objectives.Penalty:
  """A penalty `(critic, *points)`, or `(critic, *points, key)`, at entries of the batch."""

  def term(critic: Critic, batch: Batch, key: Key, game: Game) -> Array:
    del game
    return penalty(critic, *(batch[entry] for entry in entries), *([key] if keyed else []))

  return term


_JITTER = 0.05  # deviation of the noise that points are augmented with, a grid's mode's own


def _jittered(points: Array, key: Key) -> Array:
  return points + _JITTER * jax.random.normal(key, points.shape, points.dtype)


def _consistency(critic: Critic, real: Array, key: Key) -> Array:
  return penalties.consistency(critic, real, _jittered(real, key))


def _balanced_consistency(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
  real_key, fake_key = jax.random.split(key)
  return penalties.balanced_consistency(
    critic, real, _jittered(real, real_key), fake, _jittered(fake, fake_key)
  )


def _averages(batch: Batch, game: Game) -> penalties.LeCamAverages:
  return penalties.lecam_update(game.extra["lecam"], batch["real_logits"], batch["fake_logits"])


def _lecam(critic: Critic, batch: Batch, key: Key, game: Game) -> Array:
  del critic, key
  return penalties.lecam(batch["real_logits"], batch["fake_logits"], _averages(batch, game))


_R1 = _at(penalties.r1, "image")
_R2 = _at(penalties.r2, "fake")
_R1_ESTIMATE = _at(penalties.r1_estimate, "image", keyed=True)
_R2_ESTIMATE = _at(penalties.r2_estimate, "fake", keyed=True)
_BETWEEN = ("image", "fake")
_ONE_SIDED_GP = functools.partial(penalties.gradient_penalty, one_sided=True)
_ONE_SIDED_DRAGAN = functools.partial(penalties.dragan, one_sided=True)

# The consistencies augment as suits points, not pictures.
PENALTIES: dict[str, Terms] = {
  "none": Terms(),
  "r1": Terms((_R1,)),
  "r2": Terms((_R2,)),
  "r1_r2": Terms((_R1, _R2)),
  "r1_estimate": Terms((_R1_ESTIMATE,)),
  "r2_estimate": Terms((_R2_ESTIMATE,)),
  "r1_r2_estimate": Terms((_R1_ESTIMATE, _R2_ESTIMATE)),
  "gradient_penalty": Terms((_at(penalties.gradient_penalty, *_BETWEEN, keyed=True),)),
  "one_sided_gradient_penalty": Terms((_at(_ONE_SIDED_GP, *_BETWEEN, keyed=True),)),
  "dragan": Terms((_at(penalties.dragan, "image", keyed=True),)),
  "one_sided_dragan": Terms((_at(_ONE_SIDED_DRAGAN, "image", keyed=True),)),
  "consistency": Terms((_at(_consistency, "image", keyed=True),)),
  "balanced_consistency": Terms((_at(_balanced_consistency, *_BETWEEN, keyed=True),)),
  "lecam": Terms(
    (_lecam,),
    remember=lambda batch, game: {"lecam": _averages(batch, game)},
    extra=lambda: {"lecam": penalties.lecam_averages()},
  ),
}


def weighted(weight: float, penalty: objectives.Penalty) -> objectives.Penalty:
  """A penalty times its weight."""
  return lambda *args: weight * penalty(*args)


class Way(NamedTuple):
  """A way of playing, and what goes with it.

  Attributes:
    play: of `jaxgan.training.games`.
    adam: both players' optimiser, `(learning_rate, b1=...)`; the rate may be a schedule.
    loss: `(loss, batch_size, axis_name) -> loss`.
    updates: how often a step moves each optimiser's count.
    uses_optimizers: whether the last move of a step is the optimisers'.
  """

  play: games.Play
  adam: Callable[..., optax.GradientTransformation] = optax.adam
  loss: Callable[[AdversarialLoss, int, str | None], AdversarialLoss] = lambda loss, *_: loss
  updates: int = 1
  uses_optimizers: bool = True


def _optimistic_adam(
  learning_rate: optax.ScalarOrSchedule, *, b1: float
) -> optax.GradientTransformation:
  return optax.optimistic_adam_v2(learning_rate, b1=b1, nesterov=False)


def _adam_with_slope(
  learning_rate: optax.ScalarOrSchedule, *, b1: float
) -> optax.GradientTransformation:
  return optax.adam(learning_rate, b1=b1, eps_root=1e-10)  # see games.unrolled


def _best_half(loss: AdversarialLoss, batch_size: int, axis_name: str | None) -> AdversarialLoss:
  return games.top_k(loss, max(1, batch_size // 2), axis_name=axis_name)


GAMES: dict[str, Way] = {
  "alternating": Way(games.alternating),
  "simultaneous": Way(games.simultaneous),
  "extragradient": Way(games.extragradient, updates=2),
  "past_extragradient": Way(games.past_extragradient, updates=2),
  "optimistic": Way(games.simultaneous, _optimistic_adam),
  "consensus": Way(games.consensus(gamma=1.0)),
  "symplectic": Way(games.symplectic()),
  "competitive": Way(games.competitive(0.2, iterations=4), uses_optimizers=False),
  "unrolled": Way(games.unrolled(k=5), _adam_with_slope),
  "lookahead": Way(games.lookahead(games.alternating)),
  "top_k": Way(games.alternating, loss=_best_half),
}


def early_sgd(
  learning_rate: float, decay: float, momentum_steps: int
) -> optax.GradientTransformation:
  """Descent as of 2014: each update divides the rate, down to 1e-6, and momentum grows.

  Args:
    learning_rate: at the start.
    decay: what the rate is divided by.
    momentum_steps: updates over which momentum grows from 0.5 to 0.7.
  """
  # In double precision: in single, 1.000004 is 1.00000405.
  slope = math.log(decay)

  def rate(update: Array) -> Array:
    return jnp.maximum(learning_rate * jnp.exp(-slope * update), 1e-6)

  momentum = optax.linear_schedule(0.5, 0.7, momentum_steps)
  return optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=momentum)


def unit_cube(dimension: int) -> latents.Sampler:
  """Latents that are uniform in [0, 1]."""
  base = latents.uniform(dimension)
  return lambda key, n, *, axis_name=None: (base(key, n, axis_name=axis_name) + 1.0) / 2.0


def halved(loss: AdversarialLoss) -> AdversarialLoss:
  """The mean of D's losses on real pictures and fakes in place of their sum."""
  return AdversarialLoss(lambda real, fake: 0.5 * loss.discriminator(real, fake), loss.generator)


def packed(discriminator: Any, packing: int, batch_size: int) -> Any:
  """PacGAN's discriminator of several pictures at a time; of one, the discriminator itself."""
  if packing < 1:
    raise RunError(f"--packing={packing} must be at least 1, which is no packing")
  if batch_size % packing:
    raise RunError(f"--packing={packing} must divide --batch-size={batch_size}")
  return discriminator if packing == 1 else layers.Packed(discriminator, packing)


def labelled(
  noise: latents.Sampler, spec: ImageSpec
) -> tuple[latents.Mixed, objectives.Conditions]:
  """Latents with a class beside the noise, and what a conditional discriminator is told."""
  if len(spec.classes) < 2:
    raise RunError(
      "--dataset: its pictures have no labels; give a folder with a sub-folder a class, an .npz "
      "with an array 'labels' beside the pictures, or a set that has them, such as digits"
    )
  z = latents.mixed(noise=noise, label=latents.categorical(len(spec.classes)))
  return z, objectives.class_conditions(z, len(spec.classes))
