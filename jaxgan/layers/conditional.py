"""Conditions as further features."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

__all__ = ["append_condition"]


def append_condition(
  x: Float[Array, "n ... c"], condition: Float[Array, "n k"]
) -> Float[Array, "n ... c_and_k"]:
  """Concatenates a condition to features, or as constant maps to images.

  Mirza and Osindero 2014 (arXiv 1411.1784).

  Args:
    x: features `[n, c]` or images `[n, h, w, c]`.
    condition: one row an example, such as `jax.nn.one_hot(labels, classes)`.

  Returns:
    `[n, c + k]` or `[n, h, w, c + k]`, of the dtype of `x`.

  Raises:
    ValueError: if the shapes do not fit.

  >>> append_condition(jnp.zeros([1, 2]), jnp.array([[3.0, 4.0]]))
  Array([[0., 0., 3., 4.]], dtype=float32)
  >>> append_condition(jnp.zeros([5, 8, 8, 3]), jnp.ones([5, 10])).shape
  (5, 8, 8, 13)
  """
  x, condition = jnp.asarray(x), jnp.asarray(condition)
  if x.ndim not in (2, 4) or condition.ndim != 2 or x.shape[0] != condition.shape[0]:
    raise ValueError(
      f"x {x.shape} and condition {condition.shape} do not fit: [n, c] or [n, h, w, c] and [n, k]"
      " are needed; pass labels as jax.nn.one_hot(labels, classes)."
    )
  n, k = condition.shape
  rows = condition.astype(x.dtype).reshape(n, *(1,) * (x.ndim - 2), k)
  return jnp.concatenate([x, jnp.broadcast_to(rows, (*x.shape[:-1], k))], -1)
