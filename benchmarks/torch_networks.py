"""The networks of the timed steps in PyTorch, with the layers and parameters of jaxgan's twins.

Loaded in a worker only, after its allocator is set.
"""

import torch
from torch import nn

from benchmarks.flops import LATENT, Size

__all__ = [
  "Attention",
  "Modulated",
  "ResidualBlock",
  "critic",
  "discriminator",
  "generator",
  "r3gan_discriminator",
  "r3gan_generator",
  "residual_discriminator",
  "residual_generator",
]


def _stages(resolution: int) -> int:
  return (resolution // 4).bit_length() - 1


def generator(size: Size) -> nn.Sequential:
  """From latents `[batch, 100, 1, 1]` to pictures."""
  features = [size.width << stage for stage in range(_stages(size.resolution))][::-1]
  layers: list[nn.Module] = [nn.ConvTranspose2d(LATENT, features[0], 4, bias=False)]
  for before, after in zip(features, [*features[1:], size.channels], strict=True):
    layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
    layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False))
  return nn.Sequential(*layers, nn.Tanh())


def discriminator(size: Size) -> nn.Sequential:
  """From pictures to logits."""
  features = [size.width << stage for stage in range(_stages(size.resolution))]
  layers: list[nn.Module] = []
  for before, after in zip([size.channels, *features[:-1]], features, strict=True):
    layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False))
    layers += [nn.BatchNorm2d(after)] if layers[1:] else []  # none after the first
    layers.append(nn.LeakyReLU(0.2, inplace=True))
  return nn.Sequential(*layers, nn.Conv2d(features[-1], 1, 4, bias=False), nn.Flatten(0))


def critic(size: Size) -> nn.Sequential:
  """The discriminator with biases in place of norms."""
  features = [size.width << stage for stage in range(_stages(size.resolution))]
  layers: list[nn.Module] = []
  for before, after in zip([size.channels, *features[:-1]], features, strict=True):
    layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
  return nn.Sequential(*layers, nn.Conv2d(features[-1], 1, 4), nn.Flatten(0))


class ResidualBlock(nn.Module):
  """Two 3x3 convolutions, each after a ReLU, beside the identity."""

  def __init__(self, features: int) -> None:
    super().__init__()
    self.first = nn.Conv2d(features, features, 3, padding=1)
    self.second = nn.Conv2d(features, features, 3, padding=1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Keeps the shape."""
    return x + self.second(self.first(x.relu()).relu_())


class Residual(nn.Module):
  """A branch of two 3x3 convolutions and a 1x1 shortcut; ReLUs and norms precede the branch's.

  `before` is what the branch does ahead of its first convolution, `between` ahead of its second;
  `resize` runs before the branch and after the shortcut of a generator's block ("up"), after the
  branch and before the shortcut of a discriminator's ("down").
  """

  def __init__(self, before, first, between, second, shortcut, direction: str) -> None:
    super().__init__()
    self.branch = nn.Sequential(before, Up() if direction == "up" else nn.Identity(), first)
    self.rest = nn.Sequential(between, second)
    self.shortcut, self.direction = shortcut, direction

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Doubles, halves or keeps the resolution."""
    y = self.rest(self.branch(x))
    if self.direction == "down":
      return nn.functional.avg_pool2d(y, 2) + self.shortcut(nn.functional.avg_pool2d(x, 2))
    return y + (nearest(self.shortcut(x)) if self.direction == "up" else x)


class Up(nn.Module):
  """Repeats pixels, twice in each direction."""

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """From `[n, c, h, w]` to `[n, c, 2h, 2w]`."""
    return nearest(x)


def nearest(x: torch.Tensor) -> torch.Tensor:
  return nn.functional.interpolate(x, scale_factor=2, mode="nearest")


def residual_generator(size: Size) -> nn.Sequential:
  """SNGAN's: from latents `[batch, 100]` to pictures."""
  wide = 2 * size.width

  def norm() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(wide, eps=2e-5), nn.ReLU(inplace=True))

  def conv(features: int) -> nn.Conv2d:
    return nn.Conv2d(wide, features, 3, padding=1)

  blocks = [
    Residual(norm(), conv(wide), norm(), conv(wide), nn.Conv2d(wide, wide, 1), "up")
    for _ in range(_stages(size.resolution))
  ]
  start = [nn.Linear(LATENT, 16 * wide), nn.Unflatten(1, (wide, 4, 4))]
  return nn.Sequential(*start, *blocks, norm(), conv(size.channels), nn.Tanh())


