"""StyleGAN2's networks in PyTorch, with the layers and parameters of jaxgan's twins.

All resolutions have the same features, and the mapping network two layers. Loaded in a worker only,
after its allocator is set.
"""

import math

import torch
from torch import nn

from benchmarks.flops import LATENT, Size

__all__ = ["StyleDiscriminator", "StyleGenerator"]


def _activate(x: torch.Tensor) -> torch.Tensor:
  return nn.functional.leaky_relu(x, 0.2) * math.sqrt(2.0)


def _blur(x: torch.Tensor, kernel: torch.Tensor, padding, up: int = 1, down: int = 1):
  """The filter (1, 3, 3, 1), after zeros between the pixels or before pixels are dropped."""
  c = x.shape[1]
  taps = kernel.expand(c, 1, 4, 4)
  if up > 1:
    return nn.functional.conv_transpose2d(x, 4.0 * taps, stride=2, padding=1, groups=c)
  return nn.functional.conv2d(nn.functional.pad(x, padding), taps, stride=down, groups=c)


class _Filtered(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    self.register_buffer("taps", (taps[:, None] * taps)[None, None].contiguous())


class Dense(nn.Module):
  """Of equalised learning rate."""

  def __init__(self, before: int, after: int, multiplier: float = 1.0, bias: float = 0.0) -> None:
    super().__init__()
    self.weight = nn.Parameter(torch.randn(after, before) / multiplier)
    self.bias = nn.Parameter(torch.full((after,), bias / multiplier))
    self.scale, self.multiplier = multiplier / math.sqrt(before), multiplier

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps the last axis."""
    return nn.functional.linear(x, self.weight * self.scale, self.bias * self.multiplier)


class Conv(_Filtered):
  """Of equalised learning rate; it may halve the resolution."""

  def __init__(self, before: int, after: int, size: int, down: bool = False, bias: bool = True):
    super().__init__()
    self.weight = nn.Parameter(torch.randn(after, before, size, size))
    self.bias = nn.Parameter(torch.zeros(after)) if bias else None
    self.scale, self.down = 1 / math.sqrt(before * size**2), down

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Convolves."""
    kernel = self.weight * self.scale
    if not self.down:
      return nn.functional.conv2d(x, kernel, self.bias, padding=kernel.shape[-1] // 2)
    if kernel.shape[-1] == 1:
      return nn.functional.conv2d(_blur(x, self.taps, (1, 1, 1, 1), down=2), kernel, self.bias)
    return nn.functional.conv2d(_blur(x, self.taps, (2, 2, 2, 2)), kernel, self.bias, stride=2)


class Styled(_Filtered):
  """A modulated convolution; of features with demodulation, noise and activation."""

  def __init__(self, before: int, after: int, style: int, size: int, up: bool = False) -> None:
    super().__init__()
    self.weight = nn.Parameter(torch.randn(after, before, size, size))
    self.bias = nn.Parameter(torch.zeros(after))
    self.affine = Dense(style, before, bias=1.0)
    self.strength = nn.Parameter(torch.zeros(())) if size > 1 else None
    self.scale, self.up = 1 / math.sqrt(before * size**2), up

  def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Scales the input, convolves by one kernel, scales the output."""
    kernel, styles = self.weight * self.scale, self.affine(w)
    x = x * styles[:, :, None, None]
    if self.strength is None:
      return nn.functional.conv2d(x, kernel, self.bias)
    if self.up:
      x = nn.functional.conv_transpose2d(x, kernel.transpose(0, 1), stride=2)
      x = 4.0 * _blur(x, self.taps, (1, 1, 1, 1))
    else:
      x = nn.functional.conv2d(x, kernel, padding=1)
    norms = styles.square() @ kernel.square().sum((2, 3)).T
    x = x * torch.rsqrt(norms + 1e-8)[:, :, None, None] + self.bias[:, None, None]
    return _activate(x + self.strength * torch.randn(len(x), 1, *x.shape[2:]))


class StyleGenerator(_Filtered):
  """From latents `[batch, 100]` to pictures."""

  def __init__(self, size: Size) -> None:
    super().__init__()
    width, count = size.width, (size.resolution // 4).bit_length()
    self.mapping = nn.ModuleList([Dense(LATENT, width, 0.01), Dense(width, width, 0.01)])
    self.constant = nn.Parameter(torch.randn(1, width, 4, 4))
    self.first = nn.ModuleList([Styled(width, width, width, 3, up=True) for _ in range(count - 1)])
    self.second = nn.ModuleList([Styled(width, width, width, 3) for _ in range(count)])
    self.images = nn.ModuleList([Styled(width, size.channels, width, 1) for _ in range(count)])

  def forward(self, z: torch.Tensor) -> torch.Tensor:
    """Paints, resolution by resolution."""
    w = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    for layer in self.mapping:
      w = _activate(layer(w))
    x = self.constant.expand(len(z), -1, -1, -1)
    image = None
    for i, (second, to_image) in enumerate(zip(self.second, self.images, strict=True)):
      x = self.first[i - 1](x, w) if i else x
      x = second(x, w)
      added = to_image(x, w)
      image = added if image is None else _blur(image, self.taps, None, up=2) + added
    return image


class _Block(nn.Module):
  def __init__(self, width: int) -> None:
    super().__init__()
    self.first, self.second = Conv(width, width, 3), Conv(width, width, 3, down=True)
    self.skip = Conv(width, width, 1, down=True, bias=False)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return math.sqrt(0.5) * (_activate(self.second(_activate(self.first(x)))) + self.skip(x))


class StyleDiscriminator(nn.Module):
  """From pictures to logits."""

  def __init__(self, size: Size) -> None:
    super().__init__()
    width, count = size.width, (size.resolution // 4).bit_length()
    self.first = Conv(size.channels, width, 1)
    self.blocks = nn.Sequential(*(_Block(width) for _ in range(count - 1)))
    self.last = Conv(width + 1, width, 3)
    self.dense, self.out = Dense(16 * width, width), Dense(width, 1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Compares groups of four examples."""
    x = self.blocks(_activate(self.first(x)))
    n, c, h, w = x.shape
    groups = x.reshape(-1, 4, c, h, w)
    deviation = (groups.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    deviation = deviation.repeat_interleave(4)[:, None, None, None].expand(n, 1, h, w)
    x = _activate(self.last(torch.cat([x, deviation], 1)))
    return self.out(_activate(self.dense(x.flatten(1))))[:, 0]
