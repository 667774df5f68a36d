"""Spectral normalisation of kernels and tables: Miyato et al. 2018 (arXiv 1802.05957)."""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxgan._arrays import at_least_float32
from jaxgan.layers.convolution import Conv, ConvTranspose

__all__ = [
  "SNConv",
  "SNConvTranspose",
  "SNDense",
  "SNEmbed",
  "SpectrallyNormalized",
  "spectral_norm",
]


class SpectrallyNormalized(NamedTuple):
  """What `spectral_norm` returns.

  Attributes:
    w: the weights over `sigma`.
    u: the singular vector after the iterations, of length 1.
    sigma: the estimate of the largest singular value, at most that value.
  """

  w: Float[Array, "..."]
  u: Float[Array, " outputs"]
  sigma: Float[Array, ""]


def _product(a: Array, b: Array) -> Array:
  """In full precision also where an accelerator's default is half: a norm of 1 % more adds up."""
  return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _unit(x: Array, otherwise: Array, epsilon: float) -> Array:
  norm = jnp.sqrt(jnp.square(x).sum())
  return jnp.where(norm > epsilon, x / (norm + epsilon), otherwise)


def spectral_norm(
  w: Float[Array, "..."],
  u: Float[Array, " outputs"],
  *,
  axis: int = -1,
  iterations: int = 1,
  epsilon: float = 1e-12,
) -> SpectrallyNormalized:
  """Weights over their largest singular value, which power iteration estimates.

  Miyato et al. 2018 (arXiv 1802.05957), Algorithm 1. The weights are a matrix W of one row for each
  entry of `axis`, all other axes flattened: `v = W^T u / |W^T u|`, `u = W v / |W v|`,
  `sigma = u^T W v`. The gradient of `sigma` is that in W with u and v held constant.

  Args:
    w: weights, `[..., outputs]` with the default axis: `[kh, kw, inputs, outputs]` of a
      convolution. Of these it bounds the matrix, not the convolution as a map.
    u: the vector of the step before, of length 1.
    axis: of `w` whose length is that of `u`.
    iterations: of the power method; with none, v comes from `u` as it is.
    epsilon: below which the length of a vector counts as 0.

  Returns:
    `(w / sigma, u, sigma)`; computed in float32 at least, the weights in their own dtype. Weights
    of zero stay as they are, and so does `u` then.

  Raises:
    ValueError: if `u` does not fit.

  >>> w = jnp.array([[3.0, 0.0], [0.0, 1.0]])
  >>> result = spectral_norm(w, jnp.array([0.6, 0.8]), iterations=20)
  >>> result.sigma.round(4), result.w.round(4).tolist()
  (Array(3., dtype=float32), [[1.0, 0.0], [0.0, 0.33329999446868896]])
  """
  w, u = jnp.asarray(w), at_least_float32(u)
  if w.ndim < 2 or u.shape != (w.shape[axis],):
    raise ValueError(
      f"w {w.shape} and u {u.shape} do not fit: u must have the length of axis {axis} of a w of"
      " two axes at least."
    )
  matrix = jnp.moveaxis(at_least_float32(w), axis, -1).reshape(-1, len(u))
  u, constant = lax.stop_gradient((u, matrix))
  v = _unit(_product(constant, u), jnp.zeros_like(constant[:, 0]), epsilon)
  for i in range(iterations):
    if i:
      v = _unit(_product(constant, u), v, epsilon)
    u = _unit(_product(v, constant), u, epsilon)  # a vector of zeros would stay one
  sigma = _product(_product(v, matrix), u)
  scale = jnp.where(sigma > epsilon, sigma, 1.0)
  return SpectrallyNormalized((at_least_float32(w) / scale).astype(w.dtype), u, sigma)


