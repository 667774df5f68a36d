"""Layers that let a discriminator compare examples, against generators that repeat themselves."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array, lax
from jaxtyping import Float

from jaxgan._arrays import at_least_float32
from jaxgan.latents import AxisName

__all__ = ["MinibatchDiscrimination", "MinibatchStdDev", "minibatch_stddev"]


def _closeness(rows: Array, everyone: Array, index: Array) -> Array:
  """`sum_{j != i} exp(-|row_i - everyone_j|_1)`, where row i is number `index[i]` of everyone.

  The differences of all pairs are many (500 MB for 64 examples with the 300 x 50 of ImageNet), and
  slow where they leave the cache: of as many rows as fit they are made at a time, and made again in
  the backward pass.
  """
  rows, everyone = rows.swapaxes(1, 2), everyone.swapaxes(1, 2)  # [n, dimensions, kernels]

  # In a loop nothing can be merged with its repetition, against which `prevent_cse` guards.
  @functools.partial(jax.checkpoint, prevent_cse=False)
  def to_others(row_and_index: tuple[Array, Array]) -> Array:
    row, index = row_and_index
    closeness = jnp.exp(-jnp.abs(everyone - row[None]).sum(1))
    return jnp.where(jnp.arange(len(everyone))[:, None] == index, 0.0, closeness).sum(0)

  fitting = (1 << (16 if jax.default_backend() == "cpu" else 24)) // max(everyone.size, 1)
  if fitting >= len(rows):
    return jax.vmap(to_others)((rows, index))
  return lax.map(to_others, (rows, index), batch_size=max(fitting, 1))


class MinibatchDiscrimination(nn.Module):
  """Appends to an example's features how close it is to the others of its batch.

  Salimans et al. 2016 (arXiv 1606.03498), section 3.2. With `M = f(x) T`, of shape `[n, kernels,
  dimensions]`, `o(x_i)_b = sum_{j != i} exp(-|M_ib - M_jb|_1) + bias_b`. As in the authors' code
  the sum leaves the example itself out (the paper's equation, over all j, is more by the constant
  1), the columns of T have a norm of their own, the exponential of `log_scale`, and the bias
  starts at -1. At norm 1 the rows differ about as much as features do, whatever their number, so
  that closeness starts neither at 0 nor at N - 1. (The code also fits norms and bias to its first
  batch, which is left to training here.)

  Real data and fakes belong in two calls, as the paper has it.

  Attributes:
    kernels: number of closenesses, B in the paper.
    dimensions: of the rows that are compared, C in the paper.
    axis_name: mapped axis, or axes, over which the batch is split; the others are then those of
      all devices.
    dtype: of the projection and the result; by default that of inputs and parameters together.
      Distances are float32 at least.
    param_dtype: of the parameters.
    kernel_init: initializer of T's directions, `[features, kernels, dimensions]`.

  >>> layer = MinibatchDiscrimination(kernels=3)
  >>> features = jnp.ones([4, 2])
  >>> layer.apply(layer.init(jax.random.key(0), features), features)[0]  # 3 others, less 1
  Array([1., 1., 2., 2., 2.], dtype=float32)
  """

  kernels: int = 100
  dimensions: int = 5
  _: dataclasses.KW_ONLY
  axis_name: AxisName | None = None
  dtype: Any = None
  param_dtype: Any = jnp.float32
  kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.05)

  @nn.compact
  def __call__(
    self, features: Float[Array, "n features"]
  ) -> Float[Array, "n features_and_kernels"]:
    """Maps `[n, features]` to `[n, features + kernels]`."""
    if features.ndim != 2:
      raise ValueError(
        f"features have shape {features.shape}: [n, features] is needed; flatten it."
      )
    if self.kernels < 1 or self.dimensions < 1:
      raise ValueError(f"kernels={self.kernels} and dimensions={self.dimensions} must be positive.")
    shape = (features.shape[1], self.kernels, self.dimensions)
    kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
    zeros, below = nn.initializers.zeros_init(), nn.initializers.constant(-1.0)
    log_scale = self.param("log_scale", zeros, shape[1:], self.param_dtype)
    bias = self.param("bias", below, shape[1:2], self.param_dtype)
    norms = lax.rsqrt(jnp.square(kernel).sum(0) + 1e-12)
    kernel = kernel * (jnp.exp(log_scale) * norms)[None]
    features, kernel = promote_dtype(features, kernel, dtype=self.dtype)
    rows = at_least_float32(jnp.einsum("na,abc->nbc", features, kernel))
    everyone, index = rows, jnp.arange(len(rows))
    if self.axis_name is not None and not self.is_initializing():
      everyone = lax.all_gather(rows, self.axis_name, tiled=True)
      index += lax.axis_index(self.axis_name) * len(rows)
    closeness = _closeness(rows, everyone, index) + bias[None]
    return jnp.concatenate([features, closeness.astype(features.dtype)], -1)


def minibatch_stddev(
  x: Float[Array, "n h w c"], *, group_size: int = 4, num_channels: int = 1
) -> Float[Array, "n h w c_and_more"]:
  """Appends as constant maps how much the examples of a group differ.

  Karras et al. 2017 (arXiv 1710.10196), section 3, with the groups of StyleGAN2 (Karras et al.
  2019, arXiv 1912.04958): the standard deviation over the group of every feature at every pixel,
  averaged over features and pixels. Groups are of successive examples.

  Args:
    x: features of a batch. Under `shard_map` it is the device's own, which groups do not leave.
    group_size: examples that are compared; all n where they are fewer.
    num_channels: number of maps; each is the average of an equal share of successive features.

  Returns:
    `[n, h, w, c + num_channels]` of the dtype of `x`. Derivatives are finite also where all
    examples of a group are equal: the root is that of the variance plus 1e-8.

  Raises:
    ValueError: if `x` is not of four axes, groups do not divide the batch or maps the features.

  >>> x = jnp.array([0.0, 2.0, 5.0, 5.0]).reshape(4, 1, 1, 1)
  >>> minibatch_stddev(x, group_size=2)[:, 0, 0, 1].round(3)
  Array([1., 1., 0., 0.], dtype=float32)
  """
  x = jnp.asarray(x)
  if x.ndim != 4 or not len(x):
    raise ValueError(f"x has shape {x.shape}: [n, h, w, c] with an example is needed.")
  n, h, w, c = x.shape
  if group_size < 1 or n % min(group_size, n):
    raise ValueError(
      f"group_size={group_size} must divide the batch, of which this device has {n} examples."
    )
  if num_channels < 1 or c % num_channels:
    raise ValueError(f"num_channels={num_channels} must divide the {c} features.")
  group = min(group_size, n)
  groups = at_least_float32(x).reshape(n // group, group, h, w, num_channels, c // num_channels)
  deviations = groups - groups.mean(1, keepdims=True)
  stddev = jnp.sqrt(lax.square(deviations).mean(1) + 1e-8).mean((1, 2, 4)).astype(x.dtype)
  maps = jnp.broadcast_to(stddev[:, None, None, None], (n // group, group, h, w, num_channels))
  return jnp.concatenate([x, maps.reshape(n, h, w, num_channels)], -1)


class MinibatchStdDev(nn.Module):
  """`minibatch_stddev` as a layer without parameters.

  Attributes:
    group_size: examples that are compared.
    num_channels: number of maps.

  >>> MinibatchStdDev().apply({}, jnp.ones([8, 4, 4, 3])).shape
  (8, 4, 4, 4)
  """

  group_size: int = 4
  num_channels: int = 1

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c_and_more"]:
    """Appends the maps to `[n, h, w, c]`."""
    return minibatch_stddev(x, group_size=self.group_size, num_channels=self.num_channels)
