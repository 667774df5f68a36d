"""The steps of this library, as `experiments` build them; loaded in a worker only."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from benchmarks import linen_steps
from benchmarks.flops import LATENT, Size
from benchmarks.linen_steps import Game, count, pictures, stepping, work
from benchmarks.models import Options, Work
from jaxgan import latents, layers, losses, models, penalties, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec

__all__ = [
  "LAYERS",
  "STEPS",
  "dcgan_system",
  "r3gan_system",
  "sngan_system",
  "stylegan2_system",
  "wgan_gp",
]


def dcgan_system(size: Size, **options) -> training.System:
  """That of `experiments.dcgan`."""
  z = latents.normal(LATENT)
  adam = optax.adam(2e-4, b1=0.5)
  networks = dict(width=size.width, axis_name=training.AXIS)
  return training.system(
    models.dcgan.Generator(size.resolution, size.channels, **networks),
    models.dcgan.Discriminator(size.resolution, **networks),
    adam,
    adam,
    objectives.adversarial(losses.non_saturating(), z, axis_name=training.AXIS),
    latents=z,
    spec=ImageSpec((size.resolution, size.resolution, size.channels)),
    **options,
  )


def sngan_system(size: Size) -> training.System:
  """That of `experiments.sngan --network=resnet --n-dis=1`."""
  z = latents.normal(LATENT)
  adam = optax.adam(2e-4, b1=0.0, b2=0.9)
  return training.system(
    models.sngan.ResNetGenerator(
      None, size.resolution, size.channels, 2 * size.width, axis_name=training.AXIS
    ),
    models.sngan.ResNetDiscriminator(None, size.resolution, size.width),
    adam,
    adam,
    objectives.adversarial(losses.hinge(), z, axis_name=training.AXIS, score=lambda x: x),
    latents=z,
    spec=ImageSpec((size.resolution, size.resolution, size.channels)),
    probabilities=False,
  )


def r3gan_system(size: Size) -> training.System:
  """That of `experiments.r3gan`, at its last rates."""
  z = latents.normal(LATENT)
  adam = optax.adam(5e-5, b1=0.0, b2=0.99)

  def penalty(critic, batch, key, game):
    return 0.005 / 2 * (penalties.r1(critic, batch["image"]) + penalties.r2(critic, batch["fake"]))

  return training.system(
    models.r3gan.Generator(None, size.resolution, size.channels, size.width),
    models.r3gan.Discriminator(None, size.resolution, size.width),
    adam,
    adam,
    objectives.adversarial(
      losses.relativistic(), z, penalties=[penalty], axis_name=training.AXIS, score=lambda x: x
    ),
    latents=z,
    spec=ImageSpec((size.resolution, size.resolution, size.channels)),
    probabilities=False,
  )


def stylegan2_system(size: Size) -> training.System:
  """That of `experiments.stylegan2` without its lazy terms, as most of its steps are."""
  z = latents.normal(LATENT)
  adam = optax.adam(2e-3, b1=0.0, b2=0.99)
  features = dict(width=size.width, max_width=size.width)
  return training.system(
    models.stylegan2.Generator(
      None,
      size.resolution,
      size.channels,
      style_dim=size.width,
      depth=2,
      mixing=0.0,
      axis_name=training.AXIS,
      **features,
    ),
    models.stylegan2.Discriminator(None, size.resolution, **features),
    adam,
    adam,
    objectives.adversarial(losses.non_saturating(), z, axis_name=training.AXIS),
    latents=z,
    spec=ImageSpec((size.resolution, size.resolution, size.channels)),
    batch_multiple=4,
  )


def system_step(gan: training.System, size: Size, options: Options) -> Work:
  """One step of a system, or as many as `steps_per_call` says by one call."""
  mesh = training.data_mesh(jax.devices()[:1])
  game = jax.jit(gan.init)(jax.random.key(0))
  # The others keep no moving average, so this does not either.
  game = game.replace(generator=game.generator.replace(average=None))
  game = jax.device_put(game, training.replicated(mesh))
  batch = {"image": jax.device_put(pictures(size)[None], training.batch_sharding(mesh))}
  parameters = count((game.discriminator.params, game.generator.params))
  calls = options.get("steps_per_call", 1)
  if calls == 1:
    return stepping(training.data_parallel(gan.step, mesh), game, (batch,), parameters)
  rows = jax.tree.map(lambda x: jnp.tile(x, (calls, *[1] * x.ndim)), batch)
  return stepping(training.scanned(gan.step, mesh), game, (None, rows), parameters)


def wgan_gp(size: Size) -> Game:
  """The critic's update of WGAN-GP in a loop of one's own, fakes included."""
  z = latents.normal(LATENT)
  parts = objectives.adversarial(
    losses.wasserstein(),
    z,
    penalties=[
      lambda critic, batch, key, game: (
        10.0 * penalties.gradient_penalty(critic, batch["image"], batch["fake"], key)
      )
    ],
    score=lambda logits: logits,
  )
  adam = optax.adam(1e-4, b1=0.0, b2=0.9)
  critic = linen_steps.Critic(size, layers.Conv)
  generator = models.dcgan.Generator(size.resolution, size.channels, width=size.width)

  def init():
    real = pictures(size)
    d_key, g_key = jax.random.split(jax.random.key(0))
    d = training.new_player(critic, adam, d_key, real[:1])
    g = training.new_player(generator, adam, g_key, z(g_key, 1))
    return training.Game.new(jax.random.key(1), d, g), ({"image": real},)

  def step(game, batch):
    key = jax.random.fold_in(game.key, game.step)
    player = game.discriminator
    grads, aux = jax.grad(parts.discriminator, has_aux=True)(player.params, game, batch, key)
    player = player.apply_gradients(grads=grads)
    return game.replace(step=game.step + 1, discriminator=player), aux.metrics

  return Game(step, init, lambda game: (game.discriminator.params, game.generator.params))


def residual(size: Size) -> Game:
  """Forward and backward pass of the block with this library's convolutions."""
  return linen_steps.residual(size, layers.Conv)


class Modulated(nn.Module):
  """StyleGAN2's convolution with demodulation, handed its styles."""

  features: int

  @nn.compact
  def __call__(self, x, styles):
    """Keeps the shape."""
    shape = (3, 3, x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.normal(), shape)
    return layers.modulated_conv(x, kernel, styles)


def modulated(size: Size) -> Game:
  """Forward and backward pass of the modulated convolution."""
  return linen_steps.passes(size, Modulated(size.width), styles=True)


def attention(size: Size) -> Game:
  """Forward and backward pass of SAGAN's self-attention."""
  return linen_steps.passes(size, layers.SelfAttention())


LAYERS = {"residual": residual, "modulated": modulated, "attention": attention}


STEPS = {
  "dcgan": lambda size, options: system_step(dcgan_system(size), size, options),
  "wgan_gp": lambda size, options: work(wgan_gp(size)),
  "sngan": lambda size, options: system_step(sngan_system(size), size, options),
  "r3gan": lambda size, options: system_step(r3gan_system(size), size, options),
  "stylegan2": lambda size, options: system_step(stylegan2_system(size), size, options),
  **{name: lambda size, options, game=game: work(game(size)) for name, game in LAYERS.items()},
}
