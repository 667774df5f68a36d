"""What is done to channels alike at all positions, with sums over positions that are fast on a CPU.

XLA's CPU backend sums over leading axes on one core and without vector instructions: 28 ms for
[64, 32, 32, 64], where a product with ones takes 1. Such sums are the gradients of biases and of
scales, and the moments of batch norm. All here is closed under differentiation.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxgan.layers._varying import aligned

__all__ = ["add_bias", "example_sums", "scale", "sums"]


def example_sums(x: Float[Array, "n *positions c"]) -> Float[Array, "n c"]:
  """Sums over all axes but the first and the last, in the dtype of `x`."""
  return _example_sums(x.shape[1:-1], x) if x.ndim > 2 else x


def sums(x: Float[Array, "*positions c"]) -> Float[Array, "c"]:
  """Sums over all axes but the last, in the dtype of `x`."""
  return example_sums(x).sum(0) if x.ndim > 1 else x


def add_bias(
  x: Float[Array, "*positions c"], bias: Float[Array, "c"]
) -> Float[Array, "*positions c"]:
  """`x + bias`, of one dtype."""
  return _add_bias(*aligned(x, bias))


def scale(
  x: Float[Array, "n *positions c"], factors: Float[Array, "n c"]
) -> Float[Array, "n *positions c"]:
  """`x` times factors that each example has of its own, of one dtype."""
  return _scale(*aligned(x, factors))


def _by_product(x: Array) -> Array:
  rows = x.reshape(x.shape[0], -1, x.shape[-1])
  ones = jnp.ones(rows.shape[:2], x.dtype)
  return lax.dot_general(ones, rows, (((1,), (1,)), ((0,), (0,))), precision=lax.Precision.HIGHEST)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
@functools.partial(jax.jit, static_argnums=0)  # one compilation where it is called eagerly
def _example_sums(positions: tuple[int, ...], x: Array) -> Array:
  def plain(x: Array) -> Array:
    return x.sum(tuple(range(1, x.ndim - 1)))

  if math.prod(positions) < 2:
    return plain(x)
  return lax.platform_dependent(x, cpu=_by_product, default=plain)


def _spread(positions: tuple[int, ...], x: Array) -> Array:
  n, c = x.shape
  return jnp.broadcast_to(x.reshape(n, *[1] * len(positions), c), (n, *positions, c))


_example_sums.defvjp(
  lambda positions, x: (_example_sums(positions, x), None),
  lambda positions, _, g: (_spread(positions, g),),
)


@jax.custom_vjp
def _add_bias(x: Array, bias: Array) -> Array:
  return x + bias.reshape(*[1] * (x.ndim - 1), -1)


_add_bias.defvjp(lambda x, bias: (_add_bias(x, bias), None), lambda _, g: (g, sums(g)))


@jax.custom_vjp
def _scale(x: Array, factors: Array) -> Array:
  return x * factors.reshape(x.shape[0], *[1] * (x.ndim - 2), -1)


_scale.defvjp(
  lambda x, factors: (_scale(x, factors), (x, factors)),
  lambda saved, g: (_scale(g, saved[1]), example_sums(g * saved[0])),
)
