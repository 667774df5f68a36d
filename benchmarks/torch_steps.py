"""The steps in PyTorch: as its DCGAN example takes them, tuned, and compiled.

The tuned form has channels last, no weight gradients of D in the generator's step, one backward
pass for both of D's losses and Adam's fastest form; the example's has a backward pass a loss, a
sigmoid apart from the loss, weight gradients of D in both steps, and reads the scalars that it
logs. Loaded in a worker only, after its allocator is set.
"""

from collections.abc import Callable

import torch
from torch import nn

from benchmarks import machine
from benchmarks.flops import LATENT, Size
from benchmarks.models import Options, Work
from benchmarks.torch_networks import (
  Attention,
  Modulated,
  ResidualBlock,
  critic,
  discriminator,
  generator,
  r3gan_discriminator,
  r3gan_generator,
  residual_discriminator,
  residual_generator,
)
from benchmarks.torch_styles import StyleDiscriminator, StyleGenerator

__all__ = ["STEPS", "matmul"]

torch.set_num_threads(machine.cores())


def _initialize(module: nn.Module) -> None:
  for layer in module.modules():
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
      nn.init.normal_(layer.weight, std=0.02)
    elif isinstance(layer, nn.BatchNorm2d):
      nn.init.normal_(layer.weight, mean=1.0, std=0.02)


def _count(*networks: nn.Module) -> int:
  return sum(p.numel() for network in networks for p in network.parameters())


def _format(options: Options) -> torch.memory_format:
  last = options.get("channels_last", True)
  return torch.channels_last if last else torch.contiguous_format


def _prepared(network: nn.Module, options: Options) -> tuple[nn.Module, nn.Module]:
  """The network, and what is called in its place."""
  _initialize(network)
  network = network.to(memory_format=_format(options))
  return network, torch.compile(network) if options.get("compiled") else network


def _adam(network: nn.Module, rate: float, betas: tuple[float, float], options: Options):
  chosen = {"fused": True} if options.get("fused", True) else {"foreach": True}
  if options.get("official"):
    chosen = {}
  return torch.optim.Adam(network.parameters(), rate, betas, **chosen)


def _pictures(size: Size, options: Options) -> torch.Tensor:
  shape = (size.batch_size, size.channels, size.resolution, size.resolution)
  return torch.empty(shape).uniform_(-1.0, 1.0).contiguous(memory_format=_format(options))


def matmul(n: int) -> Callable[[], None]:
  a, b, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)

  def product() -> None:
    torch.mm(a, b, out=out)

  return product


def dcgan(size: Size, options: Options) -> Work:
  """One update of each player."""
  g, call_g = _prepared(generator(size), options)
  plain = discriminator(size)
  official = options.get("official", False)
  d, call_d = _prepared(nn.Sequential(*plain, nn.Sigmoid()) if official else plain, options)
  g_adam, d_adam = (_adam(network, 2e-4, (0.5, 0.999), options) for network in (g, d))
  real = _pictures(size, options)
  ones, zeros = torch.ones(size.batch_size), torch.zeros(size.batch_size)

  def noise() -> torch.Tensor:
    return torch.randn(size.batch_size, LATENT, 1, 1)

  def tuned() -> None:
    loss = nn.functional.binary_cross_entropy_with_logits
    fake = call_g(noise())
    d.requires_grad_(True)
    d_adam.zero_grad()
    (loss(call_d(real), ones) + loss(call_d(fake.detach()), zeros)).backward()
    d_adam.step()
    d.requires_grad_(False)
    g_adam.zero_grad()
    loss(call_d(fake), ones).backward()
    g_adam.step()

  def as_the_example() -> None:
    loss = nn.functional.binary_cross_entropy
    d.zero_grad()
    on_real = d(real)
    loss_real = loss(on_real, ones)
    loss_real.backward()
    on_real.mean().item()
    fake = g(noise())
    on_fake = d(fake.detach())
    loss_fake = loss(on_fake, zeros)
    loss_fake.backward()
    on_fake.mean().item()
    d_adam.step()
    g.zero_grad()
    on_fake = d(fake)
    loss_g = loss(on_fake, ones)
    loss_g.backward()
    on_fake.mean().item()
    g_adam.step()
    (loss_real + loss_fake).item(), loss_g.item()

  return Work(as_the_example if official else tuned, _count(g, d))


