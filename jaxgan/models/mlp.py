"""Multi-layer perceptrons for points, as the toy problems of the field have them."""

from collections.abc import Callable

from flax import linen as nn
from jaxtyping import Float

from jaxgan.types import Array

__all__ = ["Discriminator", "Generator"]

# Glorot's, twice: where layers are as wide as their inputs it keeps the variance under ReLU, and in
# the plane D starts smooth. (With He's, whose first kernel is four times larger, modes are lost.)
_kernel = nn.initializers.variance_scaling(2.0, "fan_avg", "normal")


class _Hidden(nn.Module):
  width: int
  depth: int
  activation: Callable[[Array], Array]

  @nn.compact
  def __call__(self, x: Array) -> Array:
    for _ in range(self.depth):
      x = self.activation(nn.Dense(self.width, kernel_init=_kernel)(x))
    return x


class Generator(nn.Module):
  """From a latent to a point.

  Attributes:
    dimensions: of the point.
    width: of the hidden layers.
    depth: number of hidden layers.
    activation: of the hidden layers.

  >>> import jax
  >>> g = Generator(dimensions=2, width=8)
  >>> z = jax.numpy.zeros([5, 16])
  >>> g.apply(g.init(jax.random.key(0), z, train=False), z, train=False).shape
  (5, 2)
  """

  dimensions: int = 2
  width: int = 128
  depth: int = 2
  activation: Callable[[Array], Array] = nn.relu

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch dimensions"]:
    """Maps latents to points, in any range."""
    del train  # nothing here differs
    return nn.Dense(self.dimensions)(_Hidden(self.width, self.depth, self.activation)(z))


class Discriminator(nn.Module):
  """From a point to a logit.

  Attributes:
    width: of the hidden layers.
    depth: number of hidden layers.
    activation: of the hidden layers.

  >>> import jax
  >>> d = Discriminator(width=8)
  >>> x = jax.numpy.zeros([5, 2])
  >>> d.apply(d.init(jax.random.key(0), x, train=False), x, train=False).shape
  (5,)
  """

  width: int = 128
  depth: int = 2
  activation: Callable[[Array], Array] = nn.relu

  @nn.compact
  def __call__(self, x: Float[Array, "batch dimensions"], *, train: bool) -> Float[Array, " batch"]:
    """Maps points to logits."""
    del train
    return nn.Dense(1)(_Hidden(self.width, self.depth, self.activation)(x))[:, 0]
