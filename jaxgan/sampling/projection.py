"""Projection of pictures to latents, by optimisation."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from jaxgan import compilation
from jaxgan.types import Array, PyTree

__all__ = ["Inversion", "invert", "multi_scale", "normal_prior", "projection_schedule", "psnr"]

Features = Callable[[Array], PyTree]


class Inversion(NamedTuple):
  """What `invert` finds: the best of the restarts for each picture.

  Attributes:
    latents: `[n, ...]`.
    images: what the generator makes of them.
    losses: before each step and after the last.
  """

  latents: Float[Array, "n ..."]
  images: Float[Array, "n height width channels"]
  losses: Float[np.ndarray, "n steps"]


def invert(
  generate: Callable[[Array], Array],
  images: Float[Array, "n height width channels"],
  start: Float[Array, "n restarts ..."],
  *,
  features: Features | None = None,
  prior: Callable[[Array], Array] | None = None,
  steps: int = 1000,
  learning_rate: float = 0.1,
  progress: Callable[[int, Array], None] | None = None,
) -> Inversion:
  """Finds latents whose pictures are nearest to given ones.

  The projection of Karras et al. 2019 (arXiv 1912.04958), appendix D, for any generator and
  any distance: Adam on the latent, with its number of steps, rate and schedule. Where they perturb
  the mapped latent, several starts of every picture are optimised here side by side, and the one
  with the lowest loss is kept; the gradients of different starts do not mix.

  Args:
    generate: from latents `[b, ...]` to pictures `[b, H, W, C]` in [-1, 1], in evaluation mode (no
      example may depend on another).
    images: the pictures, in [-1, 1].
    start: latents to start from, such as draws of the prior.
    features: what is compared, by mean squared difference: pictures `[b, H, W, C]` to an array
      `[b, ...]` or a tree of such, whose leaves' differences are added. By default the pixels; see
      `multi_scale`; or the features of a network.
    prior: per-example term `[b]` of the loss that keeps latents likely, weight inside; see
      `normal_prior`.
    steps: at least 1.
    learning_rate: at its peak; see `projection_schedule`.
    progress: called as `progress(step, losses)` before each step, `losses` being those of all
      pictures and restarts, `[n, restarts]`, on the device; reading them waits for the step.

  Returns:
    Latents, their pictures and the curves of the loss. Restarts that diverged are not chosen; where
    all did, the last loss is not finite.

  Raises:
    ValueError: shapes that do not fit, or options out of range.

  >>> target = jnp.full([1, 2, 2, 1], 0.5)
  >>> found = invert(lambda z: jnp.tanh(z.reshape(-1, 2, 2, 1)), target, jnp.zeros([1, 2, 4]))
  >>> found.latents.shape, bool(psnr(found.images, target)[0] > 60)
  ((1, 4), True)
  """
  n, restarts = _checked(images, start, steps, learning_rate)
  z = start.reshape(n * restarts, *start.shape[2:])
  shape = jax.eval_shape(generate, z).shape
  if shape != (n * restarts, *images.shape[1:]):
    raise ValueError(f"generate makes pictures {shape[1:]}, but images is {images.shape}")
  features = features or (lambda x: x)
  target = jax.tree.map(
    lambda x: jnp.repeat(x, restarts, axis=0), compilation.jit(features)(jnp.asarray(images))
  )
  optimizer = optax.adam(projection_schedule(steps, learning_rate))

  def loss(z: Array, target: PyTree) -> tuple[Array, Array]:
    apart = jax.tree.map(_mean_squares, features(generate(z)), target)
    values = jax.tree.reduce(jnp.add, apart)
    values = values if prior is None else values + prior(z)
    return values.sum(), values

  @compilation.jit
  def step(z: Array, state: PyTree, target: PyTree) -> tuple[Array, PyTree, Array]:
    gradient, values = jax.grad(loss, has_aux=True)(z, target)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(z, updates), state, values

  state, curve = optimizer.init(z), []
  for i in range(steps):
    z, state, values = step(z, state, target)
    curve.append(values)
    if progress is not None:
      progress(i, values.reshape(n, restarts))
  curve.append(compilation.jit(loss)(z, target)[1])

  losses = np.stack([np.asarray(values) for values in curve], -1).reshape(n, restarts, -1)
  best = np.where(np.isfinite(losses[:, :, -1]), losses[:, :, -1], np.inf).argmin(1)
  rows = np.arange(n)
  latents = z.reshape(start.shape)[rows, best]
  return Inversion(latents, compilation.jit(generate)(latents), losses[rows, best])


def projection_schedule(steps: int, peak: float = 0.1) -> optax.Schedule:
  """Learning rates of a projection: up during the first 5% of the steps, down over the last 25%.

  Karras et al. 2019 (arXiv 1912.04958), appendix D: a linear ramp up and a cosine down to 0.

  Args:
    steps: of the whole projection.
    peak: the rate between the ramps.

  >>> [round(float(projection_schedule(100)(step)), 3) for step in (0, 2, 50, 88, 100)]
  [0.0, 0.04, 0.1, 0.047, 0.0]
  """

  def rate(step: Array | int) -> Array:
    t = jnp.asarray(step, jnp.float32) / steps
    down = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1.0, (1.0 - t) / 0.25))
    return peak * down * jnp.minimum(1.0, t / 0.05)

  return rate


def multi_scale(levels: int = 3) -> Features:
  """Features for `invert`: the picture, and the picture at half the size, a quarter ...

  Coarse levels tell the optimiser where something is missing; pixels alone see only what overlaps.

  Args:
    levels: number of sizes, at least 1; height and width must be multiples of 2^(levels - 1).

  Returns:
    A function from pictures `[b, H, W, C]` to a list of pictures.

  Raises:
    ValueError: `levels` is below 1; the function, if pictures cannot be halved so often.

  >>> [x.shape for x in multi_scale(3)(jnp.zeros([1, 8, 8, 3]))]
  [(1, 8, 8, 3), (1, 4, 4, 3), (1, 2, 2, 3)]
  """
  if levels < 1:
    raise ValueError(f"levels={levels} must be at least 1")

  def features(images: Array) -> list[Array]:
    sizes = [images]
    for _ in range(levels - 1):
      b, h, w, c = sizes[-1].shape
      if h % 2 or w % 2:
        raise ValueError(f"levels={levels} are too many for pictures {images.shape[1:]}")
      sizes.append(sizes[-1].reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4)))
    return sizes

  return features


def normal_prior(weight: float) -> Callable[[Array], Array]:
  """Prior for `invert`: the negative log density of standard normal latents, per coordinate.

  Args:
    weight: of the term. With squared pixel errors of about 0.01 a weight of 0.001 holds latents
      near the length that draws have.

  Returns:
    A function from latents `[b, ...]` to `weight * mean(z^2) / 2`, `[b]`.

  >>> normal_prior(2.0)(jnp.full([1, 5], 3.0))
  Array([9.], dtype=float32)
  """
  return lambda z: 0.5 * weight * (z.reshape(len(z), -1) ** 2).mean(1)


def psnr(a: Float[Array, "n ..."], b: Float[Array, "n ..."]) -> Float[Array, "n"]:
  """Peak signal-to-noise ratio of pictures in [-1, 1], in decibels: 10 log10(2^2 / MSE).

  Args:
    a: pictures.
    b: pictures of the same shape.

  Returns:
    One value for each pair, infinite for equal pictures.

  Raises:
    ValueError: the shapes differ.

  >>> psnr(jnp.zeros([1, 4]), jnp.full([1, 4], 0.2))
  Array([20.], dtype=float32)
  """
  if a.shape != b.shape or a.ndim < 2:
    raise ValueError(f"a {a.shape} and b {b.shape} must have the same shape [n, ...]")
  return 10.0 * jnp.log10(4.0 / _mean_squares(jnp.asarray(a), jnp.asarray(b)))


def _mean_squares(a: Array, b: Array) -> Array:
  return ((a - b).astype(jnp.float32) ** 2).reshape(len(a), -1).mean(1)


def _checked(images: Array, start: Array, steps: int, learning_rate: float) -> tuple[int, int]:
  if images.ndim != 4 or start.ndim < 3 or len(start) != len(images) or not start.size:
    raise ValueError(
      f"images {images.shape} must be [n, H, W, C], and start {start.shape} [n, restarts, ...]"
    )
  if steps < 1 or not learning_rate > 0.0:
    raise ValueError(f"steps={steps} and learning_rate={learning_rate} must be positive")
  return start.shape[0], start.shape[1]
