"""GigaGAN: Kang et al. 2023 (arXiv 2303.05511), at sizes that train on small machines.

The text-conditioned networks. The generator is StyleGAN2's with skip connections, whose kernels and
attention a text directs, and paints a pyramid of pictures. The discriminator reads such a pyramid:
each of its pictures enters at its own resolution, and every resolution below judges it, alone and
together with the text. There is no official code. Chosen here: the smallest picture of a pyramid
has 8 pixels; a predictor has one modulated layer before its logit and a second head that sees no
text; attention sees features and words, not w; noise is not injected. CLIP's and the vision-aided
losses, and the upsampler, are left out.

Past 300 lines because a pyramid is painted by the one network and read by the other.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Bool, Float, Int

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import check_images
from jaxgan.models._styles import widths
from jaxgan.models.text import Text, to_tokens
from jaxgan.types import Array

__all__ = ["SMALLEST", "Discriminator", "Generator", "Judged", "other_texts", "pyramid"]

SMALLEST = 8  # pixels of the smallest picture of a pyramid

_activate = layers.scaled_leaky_relu


def pyramid(images: Float[Array, "n h w c"]) -> tuple[Float[Array, "n _ _ c"], ...]:
  """Pictures at the full resolution, at half of it, and so on to 8 pixels, through a low-pass.

  Args:
    images: of 8, 16, 32 ... pixels a side.

  >>> [x.shape[1] for x in pyramid(jnp.zeros([1, 32, 32, 3]))]
  [32, 16, 8]
  """
  levels = [images]
  while levels[-1].shape[1] > SMALLEST:
    levels.append(layers.blur_downsample(levels[-1]))
  return tuple(levels)


def other_texts(
  tokens: Int[Array, "n length"], *, axis_name: str | None = None
) -> tuple[Int[Array, "n length"], Bool[Array, "n"]]:
  """For each text the next one of the batch that differs from it: mismatches are no matches.

  The batch is taken in a ring, whole, also where `axis_name` splits it over devices.

  Args:
    tokens: of the device's own examples.
    axis_name: the mapped axis over which the batch is split.

  Returns:
    Tokens of another text for each, and whether there is one; where there is none the own one.

  >>> texts, found = other_texts(jnp.array([[3], [3], [4]]))
  >>> texts[:, 0].tolist(), found.tolist()
  ([4, 4, 3], [True, True, True])
  """
  n = len(tokens)
  whole, first = tokens, jnp.zeros([], jnp.int32)
  if axis_name is not None:
    whole = jax.lax.all_gather(tokens, axis_name, tiled=True)
    first = jax.lax.axis_index(axis_name).astype(jnp.int32) * n
  total = len(whole)
  own = first + jnp.arange(n, dtype=jnp.int32)
  ahead = (jnp.arange(total, dtype=jnp.int32)[None] - own[:, None]) % total
  differs = (whole[None] != tokens[:, None]).any(-1)
  ahead = jnp.where(differs, ahead, total)
  nearest = ahead.min(1)
  return whole[(own + nearest) % total], nearest < total


class _Block(nn.Module):
  """The layers of a resolution, and what they add to the picture."""

  features: int
  channels: int
  kernels: int
  attention: bool
  head_width: int
  dtype: Any = None

  @nn.compact
  def __call__(
    self, x: Array | None, image: Array | None, w: Array, text: Text
  ) -> tuple[Array, Array]:
    types: dict[str, Any] = {"dtype": self.dtype}
    up = 2
    if x is None:
      shape, up = (4, 4, self.features), 1
      constant = self.param("constant", nn.initializers.normal(1.0), shape, jnp.float32)
      x = jnp.broadcast_to(constant[None], (w.shape[0], *shape)).astype(
        self.dtype or constant.dtype
      )
    for i in range(up):
      layer = layers.AdaptiveConv(
        self.features, kernels=self.kernels, up=up if i == 0 else 1, name=f"conv{i}", **types
      )
      x = _activate(layer(x, w))
    if self.attention:
      options = {"head_width": self.head_width, **types}
      x = layers.DistanceAttention(name="self_attention", **options)(x)
      x = layers.CrossAttention(name="cross_attention", **options)(x, text.tokens, text.mask)
    to_image = layers.ModulatedConv(
      self.channels, (1, 1), demodulate=False, name="to_image", **types
    )
    added = at_least_float32(to_image(x, w))
    return x, added if image is None else layers.blur_upsample(image) + added


class Generator(nn.Module):
  """GigaGAN's generator: from noise and a text to a pyramid of pictures.

  Attributes:
    text: an encoder, see `jaxgan.models.text`.
    words: size of its vocabulary.
    resolution: height and width of the pictures, 8, 16, 32, 64 ...
    channels: of the pictures.
    width: features at the full resolution; each halving of it doubles them.
    max_width: most features.
    style_dim: dimensions of a style w.
    depth: layers of the mapping network, from the noise and the summary of the text to w.
    kernels: those that each convolution chooses among.
    attention: resolutions with attention, to the picture itself and to the words.
    head_width: features of an attention's head.
    dtype: of the computation; parameters stay float32.

  >>> from jaxgan.models.text import TextEncoder
  >>> g = Generator(TextEncoder(9, 3, width=8), 9, width=4, max_width=8, style_dim=8, depth=1)
  >>> z = jnp.concatenate([jnp.ones([2, 6]), jnp.array([[5.0, 2.0, 0.0], [3.0, 4.0, 2.0]])], 1)
  >>> pictures = jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=True))[0]
  >>> [picture.shape for picture in pictures]
  [(2, 32, 32, 3), (2, 16, 16, 3), (2, 8, 8, 3)]
  """

  text: Any
  words: int
  resolution: int = 32
  channels: int = 3
  width: int = 512
  max_width: int = 512
  style_dim: int = 512
  depth: int = 8
  kernels: int = 2
  attention: Sequence[int] = (8, 16)
  head_width: int = 32
  dtype: Any = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch noise_and_tokens"], *, train: bool
  ) -> Float[Array, "batch height width channels"] | tuple[Float[Array, "batch _ _ channels"], ...]:
    """Paints texts: while training the pyramid, largest picture first, otherwise that one alone.

    Args:
      z: normal noise, then as many tokens as the encoder reads, as floats.
      train: whether the pyramid is wanted.

    Returns:
      Pictures around [-1, 1], float32 at least.
    """
    length = self.text.length
    if z.ndim != 2 or z.shape[1] <= length:
      raise ValueError(f"z {z.shape} is not [batch, noise + tokens], whose length is {length}")
    sizes = widths(self.resolution, self.width, self.max_width)
    _check_sizes(self.attention, sizes)
    text = self.text(to_tokens(z[:, -length:], self.words))
    mapping = layers.MappingNetwork(self.style_dim, self.depth, dtype=self.dtype, name="mapping")
    w = mapping(z[:, :-length], text.summary)
    x = image = None
    images: list[Array] = []
    for size, features in sizes.items():
      block = _Block(
        features,
        self.channels,
        self.kernels,
        size in self.attention,
        self.head_width,
        self.dtype,
        name=f"b{size}",
      )
      x, image = block(x, image, w, text)
      images.append(image)
    if not train:
      return images[-1]
    return tuple(image for image in reversed(images) if image.shape[1] >= SMALLEST)


class Judged(NamedTuple):
  """What the discriminator says of pictures while training.

  Attributes:
    logits: of each picture with its text, by every predictor.
    mismatched: with the text of another picture.
    counts: whether there was another text.
  """

  logits: Float[Array, "batch predictors"]
  mismatched: Float[Array, "batch predictors"]
  counts: Bool[Array, "batch"]


class _Predictor(nn.Module):
  """Logits of pictures, alone and modulated by a text, in the mean over positions."""

  dtype: Any = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "n h w c"], texts: Float[Array, "texts n d"]
  ) -> Float[Array, "texts n"]:
    types: dict[str, Any] = {"dtype": self.dtype}
    n, features = len(x), x.shape[-1]
    count = len(texts)
    alone = layers.EqualizedConv(1, (1, 1), name="alone", **types)(x).mean((1, 2))
    y = jnp.broadcast_to(x[None], (count, *x.shape)).reshape(count * n, *x.shape[1:])
    t = texts.reshape(count * n, -1)
    y = _activate(layers.ModulatedConv(features, (1, 1), name="hidden", **types)(y, t))
    y = layers.ModulatedConv(1, (1, 1), demodulate=False, name="with_text", **types)(y, t)
    y = at_least_float32(y.mean((1, 2))).reshape(count, n)
    return at_least_float32(alone)[None, :, 0] + y


class _DownBlock(nn.Module):
  """StyleGAN2's residual block."""

  features: int
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    types = {"dtype": self.dtype}
    y = _activate(layers.EqualizedConv(x.shape[-1], name="conv0", **types)(x))
    y = _activate(layers.EqualizedConv(self.features, down=2, name="conv1", **types)(y))
    skip = layers.EqualizedConv(self.features, (1, 1), down=2, use_bias=False, name="skip", **types)
    return math.sqrt(0.5) * (y + skip(x))


