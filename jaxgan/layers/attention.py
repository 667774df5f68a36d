"""Attention over positions, and the block by which SAGAN uses it: Zhang et al. 2018.

Of long sequences a block of queries is done at a time, and done again in the backward pass, so that
the matrix of all weights is nowhere stored. `jax.nn.dot_product_attention` does not serve here: it
wants values as wide as the keys, stores all weights outside of cuDNN, and within has no second
derivative.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxgan.layers.convolution import Conv

__all__ = ["SelfAttention", "attention"]

_USUAL = 64  # rows of a batch whose size is not known yet


def _block_size(rows: int, queries: int, keys: int) -> int:
  """All queries while their weights are few, else as many as a CPU's cache holds the weights of."""
  if not isinstance(rows, int):  # of a program for any batch, made by `jax.export`
    rows = _USUAL
  whole, part = (22, 18) if jax.default_backend() == "cpu" else (24, 24)
  if rows * queries * keys <= 1 << whole:
    return queries
  return max((1 << part) // (rows * keys), 1)


def _attend(q: Array, k: Array, v: Array, scale: float, bias: Array | None = None) -> Array:
  wide = jnp.promote_types(q.dtype, jnp.float32)
  logits = scale * jnp.einsum("nqd,nkd->nqk", q, k, preferred_element_type=wide)
  if bias is not None:
    logits += bias[:, None].astype(wide)
  weights = jax.nn.softmax(logits, -1).astype(v.dtype)
  return jnp.einsum("nqk,nke->nqe", weights, v, preferred_element_type=wide).astype(v.dtype)


def attention(
  queries: Float[Array, "*batch q d"],
  keys: Float[Array, "*batch k d"],
  values: Float[Array, "*batch k e"],
  *,
  scale: float = 1.0,
  bias: Float[Array, "*batch k"] | None = None,
  block_size: int | None = None,
) -> Float[Array, "*batch q e"]:
  """`softmax(scale queries keys^T + bias) values`, without storing the softmax where it is large.

  Args:
    queries: one row a position to fill.
    keys: one row a position to read.
    values: what is read there.
    scale: of the logits: 1 in SAGAN (Zhang et al. 2018, arXiv 1805.08318), 1 / sqrt(d) in
      transformers.
    bias: what is added to the logits of each key; about -1e9 hides a key from all queries.
    block_size: queries done at a time. By default all while the batch has no more than 2^22
      weights (2^24 off the CPU), else as many as have 2^18 (2^24). If not all are done at once the
      backward pass computes the weights again, and memory is that of a block.

  Returns:
    One row a query, of the dtype of `values`. Weights are computed in float32 at least.

  Raises:
    ValueError: if shapes do not fit, or `block_size` is below 1.

  >>> queries, keys = jnp.zeros([5, 2]), jnp.ones([3, 2])
  >>> attention(queries, keys, jnp.array([[0.0], [1.0], [5.0]]))[0]
  Array([2.], dtype=float32)
  """
  q, k, v = jnp.asarray(queries), jnp.asarray(keys), jnp.asarray(values)
  if (
    min(q.ndim, k.ndim, v.ndim) < 2
    or not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    or q.shape[-1] != k.shape[-1]
    or k.shape[-2] != v.shape[-2]
  ):
    raise ValueError(
      f"queries {q.shape}, keys {k.shape} and values {v.shape} do not fit: [..., q, d], [..., k, d]"
      " and [..., k, e] are needed."
    )
  if block_size is not None and block_size < 1:
    raise ValueError(f"block_size={block_size} must be positive.")
  if bias is not None and bias.shape != k.shape[:-1]:
    raise ValueError(f"bias has shape {bias.shape}, but there are keys {k.shape[:-1]}.")
  batch, count = q.shape[:-2], q.shape[-2]
  q, k, v = (a.reshape(math.prod(batch), *a.shape[-2:]) for a in (q, k, v))
  if bias is not None:
    bias = bias.reshape(k.shape[0], -1)
  block = block_size or _block_size(q.shape[0], count, k.shape[1])
  if count <= block:
    out = _attend(q, k, v, scale, bias)
    return out.reshape(*batch, *out.shape[1:])
  blocks = -(-count // block)
  block = -(-count // blocks)  # as even as can be
  q = jnp.pad(q, ((0, 0), (0, blocks * block - count), (0, 0)))
  q = q.reshape(q.shape[0], blocks, block, q.shape[2]).swapaxes(0, 1)

  # In a loop nothing can be merged with its repetition, against which `prevent_cse` guards.
  @functools.partial(jax.checkpoint, prevent_cse=False)
  def attend(q: Array) -> Array:
    return _attend(q, k, v, scale, bias)

  out = lax.map(attend, q).swapaxes(0, 1)
  return out.reshape(*batch, blocks * block, v.shape[2])[..., :count, :]


def _max_pool(x: Array, factor: int) -> Array:
  """By a reshape: the gradient of a window's maximum is slow, and slower the second time."""
  n, h, w, c = x.shape
  h, w = h // factor, w // factor
  x = x[:, : h * factor, : w * factor].reshape(n, h, factor, w, factor, c)
  return x.max((2, 4))


class SelfAttention(nn.Module):
  """SAGAN's block: `x + gamma o(x)`, where `o` attends from each position to all.

  Zhang et al. 2018 (arXiv 1805.08318), section 3, in the form of the authors' code: keys and
  queries have an eighth of the channels, values half, and keys and values are pooled. `gamma`
  starts at 0, so that the block starts as the identity.

  Attributes:
    pool: keys and values are the maxima of `pool` x `pool` positions; 1 is the paper's text.
    conv: constructor of the four 1x1 convolutions; it takes what `flax.linen.Conv` takes, so that
      one with spectral normalisation may stand here.
    block_size: see `attention`.
    dtype: of the computation; by default that of inputs and parameters together.
    param_dtype: of the parameters.
    kernel_init: initializer of the convolutions' kernels.

  >>> layer = SelfAttention()
  >>> images = jnp.ones([2, 8, 8, 16])
  >>> variables = layer.init(jax.random.key(0), images)
  >>> sorted(variables["params"])
  ['gamma', 'key', 'output', 'query', 'value']
  >>> bool((layer.apply(variables, images) == images).all())
  True
  """

  _: dataclasses.KW_ONLY
  pool: int = 2
  conv: Callable[..., nn.Module] = Conv
  block_size: int | None = None
  dtype: Any = None
  param_dtype: Any = jnp.float32
  kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()

  @nn.compact
  def __call__(self, inputs: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Adds to each position what it attends to."""
    shape = inputs.shape
    if inputs.ndim != 4 or shape[3] < 8 or self.pool < 1 or min(shape[1:3]) < self.pool:
      raise ValueError(
        f"inputs have shape {shape}, pool={self.pool}: [batch, height, width, channels] with 8"
        " channels and `pool` positions an axis at least are needed."
      )

    def project(name: str, features: int, x: Array) -> Array:
      return self.conv(
        features,
        (1, 1),
        use_bias=False,
        kernel_init=self.kernel_init,
        dtype=self.dtype,
        param_dtype=self.param_dtype,
        name=name,
      )(x)

    def rows(x: Array) -> Array:
      return x.reshape(x.shape[0], -1, x.shape[3])

    queries = rows(project("query", shape[3] // 8, inputs))
    keys = rows(_max_pool(project("key", shape[3] // 8, inputs), self.pool))
    values = rows(_max_pool(project("value", shape[3] // 2, inputs), self.pool))
    out = attention(queries, keys, values, block_size=self.block_size)
    out = project("output", shape[3], out.reshape(*shape[:3], -1))
    gamma = self.param("gamma", nn.initializers.zeros, (), self.param_dtype)
    return inputs.astype(out.dtype) + gamma.astype(out.dtype) * out
