"""GigaGAN's attention: Kang et al. 2023 (arXiv 2303.05511).

Positions attend to each other by their distance, which keeps the layer Lipschitz (Kim et al. 2020,
arXiv 2006.04710), and to the words of a text by their product. Both are `attention` with other
logits, so that long sequences store no weights here either.
"""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jaxgan.layers.attention import attention
from jaxgan.layers.equalized import EqualizedDense

__all__ = ["CrossAttention", "DistanceAttention", "distance_attention"]

_HIDDEN = -1e9


def distance_attention(
  queries: Float[Array, "*batch q d"],
  keys: Float[Array, "*batch k d"],
  values: Float[Array, "*batch k e"],
  *,
  scale: float | None = None,
  block_size: int | None = None,
) -> Float[Array, "*batch q e"]:
  """`softmax(-scale |query - key|^2) values`: attention to what is near.

  Kim et al. 2020 (arXiv 2006.04710), equation 4; with queries and keys by one projection it is
  Lipschitz, which attention by products is not. Kang et al. 2023 (arXiv 2303.05511),
  have it in both players.

  Args:
    queries: one row a position to fill.
    keys: one row a position to read; the queries themselves, where the projection is one.
    values: what is read there.
    scale: of the squared distances, by default 1 / sqrt(d).
    block_size: see `attention`.

  Returns:
    One row a query, of the dtype of `values`.

  Raises:
    ValueError: if shapes do not fit.

  >>> x = jnp.array([[0.0], [10.0]])
  >>> distance_attention(x, x, jnp.array([[1.0], [2.0]]))
  Array([[1.],
         [2.]], dtype=float32)
  """
  queries, keys = jnp.asarray(queries), jnp.asarray(keys)
  scale = 1.0 / math.sqrt(keys.shape[-1]) if scale is None else scale
  # The squared length of a query is the same for all its keys, and the softmax drops it.
  lengths = jnp.square(keys.astype(jnp.promote_types(keys.dtype, jnp.float32))).sum(-1)
  return attention(
    queries, keys, values, scale=2.0 * scale, bias=-scale * lengths, block_size=block_size
  )


def _split(x: Array, heads: int) -> Array:
  """`[n, positions, heads d]` to `[n, heads, positions, d]`."""
  return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def _joined(x: Array) -> Array:
  return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def _heads(features: int, head_width: int) -> int:
  if head_width < 1 or features < 1:
    raise ValueError(f"head_width={head_width} must be positive")
  return max(features // head_width, 1)


class _Residual(nn.Module):
  """`x + gain o(x)`, in heads, of positions of an image."""

  _: dataclasses.KW_ONLY
  head_width: int = 32
  gain_init: float = 0.1
  block_size: int | None = None
  dtype: Any = None
  param_dtype: Any = jnp.float32

  def _project(self, name: str, features: int, x: Array) -> Array:
    types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    return EqualizedDense(features, use_bias=False, name=name, **types)(x)

  def _added(self, inputs: Array, out: Array) -> Array:
    out = self._project("output", inputs.shape[-1], _joined(out)).reshape(inputs.shape)
    gain = self.param("gain", nn.initializers.constant(self.gain_init), (), self.param_dtype)
    return inputs.astype(out.dtype) + gain.astype(out.dtype) * out


class DistanceAttention(_Residual):
  """Self-attention over positions by their distance: `x + gain o(x)`.

  Kang et al. 2023 (arXiv 2303.05511): logits are `-|q_i - k_j|^2 / sqrt(d)` of queries
  and keys by one projection. Projections have the equalised learning rate of what is around them.

  Attributes:
    head_width: d; there are as many heads as fit into the channels, at least one.
    gain_init: first value of the residual branch's gain, small, so that training starts without.
    block_size: see `attention`.
    dtype: of the computation; by default that of inputs and parameters together.
    param_dtype: of the parameters.

  >>> import jax
  >>> layer, images = DistanceAttention(head_width=8), jnp.ones([2, 4, 4, 16])
  >>> variables = layer.init(jax.random.key(0), images)
  >>> sorted(variables["params"])
  ['gain', 'output', 'query', 'value']
  >>> layer.apply(variables, images).shape
  (2, 4, 4, 16)
  """

  @nn.compact
  def __call__(self, inputs: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Adds to each position what it attends to."""
    if inputs.ndim != 4:
      raise ValueError(f"inputs have shape {inputs.shape}: [n, h, w, c] is needed")
    n, h, w, c = inputs.shape
    rows, heads = inputs.reshape(n, h * w, c), _heads(c, self.head_width)
    width = heads * self.head_width
    queries, values = (_split(self._project(x, width, rows), heads) for x in ("query", "value"))
    out = distance_attention(queries, queries, values, block_size=self.block_size)
    return self._added(inputs, out)


class CrossAttention(_Residual):
  """Attention from the positions of an image to the tokens of a text: `x + gain o(x, text)`.

  Kang et al. 2023 (arXiv 2303.05511): each position asks with its own features, and
  the text answers; logits are products over sqrt(d).

  Attributes:
    head_width: d; there are as many heads as fit into the channels, at least one.
    gain_init: first value of the residual branch's gain, small, so that training starts without.
    block_size: see `attention`.
    dtype: of the computation; by default that of inputs and parameters together.
    param_dtype: of the parameters.

  >>> import jax
  >>> layer, images, text = CrossAttention(), jnp.ones([2, 4, 4, 16]), jnp.ones([2, 5, 24])
  >>> variables = layer.init(jax.random.key(0), images, text)
  >>> layer.apply(variables, images, text, jnp.arange(5)[None] < jnp.array([[5], [1]])).shape
  (2, 4, 4, 16)
  """

  @nn.compact
  def __call__(
    self,
    inputs: Float[Array, "n h w c"],
    text: Float[Array, "n tokens d"],
    mask: Bool[Array, "n tokens"] | None = None,
  ) -> Float[Array, "n h w c"]:
    """Adds what each position reads in the text, where `mask` is true or not given."""
    if inputs.ndim != 4 or text.ndim != 3 or text.shape[0] != inputs.shape[0]:
      raise ValueError(
        f"inputs {inputs.shape} and text {text.shape} do not fit: [n, h, w, c] and [n, tokens, d]"
      )
    if mask is not None and mask.shape != text.shape[:2]:
      raise ValueError(f"mask has shape {mask.shape}, but the text has tokens {text.shape[:2]}")
    n, h, w, c = inputs.shape
    heads = _heads(c, self.head_width)
    width = heads * self.head_width
    queries = _split(self._project("query", width, inputs.reshape(n, h * w, c)), heads)
    keys, values = (_split(self._project(x, width, text), heads) for x in ("key", "value"))
    bias = None
    if mask is not None:
      bias = jnp.broadcast_to(jnp.where(mask, 0.0, _HIDDEN)[:, None], keys.shape[:-1])
    scale = 1.0 / math.sqrt(self.head_width)
    out = attention(queries, keys, values, scale=scale, bias=bias, block_size=self.block_size)
    return self._added(inputs, out)
