"""What losses and penalties do to their arguments: shapes checked, float32 at least."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgan.types import Array

EXPONENT_BOUND = 30.0  # exp(30) = 1e13, whose square (in Adam, say) is finite in float32


def at_least_float32(x: ArrayLike) -> Array:
  """Returns `x` in float32, or in its own type where that is wider."""
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def same_shape(**named: ArrayLike | None) -> tuple[Array, ...]:
  """Returns the named arrays in float32 at least; raises if one is None or two differ in shape."""
  arrays = {}
  for name, value in named.items():
    if value is None:
      raise ValueError(f"{name} must be an array, got None: this loss reads it")
    arrays[name] = at_least_float32(value)
  if len({x.shape for x in arrays.values()}) > 1:
    shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in arrays.items())
    raise ValueError(f"shapes must match, got {shapes}: reshape or squeeze one of them")
  return tuple(arrays.values())


def bounded_exp(x: Array) -> Array:
  """`exp(x)` up to `EXPONENT_BOUND` and its tangent beyond, so that the gradient stays alive."""
  excess = jnp.maximum(x - EXPONENT_BOUND, 0.0)
  return jnp.exp(jnp.minimum(x, EXPONENT_BOUND)) * (1.0 + excess)


def per_example(x: Array) -> Array:
  """Flattens all axes but the first, which must be there."""
  if not x.ndim:
    raise ValueError("arguments must have a batch axis, got shape []: add one with x[None]")
  return x.reshape(len(x), -1)


def safe_sqrt(x: Array) -> Array:
  """Square root of a non-negative array, with gradient 0 at 0."""
  positive = x > 0
  # Both branches of a `where` are differentiated: the inner one keeps the root off 0.
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)
