"""Packing: Lin et al. 2017 (arXiv 1712.04086)."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

__all__ = ["Packed", "pack"]


def pack(x: Float[Array, "n ... c"], m: int) -> Float[Array, "packs ... mc"]:
  """Joins every `m` successive examples along the channels.

  PacGAN, Lin et al. 2017 (arXiv 1712.04086), section 2. The examples of a pack must be independent
  and of one kind, all real or all fake.

  Args:
    x: points `[n, c]` or images `[n, h, w, c]`. Under `shard_map` it is the device's own batch.
    m: examples a pack.

  Returns:
    `[n / m, ..., m c]`; pack 0 holds the examples 0 to m - 1, the channels of example 0 first.

  Raises:
    ValueError: if `m` does not divide the batch, or `x` has no channels.

  >>> pack(jnp.arange(8.0).reshape(4, 2), 2)
  Array([[0., 1., 2., 3.],
         [4., 5., 6., 7.]], dtype=float32)
  """
  x = jnp.asarray(x)
  if x.ndim < 2:
    raise ValueError(f"x has shape {x.shape}: [n, ..., c] is needed; pass labels as one-hot rows.")
  if m < 1 or len(x) % m:
    raise ValueError(
      f"a pack of {m} must divide the batch, of which this device has {len(x)} examples."
    )
  n, *positions, c = x.shape
  x = jnp.moveaxis(x.reshape(n // m, m, *positions, c), 1, -2)
  return x.reshape(n // m, *positions, m * c)


class Packed(nn.Module):
  """A discriminator that judges packs of examples: PacGAN, see `pack`.

  Only its first layer is wider. It returns one logit a pack, so that penalties, which want one an
  example, take the critic of packs: `packed.discriminator` at `pack(images, packing)`.

  Attributes:
    discriminator: called as `discriminator(x, *args, train=...)` with all arrays packed.
    packing: examples a pack, m in the paper.

  >>> import jax
  >>> from jaxgan.layers import Packed
  >>> class Linear(nn.Module):
  ...   @nn.compact
  ...   def __call__(self, x, *, train):
  ...     return nn.Dense(1)(x)[:, 0]
  >>> d = Packed(Linear(), packing=2)
  >>> variables = d.init(jax.random.key(0), jnp.ones([1, 3]), train=False)
  >>> d.apply(variables, jnp.ones([8, 3]), train=True).shape
  (4,)
  """

  discriminator: nn.Module
  packing: int

  @nn.compact
  def __call__(
    self, x: Float[Array, "n ... c"], *args: Float[Array, "n ... k"], train: bool
  ) -> Float[Array, "packs"]:
    """Maps `n` examples, and arrays of one row an example, to `n / packing` logits."""

    def packed(x: Array) -> Array:
      if self.is_initializing() and len(x) % self.packing:
        x = jnp.repeat(x, self.packing, 0)  # networks are initialised with a single example
      return pack(x, self.packing)

    return self.discriminator(packed(x), *map(packed, args), train=train)
