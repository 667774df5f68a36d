"""Batch normalisation: Ioffe and Szegedy 2015 (arXiv 1502.03167), Algorithm 1.

Parameters, statistics and results are those of `flax.linen.BatchNorm`; three things differ:

- The gradient is written in closed form. Automatic differentiation reads and writes the features
  more often.
- The variance is taken around a mean of a few of the numbers, which costs no further pass, so that
  it survives features whose mean is far greater than their deviation.
- It has no forward-mode derivative.

Over several devices both have one collective in the forward and one in the backward pass.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import canonicalize_dtype
from jax import Array, lax
from jaxtyping import Float

from jaxgan.layers._channels import sums
from jaxgan.layers._varying import aligned

__all__ = ["BatchNorm"]

AxisName = str | tuple[str, ...] | None


class _Options(NamedTuple):
  epsilon: float
  axis_name: AxisName
  dtype: Any


def _along(vector: Array, x: Array) -> Array:
  return vector.reshape((1,) * (x.ndim - 1) + (-1,))


def _wide(x: Array) -> Array:
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _moments(x: Array, running_mean: Array, axis_name: AxisName) -> tuple[Array, Array]:
  """Mean and variance over all axes but the last and over the devices, by one pass over `x`.

  `E[(x - s)^2] - (E[x] - s)^2` is the variance for every `s`, and loses no digits where `s` is
  within a few deviations of the mean: as the first example's mean is. Between devices, which need
  one `s` in common, it is the running mean.
  """
  count = x.size // x.shape[-1]
  x, running_mean = _wide(x), lax.stop_gradient(running_mean)
  shift = lax.stop_gradient(sums(x[:1]) * (x.shape[0] / count))
  mean, square = sums(x) / count, sums(lax.square(x - _along(shift, x))) / count
  var = jnp.maximum(square - lax.square(mean - shift), 0.0)  # rounding may leave it below 0
  if axis_name is not None:
    offset = mean - running_mean
    offset, square = lax.pmean(jnp.stack([offset, var + lax.square(offset)]), axis_name)
    mean, var = running_mean + offset, jnp.maximum(square - lax.square(offset), 0.0)
  return mean, var


def _affine(
  options: _Options, x: Array, mean: Array, var: Array, scale: Array, bias: Array
) -> Array:
  gain = lax.rsqrt(var + options.epsilon) * scale
  y = (x - _along(mean, x)) * _along(gain, x) + _along(bias, x)
  return y.astype(options.dtype)


def _plain(
  options: _Options, x: Array, scale: Array, bias: Array, running_mean: Array
) -> tuple[Array, Array, Array]:
  mean, var = _moments(x, running_mean, options.axis_name)
  return _affine(options, x, mean, var, scale, bias), mean, var


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalize(
  options: _Options, x: Array, scale: Array, bias: Array, running_mean: Array
) -> tuple[Array, Array, Array]:
  """`(y, mean, var)` by the statistics of the batch; no gradient flows through the latter two."""
  return _plain(options, x, scale, bias, running_mean)


def _forward(
  options: _Options, x: Array, scale: Array, bias: Array, running_mean: Array
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
  # Not by `_normalize`: its statistics have no gradient, which second derivatives need.
  y, mean, var = _plain(options, x, scale, bias, running_mean)
  return (y, mean, var), (x, scale, bias, mean, var)


def _backward(
  options: _Options, saved: tuple[Array, ...], cotangents: tuple[Array, ...]
) -> tuple[Array | None, ...]:
  """With `u = x - mean` and `y = gain u + bias`, `dx = gain (g - E[g] - u E[g u] / (var + eps))`.

  The means are over the global batch.
  """
  x, scale, bias, mean, var = saved
  g, u = _wide(cotangents[0]), x - _along(mean, x)
  count = x.size // x.shape[-1]
  inverse = lax.rsqrt(var + options.epsilon)
  d_bias, correlation = sums(g), sums(g * u)
  means = jnp.stack([scale * d_bias, scale * correlation]) / count
  if options.axis_name is not None:
    means = lax.pmean(means, options.axis_name)
  offset, slope = -means[0] * inverse, -means[1] * inverse**3
  dx = g * _along(inverse * scale, x) + u * _along(slope, x) + _along(offset, x)
  return (
    dx.astype(x.dtype),
    (correlation * inverse).astype(scale.dtype),
    d_bias.astype(bias.dtype),
    None,
  )


_normalize.defvjp(_forward, _backward)


class BatchNorm(nn.Module):
  """Batch normalisation, with the parameters, statistics and results of `flax.linen.BatchNorm`.

  Masks, groups of devices and feature axes other than the last stay Flax's.

  Attributes:
    use_running_average: whether to normalise by the running statistics rather than by those of the
      batch, which then also move the running ones; here or in the call.
    momentum: decay of the running statistics, in [0, 1).
    epsilon: added to the variance.
    dtype: of the result; by default that of inputs and parameters together. Statistics and
      arithmetic are float32 at least.
    param_dtype: of the parameters.
    use_bias: whether to add a learned bias.
    use_scale: whether to multiply by a learned gain.
    bias_init: initializer of the bias `[channels]`.
    scale_init: initializer of the gain `[channels]`.
    axis_name: mapped axis, or axes, over which the statistics are shared; all shards are of one
      size.
    track_running_stats: whether there are running statistics. Without them the layer keeps no
      collection and normalises by the batch always, in evaluation too, as pix2pix (Isola et al.
      2016, arXiv 1611.07004) has it.

  >>> layer = BatchNorm(use_running_average=False, momentum=0.9)
  >>> images = 3.0 + jax.random.normal(jax.random.key(0), [8, 4, 4, 2])
  >>> variables = layer.init(jax.random.key(1), images)
  >>> y, updates = layer.apply(variables, images, mutable=["batch_stats"])
  >>> y.shape, bool(abs(y.mean()) < 1e-5)
  ((8, 4, 4, 2), True)
  >>> jax.numpy.round(updates["batch_stats"]["mean"], 1)
  Array([0.3, 0.3], dtype=float32)
  """

  use_running_average: bool | None = None
  _: dataclasses.KW_ONLY
  momentum: float = 0.99
  epsilon: float = 1e-5
  dtype: Any = None
  param_dtype: Any = jnp.float32
  use_bias: bool = True
  use_scale: bool = True
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
  scale_init: nn.initializers.Initializer = nn.initializers.ones_init()
  axis_name: AxisName = None
  track_running_stats: bool = True

  @nn.compact
  def __call__(
    self, inputs: Float[Array, "... channels"], use_running_average: bool | None = None
  ) -> Float[Array, "... channels"]:
    """Normalises `inputs` over all axes but the last."""
    if inputs.ndim < 2 or not inputs.size:
      raise ValueError(
        f"inputs have shape {inputs.shape}: [batch, ..., channels] with an example is needed."
      )
    shape = inputs.shape[-1:]
    if self.track_running_stats:
      running = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
      mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
      var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
    scale, bias = jnp.ones(shape, self.param_dtype), jnp.zeros(shape, self.param_dtype)
    types = [inputs]
    if self.use_scale:
      scale = self.param("scale", self.scale_init, shape, self.param_dtype)
      types.append(scale)
    if self.use_bias:
      bias = self.param("bias", self.bias_init, shape, self.param_dtype)
      types.append(bias)
    axis_name = None if self.is_initializing() else self.axis_name
    options = _Options(self.epsilon, axis_name, canonicalize_dtype(*types, dtype=self.dtype))
    if not self.track_running_stats:
      x, scale, bias = aligned(inputs, scale, bias)
      return _normalize(options, x, scale, bias, jnp.zeros(shape, jnp.float32))[0]
    if running:
      return _affine(options, inputs, mean.value, var.value, scale, bias)
    x, scale, bias = aligned(inputs, scale, bias)
    y, new_mean, new_var = _normalize(options, x, scale, bias, mean.value)
    if not self.is_initializing():
      mean.value = self.momentum * mean.value + (1 - self.momentum) * new_mean
      var.value = self.momentum * var.value + (1 - self.momentum) * new_var
    return y
