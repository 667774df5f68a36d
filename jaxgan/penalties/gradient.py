"""Penalties on the gradient of the critic in its input."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgan._arrays import at_least_float32, safe_sqrt, same_shape
from jaxgan.latents import AxisName, example_keys
from jaxgan.penalties.critics import (
  input_gradient,
  l2_norm,
  logits_of,
  refuse_mixing,
  sum_squares,
)
from jaxgan.types import Array, Critic, Key

Norm = Callable[[Array], Array]


def gradient_penalty(
  critic: Critic,
  real: Float[Array, "batch ..."],
  fake: Float[Array, "batch ..."],
  key: Key,
  *,
  target: float = 1.0,
  one_sided: bool = False,
  norm: Norm = l2_norm,
  axis_name: AxisName | None = None,
) -> Float[Array, "batch"]:
  """Squared distance of the critic's gradient norm from a target, between real data and fakes.

  WGAN-GP, Gulrajani et al. 2017 (arXiv 1704.00028), section 4, without its factor lambda = 10:
  `(|grad D(x)| - 1)^2` at `x = e real + (1 - e) fake` with one `e ~ U(0, 1)` an example. One-sided,
  `max(0, |grad D(x)| - 1)^2`, it is WGAN-LP (Petzka et al. 2017, arXiv 1709.08894).

  Args:
    critic: its examples must not mix.
    real: data, float, any range.
    fake: of the shape of `real`. Nothing is detached; differentiate in the critic's parameters.
    key: used for the points between.
    target: the norm aimed at, 0 or more.
    one_sided: whether norms below the target go free.
    norm: from gradients `[batch, ...]` to `[batch]`; one dual to the distance between images that
      the critic is to be Lipschitz in, and safe to differentiate at 0.
    axis_name: the mapped axis over which the batch is split, so that points do not depend on it.

  Returns:
    Non-negative, float32 at least. Its gradient is finite where the critic's is zero.

  Raises:
    ValueError: `real` and `fake` differ in shape, or the critic does not return `[batch]`.

  >>> real, fake = jnp.ones([2, 4]), jnp.zeros([2, 4])
  >>> gradient_penalty(lambda x: 3.0 * x.sum(-1), real, fake, jax.random.key(0))  # (6 - 1)^2
  Array([25., 25.], dtype=float32)
  """
  same_shape(real=real, fake=fake)
  real, fake = jnp.asarray(real), jnp.asarray(fake)
  keys = example_keys(key, len(real), axis_name=axis_name)
  epsilon = _broadcast(jax.vmap(jax.random.uniform)(keys), real)
  norms = norm(input_gradient(critic, fake + epsilon * (real - fake)))
  return _squared_excess(norms, target, one_sided)


def dragan(
  critic: Critic,
  real: Float[Array, "batch ..."],
  key: Key,
  *,
  target: float = 1.0,
  one_sided: bool = False,
  norm: Norm = l2_norm,
  scale: float = 0.5,
  noise: Callable[[Key, tuple[int, ...]], Array] = jax.random.uniform,
  axis_name: AxisName | None = None,
) -> Float[Array, "batch"]:
  """The gradient penalty around real data alone, of any loss's discriminator.

  DRAGAN, Kodali et al. 2017 (arXiv 1705.07215), as in the authors' code, without its factor
  lambda = 10: `(|grad D(x)| - 1)^2` at `x = real + a scale std(real) u`, with
  `u ~ U(0, 1)` a pixel and `a ~ U(0, 1)` an example; `std` is one number, over all entries of the
  batch.

  Args:
    critic: returns logits; its examples must not mix.
    real: data, float, any range.
    key: used for the perturbations.
    target: the norm aimed at, 0 or more.
    one_sided: whether norms below the target go free.
    norm: from gradients `[batch, ...]` to `[batch]`, safe to differentiate at 0.
    scale: of the perturbation, in standard deviations of the data.
    noise: from a key and a shape to `u`. The study of Lucic et al. (arXiv 1711.10337) centres it,
      `lambda key, shape: jax.random.uniform(key, shape, minval=-0.5, maxval=0.5)`.
    axis_name: the mapped axis over which the batch is split: the deviation is then the global one.

  Returns:
    Non-negative, float32 at least. Its gradient is finite where the critic's is zero.

  Raises:
    ValueError: the critic does not return `[batch]`.

  >>> dragan(lambda x: 3.0 * x.sum(-1), jnp.ones([2, 4]), jax.random.key(0))  # (6 - 1)^2
  Array([25., 25.], dtype=float32)
  """

  def mean(x):
    return x.mean() if axis_name is None else jax.lax.pmean(x.mean(), axis_name)

  real = jnp.asarray(real)
  data = at_least_float32(real)
  deviation = safe_sqrt(mean((data - mean(data)) ** 2))
  keys = jax.vmap(jax.random.split)(example_keys(key, len(real), axis_name=axis_name))
  along = _broadcast(jax.vmap(jax.random.uniform)(keys[:, 0]), data)
  direction = jax.vmap(lambda k: noise(k, real.shape[1:]))(keys[:, 1])
  points = data + along * scale * deviation * direction
  norms = norm(input_gradient(critic, points.astype(real.dtype)))
  return _squared_excess(norms, target, one_sided)


def r1(critic: Critic, real: Float[Array, "batch ..."]) -> Float[Array, "batch"]:
  """Squared gradient norm of the critic at real data, `|grad D(x)|^2`.

  Mescheder et al. 2018 (arXiv 1801.04406), equation 9, without its factor gamma / 2 (whose released
  code takes 10, a gamma of 20). The sum runs over all pixels, so gamma grows with resolution.

  Args:
    critic: returns logits; its examples must not mix.
    real: data, float, any range; under augmentation, the image before it, with the augmentation
      inside the closure.

  Returns:
    Non-negative, float32 at least. Its gradient is finite where the critic's is zero.

  Raises:
    ValueError: the critic does not return `[batch]`.

  >>> r1(lambda x: 3.0 * x.sum(-1), jnp.ones([2, 4]))
  Array([36., 36.], dtype=float32)
  """
  return sum_squares(input_gradient(critic, real))


def r2(critic: Critic, fake: Float[Array, "batch ..."]) -> Float[Array, "batch"]:
  """Squared gradient norm of the critic at fakes, `|grad D(G(z))|^2`.

  Mescheder et al. 2018 (arXiv 1801.04406), the companion of `r1`, without its factor gamma / 2.

  Args:
    critic: returns logits; its examples must not mix.
    fake: generated data, float, any range.

  Returns:
    Non-negative, float32 at least. Its gradient is finite where the critic's is zero.

  Raises:
    ValueError: the critic does not return `[batch]`.

  >>> r2(lambda x: 3.0 * x.sum(-1), jnp.ones([2, 4]))
  Array([36., 36.], dtype=float32)
  """
  return r1(critic, fake)


def r1_estimate(
  critic: Critic,
  real: Float[Array, "batch ..."],
  key: Key,
  *,
  step: float = 1e-2,
  axis_name: AxisName | None = None,
) -> Float[Array, "batch"]:
  """An estimate of `r1` from two evaluations of the critic, with no gradient inside a gradient.

  `E (v . grad D(x))^2 = |grad D(x)|^2` for `v ~ N(0, I)` (Hutchinson 1989). The derivative along
  `v` is the central difference `(D(x + h v) - D(x - h v)) / (2 h)`, which is exact for
  critics of the second order and less. So the estimate is unbiased up to `O(h^2)` where the critic
  is smooth; kinks (ReLU, leaky ReLU) within the step lower it by `O(h)`. Its variance is
  `2 |grad D(x)|^4`, a relative deviation of `sqrt(2)` an example that the batch averages out.

  Args:
    critic: returns logits; its examples must not mix.
    real: data, float, any range.
    key: used for the directions, one an example.
    step: `h`, in the unit of the data. A smaller one costs digits: logits carry 7 (3 in bfloat16),
      and the difference must stand out from their rounding.
    axis_name: the mapped axis over which the batch is split; directions do not depend on it.

  Returns:
    Non-negative, float32 at least.

  Raises:
    ValueError: the critic does not return `[batch]`, or `step` is not above 0.

  >>> real = jnp.ones([4096, 2])
  >>> exact = r1(lambda x: 3.0 * x.sum(-1), real).mean()
  >>> estimate = r1_estimate(lambda x: 3.0 * x.sum(-1), real, jax.random.key(0)).mean()
  >>> bool(abs(estimate / exact - 1) < 0.1)
  True
  """
  if isinstance(step, int | float) and not step > 0:
    raise ValueError(f"step must be above 0, got {step}: 0.01 suits data in [-1, 1]")
  refuse_mixing(critic)
  real = at_least_float32(real)  # in bfloat16 the step taken would not be the step meant
  keys = example_keys(key, len(real), axis_name=axis_name)
  direction = jax.vmap(lambda k: jax.random.normal(k, real.shape[1:]))(keys)
  move = (step * direction).astype(real.dtype)
  ahead, behind = logits_of(critic, real + move), logits_of(critic, real - move)
  return ((ahead - behind) / (2 * step)) ** 2


def r2_estimate(
  critic: Critic,
  fake: Float[Array, "batch ..."],
  key: Key,
  *,
  step: float = 1e-2,
  axis_name: AxisName | None = None,
) -> Float[Array, "batch"]:
  """An estimate of `r2` from two evaluations of the critic: `r1_estimate`, at fakes.

  Args:
    critic: returns logits; its examples must not mix.
    fake: generated data, float, any range.
    key: used for the directions; not the key of `r1_estimate`.
    step: the half-width of the difference, in the unit of the data.
    axis_name: the mapped axis over which the batch is split; directions do not depend on it.

  Returns:
    Non-negative, float32 at least.

  Raises:
    ValueError: the critic does not return `[batch]`, or `step` is not above 0.

  >>> r2_estimate(lambda x: 3.0 * x.sum(-1), jnp.ones([2, 4]), jax.random.key(0)).shape
  (2,)
  """
  return r1_estimate(critic, fake, key, step=step, axis_name=axis_name)


def _squared_excess(norms: Array, target: float, one_sided: bool) -> Array:
  excess = norms - target
  return (jax.nn.relu(excess) if one_sided else excess) ** 2


def _broadcast(scalars: Array, like: Array) -> Array:
  return scalars.reshape([-1] + [1] * (like.ndim - 1)).astype(like.dtype)
