"""The two mixtures of Gaussians in the plane on which GANs are looked at, and how to look."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan._files import replacing
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


class Snapshot(NamedTuple):
  """A generator and a discriminator at one time.

  Attributes:
    step: of the training.
    samples: `[n, 2]`.
    landscape: the discriminator's logits at `Mixture.plane()`.
  """

  step: int
  samples: np.ndarray
  landscape: np.ndarray


def plot(path: pathlib.Path, mixture: Mixture, snapshots: Sequence[Snapshot]) -> None:
  """Draws samples over the discriminator's landscape, at up to six of the times.

  Args:
    path: of the picture.
    mixture: whose modes are marked.
    snapshots: in the order of time.
  """
  import matplotlib.pyplot as plt

  chosen = [snapshots[i] for i in np.unique(np.linspace(0, len(snapshots) - 1, 6).astype(int))]
  figure, axes = plt.subplots(1, len(chosen), figsize=(2.2 * len(chosen), 2.5), squeeze=False)
  half = mixture.extent
  for ax, (step, samples, landscape) in zip(axes[0], chosen, strict=True):
    side = round(landscape.size**0.5)
    # Losses differ in where their logits lie, so each panel has colours of its own.
    low, high = np.percentile(np.nan_to_num(landscape), [2, 98])
    ax.imshow(
      landscape.reshape(side, side),
      extent=(-half, half, -half, half),
      origin="lower",
      cmap="RdBu",
      vmin=low,
      vmax=high,
      alpha=0.6,
    )
    ax.scatter(*mixture.centres.T, s=14, marker="+", c="black", linewidths=0.7)
    ax.scatter(*samples[:1000].T, s=1.0, c="tab:green", alpha=0.5, linewidths=0)
    ax.set(xlim=(-half, half), ylim=(-half, half), xticks=[], yticks=[], title=f"step {step}")
  figure.tight_layout(pad=0.4)
  with replacing(path) as temporary:
    figure.savefig(temporary, format="png", dpi=80, bbox_inches="tight")
  plt.close(figure)
