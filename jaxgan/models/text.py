"""Text encoders: what a text-conditioned GAN reads of a sequence of tokens.

Every encoder is a linen module with the attribute `length` and the method
`encoder(tokens [n, length]) -> Text`. Tokens are whole numbers: 0 is padding, and the last one that
is not ends the text, so that the feature at its place can stand for the whole.

A pretrained encoder (CLIP's, in GigaGAN) is plugged in as `TextEncoder(..., embed=frozen)`: a pure
function from tokens to features. It closes over its weights, which are no player's and not saved
with a run. Where texts are those of the data it can be a table of features computed once:

    known = vocabulary.encode(captions, length)  # [texts, length]
    features = clip(captions)  # [texts, length, d]

    def frozen(tokens):
      return features[(tokens[:, None] == known[None]).all(-1).argmax(1)]

The learned layers follow on top of it, for each player its own, as in the paper.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from jaxgan import layers
from jaxgan._arrays import at_least_float32

__all__ = ["Encoder", "Text", "TextEncoder", "to_tokens"]

_HIDDEN = -1e9


class Text(NamedTuple):
  """A text as networks read it.

  Attributes:
    tokens: a feature for each token.
    mask: which of them are part of the text.
    summary: one feature for the whole, that of the end.
  """

  tokens: Float[Array, "n length width"]
  mask: Bool[Array, "n length"]
  summary: Float[Array, "n width"]


class Encoder(Protocol):
  """What generators and discriminators take as `text`."""

  length: int

  def __call__(self, tokens: Int[Array, "n length"]) -> Text:
    """Reads texts."""


def to_tokens(
  values: Float[Array, "n length"] | Int[Array, "n length"], words: int
) -> Int[Array, "n length"]:
  """Tokens of latents, which carry them as floats; none leaves the vocabulary.

  Args:
    values: whole numbers, up to rounding.
    words: size of the vocabulary.

  >>> to_tokens(jnp.array([[1.0, 2.9, 77.0]]), 5)
  Array([[1, 3, 4]], dtype=int32)
  """
  if jnp.issubdtype(values.dtype, jnp.floating):
    values = jnp.rint(jax.lax.stop_gradient(values))
  return jnp.clip(values, 0, words - 1).astype(jnp.int32)


class TextEncoder(nn.Module):
  """A small transformer over word tokens, learned along, or on top of a frozen encoder.

  Kang et al. 2023 (arXiv 2303.05511): learned attention layers on top of token
  features, of which the one at the end stands for the whole text. The features are CLIP's in the
  paper; without `embed` they are a table that is learned too. Layers are those of Vaswani et al.
  2017 (arXiv 1706.03762), normalised before each part, with the equalised learning rate of the
  networks around them.

  Attributes:
    words: size of the vocabulary, padding included.
    length: tokens of a text.
    width: of the features.
    depth: number of layers, 0 or more.
    heads: of the attention; they divide the width.
    embed: a frozen encoder, `tokens [n, length] -> features [n, length, d]`; it is not trained.
    dtype: of the computation; parameters and what is returned are float32 at least.

  >>> encoder, tokens = TextEncoder(9, 3, width=8), jnp.array([[5, 2, 0], [3, 4, 2]])
  >>> text, variables = encoder.init_with_output(jax.random.key(0), tokens)
  >>> text.tokens.shape, text.summary.shape, text.mask.sum(1).tolist()
  ((2, 3, 8), (2, 8), [2, 3])
  """

  words: int
  length: int
  width: int = 64
  depth: int = 2
  heads: int = 4
  embed: Callable[[Array], Array] | None = None
  dtype: Any = None

  @nn.compact
  def __call__(self, tokens: Int[Array, "n length"]) -> Text:
    """Reads texts, each for itself."""
    if tokens.ndim != 2 or tokens.shape[1] != self.length:
      raise ValueError(f"tokens {tokens.shape} are not [batch, length={self.length}]")
    if self.heads < 1 or self.width % self.heads:
      raise ValueError(f"heads={self.heads} must divide width={self.width}")
    tokens = to_tokens(tokens, self.words)
    mask = tokens > 0
    normal, types = nn.initializers.normal(1.0), {"dtype": self.dtype}
    if self.embed is None:
      x = self.param("words_table", normal, (self.words, self.width), jnp.float32)[tokens]
    else:
      features = jax.lax.stop_gradient(self.embed(tokens))
      x = layers.EqualizedDense(self.width, name="project", **types)(features)
    x = x + self.param("places", normal, (self.length, self.width), jnp.float32)[None]
    bias = jnp.where(mask, 0.0, _HIDDEN)
    for i in range(self.depth):
      x = x + self._attention(x, bias, f"attention{i}")
      h = layers.EqualizedDense(2 * self.width, name=f"wide{i}", **types)(self._normed(x))
      x = x + layers.EqualizedDense(self.width, name=f"narrow{i}", **types)(
        layers.scaled_leaky_relu(h)
      )
    x = at_least_float32(self._normed(x))
    last = jnp.maximum(mask.sum(1) - 1, 0)
    return Text(x, mask, jnp.take_along_axis(x, last[:, None, None], 1)[:, 0])

  def _normed(self, x: Array) -> Array:
    """Layer norm without parameters: what follows is linear and has its own."""
    x = at_least_float32(x)
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)

  def _attention(self, x: Array, bias: Array, name: str) -> Array:
    n, length, _ = x.shape
    inner = self.width // self.heads
    parts = layers.EqualizedDense(
      3 * self.width, use_bias=False, name=f"{name}_in", dtype=self.dtype
    )(self._normed(x))
    parts = parts.reshape(n, length, 3, self.heads, inner).transpose(2, 0, 3, 1, 4)
    bias = jnp.broadcast_to(bias[:, None], (n, self.heads, length))
    out = layers.attention(*parts, scale=1.0 / math.sqrt(inner), bias=bias)
    out = out.swapaxes(1, 2).reshape(n, length, self.width)
    return layers.EqualizedDense(self.width, name=f"{name}_out", dtype=self.dtype)(out)
