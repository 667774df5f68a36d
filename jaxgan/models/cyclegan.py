"""CycleGAN: Zhu, Park, Isola and Efros 2017 (arXiv 1703.10593), appendix 7.2.

Two residual generators, there and back, and a PatchGAN for each kind of pictures, all with instance
norms that have no parameters. Kernels start at N(0, 0.02).
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models import pix2pix
from jaxgan.types import Array

__all__ = ["Discriminator", "Generator", "ResNet", "ResidualBlock", "default_blocks"]

_weights = nn.initializers.normal(0.02)


def default_blocks(resolution: int) -> int:
  """Residual blocks as published: 6 up to 128 pixels, 9 from 256 on.

  >>> default_blocks(128), default_blocks(256)
  (6, 9)
  """
  return 6 if resolution < 256 else 9


class ResidualBlock(nn.Module):
  """Two 3x3 convolutions under reflection padding, each with an instance norm, and the input.

  Attributes:
    kernel_init: initializer of the kernels.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> block, x = ResidualBlock(), jnp.ones([1, 4, 4, 2])
  >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x))[0].shape
  (1, 4, 4, 2)
  """

  kernel_init: nn.initializers.Initializer = _weights
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Changes features a little."""
    convolution = partial(
      layers.Conv,
      x.shape[-1],
      (3, 3),
      padding="VALID",
      use_bias=False,
      kernel_init=self.kernel_init,
      dtype=self.dtype,
    )
    norm = partial(layers.InstanceNorm, dtype=self.dtype)
    y = nn.relu(norm()(convolution()(layers.reflection_pad(x, 1))))
    return x + norm()(convolution()(layers.reflection_pad(y, 1)))


class ResNet(nn.Module):
  """c7s1-64, d128, d256, residual blocks, u128, u64, c7s1-3: a translator of pictures.

  Attributes:
    channels: of the result.
    width: features at full resolution; the paper's is 64.
    blocks: residual blocks, at a quarter of the resolution; see `default_blocks`.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> g, x = ResNet(width=4, blocks=1), jnp.zeros([2, 32, 32, 1])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), x, train=False))[0].shape
  (2, 32, 32, 3)
  """

  channels: int = 3
  width: int = 64
  blocks: int = 9
  dtype: Any = None

  @nn.compact
  def __call__(
    self, inputs: Float[Array, "batch height width a"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Translates pictures in [-1, 1] to others, float32 at least; `train` changes nothing.

    Raises:
      ValueError: height or width is no multiple of 4, or below 8.
    """
    del train
    if inputs.ndim != 4 or any(size % 4 or size < 8 for size in inputs.shape[1:3]):
      raise ValueError(f"inputs {inputs.shape} must be [n, h, w, c], h and w 8, 12, 16, 20 ...")
    options = dict(kernel_init=_weights, dtype=self.dtype)
    inner = partial(layers.Conv, use_bias=False, **options)
    norm = partial(layers.InstanceNorm, dtype=self.dtype)
    x = inner(features=self.width, kernel_size=(7, 7), padding="VALID")(
      layers.reflection_pad(inputs, 3)
    )
    x = nn.relu(norm()(x))
    for factor in (2, 4):
      x = inner(features=factor * self.width, kernel_size=(3, 3), strides=2, padding=1)(x)
      x = nn.relu(norm()(x))
    for _ in range(self.blocks):
      x = ResidualBlock(**options)(x)
    for factor in (2, 1):
      # The adjoint of d128 and d256: padding 1, and 1 more at the end.
      x = layers.ConvTranspose(
        factor * self.width,
        (3, 3),
        strides=(2, 2),
        padding=((1, 2), (1, 2)),
        use_bias=False,
        **options,
      )(x)
      x = nn.relu(norm()(x))
    x = layers.Conv(self.channels, (7, 7), padding="VALID", **options)(layers.reflection_pad(x, 3))
    return jnp.tanh(at_least_float32(x))


class Generator(nn.Module):
  """Both translators as the networks of one player: `forward`, a to b, and `backward`, b to a.

  Attributes:
    channels: of the pictures a and b.
    width: features at full resolution; the paper's is 64.
    blocks: residual blocks of each.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> g = Generator((1, 3), width=4, blocks=1)
  >>> a, b = jnp.zeros([2, 16, 16, 1]), jnp.zeros([2, 16, 16, 3])
  >>> variables = jax.eval_shape(lambda: g.init(jax.random.key(0), a, b, train=False))
  >>> forward = lambda variables, a: g.apply(variables, a, train=False, method="forward")
  >>> jax.eval_shape(forward, variables, a).shape
  (2, 16, 16, 3)
  """

  channels: tuple[int, int] = (3, 3)
  width: int = 64
  blocks: int = 9
  dtype: Any = None

  def setup(self) -> None:
    """Two networks that share nothing."""
    a, b = self.channels
    options = dict(width=self.width, blocks=self.blocks, dtype=self.dtype)
    self.to_b, self.to_a = ResNet(b, **options), ResNet(a, **options)

  def forward(
    self, a: Float[Array, "batch height width a"], *, train: bool
  ) -> Float[Array, "batch height width b"]:
    """G, from a to b."""
    return self.to_b(a, train=train)

  def backward(
    self, b: Float[Array, "batch height width b"], *, train: bool
  ) -> Float[Array, "batch height width a"]:
    """F, from b to a."""
    return self.to_a(b, train=train)

  def __call__(
    self,
    a: Float[Array, "batch height width a"],
    b: Float[Array, "batch2 height width b"],
    *,
    train: bool,
  ) -> tuple[Array, Array]:
    """`(G(a), F(b))`."""
    return self.forward(a, train=train), self.backward(b, train=train)


class Discriminator(nn.Module):
  """Both PatchGANs as the networks of one player, of pictures a and of pictures b.

  Attributes:
    layers: that halve the resolution; see `pix2pix.PatchDiscriminator`.
    width: features of the first.
    dtype: of the computation; parameters stay float32.

  >>> import jax
  >>> d = Discriminator(layers=1, width=4)
  >>> a, b = jnp.zeros([2, 16, 16, 1]), jnp.zeros([2, 16, 16, 3])
  >>> shapes = jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), a, b, train=False))[0]
  >>> [logits.shape for logits in shapes]
  [(2, 6, 6), (2, 6, 6)]
  """

  layers: int = 3
  width: int = 64
  dtype: Any = None

  def setup(self) -> None:
    """Two networks that share nothing."""
    norm = pix2pix.instance_norm(affine=False, dtype=self.dtype)
    options = dict(width=self.width, norm=norm, dtype=self.dtype)
    self.of_a = pix2pix.PatchDiscriminator(self.layers, **options)
    self.of_b = pix2pix.PatchDiscriminator(self.layers, **options)

  def __call__(
    self,
    a: Float[Array, "batch height width a"],
    b: Float[Array, "batch2 height width b"],
    *,
    train: bool,
  ) -> tuple[Float[Array, "batch h w"], Float[Array, "batch2 h w"]]:
    """Logits of pictures a and of pictures b."""
    return self.of_a(a, train=train), self.of_b(b, train=train)
