"""InfoGAN: Chen et al. 2016 (arXiv 1606.03657), appendix C.1, its MNIST networks.

The discriminator and Q, which reads the code back from a picture, share all but their last layers.
Layers that batch norm follows have no bias, which that would take away.
"""

from functools import partial
from typing import Any, NamedTuple

from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import batch_norm
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator", "Outputs"]

_weights = nn.initializers.truncated_normal(0.02)


class Outputs(NamedTuple):
  """What the discriminator and Q tell of pictures.

  Attributes:
    logit: real or fake, `[batch]`.
    category: logits of the categorical code, `[batch, categories]`.
    mean: of the continuous codes, normal with deviation 1 as in the authors' code, `[batch,
      continuous]`.
  """

  logit: Float[Array, " batch"]
  category: Float[Array, "batch categories"]
  mean: Float[Array, "batch continuous"]


class Generator(nn.Module):
  """Two dense layers and two transposed convolutions from a latent to a picture.

  The paper's latents are 62 entries of noise and two continuous codes, uniform in [-1, 1], and a
  one-hot categorical code of 10.

  Attributes:
    resolution: height and width of the pictures, a multiple of 4.
    channels: of the pictures.
    width: features at half the resolution.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> g = Generator(width=2)
  >>> z = jax.numpy.zeros([2, 74])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 28, 28, 1)
  """

  resolution: int = 28
  channels: int = 1
  width: int = 64
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents to pictures in [-1, 1], float32 at least."""
    size, width = self.resolution // 4, self.width
    if size < 1 or 4 * size != self.resolution:
      raise ValueError(f"resolution={self.resolution} must be a multiple of 4")
    dense = partial(nn.Dense, use_bias=False, kernel_init=_weights, dtype=self.dtype)
    deconvolution = partial(
      layers.ConvTranspose,
      kernel_size=(4, 4),
      strides=(2, 2),
      kernel_init=_weights,
      dtype=self.dtype,
    )
    norm = partial(batch_norm, train, axis_name=self.axis_name, dtype=self.dtype)
    x = nn.relu(norm()(dense(16 * width)(z)))
    # Batch norm comes before the reshape, as in the code: each pixel has statistics of its own.
    x = nn.relu(norm()(dense(size * size * 2 * width)(x))).reshape(-1, size, size, 2 * width)
    x = nn.relu(norm()(deconvolution(width, use_bias=False)(x)))
    x = at_least_float32(deconvolution(self.channels)(x))
    return 2.0 * nn.sigmoid(x) - 1.0


class Discriminator(nn.Module):
  """Two convolutions and a dense layer from a picture to a logit and a guess of its code.

  Q is meant for fakes: whoever evaluates it wants the statistics of a pass over fakes in its batch
  norm. (`jaxgan.training.objectives` keeps those of real pictures, for D.)

  Attributes:
    categories: number of values of the categorical code.
    continuous: number of continuous codes.
    width: features at half the resolution.
    slope: of the leaky ReLU below 0. The paper has 0.1, the authors' code 0.01.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> d = Discriminator(width=2)
  >>> x = jax.numpy.zeros([2, 28, 28, 1])
  >>> out, _ = jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))
  >>> out.logit.shape, out.category.shape, out.mean.shape
  ((2,), (2, 10), (2, 2))
  """

  categories: int = 10
  continuous: int = 2
  width: int = 64
  slope: float = 0.1
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Outputs:
    """Maps pictures in [-1, 1] to `Outputs`, float32 at least."""
    convolution = partial(
      layers.Conv, kernel_size=(4, 4), strides=(2, 2), kernel_init=_weights, dtype=self.dtype
    )
    dense = partial(nn.Dense, kernel_init=_weights, dtype=self.dtype)
    norm = partial(batch_norm, train, axis_name=self.axis_name, dtype=self.dtype)
    activate = partial(nn.leaky_relu, negative_slope=self.slope)
    x = (images + 1.0) / 2.0  # in [0, 1], as in the paper, the border's zeros are black
    x = activate(convolution(self.width)(x))
    x = activate(norm()(convolution(2 * self.width, use_bias=False)(x)))
    x = x.reshape(x.shape[0], -1)
    x = activate(norm()(dense(16 * self.width, use_bias=False)(x)))
    logit = at_least_float32(dense(1)(x)[:, 0])
    q = activate(norm()(dense(2 * self.width, use_bias=False)(x)))
    q = at_least_float32(dense(self.categories + self.continuous)(q))
    return Outputs(logit, q[:, : self.categories], q[:, self.categories :])
