"""How samples spread over the modes of a known mixture of Gaussians."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgan.types import Array

__all__ = ["ModeCoverage", "mode_coverage"]


class ModeCoverage(NamedTuple):
  """What `mode_coverage` measures.

  Attributes:
    covered: int32, modes that hold at least one high-quality sample.
    high_quality: fraction of samples near a mode, in [0, 1].
    reverse_kl: KL divergence, in nats, from the samples' shares of the modes to equal shares, in
      [0, log m]; each sample counts for its nearest mode, near or not.
  """

  covered: Int[Array, ""]
  high_quality: Float[Array, ""]
  reverse_kl: Float[Array, ""]


def mode_coverage(
  samples: Float[Array, "n d"],
  centres: Float[Array, "m d"],
  std: float,
  *,
  radius: float = 3.0,
) -> ModeCoverage:
  """Modes covered, high-quality fraction and reverse KL of samples of a mixture.

  VEEGAN, Srivastava et al. 2017 (arXiv 1705.07761), section 4.1, and PacGAN, Lin et al. 2017 (arXiv
  1712.04086), section 4.1, who draw 2,500 samples: one is of high quality within 3 standard
  deviations of its nearest mode. (Of a perfect sampler's, `1 - exp(-9 / 2) = 98.9%` are in two
  dimensions.)

  Args:
    samples: points.
    centres: means of the mixture's components, of equal weight.
    std: standard deviation of each component in each dimension.
    radius: how near is near, in standard deviations.

  Returns:
    The three measures, scalars.

  Raises:
    ValueError: the shapes are not `[n, d]` and `[m, d]`.

  >>> centres = jnp.array([[0.0, 0.0], [1.0, 0.0]])
  >>> mode_coverage(jnp.array([[0.01, 0.0], [0.2, 0.0]]), centres, std=0.02)._asdict()
  {'covered': Array(1, dtype=int32), 'high_quality': Array(0.5, dtype=float32),
   'reverse_kl': Array(0.6931472, dtype=float32)}
  """
  if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1] != centres.shape[1]:
    raise ValueError(f"samples {samples.shape} and centres {centres.shape} must be [n, d], [m, d]")
  distances = jnp.linalg.norm(samples[:, None] - centres[None], axis=-1)
  near = distances.min(1) <= radius * std
  nearest = jax.nn.one_hot(distances.argmin(1), len(centres))
  shares = nearest.mean(0)
  return ModeCoverage(
    covered=(nearest * near[:, None]).any(0).sum(),
    high_quality=near.mean(),
    reverse_kl=jax.scipy.special.xlogy(shares, shares * len(centres)).sum(),
  )
