"""The last layer of a projection discriminator: Miyato and Koyama 2018 (arXiv 1802.05637)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxgan._arrays import at_least_float32
from jaxgan.layers.spectral_norm import SNDense, SNEmbed

__all__ = ["ProjectionHead"]


class ProjectionHead(nn.Module):
  """`psi(features) + <embedding of the class, features>`.

  Miyato and Koyama 2018 (arXiv 1802.05637), equation 3, with a linear `psi`.

  Attributes:
    classes: number of classes; None leaves the first term alone.
    spectral: whether both layers are spectrally normalised (Miyato et al. 2018, arXiv 1802.05957).
    update_stats: False keeps the spectral vectors also where they are mutable; networks pass
      `train`.
    use_bias: whether `psi` has a bias.
    kernel_init: initializer of the kernel `[features, 1]` and of the table `[classes, features]`.
    dtype: of the computation; by default that of inputs and parameters together.
    param_dtype: of the parameters.

  >>> import jax
  >>> layer = ProjectionHead(10)
  >>> features, labels = jnp.ones([2, 4]), jax.nn.one_hot(jnp.arange(2), 10)
  >>> y, variables = layer.init_with_output(jax.random.key(0), features, labels)
  >>> y.shape
  (2,)
  >>> jax.tree.map(jnp.shape, variables["params"])
  {'embed': {'embedding': (10, 4)}, 'psi': {'bias': (1,), 'kernel': (4, 1)}}
  """

  classes: int | None
  spectral: bool = True
  _: dataclasses.KW_ONLY
  update_stats: bool = True
  use_bias: bool = True
  kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
  dtype: Any = None
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, features: Float[Array, "n d"], condition: Float[Array, "n classes"] | None = None
  ) -> Float[Array, " n"]:
    """Maps features and one-hot labels to logits, float32 at least."""
    if features.ndim != 2 or (condition is None) != (self.classes is None):
      given = None if condition is None else condition.shape
      raise ValueError(
        f"features {features.shape} and condition {given} with classes={self.classes}: [n, d]"
        " features are needed, and a condition just where there are classes."
      )
    types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    extra: dict[str, Any] = {"update_stats": self.update_stats} if self.spectral else {}
    dense = SNDense if self.spectral else nn.Dense
    psi = dense(
      1, use_bias=self.use_bias, kernel_init=self.kernel_init, name="psi", **types, **extra
    )
    y = at_least_float32(psi(features)[:, 0])
    if condition is None or self.classes is None:
      return y
    if condition.shape != (len(features), self.classes):
      raise ValueError(
        f"condition {condition.shape} is not [n, classes] = ({len(features)}, {self.classes}); pass"
        " labels as jax.nn.one_hot(labels, classes)."
      )
    table = SNEmbed if self.spectral else nn.Embed
    embed = table(
      self.classes,
      features.shape[1],
      embedding_init=self.kernel_init,
      name="embed",
      **types,
      **extra,
    )
    embedding, rows, x = nn.dtypes.promote_dtype(
      embed.embedding, condition, features, dtype=self.dtype
    )
    return y + at_least_float32((rows @ embedding) * x).sum(1)