class Discriminator(nn.Module):
  """GigaGAN's discriminator: logits of every picture of a pyramid at every resolution below it.

  Kang et al. 2023 (arXiv 2303.05511), section 3.3. Each picture passes the layers below its
  resolution by itself, and a predictor follows each block: at 32 pixels there are 6 logits, at 64
  there are 10. The last one sees the whole picture through StyleGAN2's dense layer. The text
  modulates the predictors only. The paper sums the losses of all logits;
  means over them leave the weights of losses as they are.

  Attributes:
    text: an encoder, see `jaxgan.models.text`; not the generator's, which would be moved by both.
    words: size of its vocabulary.
    resolution: height and width of the largest picture, 16, 32, 64 ...
    width: features at the full resolution; each halving of it doubles them.
    max_width: most features.
    attention: resolutions at which positions attend to each other by distance.
    head_width: features of an attention's head.
    group_size: examples that the standard deviation at 4 pixels compares; it divides the batch of a
      device.
    axis_name: the mapped axis over which the batch is split, for the texts of other pictures.
    dtype: of the computation; parameters stay float32.

  >>> from jaxgan.models.text import TextEncoder
  >>> d = Discriminator(TextEncoder(9, 3, width=8), 9, width=4, max_width=8)
  >>> x, tokens = jnp.zeros([4, 32, 32, 3]), jnp.array([[5, 2, 0], [3, 4, 2], [5, 2, 0], [6, 2, 0]])
  >>> variables = jax.eval_shape(lambda: d.init(jax.random.key(0), x, tokens, train=True))
  >>> jax.eval_shape(lambda v: d.apply(v, x, tokens, train=False), variables).shape
  (4, 6)
  """

  text: Any
  words: int
  resolution: int = 32
  width: int = 512
  max_width: int = 512
  attention: Sequence[int] = (8,)
  head_width: int = 32
  group_size: int = 4
  axis_name: str | None = None
  dtype: Any = None

  @nn.compact
  def __call__(
    self,
    images: Float[Array, "batch height width channels"] | tuple[Float[Array, "batch _ _ _"], ...],
    condition: Float[Array, "batch length"] | Int[Array, "batch length"],
    *,
    train: bool,
  ) -> Judged | Float[Array, "batch predictors"]:
    """Judges pictures with their texts, and while training with each other's.

    Args:
      images: pictures around [-1, 1], of which a pyramid is made, or one, largest first.
      condition: the tokens of their texts.
      train: whether mismatched texts are tried too.

    Returns:
      Logits, float32 at least, while training as `Judged`.
    """
    levels = images if isinstance(images, tuple) else pyramid(images)
    check_images(levels[0], self.resolution)
    sizes = widths(self.resolution, self.width, self.max_width)
    _check_sizes(self.attention, sizes)
    n, found = len(levels[0]), [image.shape[:3] for image in levels]
    wanted = [(n, size, size) for size in sorted(sizes, reverse=True) if size >= SMALLEST]
    tokens = to_tokens(condition, self.words)
    if found != wanted or len(tokens) != n:
      raise ValueError(
        f"images {found} and {len(tokens)} texts do not fit: a pyramid {wanted}, and as many "
        "texts, are needed"
      )
    counts = jnp.ones([n], bool)
    if train:
      axis = None if self.is_initializing() else self.axis_name
      others, counts = other_texts(tokens, axis_name=axis)
      tokens = jnp.concatenate([tokens, others])
    summaries = self.text(tokens).summary
    summaries = _activate(
      layers.EqualizedDense(summaries.shape[-1], name="project", dtype=self.dtype)(summaries)
    )
    texts = summaries.reshape(-1, n, summaries.shape[-1])
    logits = self._logits(levels, texts, sizes)
    return Judged(logits[0], logits[1], counts) if train else logits[0]

  def _logits(self, levels: Sequence[Array], texts: Array, sizes: dict[int, int]) -> Array:
    """`[texts, batch, predictors]`."""
    types: dict[str, Any] = {"dtype": self.dtype}
    count, n = texts.shape[:2]
    entering = {image.shape[1]: image for image in levels}
    x: Array | None = None
    logits = []
    for size in sorted(sizes, reverse=True)[:-1]:
      if size in entering:
        first = layers.EqualizedConv(sizes[size], (1, 1), name=f"from_image{size}", **types)
        entered = _activate(first(entering[size]))
        # The pictures that entered before are further rows of the batch.
        x = entered if x is None else jnp.concatenate([x, entered])
      assert x is not None
      if size in self.attention:
        layer = layers.DistanceAttention(
          head_width=self.head_width, name=f"self_attention{size}", **types
        )
        x = layer(x)
      x = _DownBlock(sizes[size // 2], name=f"b{size}", **types)(x)
      y = x
      if size == 8:
        several = y.reshape(len(y) // n, n, *y.shape[1:])  # groups are of pictures of one size
        compared = functools.partial(layers.minibatch_stddev, group_size=self.group_size)
        y = jnp.concatenate([compared(each) for each in several])
        y = _activate(layers.EqualizedConv(sizes[4], name="conv", **types)(y))
        y = _activate(layers.EqualizedDense(sizes[4], name="fc", **types)(y.reshape(len(y), -1)))[
          :, None, None
        ]
      scales = len(y) // n
      told = jnp.broadcast_to(texts[:, None], (count, scales, *texts.shape[1:]))
      found = _Predictor(name=f"predictor{size // 2}", **types)(
        y, told.reshape(count, scales * n, -1)
      )
      logits.append(found.reshape(count, scales, n))
    return jnp.concatenate(logits, 1).swapaxes(1, 2)


def _check_sizes(attention: Sequence[int], sizes: dict[int, int]) -> None:
  if not set(attention) <= set(sizes):
    among = ", ".join(map(str, sizes))
    raise ValueError(f"attention={tuple(attention)} must be among {among}")
