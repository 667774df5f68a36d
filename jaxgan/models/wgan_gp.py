"""Convolutional networks of WGAN-GP: Gulrajani et al. 2017 (arXiv 1704.00028), section 5.

5x5 kernels with stride 2. At 28x28 pixels those of the MNIST runs, without norms; at 8, 16, 32 ...
those of the CIFAR-10 runs on DCGAN's plan, with batch norm in the generator only. The residual
networks of the same paper are in `jaxgan.models.resnet`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import check_images, glorot_uniform, he_uniform, stages
from jaxgan.types import Array

__all__ = ["Critic", "Generator"]


def _stages(resolution: int) -> int:
  return 3 if resolution == 28 else stages(resolution)


class Generator(nn.Module):
  """A dense layer and transposed convolutions from a latent to a picture.

  The paper's latents are normal of dimension 128. At 28 pixels there is no batch norm, and of the
  first 8x8 features 7x7 are kept. A layer that batch norm follows has no bias, which that would
  take away.

  Attributes:
    resolution: height and width of the pictures, 28 or 8, 16, 32, 64 ...
    channels: of the pictures.
    width: features at half the resolution; they double towards 4x4. The paper's is 64 on MNIST,
      128 on CIFAR-10.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> import jax
  >>> g = Generator(resolution=28, channels=1, width=8)
  >>> z = jnp.zeros([2, 128])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 28, 28, 1)
  """

  resolution: int = 32
  channels: int = 3
  width: int = 64
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents to pictures in [-1, 1], float32 at least."""
    count, digits = _stages(self.resolution), self.resolution == 28
    deconvolution = partial(
      layers.ConvTranspose,
      kernel_size=(5, 5),
      strides=(2, 2),
      kernel_init=he_uniform(2, transposed=True),
      dtype=self.dtype,
    )

    def activate(x: Array) -> Array:
      if not digits:
        x = layers.BatchNorm(
          use_running_average=not train,
          momentum=0.9,
          epsilon=1e-5,
          axis_name=self.axis_name,
          dtype=self.dtype,
        )(x)
      return nn.relu(x)

    features = self.width << (count - 1)
    dense = partial(nn.Dense, kernel_init=glorot_uniform, dtype=self.dtype)
    # Batch norm comes before the reshape, as in the code: each pixel has statistics of its own.
    x = activate(dense(16 * features, use_bias=digits)(z)).reshape(-1, 4, 4, features)
    for stage in reversed(range(count - 1)):
      x = activate(deconvolution(self.width << stage, use_bias=digits)(x))
      if digits and x.shape[1] == 8:
        x = x[:, :7, :7]
    x = at_least_float32(deconvolution(self.channels)(x))
    # The sigmoid of the paper's MNIST runs in [-1, 1], 2 s(x) - 1, is tanh of half the logit.
    return jnp.tanh(x / 2.0 if digits else x)


class Critic(nn.Module):
  """Strided convolutions from a picture to a number.

  Attributes:
    resolution: height and width of the pictures, 28 or 8, 16, 32, 64 ...
    width: features at half the resolution; they double towards 4x4. The paper's is 64 on MNIST,
      128 on CIFAR-10.
    norm: makes a normalisation layer, of which every convolution but the first gets one; None for
      none. It must not mix examples where a gradient penalty is taken: `layers.LayerNorm`.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d = Critic(resolution=28, width=8)
  >>> x = jnp.zeros([2, 28, 28, 1])
  >>> jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))[0].shape
  (2,)
  """

  resolution: int = 32
  width: int = 64
  norm: Callable[[], Callable[[Array], Array]] | None = None
  dtype: Any = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, " batch"]:
    """Maps pictures in [-1, 1] to logits, float32 at least."""
    del train  # nothing here differs
    check_images(images, self.resolution)
    convolution = partial(
      layers.Conv, kernel_size=(5, 5), strides=(2, 2), kernel_init=he_uniform(2), dtype=self.dtype
    )
    x = images
    for stage in range(_stages(self.resolution)):
      x = convolution(self.width << stage)(x)
      if stage and self.norm is not None:
        x = self.norm()(x)
      x = nn.leaky_relu(x, 0.2)
    x = x.reshape(x.shape[0], -1)
    return at_least_float32(nn.Dense(1, kernel_init=glorot_uniform, dtype=self.dtype)(x)[:, 0])
