"""Adaptive kernel selection: Kang et al. 2023 (arXiv 2303.05511).

Each example has a kernel of its own, a weighted mean of a bank, so that what a text asks for can
change more than the scale of features. Here kernels are mixed first and each example is convolved
with its own, at a cost that does not grow with the bank. Convolving all examples by all kernels and
mixing what they give is the same; forward and backward on a CPU, at 8 to 32 pixels, it took 0.65 to
0.85 of the time for 2 kernels and 0.9 to 2.5 times as long for 4; programs that are exported for
any number of examples do it. Modulation and demodulation stay factors of input and output.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import export, lax
from jaxtyping import Float

from jaxgan.compilation import traced_directly
from jaxgan.layers._channels import add_bias, scale
from jaxgan.layers.convolution.geometry import pair
from jaxgan.layers.modulated import resampled_conv
from jaxgan.layers.resampling import BINOMIAL
from jaxgan.types import Array

__all__ = ["AdaptiveConv", "adaptive_conv"]


def adaptive_conv(
  x: Float[Array, "n h w c"],
  bank: Float[Array, "kernels k l c o"],
  weights: Float[Array, "n kernels"],
  styles: Float[Array, "n c"],
  *,
  demodulate: bool = True,
  up: int = 1,
  filter: Sequence[float] = BINOMIAL,
  epsilon: float = 1e-8,
) -> Float[Array, "n H W o"]:
  """Convolution by a kernel that each example mixes from a bank, and then modulates.

  Kang et al. 2023 (arXiv 2303.05511), equation 2, and Karras et al. 2019 (arXiv 1912.04958),
  section 2.2: example `n` mixes `w = sum_i weights[n, i] bank[i]` and sees the kernel
  `w[k, c, o] s[n, c] / sqrt(sum_{k, c} (w[k, c, o] s[n, c])^2 + epsilon)`.

  Args:
    x: images.
    bank: kernels of odd height and width.
    weights: of the kernels, for each example; a softmax's, in the paper.
    styles: scales of the input channels.
    demodulate: whether to divide by the norm.
    up: factor of enlargement, see `resampled_conv`.
    filter: that of the enlargement.
    epsilon: added to the squared norm.

  Returns:
    Images of the dtype of `x`, of height and width `h up`.

  Raises:
    ValueError: if shapes, dtypes or factors do not fit.

  >>> x, bank = jnp.ones([1, 4, 4, 2]), jnp.stack([jnp.ones([1, 1, 2, 1]), jnp.zeros([1, 1, 2, 1])])
  >>> weights, styles = jnp.array([[0.5, 0.5]]), jnp.ones([1, 2])
  >>> adaptive_conv(x, bank, weights, styles, demodulate=False)[0, 0, 0, 0]
  Array(1., dtype=float32)
  """
  x, bank, weights, styles = map(jnp.asarray, (x, bank, weights, styles))
  if x.ndim != 4 or bank.ndim != 5 or styles.shape != (x.shape[0], x.shape[3]):
    raise ValueError(
      f"x {x.shape}, bank {bank.shape} and styles {styles.shape} do not fit: [n, h, w, c],"
      " [kernels, k, l, c, o] and [n, c] are needed."
    )
  wanted = (x.shape[0], bank.shape[0])
  if weights.shape != wanted:
    raise ValueError(f"weights {weights.shape} are not [n, kernels] = {wanted}.")
  mixed = jnp.tensordot(weights, bank, 1).astype(x.dtype)
  styled = scale(x, styles.astype(x.dtype))
  convolve = functools.partial(resampled_conv, up=up, filter=filter)
  if export.is_symbolic_dim(x.shape[0]):  # XLA has no convolution of so many kernels
    parts = [convolve(styled, kernel.astype(x.dtype)) for kernel in bank]
    y = functools.reduce(jnp.add, [scale(y, _share(weights, i, y)) for i, y in enumerate(parts)])
  else:
    with traced_directly(False):
      y = jax.vmap(lambda image, kernel: convolve(image[None], kernel)[0])(styled, mixed)
  if not demodulate:
    return y
  wide = jnp.promote_types(x.dtype, jnp.float32)
  squares = jnp.square(mixed.astype(wide)).sum((1, 2))
  norms = jnp.einsum(
    "nc,nco->no", jnp.square(styles.astype(wide)), squares, precision=lax.Precision.HIGHEST
  )
  return scale(y.astype(wide), lax.rsqrt(norms + epsilon)).astype(x.dtype)


def _share(weights: Array, i: int, y: Array) -> Array:
  """The weight of a kernel in every channel, `[n, o]`."""
  return jnp.broadcast_to(weights[:, i, None], (y.shape[0], y.shape[-1])).astype(y.dtype)


class AdaptiveConv(nn.Module):
  """Convolution whose kernel and its modulation follow from a latent for each example.

  Kang et al. 2023 (arXiv 2303.05511): the weights are a softmax over the kernels, and
  like the styles an affine function of the latent. Parameters have the equalised learning rate of
  `ModulatedConv`, which this is with one kernel. At the start its logits
  are as unit normals for unit normal latents: of 4 kernels the first has 0.52 in the mean.

  Attributes:
    features: channels of the result.
    kernel_size: odd height and width of the kernels.
    kernels: their number, 1 or more.
    demodulate: whether each output is divided by the norm of its kernel.
    up: factor of enlargement.
    filter: that of the enlargement, weights along one axis.
    use_bias: whether to add a bias, which starts at 0.
    dtype: of the computation; by default that of inputs and parameters together.
    param_dtype: of the parameters.

  >>> layer = AdaptiveConv(8, kernels=4, up=2)
  >>> images, latents = jnp.ones([2, 4, 4, 6]), jnp.ones([2, 16])
  >>> variables = layer.init(jax.random.key(0), images, latents)
  >>> shapes = jax.tree.map(jnp.shape, variables["params"])
  >>> shapes["bank"], shapes["weight_kernel"]
  ((4, 3, 3, 6, 8), (16, 4))
  >>> layer.apply(variables, images, latents).shape
  (2, 8, 8, 8)
  """

  features: int
  kernel_size: Sequence[int] = (3, 3)
  _: dataclasses.KW_ONLY
  kernels: int = 2
  demodulate: bool = True
  up: int = 1
  filter: Sequence[float] = BINOMIAL
  use_bias: bool = True
  dtype: Any = None
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, inputs: Float[Array, "n h w c"], latents: Float[Array, "n latent"]
  ) -> Float[Array, "n H W o"]:
    """Convolves `inputs` as `latents` ask for."""
    if inputs.ndim != 4 or latents.ndim != 2 or latents.shape[0] != inputs.shape[0]:
      raise ValueError(
        f"inputs of shape {inputs.shape} and latents of shape {latents.shape} do not fit: [batch,"
        " height, width, channels] and [batch, latent] are needed."
      )
    if self.kernels < 1:
      raise ValueError(f"kernels={self.kernels} must be 1 or more")
    channels, dimension = inputs.shape[-1], latents.shape[-1]
    normal, zeros = nn.initializers.normal(1.0), nn.initializers.zeros

    def affine(name: str, outputs: int, init: nn.initializers.Initializer) -> tuple[Array, Array]:
      kernel = self.param(f"{name}_kernel", normal, (dimension, outputs), self.param_dtype)
      offset = self.param(f"{name}_bias", init, (outputs,), self.param_dtype)
      return kernel / math.sqrt(dimension), offset

    shape = (*pair("kernel_size", self.kernel_size), channels, self.features)
    bank = self.param("bank", normal, (self.kernels, *shape), self.param_dtype)
    bank = bank / math.sqrt(math.prod(shape[:-1]))
    style = affine("style", channels, nn.initializers.ones)
    weight = affine("weight", self.kernels, zeros)
    bias = self.param("bias", zeros, shape[-1:], self.param_dtype) if self.use_bias else None
    x, w, bank, *affines, bias = promote_dtype(
      inputs, latents, bank, *style, *weight, bias, dtype=self.dtype
    )
    styles, logits = (w @ k + b[None] for k, b in (affines[:2], affines[2:]))
    wide = jnp.promote_types(logits.dtype, jnp.float32)
    y = adaptive_conv(
      x,
      bank,
      jax.nn.softmax(logits.astype(wide), -1).astype(bank.dtype),
      styles,
      demodulate=self.demodulate,
      up=self.up,
      filter=self.filter,
    )
    return y if bias is None else add_bias(y, bias)
