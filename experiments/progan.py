"""ProGAN: Karras, Aila, Laine and Lehtinen 2017 (arXiv 1710.10196).

Both networks start at 4 pixels and grow: a resolution is trained, the next one faded in, and so on.
Each stage is a compiled step of its own over the same state, in which the fading is a function of
the step. The loss is WGAN-GP's with a term that keeps the critic from drifting.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan import latents, losses, models, penalties, run, training
from jaxgan.training import Game, Player, objectives
from jaxgan.types import Array, Batch, ImageSpec, Metrics


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of ProGAN."""

  batch_size: int = 16
  learning_rate: float = 1e-3
  """Of both players' Adam, which forgets its moments where a resolution begins."""
  width: int = 512
  max_width: int = 512
  """Most features; those at each resolution double from `--width` at the full one."""
  latent_dim: int = 512
  """Dimensions of the normal latent."""
  group_size: int = 4
  """Pictures that the critic's minibatch standard deviation compares."""
  stable_steps: int = 100
  """Steps at each resolution before the next is faded in."""
  fade_steps: int = 100
  """Steps of fading in."""
  penalty_weight: float = 10.0
  """lambda of WGAN-GP."""
  drift_weight: float = 1e-3
  """Of the critic's squared values at real pictures."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    super().__post_init__()
    for name in ("stable_steps", "fade_steps", "group_size", "max_width"):
      if not getattr(self, name) > 0:
        raise run.RunError(f"--{name.replace('_', '-')}={getattr(self, name)} must be positive")


PRESETS: run.Presets = {
  "quick": dict(width=16, max_width=32, latent_dim=64, steps=1000),
  "measured": dict(
    dataset="emoji64/train",
    flip=True,
    width=32,
    max_width=64,
    latent_dim=64,
    stable_steps=400,
    fade_steps=400,
    steps=4000,
  ),
  # 600,000 pictures each; the paper trains longer at the last resolution, and the more the larger.
  "paper": dict(dataset="cifar10", stable_steps=37_500, fade_steps=37_500, steps=500_000),
}


class Schedule(NamedTuple):
  """How networks grow: a resolution is trained alone, then the next is faded in, and so on.

  Attributes:
    stable: steps of a resolution alone.
    fade: steps of fading in.
    stages: doublings of the resolution.
  """

  stable: int
  fade: int
  stages: int

  def stage(self, step: int) -> int:
    """The last doubling that takes part in a step."""
    whole, within = divmod(step, self.stable + self.fade)
    return min(whole + (within >= self.stable), self.stages)

  def progress(self, step: Array) -> Array:
    """Doublings complete and the share of the next, in (stage - 1, stage], at a step."""
    whole, within = jnp.divmod(step, self.stable + self.fade)
    share = jnp.clip((within - self.stable + 1) / self.fade, 0.0, 1.0)
    return jnp.minimum(whole + share, self.stages).astype(jnp.float32)

  def begins(self, step: Array) -> Array:
    """Whether a step is the first of a doubling."""
    whole, within = jnp.divmod(step, self.stable + self.fade)
    return (within == self.stable) & (whole < self.stages)


Apply = Callable[..., Any]


def grown(
  system: training.System, schedule: Schedule, networks: Callable[[int], tuple[Apply, Apply]]
) -> training.System:
  """A system whose steps are those of a schedule's stages.

  Args:
    system: of the whole networks, which read their progress from the collection "growth".
    schedule: of the growth.
    networks: from a stage to the generator and the discriminator that compute no more of it.
  """

  def play(stage: int, game: Game, batch: Batch) -> tuple[Game, Metrics]:
    progress, begins = schedule.progress(game.step), schedule.begins(game.step)
    whole = game.generator.apply_fn, game.discriminator.apply_fn
    parts = networks(stage)
    game = game.replace(
      generator=_begun(game.generator, parts[0], progress, begins),
      discriminator=_begun(game.discriminator, parts[1], progress, begins),
    )
    images = jax.vmap(lambda x: models.progan.faded(x, progress, stage=stage))(batch["image"])
    game, metrics = system.step(game, {**batch, "image": images})
    game = game.replace(
      generator=game.generator.replace(apply_fn=whole[0]),
      discriminator=game.discriminator.replace(apply_fn=whole[1]),
    )
    return game, {**metrics, "progress": progress}

  steps = [functools.partial(play, stage) for stage in range(schedule.stages + 1)]
  return system._replace(step=steps[-1], step_at=lambda step: steps[schedule.stage(step)])


def _begun(player: Player, apply: Apply, progress: Array, begins: Array) -> Player:
  """A player at the progress of a step, without moments where a resolution begins."""
  growth = {"growth": {"progress": progress}}
  average = player.average
  if average is not None:  # progress is not to lag behind
    average = {**average, **growth}
  opt_state = jax.tree.map(
    lambda new, old: jnp.where(begins, new, old),
    player.tx.init(player.params),
    player.opt_state,
  )
  return player.replace(
    apply_fn=apply,
    collections={**player.collections, **growth},
    average=average,
    opt_state=opt_state,
  )


def build(config: Config, spec: ImageSpec) -> training.System:
  """The ProGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  options: dict[str, Any] = dict(
    width=config.width, max_width=config.max_width, dtype=config.jax_dtype
  )
  generator = models.progan.Generator(resolution, channels, **options)
  critic = models.progan.Discriminator(
    resolution, channels, group_size=config.group_size, **options
  )
  z = latents.normal(config.latent_dim)
  adam = optax.adam(config.learning_rate, b1=0.0, b2=0.99)
  system = training.system(
    generator,
    critic,
    adam,
    adam,
    objectives.adversarial(
      losses.wasserstein(),
      z,
      penalties=[
        lambda critic, batch, key, game: (
          config.penalty_weight
          * penalties.gradient_penalty(
            critic, batch["image"], batch["fake"], key, axis_name=training.AXIS
          )
        )
      ],
      d_terms={"drift": lambda batch, game: config.drift_weight * jnp.square(batch["real_logits"])},
      score=lambda value: value,
      axis_name=training.AXIS,
    ),
    latents=z,
    spec=spec,
    ema_decay=config.ema_decay,
    probabilities=False,
    batch_multiple=config.group_size,
  )
  stages = (resolution // 4).bit_length() - 1
  return grown(
    system,
    Schedule(config.stable_steps, config.fade_steps, stages),
    lambda stage: (generator.clone(stage=stage).apply, critic.clone(stage=stage).apply),
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
