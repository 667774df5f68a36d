"""Useful FLOP of a training step: counted by hand from the papers' layers, and from a jaxpr.

A multiplication and an addition are two FLOP. A convolution counts as the direct one, whatever form
computes it: every kernel tap at every position, padding included, zeros of a dilation left out.
Only convolutions and matrix products count; norms, activations and Adam do not. One pass of a
layer, the gradient of its weights and the gradient of its input cost the same.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

__all__ = [
  "LATENT",
  "Passes",
  "Size",
  "attention_step",
  "counted",
  "dcgan_step",
  "modulated_step",
  "r3gan_step",
  "residual_step",
  "sngan_step",
  "stylegan2_step",
  "wgan_gp_step",
]

LATENT = 100  # dimensions of the latent, in all models here

Passes = dict[str, float]  # name of a pass to its FLOP


@dataclasses.dataclass(frozen=True)
class Size:
  """What the cost of a step depends on.

  Attributes:
    resolution: height and width in pixels.
    channels: of the pictures.
    width: features of the widest-resolution stage.
    batch_size: pictures a batch.
  """

  resolution: int
  channels: int
  width: int
  batch_size: int = 64

  def __post_init__(self) -> None:
    """Refuses sizes of nothing."""
    for name, value in dataclasses.asdict(self).items():
      if value < 1:
        raise ValueError(f"{name}={value} must be positive")


def _conv(size: Size, positions: int, kernel: int, channels: tuple[int, int]) -> float:
  return 2.0 * size.batch_size * positions**2 * kernel**2 * math.prod(channels)


def _pyramid(size: Size, top: int) -> list[float]:
  """FLOP of DCGAN's layers from the picture to 1x1, of 4x4 kernels all."""
  stages = (size.resolution // 4).bit_length() - 1
  if stages < 1 or 4 << stages != size.resolution:
    raise ValueError(f"resolution={size.resolution} must be 8, 16, 32, 64, 128 ... (4 times 2^k)")
  features = [size.channels, *(size.width << stage for stage in range(stages))]
  halvings = [
    _conv(size, size.resolution >> stage, 4, channels)
    for stage, channels in enumerate(itertools.pairwise(features), start=1)
  ]
  return [*halvings, _conv(size, 1, 4, (features[-1], top))]


def dcgan_step(size: Size) -> Passes:
  """One update of each player on one batch of latents, the generator's pass shared."""
  d, g = _pyramid(size, 1), _pyramid(size, LATENT)[::-1]
  return {
    "generator": sum(g),
    "D's step: discriminator on real and fake": 2 * sum(d),
    "D's step: gradients of weights": 2 * sum(d),
    "D's step: gradients of features": 2 * sum(d[1:]),  # none of the pictures
    "G's step: discriminator": sum(d),
    "G's step: gradients of features and fakes": sum(d),
    "G's step: gradients of the generator's weights": sum(g),
    "G's step: gradients of the generator's features": sum(g[1:]),  # none of the latents
  }


def wgan_gp_step(size: Size) -> Passes:
  """One update of a critic without norms, fakes included.

  The penalty's derivative runs up through the gradient: the critic's activations have no second
  derivative, so nothing runs back through its first pass.
  """
  d, g = _pyramid(size, 1), _pyramid(size, LATENT)
  return {
    "generator": sum(g),
    "critic on real and fake": 2 * sum(d),
    "gradients of weights": 2 * sum(d),
    "gradients of features": 2 * sum(d[1:]),
    "penalty: critic between real and fake": sum(d),
    "penalty: its gradient in the pictures": sum(d),
    "penalty: derivative in that gradient's features": sum(d[:-1]),
    "penalty: derivative in its weights": sum(d),
  }


def residual_step(size: Size) -> Passes:
  """Forward and backward pass of two 3x3 convolutions of `width` features."""
  convolutions = 2 * _conv(size, size.resolution, 3, (size.width, size.width))
  return {
    "forward": convolutions,
    "gradients of weights": convolutions,
    "gradients of features": convolutions,
  }


def modulated_step(size: Size) -> Passes:
  """Forward and backward pass of StyleGAN2's 3x3 convolution, with its demodulation."""
  one = _conv(size, size.resolution, 3, (size.width, size.width))
  one += _conv(size, 1, 1, (size.width, size.width))  # the norms
  return {"forward": one, "gradients of weights": one, "gradients of features and styles": one}


def attention_step(size: Size) -> Passes:
  """Forward and backward pass of SAGAN's self-attention, keys and values pooled by 2."""
  positions, width = size.resolution**2, size.width
  to_weights, to_values = width // 8, width // 2
  layers = _conv(size, size.resolution, 1, (width, 2 * to_weights + 2 * to_values))
  products = 2.0 * size.batch_size * positions * (positions // 4) * (to_weights + to_values)
  one = layers + products
  return {"forward": one, "gradients of weights": one, "gradients of features": one}


def sngan_step(size: Size) -> Passes:
  """One update of each player of the residual SNGAN, the generator's pass shared.

  A discriminator of `width` features halves the resolution down to 8 pixels and keeps it twice; a
  generator of `2 width` doubles it from 4 pixels. Power iterations are too small to count.
  """
  sides = [8 << k for k in range((size.resolution // 8).bit_length())]
  if sides[-1:] != [size.resolution] or sides == [8]:
    raise ValueError(f"resolution={size.resolution} must be 16, 32, 64 ... (8 times 2^k)")

  def conv(side: int, kernel: int, *channels: int) -> float:
    return _conv(size, side, kernel, channels)

  narrow, wide = size.width, 2 * size.width
  first = conv(size.resolution, 3, size.channels, narrow)
  first += conv(size.resolution // 2, 1, size.channels, narrow)
  d = conv(size.resolution, 3, narrow, narrow)
  for side in sides[1:-1]:
    d += 2 * conv(side, 3, narrow, narrow) + conv(side // 2, 1, narrow, narrow)
  d += 4 * conv(8, 3, narrow, narrow) + conv(1, 1, narrow, 1)
  dense = conv(1, 1, LATENT, 16 * wide)
  g = conv(size.resolution, 3, wide, size.channels)
  for side in sides:
    g += 2 * conv(side, 3, wide, wide) + conv(side // 2, 1, wide, wide)
  return {
    "generator": dense + g,
    "D's step: discriminator on real and fake": 2 * (first + d),
    "D's step: gradients of weights": 2 * (first + d),
    "D's step: gradients of features": 2 * d,  # none of the pictures
    "G's step: discriminator": first + d,
    "G's step: gradients of features and fakes": first + d,
    "G's step: gradients of the generator's weights": dense + g,
    "G's step: gradients of the generator's features": g,  # none of the latents
  }


def r3gan_step(size: Size) -> Passes:
  """One update of each player of R3GAN with R1 and R2, the generator's pass shared.

  Both players have two blocks of `width` features at each resolution from 4 pixels on, whose 3x3
  convolutions have groups of 16. The penalties' derivative runs up through the gradients of both
  kinds; leaky ReLUs have no second derivative, so it adds nothing to the way back. Resampling is
  too small to count.
  """
  sides = [4 << k for k in range((size.resolution // 4).bit_length())]
  if sides[-1] != size.resolution or sides == [4]:
    raise ValueError(f"resolution={size.resolution} must be 8, 16, 32 ... (4 times 2^k)")
  width, wide = size.width, 2 * size.width
  blocks = sum(
    2 * (2 * _conv(size, side, 1, (width, wide)) + _conv(size, side, 3, (16, wide)))
    for side in sides
  )
  pictures = _conv(size, size.resolution, 1, (size.channels, width))
  head = _conv(size, 4, 1, (1, width)) + _conv(size, 1, 1, (width, 1))
  d, g = pictures + blocks + head, blocks + pictures
  scales = _conv(size, 1, 1, (LATENT, width))
  return {
    "generator": scales + g,
    "D's step: discriminator on real and fake": 2 * d,
    "D's step: gradients of weights": 2 * d,
    "D's step: gradients of features": 2 * (d - pictures),
    "penalties: gradients in the pictures": 2 * d,
    "penalties: derivative in those gradients' features": 2 * d,
    "penalties: derivative in their weights": 2 * d,
    "G's step: discriminator on real and fake": 2 * d,
    "G's step: gradients of features and fakes": d,
    "G's step: gradients of the generator's weights": scales + g,
    "G's step: gradients of the generator's features": g,  # none of the latents
  }


def stylegan2_step(size: Size) -> Passes:
  """One update of each player of StyleGAN2 between its lazy terms, the generator's pass shared.

  `width` features and dimensions of a style everywhere, a mapping network of two layers. Filters
  are too small to count; a step while R1 or the path length is taken costs more.
  """
  sides = [4 << k for k in range((size.resolution // 4).bit_length())]
  if sides[-1] != size.resolution or sides == [4]:
    raise ValueError(f"resolution={size.resolution} must be 8, 16, 32 ... (4 times 2^k)")
  width = size.width

  def conv(side: int, kernel: int, *channels: int) -> float:
    return _conv(size, side, kernel, channels)

  square = conv(1, 1, width, width)  # of a style: an affine map, or the norms of a layer
  latent = conv(1, 1, LATENT, width)
  g = square  # the mapping network's second layer
  for side in sides:
    g += conv(side, 3, width, width) + conv(side, 1, width, size.channels) + 3 * square
    if side > 4:
      g += conv(side // 2, 3, width, width) + 2 * square
  first = conv(size.resolution, 1, size.channels, width)
  d = conv(4, 3, width + 1, width) + conv(1, 1, 16 * width, width) + conv(1, 1, width, 1)
  for side in sides[1:]:
    d += conv(side, 3, width, width) + conv(side // 2, 3, width, width)
    d += conv(side // 2, 1, width, width)
  return {
    "generator": latent + g,
    "D's step: discriminator on real and fake": 2 * (first + d),
    "D's step: gradients of weights": 2 * (first + d),
    "D's step: gradients of features": 2 * d,  # none of the pictures
    "G's step: discriminator": first + d,
    "G's step: gradients of features and fakes": first + d,
    "G's step: gradients of the generator's weights": latent + g,
    "G's step: gradients of the generator's features": g,  # none of the latents
  }


def counted(function: Callable[..., Any], *args: Any) -> float:
  """FLOP of the convolutions and matrix products in the jaxpr of `function(*args)`.

  Nothing is compiled: passes that a compiler would merge or drop are counted.
  """
  import jax

  return jaxpr_flops(jax.make_jaxpr(function)(*args).jaxpr)


def jaxpr_flops(jaxpr: Any) -> float:
  return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation: Any) -> float:
  name = equation.primitive.name
  if name == "conv_general_dilated":
    return _conv_flops(equation)
  if name == "dot_general":
    contracted = equation.params["dimension_numbers"][0][0]
    lhs = equation.invars[0].aval.shape
    return 2.0 * equation.outvars[0].aval.size * math.prod(lhs[axis] for axis in contracted)
  if equation.params.get("name") == "_example_sums":
    return 0.0  # a sum, which is written as a product with ones
  inner = [jaxpr_flops(jaxpr) for jaxpr in inner_jaxprs(equation.params.values())]
  if name == "cond":
    return max(inner)
  if name == "while" and any(inner):
    raise ValueError("a while loop with convolutions or products: how often it turns is not known")
  return equation.params.get("length", 1) * sum(inner) if name == "scan" else sum(inner)


def inner_jaxprs(values: Any) -> Iterator[Any]:
  for value in values:
    if isinstance(value, Sequence) and not isinstance(value, str):
      yield from inner_jaxprs(value)
    elif hasattr(value, "eqns"):
      yield getattr(value, "jaxpr", value)


def _conv_flops(equation: Any) -> float:
  """Products of the direct form, gathering or scattering, whichever meets fewer zeros."""
  params, numbers = equation.params, equation.params["dimension_numbers"]
  lhs, rhs = (v.aval.shape for v in equation.invars)
  out = equation.outvars[0].aval.shape
  total = 2.0 * out[numbers.out_spec[0]] * out[numbers.out_spec[1]] * rhs[numbers.rhs_spec[1]]
  for i, dilation in enumerate(params["lhs_dilation"]):
    size, taps = lhs[numbers.lhs_spec[2 + i]], rhs[numbers.rhs_spec[2 + i]]
    total *= min(out[numbers.out_spec[2 + i]] * taps / dilation, size * taps)
  return total