class _Spectral(nn.Module):
  """Normalises a layer's kernel where the layer asks for it: parameters keep name and shape."""

  _: dataclasses.KW_ONLY
  update_stats: bool = True

  @nn.nowrap
  def _axis(self) -> int:
    return -1

  @nn.nowrap
  def param(self, name: str, *args: Any, **kwargs: Any) -> Any:
    w = super().param(name, *args, **kwargs)
    if name not in ("kernel", "embedding"):
      return w

    def start() -> Array:
      dtype = jnp.promote_types(w.dtype, jnp.float32)
      u = jax.random.normal(self.make_rng("params"), w.shape[self._axis()], dtype)
      return u / jnp.sqrt(jnp.square(u).sum())

    stored = self.variable("spectral", "u", start)
    normalized = spectral_norm(w, stored.value, axis=self._axis())
    updates = self.update_stats and self.is_mutable_collection("spectral")
    if updates and not self.is_initializing():
      stored.value = normalized.u
    return normalized.w


class SNConv(_Spectral, Conv):
  """`jaxgan.layers.Conv` under spectral normalisation, Miyato et al. 2018 (arXiv 1802.05957).

  Every call makes one power iteration from the stored vector, so that all passes of a step
  normalise alike. It is stored only by passes to which the collection "spectral" is mutable, of
  which a step needs one (SAGAN's: D's pass over the real pictures in D's step).

  Takes what `Conv` takes. The parameters are those of `Conv`, not normalised; the vector `u
  [features]` is in the collection "spectral".

  Attributes:
    update_stats: False keeps the vector also where it is mutable; networks pass `train`.

  >>> layer = SNConv(8, (3, 3))
  >>> images = jnp.ones([2, 16, 16, 4])
  >>> variables = layer.init(jax.random.key(0), images)
  >>> jax.tree.map(jnp.shape, variables)
  {'params': {'bias': (8,), 'kernel': (3, 3, 4, 8)}, 'spectral': {'u': (8,)}}
  >>> y, written = layer.apply(variables, images, mutable=["spectral"])
  >>> jax.tree.map(jnp.shape, written)
  {'spectral': {'u': (8,)}}
  """


class SNConvTranspose(_Spectral, ConvTranspose):
  """`jaxgan.layers.ConvTranspose` under spectral normalisation, see `SNConv`.

  The vector `u [features]` belongs to the channels of the result, as in a convolution, whichever
  axis of the kernel they are.

  Attributes:
    update_stats: False keeps the vector also where it is mutable; networks pass `train`.

  >>> layer = SNConvTranspose(3, (4, 4), strides=2)
  >>> features = jnp.ones([2, 8, 8, 5])
  >>> variables = layer.init(jax.random.key(0), features)
  >>> jax.tree.map(jnp.shape, variables)
  {'params': {'bias': (3,), 'kernel': (4, 4, 5, 3)}, 'spectral': {'u': (3,)}}
  """

  @nn.nowrap
  def _axis(self) -> int:
    return 2 if self.transpose_kernel else 3


class SNDense(_Spectral, nn.Dense):
  """`flax.linen.Dense` under spectral normalisation, see `SNConv`.

  Attributes:
    update_stats: False keeps the vector also where it is mutable; networks pass `train`.

  >>> variables = SNDense(2).init(jax.random.key(0), jnp.ones([1, 3]))
  >>> jax.tree.map(jnp.shape, variables)
  {'params': {'bias': (2,), 'kernel': (3, 2)}, 'spectral': {'u': (2,)}}
  """


class SNEmbed(_Spectral, nn.Embed):
  """`flax.linen.Embed` under spectral normalisation of its whole table, see `SNConv`.

  The vector `u [num_embeddings]` belongs to the rows. `embedding` is the normalised table.

  Attributes:
    update_stats: False keeps the vector also where it is mutable; networks pass `train`.

  >>> layer = SNEmbed(10, 4)
  >>> variables = layer.init(jax.random.key(0), jnp.array([1, 2]))
  >>> jax.tree.map(jnp.shape, variables)
  {'params': {'embedding': (10, 4)}, 'spectral': {'u': (10,)}}
  """

  @nn.nowrap
  def _axis(self) -> int:
    return 0