def wgan_gp(size: Size, options: Options) -> Work:
  """The critic's update of WGAN-GP, fakes included."""
  if options.get("compiled"):
    from torch._functorch import config

    config.donated_buffer = False  # or it refuses to keep the graph
  g, call_g = _prepared(generator(size), options)
  d, call_d = _prepared(critic(size), options)
  adam = _adam(d, 1e-4, (0.0, 0.9), options)
  real = _pictures(size, options)
  parameters = list(d.parameters())  # else the points between would get a gradient too

  def step() -> None:
    with torch.no_grad():
      fake = call_g(torch.randn(size.batch_size, LATENT, 1, 1))
    epsilon = torch.rand(size.batch_size, 1, 1, 1)
    between = (epsilon * real + (1 - epsilon) * fake).requires_grad_(True)
    (slope,) = torch.autograd.grad(call_d(between).sum(), between, create_graph=True)
    penalty = ((slope.square().sum((1, 2, 3)).sqrt() - 1) ** 2).mean()
    adam.zero_grad()
    loss = call_d(fake).mean() - call_d(real).mean() + 10.0 * penalty
    loss.backward(inputs=parameters)
    adam.step()

  return Work(step, _count(g, d))


def sngan(size: Size, options: Options) -> Work:
  """One update of each player by the hinge loss; a spectral norm is estimated once a pass of D."""
  g, call_g = _prepared(residual_generator(size), options)
  d, call_d = _prepared(residual_discriminator(size), options)
  g_adam, d_adam = (_adam(network, 2e-4, (0.0, 0.9), options) for network in (g, d))
  real = _pictures(size, options)

  def step() -> None:
    fake = call_g(torch.randn(size.batch_size, LATENT))
    d.requires_grad_(True)
    d_adam.zero_grad()
    ((1 - call_d(real)).relu().mean() + (1 + call_d(fake.detach())).relu().mean()).backward()
    d_adam.step()
    d.requires_grad_(False)
    g_adam.zero_grad()
    call_d(fake).mean().neg().backward()
    g_adam.step()

  return Work(step, _count(g, d))


def r3gan(size: Size, options: Options) -> Work:
  """One update of each player by pairs of logits, D's with R1 and R2."""
  if options.get("compiled"):
    from torch._functorch import config

    config.donated_buffer = False  # or it refuses to keep the graph
  g, call_g = _prepared(r3gan_generator(size), options)
  d, call_d = _prepared(r3gan_discriminator(size), options)
  g_adam, d_adam = (_adam(network, 5e-5, (0.0, 0.99), options) for network in (g, d))
  pictures = _pictures(size, options)
  parameters = list(d.parameters())
  softplus = nn.functional.softplus

  def step() -> None:
    fake = call_g(torch.randn(size.batch_size, LATENT))
    d.requires_grad_(True)
    points = [pictures.detach().requires_grad_(True), fake.detach().requires_grad_(True)]
    logits = [call_d(x) for x in points]
    slopes = torch.autograd.grad([x.sum() for x in logits], points, create_graph=True)
    penalty = sum(slope.square().sum((1, 2, 3)) for slope in slopes)
    d_adam.zero_grad()
    loss = softplus(logits[1] - logits[0]) + 0.005 / 2 * penalty
    loss.mean().backward(inputs=parameters)
    d_adam.step()
    d.requires_grad_(False)
    g_adam.zero_grad()
    softplus(call_d(pictures) - call_d(fake)).mean().backward()
    g_adam.step()

  return Work(step, _count(g, d))


def stylegan2(size: Size, options: Options) -> Work:
  """One update of each player, between the lazy terms."""
  g, call_g = _prepared(StyleGenerator(size), options)
  d, call_d = _prepared(StyleDiscriminator(size), options)
  g_adam, d_adam = (_adam(network, 2e-3, (0.0, 0.99), options) for network in (g, d))
  real = _pictures(size, options)
  softplus = nn.functional.softplus

  def step() -> None:
    fake = call_g(torch.randn(size.batch_size, LATENT))
    d.requires_grad_(True)
    d_adam.zero_grad()
    (softplus(-call_d(real)) + softplus(call_d(fake.detach()))).mean().backward()
    d_adam.step()
    d.requires_grad_(False)
    g_adam.zero_grad()
    softplus(-call_d(fake)).mean().backward()
    g_adam.step()

  return Work(step, _count(g, d))


def passes(make: Callable[[int], nn.Module], *, styles: bool = False):
  """Forward and backward pass of a layer of `width` features, with the gradients of its inputs."""

  def build(size: Size, options: Options) -> Work:
    layer, call = _prepared(make(size.width), options)
    shape = (size.batch_size, size.width, size.resolution, size.resolution)
    layout = _format(options)
    x, cotangent = (torch.randn(shape).contiguous(memory_format=layout) for _ in range(2))
    inputs = [x.requires_grad_(True)]
    if styles:
      inputs.append(torch.randn(size.batch_size, size.width).requires_grad_(True))

    def step() -> None:
      layer.zero_grad()
      for given in inputs:
        given.grad = None
      call(*inputs).backward(cotangent)

    return Work(step, _count(layer))

  return build


STEPS = {
  "dcgan": dcgan,
  "wgan_gp": wgan_gp,
  "sngan": sngan,
  "r3gan": r3gan,
  "stylegan2": stylegan2,
  "residual": passes(ResidualBlock),
  "modulated": passes(Modulated, styles=True),
  "attention": passes(Attention),
}
