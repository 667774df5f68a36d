"""Batch normalisation whose gain and bias depend on a condition."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxgan.layers.batch_norm import AxisName, BatchNorm

__all__ = ["ConditionalBatchNorm"]


class ConditionalBatchNorm(nn.Module):
  """Batch norm with a gain `1 + condition G` and a bias `condition B` for each example.

  Dumoulin et al. 2016 (arXiv 1610.07629) and de Vries et al. 2017 (arXiv 1707.00683), as the
  generators of Miyato and Koyama 2018 (arXiv 1802.05637) have it: under one-hot labels one gain and
  one bias a class, which start at 1 and 0. BigGAN (Brock et al. 2018, arXiv 1809.11096) gives an
  embedding of the label and a part of the latent instead, and normalises G and B spectrally.

  Attributes:
    use_running_average: whether to normalise by the running statistics rather than by those of the
      batch, which then also move the running ones.
    momentum: decay of the running statistics, in [0, 1).
    epsilon: added to the variance.
    linear: constructor of the linear maps "gain" and "bias"; it takes what `flax.linen.Dense`
      takes, so that one with spectral normalisation may stand here.
    kernel_init: initializer of G and B, `[k, channels]`.
    dtype: of the result; by default that of inputs and parameters together. Statistics are float32
      at least.
    param_dtype: of the parameters.
    axis_name: mapped axis, or axes, over which the statistics are shared.

  >>> import jax
  >>> layer = ConditionalBatchNorm(use_running_average=False)
  >>> images, labels = jnp.ones([2, 8, 8, 4]), jax.nn.one_hot(jnp.arange(2), 10)
  >>> variables = layer.init(jax.random.key(0), images, labels)
  >>> jax.tree.map(jnp.shape, variables["params"])
  {'bias': {'kernel': (10, 4)}, 'gain': {'kernel': (10, 4)}}
  """

  use_running_average: bool
  _: dataclasses.KW_ONLY
  momentum: float = 0.9
  epsilon: float = 1e-5
  linear: Callable[..., nn.Module] = nn.Dense
  kernel_init: nn.initializers.Initializer = nn.initializers.zeros_init()
  dtype: Any = None
  param_dtype: Any = jnp.float32
  axis_name: AxisName = None

  @nn.compact
  def __call__(
    self, inputs: Float[Array, "n ... channels"], condition: Float[Array, "n k"]
  ) -> Float[Array, "n ... channels"]:
    """Normalises `inputs` over all axes but the last; one row of `condition` an example."""
    if inputs.ndim < 2 or condition.ndim != 2 or inputs.shape[0] != condition.shape[0]:
      raise ValueError(
        f"inputs {inputs.shape} and condition {condition.shape} do not fit: [n, ..., channels] and"
        " [n, k] are needed; pass labels as jax.nn.one_hot(labels, classes)."
      )
    x = BatchNorm(
      self.use_running_average,
      momentum=self.momentum,
      epsilon=self.epsilon,
      use_scale=False,
      use_bias=False,
      dtype=self.dtype,
      axis_name=self.axis_name,
      name="norm",
    )(inputs)

    def rows(name: str) -> Array:
      layer = self.linear(
        inputs.shape[-1],
        use_bias=False,
        kernel_init=self.kernel_init,
        dtype=self.dtype,
        param_dtype=self.param_dtype,
        name=name,
      )
      y = layer(condition)
      return y.reshape(inputs.shape[0], *(1,) * (inputs.ndim - 2), -1)

    return x * (1.0 + rows("gain")) + rows("bias")
