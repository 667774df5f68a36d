"""WGAN: Arjovsky, Chintala and Bottou 2017 (arXiv 1701.07875), Algorithm 1.

The critic's weights are clipped, so that its mean difference estimates the Wasserstein distance up
to a constant; it is trained towards its optimum, by RMSProp since momentum makes it unstable.
"""

import dataclasses
import functools
from typing import Annotated

import optax

from experiments import choices
from jaxgan import latents, losses, models, penalties, run, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of WGAN."""

  learning_rate: run.Rate = 5e-5
  """Of both players' RMSProp."""
  latent_dim: run.Width = 100
  """Dimensions of the normal latent."""
  clip: run.Bound = 0.01
  """c: bound on every parameter of the critic."""
  n_critic: Annotated[run.Updates, choices.also("--d-steps")] = 5
  """Critic updates to each of the generator's."""
  n_critic_early: run.Updates = 100
  """The same during the first 25 updates of the generator and at every 500th."""
  packing: run.Count = 1
  """PacGAN: pictures that the critic judges together."""


PRESETS: run.Presets = {
  "quick": dict(steps=500, n_critic_early=25),
  "measured": dict(
    dataset="fashion_mnist", width=16, learning_rate=2e-4, n_critic_early=25, steps=800
  ),
  "paper": dict(dataset="lsun/bedroom", resolution=64, width=64, steps=200_000),
}


def critic_updates(often: int, early: int, step: int) -> int:
  """Critic updates of a step."""
  return early if step < 25 or step % 500 == 0 else often


def build(config: Config, spec: ImageSpec) -> training.System:
  """The WGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  options = dict(width=config.width, dtype=config.jax_dtype, axis_name=training.AXIS)
  critic = models.dcgan.Discriminator(resolution, **options)
  rmsprop = optax.rmsprop(config.learning_rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)
  z = latents.normal(config.latent_dim)
  return training.system(
    models.dcgan.Generator(resolution, channels, **options),
    choices.packed(critic, config.packing, config.batch_size),
    rmsprop,
    rmsprop,
    objectives.adversarial(
      losses.wasserstein(),
      z,
      g_multiple=1,
      measures={
        "wasserstein_estimate": lambda batch, game: (
          batch["real_logits"].mean() - batch["fake_logits"].mean()
        )
      },
      score=lambda value: value,
      axis_name=training.AXIS,
    ),
    latents=z,
    spec=spec,
    d_steps=functools.partial(critic_updates, config.n_critic, config.n_critic_early),
    d_constraint=lambda params: penalties.clip_weights(params, config.clip),
    ema_decay=config.ema_decay,
    probabilities=False,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
