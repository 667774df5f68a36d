"""What StyleGAN's and StyleGAN2's generators share: all but the synthesis network."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from jaxgan import latents, layers
from jaxgan.models._common import split_latent, stages
from jaxgan.types import Array

__all__ = ["StyleGenerator", "widths"]


def widths(resolution: int, width: int, most: int) -> dict[int, int]:
  """Features by resolution, from 4 pixels on: `width` at the full one, doubling, `most` at most."""
  sizes = [4 << i for i in range(stages(resolution) + 1)]
  return {size: min(width * resolution // size, most) for size in sizes}


class StyleGenerator(nn.Module):
  """A mapping network, style mixing and the mean style, around a synthesis network.

  Attributes:
    classes: number of classes, whose one-hot labels follow the noise in a latent; None for none.
    resolution: height and width of the pictures, 8, 16, 32, 64 ...
    channels: of the pictures.
    width: features at the full resolution; each halving of it doubles them.
    max_width: most features.
    style_dim: dimensions of a style w.
    depth: layers of the mapping network.
    mixing: share of the pictures that are made of two styles while training.
    mean_decay: decay of the mean style, the collection "averages", per pass while training.
    axis_name: the mapped axis over which the batch is split, for noise, mixing and the mean style.
    dtype: of the computation; parameters stay float32.
  """

  classes: int | None = None
  resolution: int = 32
  channels: int = 3
  width: int = 512
  max_width: int = 512
  style_dim: int = 512
  depth: int = 8
  mixing: float = 0.9
  mean_decay: float = 0.995
  axis_name: str | None = None
  dtype: Any = None

  def setup(self) -> None:
    """Makes both networks."""
    self.mapping = layers.MappingNetwork(self.style_dim, self.depth, dtype=self.dtype)
    self.synthesis = self._synthesis()
    self.mean = self.variable("averages", "w", jnp.zeros, (self.style_dim,), jnp.float32)

  def _synthesis(self) -> nn.Module:
    raise NotImplementedError

  @property
  def num_layers(self) -> int:
    """Number of layers that take a style: two for each resolution."""
    return 2 * (stages(self.resolution) + 1)

  def map(self, z: Float[Array, "batch latent"]) -> Float[Array, "batch style"]:
    """Maps latents, `[batch, noise + classes]` where there are classes, to styles w."""
    noise, label = self._parts(z)
    return self.mapping(noise, label)

  def styles(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch layers style"]:
    """Styles of every layer: while training mixed, and counted in the mean style."""
    w = self.map(z)
    if not train:
      return jnp.repeat(w[:, None], self.num_layers, 1)
    if self.is_mutable_collection("averages"):
      mean = jax.lax.stop_gradient(w).mean(0)
      if self.axis_name is not None:
        mean = jax.lax.pmean(mean, self.axis_name)
      self.mean.value = mean + self.mean_decay * (self.mean.value - mean)
    if not self.mixing:
      return jnp.repeat(w[:, None], self.num_layers, 1)
    noise, label = self._parts(z)
    draw = latents.style_mixing(
      latents.normal(noise.shape[1]), layers=self.num_layers, probability=self.mixing
    )
    drawn = draw(self.make_rng("dropout"), len(z), axis_name=self.axis_name)
    second = self.mapping(drawn.second, label)
    return latents.mix_styles(drawn._replace(first=w, second=second), layers=self.num_layers)

  def synthesize(
    self, styles: Float[Array, "batch layers style"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Pictures of styles; their noise is random while training, and otherwise one fixed draw."""
    count = (self.num_layers, self.style_dim)
    if styles.ndim != 3 or styles.shape[1:] != count:
      raise ValueError(f"styles {styles.shape} are not [batch, layers, style] = (n, *{count})")
    return self.synthesis(styles, train=train)

  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps normal latents to pictures around [-1, 1], float32 at least."""
    return self.synthesize(self.styles(z, train=train), train=train)

  def _parts(self, z: Array) -> tuple[Array, Array | None]:
    return (z, None) if self.classes is None else split_latent(z, self.classes)