def residual_discriminator(size: Size) -> nn.Sequential:
  """SNGAN's, every layer spectrally normalised: from pictures to logits."""
  normalized = nn.utils.parametrizations.spectral_norm

  def conv(before: int, kernel: int) -> nn.Module:
    return normalized(nn.Conv2d(before, size.width, kernel, padding=kernel // 2))

  def block(before: int, direction: str) -> Residual:
    first = before == size.channels
    return Residual(
      nn.Identity() if first else nn.ReLU(),
      conv(before, 3),
      nn.ReLU(inplace=True),
      conv(size.width, 3),
      None if direction == "same" else conv(before, 1),
      direction,
    )

  downs = [size.channels, *[size.width] * (_stages(size.resolution) - 2)]
  return nn.Sequential(
    *(block(before, "down") for before in downs),
    *(block(size.width, "same") for _ in range(2)),
    nn.ReLU(),
    Sum(),
    normalized(nn.Linear(size.width, 1, bias=False)),
    nn.Flatten(0),
  )


class Sum(nn.Module):
  """Adds the pixels up."""

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """From `[n, c, h, w]` to `[n, c]`."""
    return x.sum((2, 3))


class Grouped(nn.Module):
  """R3GAN's residual block: 1x1 to twice the features, 3x3 in groups of 16, 1x1 back."""

  def __init__(self, features: int) -> None:
    super().__init__()
    wide = 2 * features
    self.first = nn.Conv2d(features, wide, 1)
    self.second = nn.Conv2d(wide, wide, 3, padding=1, groups=wide // 16)
    self.third = nn.Conv2d(wide, features, 1, bias=False)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Keeps the shape."""
    y = nn.functional.leaky_relu(self.first(x), 0.2)
    return x + self.third(nn.functional.leaky_relu(self.second(y), 0.2))


class Resample(nn.Module):
  """Doubles or halves the resolution through the filter (1, 3, 3, 1)."""

  def __init__(self, features: int, up: bool) -> None:
    super().__init__()
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = (taps[:, None] * taps * (4 if up else 1)).expand(features, 1, 4, 4).contiguous()
    self.register_buffer("kernel", kernel)
    self.apply_kernel = nn.functional.conv_transpose2d if up else nn.functional.conv2d

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Keeps the features."""
    return self.apply_kernel(x, self.kernel, stride=2, padding=1, groups=x.shape[1])


class Basis(nn.Module):
  """Features at 4x4 pixels: numbers that scale a learned basis."""

  def __init__(self, features: int) -> None:
    super().__init__()
    self.scales = nn.Linear(LATENT, features, bias=False)
    self.basis = nn.Parameter(torch.randn(features, 4, 4))

  def forward(self, z: torch.Tensor) -> torch.Tensor:
    """From `[n, LATENT]` to `[n, features, 4, 4]`."""
    return self.scales(z)[:, :, None, None] * self.basis


def r3gan_generator(size: Size) -> nn.Sequential:
  """From latents `[batch, 100]` to pictures."""
  layers: list[nn.Module] = [Basis(size.width)]
  for stage in range(_stages(size.resolution) + 1):
    layers += [Resample(size.width, up=True)] if stage else []
    layers += [Grouped(size.width), Grouped(size.width)]
  return nn.Sequential(*layers, nn.Conv2d(size.width, size.channels, 1, bias=False))


def r3gan_discriminator(size: Size) -> nn.Sequential:
  """From pictures to logits."""
  width = size.width
  layers: list[nn.Module] = [nn.Conv2d(size.channels, width, 1, bias=False)]
  for stage in range(_stages(size.resolution) + 1):
    layers += [Resample(width, up=False)] if stage else []
    layers += [Grouped(width), Grouped(width)]
  basis = nn.Conv2d(width, width, 4, groups=width, bias=False)
  head = nn.Linear(width, 1, bias=False)
  return nn.Sequential(*layers, basis, nn.Flatten(), head, nn.Flatten(0))


class Modulated(nn.Module):
  """StyleGAN2's convolution with demodulation: scaled input, one kernel, scaled output."""

  def __init__(self, features: int) -> None:
    super().__init__()
    self.conv = nn.Conv2d(features, features, 3, padding=1, bias=False)

  def forward(self, x: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
    """Keeps the shape."""
    norms = styles.square() @ self.conv.weight.square().sum((2, 3)).T
    return self.conv(x * styles[:, :, None, None]) * torch.rsqrt(norms + 1e-8)[:, :, None, None]


class Attention(nn.Module):
  """SAGAN's block in the form of its authors' code."""

  def __init__(self, features: int) -> None:
    super().__init__()
    self.query, self.key = (nn.Conv2d(features, features // 8, 1, bias=False) for _ in range(2))
    self.value = nn.Conv2d(features, features // 2, 1, bias=False)
    self.out = nn.Conv2d(features // 2, features, 1, bias=False)
    self.gamma = nn.Parameter(torch.ones(()))
    self.pool = nn.MaxPool2d(2)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Keeps the shape."""
    q, k, v = self.query(x), self.pool(self.key(x)), self.pool(self.value(x))
    q, k, v = (each.flatten(2).transpose(1, 2) for each in (q, k, v))
    y = torch.softmax(q @ k.transpose(1, 2), -1) @ v
    return x + self.gamma * self.out(y.transpose(1, 2).reshape(len(x), -1, *x.shape[2:]))
