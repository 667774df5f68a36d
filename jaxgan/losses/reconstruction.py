"""Distances between images, and the prior of an autoencoder's latents."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Float

from jaxgan._arrays import bounded_exp, per_example, same_shape
from jaxgan.types import Array


def l1(x: Float[Array, "batch ..."], y: Float[Array, "batch ..."]) -> Float[Array, "batch"]:
  """Mean absolute difference of each example.

  The reconstruction term of pix2pix (Isola et al. 2016, arXiv 1611.07004, section 3.1, weight 100)
  and, up to scale, the negative log-likelihood of UNIT's Laplacian.

  Args:
    x: any shape with a batch axis.
    y: the same shape.

  Returns:
    Non-negative, the mean over all axes but the first.

  Raises:
    ValueError: the shapes differ, or there is no batch axis.

  >>> l1(jnp.zeros([2, 4, 4, 3]), jnp.full([2, 4, 4, 3], -0.5))
  Array([0.5, 0.5], dtype=float32)
  """
  return _mean_per_example(jnp.abs, x, y)


def l2(x: Float[Array, "batch ..."], y: Float[Array, "batch ..."]) -> Float[Array, "batch"]:
  """Mean squared difference of each example.

  The reconstruction term of a Gaussian likelihood and of context encoders (Pathak et al. 2016,
  arXiv 1604.07379), there over the missing pixels.

  Args:
    x: any shape with a batch axis.
    y: the same shape.

  Returns:
    Non-negative, the mean over all axes but the first.

  Raises:
    ValueError: the shapes differ, or there is no batch axis.

  >>> l2(jnp.zeros([2, 4, 4, 3]), jnp.full([2, 4, 4, 3], -0.5))
  Array([0.25, 0.25], dtype=float32)
  """
  return _mean_per_example(jnp.square, x, y)


def cycle_consistency(
  x: Float[Array, "batch ..."],
  cycled_x: Float[Array, "batch ..."],
  y: Float[Array, "batch ..."],
  cycled_y: Float[Array, "batch ..."],
) -> Float[Array, "batch"]:
  """`|F(G(x)) - x|_1 + |G(F(y)) - y|_1`, there and back in both directions.

  CycleGAN, Zhu et al. 2017 (arXiv 1703.10593), section 3.2, at weight 10; each norm is a mean over
  pixels.

  Args:
    x: images of the first domain.
    cycled_x: `F(G(x))`, the shape of `x`.
    y: images of the second domain, as many.
    cycled_y: `G(F(y))`, the shape of `y`.

  Returns:
    Non-negative, the sum of both directions.

  Raises:
    ValueError: shapes differ within a direction, or batch sizes between them.

  >>> x = jnp.zeros([2, 8, 8, 3])
  >>> cycle_consistency(x, x + 0.25, x, x - 0.5)
  Array([0.75, 0.75], dtype=float32)
  """
  forward, backward = same_shape(x=l1(x, cycled_x), y=l1(y, cycled_y))
  return forward + backward


def identity_mapping(
  x: Float[Array, "batch ..."],
  mapped_x: Float[Array, "batch ..."],
  y: Float[Array, "batch ..."],
  mapped_y: Float[Array, "batch ..."],
) -> Float[Array, "batch"]:
  """`|F(x) - x|_1 + |G(y) - y|_1`: an image already in a generator's target domain stays as it is.

  CycleGAN, Zhu et al. 2017 (arXiv 1703.10593), section 5.2, at half the weight of the cycle.

  Args:
    x: images of the first domain.
    mapped_x: `F(x)`, by the generator into the first domain.
    y: images of the second domain, as many.
    mapped_y: `G(y)`, by the generator into the second domain.

  Returns:
    Non-negative, the sum of both domains.

  Raises:
    ValueError: shapes differ within a domain, or batch sizes between them.

  >>> x = jnp.zeros([2, 8, 8, 3])
  >>> identity_mapping(x, x, x, x + 1.0)
  Array([1., 1.], dtype=float32)
  """
  return cycle_consistency(x, mapped_x, y, mapped_y)


def kl_to_standard_normal(
  mean: Float[Array, "batch ..."], log_variance: Float[Array, "batch ..."] | None = None
) -> Float[Array, "batch"]:
  """`KL(N(mean, variance) | N(0, I))`, the prior term of a variational autoencoder.

  Kingma and Welling 2013 (arXiv 1312.6114), appendix B: `sum (mean^2 + variance - 1 - log variance)
  / 2`. UNIT (Liu et al. 2017, arXiv 1703.00848) fixes the variance at 1, which leaves half the
  squared norm of the mean.

  Args:
    mean: of the latent of each example.
    log_variance: the same shape, or None for a variance of 1. Above 30 its exponential is replaced
      by a tangent, so that values stay finite.

  Returns:
    Non-negative nats, the sum over all axes but the first.

  Raises:
    ValueError: the shapes differ, or there is no batch axis.

  >>> kl_to_standard_normal(jnp.ones([2, 4, 4, 8]))
  Array([64., 64.], dtype=float32)
  """
  mean, log_variance = same_shape(
    mean=mean, log_variance=jnp.zeros_like(mean) if log_variance is None else log_variance
  )
  terms = 0.5 * (mean**2 + bounded_exp(log_variance) - 1 - log_variance)
  return per_example(terms).sum(-1)


def _mean_per_example(distance: Callable[[Array], Array], x: Array, y: Array) -> Array:
  x, y = same_shape(x=x, y=y)
  return per_example(distance(x - y)).mean(-1)
