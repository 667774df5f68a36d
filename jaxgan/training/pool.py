"""A pool of earlier fakes, for a discriminator that is to remember them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgan.latents import AxisName, example_keys
from jaxgan.types import Array, Key

__all__ = ["Pool", "pool_init", "pool_query"]


class Pool(NamedTuple):
  """What `pool_query` carries from step to step, an entry of `Game.extra`.

  Attributes:
    items: what is kept; places that are not filled yet hold zeros.
    filled: how many are filled.
  """

  items: Float[Array, "size ..."]
  filled: Int[Array, ""]


def pool_init(size: int, like: Array | jax.ShapeDtypeStruct) -> Pool:
  """An empty pool.

  Args:
    size: of the pool, 0 for one that keeps nothing.
    like: one item, without a batch axis; its shape and dtype matter.

  Raises:
    ValueError: the size is negative.

  >>> pool = pool_init(50, jnp.zeros([8, 8, 3]))
  >>> pool.items.shape, int(pool.filled)
  ((50, 8, 8, 3), 0)
  """
  if size < 0:
    raise ValueError(f"size={size} must be 0 or more: 50 is common, 0 keeps nothing")
  return Pool(jnp.zeros([size, *like.shape], like.dtype), jnp.zeros([], jnp.int32))


def pool_query(
  pool: Pool, fakes: Float[Array, "batch ..."], key: Key, *, axis_name: AxisName | None = None
) -> tuple[Array, Pool]:
  """What a discriminator sees in place of the newest fakes, and the pool afterwards.

  Shrivastava et al. 2016 (arXiv 1612.07828), section 2.3, one fake after the other as the code of
  CycleGAN (Zhu et al. 2017, arXiv 1703.10593) has it: while the pool has room, a fake is kept and
  seen; later it is, with probability 1/2, exchanged for one of the pool, drawn uniformly, and seen
  itself otherwise.

  Args:
    pool: see `pool_init`.
    fakes: the newest; nothing is differentiated through the pool.
    key: used for the draws, which go by the example's place in the global batch.
    axis_name: mapped axis, or axes, over which the batch is split. The fakes of all devices then
      pass one pool in their order, and all devices keep the same.

  Returns:
    An array like `fakes`, and the new pool. A pool of size 0 gives back what it is given.

  Raises:
    ValueError: the fakes are not of the pool's shape.

  >>> pool = pool_init(2, jnp.zeros([]))
  >>> seen, pool = pool_query(pool, jnp.array([1.0, 2.0]), jax.random.key(0))
  >>> print(seen, pool.items, pool.filled)
  [1. 2.] [1. 2.] 2
  """
  if fakes.shape[1:] != pool.items.shape[1:]:
    raise ValueError(f"fakes {fakes.shape} are not a batch of the pool's {pool.items.shape[1:]}")
  size, n, fakes = len(pool.items), len(fakes), jax.lax.stop_gradient(fakes)
  if not size:
    return fakes, pool
  everyone, start = fakes, jnp.zeros([], jnp.int32)
  if axis_name is not None:
    start = jax.lax.axis_index(axis_name) * n
    room = jnp.zeros([n * jax.lax.axis_size(axis_name), *fakes.shape[1:]], fakes.dtype)
    # A sum, of which types tell that it is the same on all devices: `all_gather` does not say so.
    placed = jax.lax.dynamic_update_slice_in_dim(room, fakes, start, 0)
    everyone = jax.lax.psum(placed, axis_name)

  def draw(key: Key) -> tuple[Array, Array]:
    coin_key, place_key = jax.random.split(key)
    return jax.random.bernoulli(coin_key), jax.random.randint(place_key, [], 0, size)

  def take(pool: Pool, given: tuple[Array, Array, Array]) -> tuple[Pool, Array]:
    fake, coin, drawn = given
    filling = pool.filled < size
    place = jnp.where(filling, pool.filled, drawn)
    kept = pool.items[place]
    items = pool.items.at[place].set(jnp.where(filling | coin, fake, kept))
    seen = jnp.where(~filling & coin, kept, fake)
    return Pool(items, jnp.minimum(pool.filled + 1, size)), seen

  coins, places = jax.vmap(draw)(example_keys(key, len(everyone)))
  pool, seen = jax.lax.scan(take, pool, (everyone, coins, places))
  return jax.lax.dynamic_slice_in_dim(seen, start, n), pool
