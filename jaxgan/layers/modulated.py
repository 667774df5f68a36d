"""StyleGAN2's convolutions: Karras et al. 2019 (arXiv 1912.04958), section 2.2.

A style scales the kernel's input channels for each example, and demodulation then brings the
outputs back to the variance of the inputs. Because a convolution is linear, both are factors of its
input and output, and one kernel serves the whole batch; a grouped convolution with a kernel an
example takes 1.4 to 5 times as long.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array, lax
from jaxtyping import Float

from jaxgan.layers._channels import add_bias, scale
from jaxgan.layers.convolution import conv, conv_transpose
from jaxgan.layers.convolution.geometry import pair
from jaxgan.layers.resampling import BINOMIAL, upfirdn

__all__ = ["ModulatedConv", "modulated_conv", "resampled_conv"]


def resampled_conv(
  x: Float[Array, "n h w c"],
  kernel: Float[Array, "k l c o"],
  *,
  up: int = 1,
  down: int = 1,
  filter: Sequence[float] = BINOMIAL,
) -> Float[Array, "n H W o"]:
  """A convolution of images that a low-pass filter enlarges before or reduces after it.

  Enlarging is a transposed convolution of stride `up`, then the filter; reducing is the filter,
  then a convolution of stride `down`. Karras et al. 2019 (arXiv 1912.04958) use the former in the
  generator and the latter in the discriminator.

  Args:
    x: images.
    kernel: of odd height and width. While enlarging it is convolved, not correlated, as in
      StyleGAN2's code: pixel `i` adds `x[i] kernel[a]` to position `up i + a`.
    up: factor of enlargement.
    down: factor of reduction; one of the two must be 1.
    filter: weights along one axis, scaled to the sum 1; `(1,)` for none.

  Returns:
    Images of the dtype of `x`, of height and width `h up` and `h // down`, borders being zero.

  Raises:
    ValueError: if shapes, dtypes or factors do not fit.

  >>> x, kernel = jnp.ones([1, 8, 8, 3]), jnp.ones([3, 3, 3, 5])
  >>> resampled_conv(x, kernel, up=2).shape, resampled_conv(x, kernel, down=2).shape
  ((1, 16, 16, 5), (1, 4, 4, 5))
  """
  x, kernel = jnp.asarray(x), jnp.asarray(kernel)
  if kernel.ndim != 4 or not all(size % 2 for size in kernel.shape[:2]):
    raise ValueError(f"kernel has shape {kernel.shape}: [odd, odd, channels in, out] is needed.")
  if min(up, down) < 1 or (up > 1 and down > 1):
    raise ValueError(f"up={up} and down={down} must be positive integers, one of them 1.")
  size = len(filter)
  reach = [k // 2 for k in kernel.shape[:2]]
  # Paddings are those of filter and kernel together: either may look beyond the border of what the
  # other has made.
  if up > 1:
    low, high = (size + up - 1) // 2, (size - up) // 2
    if reach == [0, 0]:
      return upfirdn(conv(x, kernel), filter, up=up, padding=((low, high),) * 2, gain=up**2)
    x = conv_transpose(x, kernel.swapaxes(2, 3), strides=up, padding="VALID")
    return upfirdn(x, filter, padding=[(low - r, high + up - 1 - r) for r in reach], gain=up**2)
  if down > 1:
    low, high = (size - down + 1) // 2, (size - down) // 2
    if reach == [0, 0]:
      return conv(upfirdn(x, filter, down=down, padding=((low, high),) * 2), kernel)
    x = upfirdn(x, filter, padding=[(low + r, high + r) for r in reach])
    return conv(x, kernel, strides=down, padding="VALID")
  return conv(x, kernel)


def modulated_conv(
  x: Float[Array, "n h w c"],
  kernel: Float[Array, "k l c o"],
  styles: Float[Array, "n c"],
  *,
  demodulate: bool = True,
  up: int = 1,
  filter: Sequence[float] = BINOMIAL,
  epsilon: float = 1e-8,
) -> Float[Array, "n H W o"]:
  """Convolution by a kernel whose input channels are scaled for each example.

  Karras et al. 2019 (arXiv 1912.04958), section 2.2: example `n` sees the kernel
  `w[k, c, o] s[n, c] / sqrt(sum_{k, c} (w[k, c, o] s[n, c])^2 + epsilon)`.

  Args:
    x: images.
    kernel: of odd height and width, one for all examples.
    styles: scales of the input channels.
    demodulate: whether to divide by the norm; not where the result is an RGB image.
    up: factor of enlargement, see `resampled_conv`.
    filter: that of the enlargement.
    epsilon: added to the squared norm.

  Returns:
    Images of the dtype of `x`, of height and width `h up`.

  Raises:
    ValueError: if shapes, dtypes or factors do not fit.

  >>> x, kernel = jnp.ones([2, 4, 4, 3]), jnp.ones([1, 1, 3, 5])
  >>> modulated_conv(x, kernel, jnp.array([[1.0, 2.0, 2.0], [3.0, 0.0, 4.0]]))[:, 0, 0, 0]
  Array([1.6666667, 1.4      ], dtype=float32)
  """
  x, kernel, styles = jnp.asarray(x), jnp.asarray(kernel), jnp.asarray(styles)
  if x.ndim != 4 or styles.shape != (x.shape[0], x.shape[3]):
    raise ValueError(
      f"styles of shape {styles.shape} do not fit x of shape {x.shape}: they are [batch, channels]."
    )
  y = resampled_conv(scale(x, styles.astype(x.dtype)), kernel, up=up, filter=filter)
  if not demodulate:
    return y
  # Demodulation's gradient reads `y` again: without the barrier the compiler repeats the last part
  # of the convolution there (a tenth of forward and backward).
  y = lax.optimization_barrier(y)
  wide = jnp.promote_types(x.dtype, jnp.float32)
  squares = jnp.square(kernel.astype(wide)).sum((0, 1))
  norms = jnp.matmul(jnp.square(styles.astype(wide)), squares, precision=lax.Precision.HIGHEST)
  return scale(y.astype(wide), lax.rsqrt(norms + epsilon)).astype(x.dtype)


class ModulatedConv(nn.Module):
  """Modulated convolution whose styles are an affine function of a latent, with a bias.

  Karras et al. 2019 (arXiv 1912.04958), section 2.2. With the equalised learning rate of ProGAN
  (arXiv 1710.10196, section 4.1) weights are N(0, 1) and scaled by `1 / sqrt(fan_in)` when used.
  Noise and activation are the model's. For RGB outputs: `ModulatedConv(3, (1, 1),
  demodulate=False)`.

  Attributes:
    features: channels of the result.
    kernel_size: odd height and width of the kernel.
    demodulate: whether each output is divided by the norm of its kernel.
    up: factor of enlargement.
    filter: that of the enlargement, weights along one axis.
    equalized: whether weights are scaled when used.
    use_bias: whether to add a bias.
    dtype: of the computation; by default that of inputs and parameters together.
    param_dtype: of the parameters.
    kernel_init: initializer of the kernel `[kh, kw, in, features]` and of the styles' one
      `[latent, in]`; by default N(0, 1), not equalized LeCun's normal.
    bias_init: initializer of the bias `[features]`; the styles' bias starts at 1.

  >>> import jax
  >>> layer = ModulatedConv(8, up=2)
  >>> images, latents = jnp.ones([2, 4, 4, 6]), jnp.ones([2, 16])
  >>> variables = layer.init(jax.random.key(0), images, latents)
  >>> jax.tree.map(jnp.shape, variables["params"])
  {'bias': (8,), 'kernel': (3, 3, 6, 8), 'style_bias': (6,), 'style_kernel': (16, 6)}
  >>> layer.apply(variables, images, latents).shape
  (2, 8, 8, 8)
  """

  features: int
  kernel_size: Sequence[int] = (3, 3)
  _: dataclasses.KW_ONLY
  demodulate: bool = True
  up: int = 1
  filter: Sequence[float] = BINOMIAL
  equalized: bool = True
  use_bias: bool = True
  dtype: Any = None
  param_dtype: Any = jnp.float32
  kernel_init: nn.initializers.Initializer | None = None
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()

  @nn.compact
  def __call__(
    self, inputs: Float[Array, "n h w c"], latents: Float[Array, "n latent"]
  ) -> Float[Array, "n H W o"]:
    """Convolves `inputs` in the styles that `latents` ask for."""
    if inputs.ndim != 4 or latents.ndim != 2 or latents.shape[0] != inputs.shape[0]:
      raise ValueError(
        f"inputs of shape {inputs.shape} and latents of shape {latents.shape} do not fit: [batch,"
        " height, width, channels] and [batch, latent] are needed."
      )
    channels = inputs.shape[-1]
    init = self.kernel_init
    if init is None:
      init = nn.initializers.normal(1.0) if self.equalized else nn.initializers.lecun_normal()
    shape = (*pair("kernel_size", self.kernel_size), channels, self.features)
    kernel = self.param("kernel", init, shape, self.param_dtype)
    affine = self.param("style_kernel", init, (latents.shape[-1], channels), self.param_dtype)
    offset = self.param("style_bias", nn.initializers.ones, (channels,), self.param_dtype)
    bias = None
    if self.use_bias:
      bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
    if self.equalized:
      kernel, affine = (w / math.sqrt(math.prod(w.shape[:-1])) for w in (kernel, affine))
    x, latents, kernel, affine, offset, bias = promote_dtype(
      inputs, latents, kernel, affine, offset, bias, dtype=self.dtype
    )
    styles = latents @ affine + offset[None]
    y = modulated_conv(
      x, kernel, styles, demodulate=self.demodulate, up=self.up, filter=self.filter
    )
    return y if bias is None else add_bias(y, bias)
