"""The two mixtures of Gaussians in the plane on which GANs are looked at."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.types import Array, Key


class Mixture(NamedTuple):
  """Equally likely Gaussians.

  Attributes:
    centres: `[modes, 2]`.
    std: deviation of each in both dimensions.
  """

  centres: Array
  std: float

  def sample(self, key: Key, shape: tuple[int, ...]) -> Array:
    """Points `[*shape, 2]`."""
    which, noise = jax.random.split(key)
    modes = jax.random.randint(which, shape, 0, len(self.centres))
    return self.centres[modes] + self.std * jax.random.normal(noise, (*shape, 2))

  @property
  def extent(self) -> float:
    """Half the side of the square to look at."""
    return 1.25 * float(jnp.abs(self.centres).max())

  def plane(self, side: int = 64) -> Array:
    """Points `[side * side, 2]` all over that square."""
    axis = jnp.linspace(-self.extent, self.extent, side)
    return jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2)


def ring() -> Mixture:
  """8 modes on a circle of radius 2, deviation 0.02."""
  # Both ends of linspace(0, 2 pi, 8) would be one mode.
  angles = 2 * jnp.pi * jnp.arange(8) / 8
  return Mixture(2.0 * jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1), 0.02)


def grid() -> Mixture:
  """25 modes at spacing 2, deviation 0.05."""
  axis = jnp.linspace(-4.0, 4.0, 5)
  return Mixture(jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2), 0.05)
