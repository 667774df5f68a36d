"""What style-based generators are made of: Karras et al. 2018 (arXiv 1812.04948).

A mapping network turns latents into styles w, which act on every layer of the synthesis network, by
adaptive instance normalisation or by modulated convolutions (`jaxgan.layers.ModulatedConv`), and
noise varies what is left to chance.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array, lax
from jaxtyping import Float

from jaxgan._arrays import at_least_float32
from jaxgan.latents import AxisName, example_keys
from jaxgan.layers.equalized import EqualizedDense, scaled_leaky_relu

__all__ = ["AdaIN", "MappingNetwork", "NoiseInput", "adaptive_instance_norm", "pixel_norm"]


def pixel_norm(x: Float[Array, "... c"], *, epsilon: float = 1e-8) -> Float[Array, "... c"]:
  """Divides each feature vector by its root mean square: `x / sqrt(mean_c x^2 + epsilon)`.

  Karras et al. 2017 (arXiv 1710.10196), section 4.2, of each pixel; of latents it is the projection
  onto the sphere of radius sqrt(c).

  Args:
    x: features in the last axis.
    epsilon: added to the mean square.

  Returns:
    The shape and dtype of `x`; the mean is taken in float32 at least.

  >>> pixel_norm(jnp.array([[3.0, 4.0, 0.0, 0.0]]))
  Array([[1.2, 1.6, 0. , 0. ]], dtype=float32)
  """
  wide = at_least_float32(x)
  return (wide * lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + epsilon)).astype(x.dtype)


def adaptive_instance_norm(
  x: Float[Array, "n h w c"],
  scale: Float[Array, "n c"],
  bias: Float[Array, "n c"],
  *,
  epsilon: float = 1e-8,
) -> Float[Array, "n h w c"]:
  """Gives each channel of each example another mean and deviation.

  AdaIN, Huang and Belongie 2017 (arXiv 1703.06868), equation 8, in the form of StyleGAN, Karras et
  al. 2018 (arXiv 1812.04948), equation 1: `scale (x - mean) / sqrt(var + epsilon) + bias`, with
  mean and variance over the pixels.

  Args:
    x: images.
    scale: deviations to have.
    bias: means to have.
    epsilon: added to the variance.

  Returns:
    The shape and dtype of `x`; moments are taken in float32 at least.

  Raises:
    ValueError: the shapes do not fit.

  >>> x = jnp.array([1.0, 3.0]).reshape(1, 1, 2, 1)
  >>> adaptive_instance_norm(x, jnp.array([[5.0]]), jnp.array([[1.0]])).ravel()
  Array([-4.,  6.], dtype=float32)
  """
  if x.ndim != 4 or not scale.shape == bias.shape == (x.shape[0], x.shape[3]):
    raise ValueError(
      f"scale {scale.shape} and bias {bias.shape} are not [batch, channels] of x {x.shape}"
    )
  wide = at_least_float32(x)
  wide = wide - wide.mean((1, 2), keepdims=True)
  wide = wide * lax.rsqrt(jnp.square(wide).mean((1, 2), keepdims=True) + epsilon)
  y = wide * scale[:, None, None].astype(wide.dtype) + bias[:, None, None].astype(wide.dtype)
  return y.astype(x.dtype)


class AdaIN(nn.Module):
  """Adaptive instance normalisation by a learned affine function of a style.

  Karras et al. 2018 (arXiv 1812.04948), equation 1: the style gives `(y_s, y_b) = A(w)`, and the
  result is `(y_s + 1) IN(x) + y_b`, so that it starts near plain instance normalisation.

  Attributes:
    epsilon: added to the variance.
    dtype: of the affine function; by default that of inputs and parameters together.
    param_dtype: of the parameters.

  >>> layer, x, w = AdaIN(), jnp.ones([2, 4, 4, 3]), jnp.ones([2, 16])
  >>> variables = layer.init(jax.random.key(0), x, w)
  >>> layer.apply(variables, x, w).shape
  (2, 4, 4, 3)
  """

  epsilon: float = 1e-8
  dtype: Any = None
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "n h w c"], w: Float[Array, "n latent"]
  ) -> Float[Array, "n h w c"]:
    """Normalises `x` in the style `w`."""
    channels = x.shape[-1]
    affine = EqualizedDense(
      2 * channels, dtype=self.dtype, param_dtype=self.param_dtype, name="style"
    )
    style = affine(w)
    return adaptive_instance_norm(
      x, style[:, :channels] + 1.0, style[:, channels:], epsilon=self.epsilon
    )


class NoiseInput(nn.Module):
  """Adds an image of normal noise, of learned strength: what is left to chance, like single hairs.

  Karras et al. 2018 (arXiv 1812.04948), section 2: one image for all channels, with a strength for
  each of them; of StyleGAN2 (Karras et al. 2019, arXiv 1912.04958) a single strength. It starts at
  0. Noise is drawn for each example while training, by the rng `"dropout"`; otherwise it is one
  image that was drawn with the weights, the variable `fixed` of the collection `"noise"`, so that a
  latent always makes the same picture.

  Attributes:
    per_channel: whether each channel has a strength of its own.
    axis_name: mapped axis, or axes, over which the batch is split. The key must be equal on all
      devices.
    param_dtype: of strength and fixed noise.

  >>> layer, x = NoiseInput(), jnp.zeros([2, 4, 4, 3])
  >>> variables = layer.init(jax.random.key(0), x, train=False)
  >>> jax.tree.map(jnp.shape, variables)
  {'noise': {'fixed': (4, 4)}, 'params': {'strength': ()}}
  """

  per_channel: bool = False
  axis_name: AxisName | None = None
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n h w c"]:
    """Adds noise to `x`."""
    size = x.shape[1:3]
    fixed = self.variable(
      "noise",
      "fixed",
      lambda: jax.random.normal(self.make_rng("params"), size, self.param_dtype),
    )
    shape = x.shape[-1:] if self.per_channel else ()
    strength = self.param("strength", nn.initializers.zeros_init(), shape, self.param_dtype)
    if train:
      axis_name = None if self.is_initializing() else self.axis_name
      keys = example_keys(self.make_rng("dropout"), len(x), axis_name=axis_name)
      noise = jax.vmap(lambda key: jax.random.normal(key, size, self.param_dtype))(keys)
    else:
      noise = fixed.value.reshape(-1, *size)  # one for all, or one for each
    scaled = noise[..., None] * strength.reshape(1, 1, 1, -1)
    return x + scaled.astype(x.dtype)


class MappingNetwork(nn.Module):
  """From latents to styles w: dense layers that learn slowly, on normalised latents.

  Karras et al. 2018 (arXiv 1812.04948), section 2, as in StyleGAN2 and its code for ADA (arXiv
  2006.06676): classes are embedded, and latents and embeddings normalised each for itself.

  Attributes:
    features: of w and of the embedding of the class.
    depth: number of layers; 8 in the papers, 2 in ADA's configurations for small pictures.
    lr_multiplier: of all layers but the embedding.
    dtype: of the computation; by default that of inputs and parameters together.
    param_dtype: of the parameters.

  >>> layer, z, labels = MappingNetwork(16, depth=2), jnp.ones([2, 8]), jnp.eye(2)
  >>> variables = layer.init(jax.random.key(0), z, labels)
  >>> jax.tree.map(jnp.shape, variables["params"]["fc0"])
  {'bias': (16,), 'kernel': (24, 16)}
  >>> layer.apply(variables, z, labels).shape
  (2, 16)
  """

  features: int = 512
  depth: int = 8
  _: dataclasses.KW_ONLY
  lr_multiplier: float = 0.01
  dtype: Any = None
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    z: Float[Array, "n latent"] | None,
    condition: Float[Array, "n classes"] | None = None,
  ) -> Float[Array, "n features"]:
    """Maps latents, one-hot labels, or both to styles, float32 at least."""
    if self.depth < 1:
      raise ValueError(f"depth={self.depth} must be at least 1")
    types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    parts = [] if z is None else [pixel_norm(z)]
    if condition is not None:
      embedding = EqualizedDense(self.features, name="embed", **types)(condition)
      parts.append(pixel_norm(embedding))
    if not parts:
      raise ValueError("z and condition are both None: one of them has to be mapped")
    x = jnp.concatenate(promote_dtype(*parts, dtype=None), -1)
    for i in range(self.depth):
      layer = EqualizedDense(
        self.features, lr_multiplier=self.lr_multiplier, name=f"fc{i}", **types
      )
      x = scaled_leaky_relu(layer(x))
    return at_least_float32(x)
