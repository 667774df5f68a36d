"""The steps in plain JAX, Flax and optax, with linen's layers, as most people write them.

The critic and the residual block are handed their convolution, so that jaxgan's are the same
networks. Loaded in a worker only, after its allocator is set.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from benchmarks.flops import LATENT, Size
from benchmarks.models import Work

__all__ = [
  "GAMES",
  "STEPS",
  "Critic",
  "Game",
  "ResidualBlock",
  "count",
  "matmul",
  "passes",
  "pictures",
  "stepping",
  "work",
]

_conv = partial(nn.Conv, kernel_size=(4, 4), strides=(2, 2), use_bias=False)
_deconv = partial(nn.ConvTranspose, kernel_size=(4, 4), use_bias=False)


def _stages(resolution: int) -> int:
  return (resolution // 4).bit_length() - 1


class Generator(nn.Module):
  """DCGAN's generator."""

  size: Size

  @nn.compact
  def __call__(self, z, *, train: bool = True):
    """From latents to pictures."""
    norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
    stages = _stages(self.size.resolution)
    x = _deconv(self.size.width << (stages - 1), padding="VALID")(z[:, None, None])
    x = nn.relu(norm()(x))
    for stage in reversed(range(stages - 1)):
      x = nn.relu(norm()(_deconv(self.size.width << stage, strides=(2, 2))(x)))
    return jnp.tanh(_deconv(self.size.channels, strides=(2, 2))(x))


class Discriminator(nn.Module):
  """DCGAN's discriminator."""

  size: Size

  @nn.compact
  def __call__(self, x, *, train: bool = True):
    """From pictures to logits."""
    x = nn.leaky_relu(_conv(self.size.width)(x), 0.2)
    for stage in range(1, _stages(self.size.resolution)):
      x = _conv(self.size.width << stage)(x)
      x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
      x = nn.leaky_relu(x, 0.2)
    return _conv(1, strides=(1, 1), padding="VALID")(x).reshape(-1)


class Critic(nn.Module):
  """DCGAN's discriminator with biases in place of norms."""

  size: Size
  conv: Callable[..., nn.Module] = nn.Conv

  @nn.compact
  def __call__(self, x, *, train: bool = True):
    """From pictures to logits."""
    for stage in range(_stages(self.size.resolution)):
      x = self.conv(self.size.width << stage, (4, 4), strides=(2, 2))(x)
      x = nn.leaky_relu(x, 0.2)
    return self.conv(1, (4, 4), padding="VALID")(x).reshape(-1)


class ResidualBlock(nn.Module):
  """Two 3x3 convolutions, each after a ReLU, beside the identity."""

  features: int
  conv: Callable[..., nn.Module] = nn.Conv

  @nn.compact
  def __call__(self, x):
    """Keeps the shape."""
    y = self.conv(self.features, (3, 3))(nn.relu(x))
    return x + self.conv(self.features, (3, 3))(nn.relu(y))


class Game(NamedTuple):
  """A step and what it starts from.

  Attributes:
    step: `(state, *inputs) -> (state, results)`.
    init: makes state and inputs.
    trained: from the state to its parameters.
  """

  step: Callable[..., Any]
  init: Callable[[], tuple[Any, tuple[Any, ...]]]
  trained: Callable[[Any], Any]


def work(game: Game) -> Work:
  """The work of a game on one device."""
  state, inputs = jax.jit(game.init)()
  parameters = count(game.trained(state))
  return stepping(jax.jit(game.step, donate_argnums=0), state, inputs, parameters)


def stepping(step: Callable[..., Any], state: Any, inputs: Sequence[Any], parameters: int) -> Work:
  """The work of a compiled step, which goes on from its own state."""
  held = [state]

  def advance() -> None:
    held[0], results = step(held[0], *inputs)
    jax.block_until_ready((held[0], results))

  return Work(advance, parameters)


def pictures(size: Size) -> jax.Array:
  shape = (size.batch_size, size.resolution, size.resolution, size.channels)
  return jax.random.uniform(jax.random.key(1), shape, minval=-1.0)


def count(tree: Any) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def matmul(n: int) -> Callable[[], Any]:
  a, b = jax.random.normal(jax.random.key(0), (2, n, n))
  product = jax.jit(jnp.matmul)
  return lambda: product(a, b).block_until_ready()


def _softplus_mean(x: jax.Array) -> jax.Array:
  return nn.softplus(x).mean()


def dcgan(size: Size) -> Game:
  """One update of each player."""
  generator, discriminator = Generator(size), Discriminator(size)
  adam = optax.adam(2e-4, b1=0.5)

  def apply(module, params, stats, x):
    variables = {"params": params, "batch_stats": stats}
    y, written = module.apply(variables, x, mutable=["batch_stats"])
    return y, written.get("batch_stats", {})

  def init():
    real = pictures(size)
    d = discriminator.init(jax.random.key(2), real[:1])
    g = generator.init(jax.random.key(3), jnp.zeros([1, LATENT]))
    players = [(v["params"], v.get("batch_stats", {}), adam.init(v["params"])) for v in (d, g)]
    return (*players, jax.random.key(0)), (real,)

  def step(state, real):
    (d, d_stats, d_opt), (g, g_stats, g_opt), key = state
    key, z_key = jax.random.split(key)
    z = jax.random.normal(z_key, (size.batch_size, LATENT))

    def d_loss(d):
      fake, _ = apply(generator, g, g_stats, z)
      on_real, stats = apply(discriminator, d, d_stats, real)
      on_fake, stats = apply(discriminator, d, stats, jax.lax.stop_gradient(fake))
      return _softplus_mean(-on_real) + _softplus_mean(on_fake), stats

    (loss_d, d_stats), grads = jax.value_and_grad(d_loss, has_aux=True)(d)
    updates, d_opt = adam.update(grads, d_opt)
    d = optax.apply_updates(d, updates)

    def g_loss(g):
      fake, stats = apply(generator, g, g_stats, z)
      on_fake, _ = apply(discriminator, d, d_stats, fake)
      return _softplus_mean(-on_fake), stats

    (loss_g, g_stats), grads = jax.value_and_grad(g_loss, has_aux=True)(g)
    updates, g_opt = adam.update(grads, g_opt)
    g = optax.apply_updates(g, updates)
    return ((d, d_stats, d_opt), (g, g_stats, g_opt), key), (loss_d, loss_g)

  return Game(step, init, lambda state: (state[0][0], state[1][0]))


def wgan_gp(size: Size) -> Game:
  """The critic's update; the generator stands still."""
  generator, critic = Generator(size), Critic(size)
  adam = optax.adam(1e-4, b1=0.0, b2=0.9)

  def init():
    real = pictures(size)
    d = critic.init(jax.random.key(2), real[:1])
    g = generator.init(jax.random.key(3), jnp.zeros([1, LATENT]))
    return (d, adam.init(d), jax.random.key(0), g), (real,)

  def step(state, real):
    d, d_opt, key, g = state
    key, z_key, between_key = jax.random.split(key, 3)
    z = jax.random.normal(z_key, (size.batch_size, LATENT))
    fake, _ = generator.apply(g, z, mutable=["batch_stats"])
    epsilon = jax.random.uniform(between_key, (size.batch_size, 1, 1, 1))

    def loss(d):
      slope = jax.grad(lambda x: critic.apply(d, x).sum())(epsilon * real + (1 - epsilon) * fake)
      penalty = ((jnp.sqrt((slope**2).sum((1, 2, 3))) - 1) ** 2).mean()
      return critic.apply(d, fake).mean() - critic.apply(d, real).mean() + 10.0 * penalty

    value, grads = jax.value_and_grad(loss)(d)
    updates, d_opt = adam.update(grads, d_opt)
    return (optax.apply_updates(d, updates), d_opt, key, g), value

  return Game(step, init, lambda state: (state[0], state[3]["params"]))


def residual(size: Size, conv: Callable[..., nn.Module] = nn.Conv) -> Game:
  """Forward and backward pass, with the gradient of the input."""
  return passes(size, ResidualBlock(size.width, conv))


def passes(size: Size, layer: nn.Module, *, styles: bool = False) -> Game:
  """Forward and backward pass of a layer of `width` features, with the gradients of its inputs."""

  def init():
    shape = (2, size.batch_size, size.resolution, size.resolution, size.width)
    x, cotangent = jax.random.normal(jax.random.key(1), shape)
    inputs = [x]
    if styles:
      inputs.append(jax.random.normal(jax.random.key(3), (size.batch_size, size.width)))
    return layer.init(jax.random.key(2), *(a[:1] for a in inputs)), (cotangent, *inputs)

  def step(params, cotangent, *inputs):
    y, pull = jax.vjp(layer.apply, params, *inputs)
    return params, (y, pull(cotangent))

  return Game(step, init, lambda params: params)


GAMES = {"dcgan": dcgan, "wgan_gp": wgan_gp, "residual": residual}
STEPS = {name: lambda size, options, game=game: work(game(size)) for name, game in GAMES.items()}
