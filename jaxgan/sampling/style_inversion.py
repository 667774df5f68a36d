"""Projection of pictures to the styles of a style-based generator, by optimisation."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from jaxgan import compilation
from jaxgan.latents import example_keys
from jaxgan.sampling.generation import in_batches
from jaxgan.sampling.projection import projection_schedule
from jaxgan.types import Array, Key, PyTree

__all__ = [
  "StyleInversion",
  "StyleStatistics",
  "invert_styles",
  "noise_correlation",
  "style_statistics",
]

_COARSEST = 8  # pixels down to which noise is compared with its neighbours
_QUIET = 0.75  # share of the steps in which styles are perturbed


class StyleStatistics(NamedTuple):
  """Where the styles of a mapping network lie.

  Attributes:
    mean: of w.
    deviation: root mean square distance from it.
  """

  mean: Float[Array, "d"]
  deviation: Float[Array, ""]


def style_statistics(
  mapping: Callable[[Array], Array], latents: Float[Array, "n k"], *, batch_size: int = 256
) -> StyleStatistics:
  """Mean and spread of the styles w of many latents.

  Karras et al. 2019 (arXiv 1912.04958), appendix D: `sqrt(E |w - mean|^2)`, of 10,000 latents.

  Args:
    mapping: from latents `[b, k]` to w `[b, d]`, typically jitted.
    latents: draws of the prior.
    batch_size: most of them at a time.

  Returns:
    The statistics.

  >>> style_statistics(lambda z: 2.0 * z, jnp.array([[1.0], [3.0]]))
  StyleStatistics(mean=Array([4.], dtype=float32), deviation=Array(2., dtype=float32))
  """
  w = jnp.asarray(in_batches(mapping, latents, batch_size))
  mean = w.mean(0)
  return StyleStatistics(mean, jnp.sqrt(jnp.square(w - mean[None]).sum(1).mean()))


class StyleInversion(NamedTuple):
  """What `invert_styles` finds.

  Attributes:
    styles: of every layer; in W all layers of a picture have the same.
    noise: the maps, `[n, height, width]` each, in the structure of those at the start; None where
      they were left alone.
    images: what the generator makes of them.
    losses: before each step and after the last.
  """

  styles: Float[Array, "n layers d"]
  noise: PyTree
  images: Float[Array, "n height width channels"]
  losses: Float[np.ndarray, "n steps"]


def invert_styles(
  synthesize: Callable[[Array, PyTree], Array],
  images: Float[Array, "n height width channels"],
  start: Float[Array, "n d"] | Float[Array, "n layers d"],
  *,
  layers: int,
  deviation: float | Float[Array, ""],
  key: Key,
  noise: PyTree = None,
  features: Callable[[Array], PyTree] = lambda images: images,
  steps: int = 1000,
  learning_rate: float = 0.1,
  jitter: float = 0.05,
  noise_weight: float = 1e5,
  progress: Callable[[int, Array], None] | None = None,
) -> StyleInversion:
  """Finds the styles, and the noise if it is given, whose pictures are nearest to given ones.

  In W, one style for all layers, the projection of Karras et al. 2019 (arXiv 1912.04958), appendix
  D: Adam, styles perturbed ever less in the first three quarters, noise held at mean 0 and variance
  1 and kept from carrying the picture by `noise_correlation`. In W+, a style a layer, as Abdal et
  al. 2019 (arXiv 1904.03189) extend it: nearer pictures, which are harder to edit.

  Args:
    synthesize: from styles `[n, layers, d]` and noise to pictures `[n, H, W, C]` in [-1, 1].
    images: the pictures, in [-1, 1].
    start: styles to start from, such as the mean: `[n, d]` searches W and `[n, layers, d]` W+.
    layers: that take a style.
    deviation: of the styles, see `style_statistics`.
    key: used for the perturbations.
    noise: maps to start from, `[n, height, width]` each; None leaves noise alone, and `synthesize`
      gets None.
    features: what is compared, by mean squared difference: pictures to an array `[n, ...]` or a
      tree of such, whose leaves' differences are added. The paper's is a perceptual distance.
    steps: at least 1.
    learning_rate: at its peak, see `projection_schedule`. 0.1 is the paper's; smaller networks may
      want less.
    jitter: of the styles at the first step, in deviations.
    noise_weight: of the correlation of noise.
    progress: called as `progress(step, losses)` before each step, `losses` `[n]` on the device.

  Returns:
    Styles, noise, pictures and the curves of the loss.

  Raises:
    ValueError: shapes that do not fit, or options out of range.

  >>> target = jnp.full([1, 2, 2, 1], 0.5)
  >>> paint = lambda styles, noise: jnp.tanh(styles.mean(1)).reshape(-1, 2, 2, 1)
  >>> found = invert_styles(
  ...   paint, target, jnp.zeros([1, 4]), layers=3, deviation=0.1, key=jax.random.key(0), steps=200
  ... )
  >>> found.styles.shape, bool(abs(found.images - target).max() < 0.01)
  ((1, 3, 4), True)
  """
  start = jnp.asarray(start)
  n = len(images)
  if images.ndim != 4 or start.ndim not in (2, 3) or len(start) != n:
    raise ValueError(f"images {images.shape} must be [n, H, W, C], and start {start.shape} of n")
  if start.ndim == 3 and start.shape[1] != layers:
    raise ValueError(f"start {start.shape} must be [n, d] or [n, layers={layers}, d]")
  for map_ in jax.tree.leaves(noise):
    if map_.ndim != 3 or len(map_) != n:
      raise ValueError(f"noise of shape {map_.shape} must be [n={n}, height, width]")
  if steps < 1 or not learning_rate > 0.0 or not jitter >= 0.0:
    raise ValueError(
      f"steps={steps} and learning_rate={learning_rate} must be positive, jitter={jitter} 0 or more"
    )
  made = jax.eval_shape(lambda w: synthesize(_spread(w, layers), noise), start).shape
  if made != images.shape:
    raise ValueError(f"synthesize makes pictures {made}, but images is {images.shape}")
  target = compilation.jit(features)(jnp.asarray(images))
  optimizer = optax.adam(projection_schedule(steps, learning_rate))

  def loss(found: tuple[Array, PyTree], moved: Array, target: PyTree) -> tuple[Array, Array]:
    w, maps = found
    picture = synthesize(_spread(w + moved, layers), maps)
    apart = jax.tree.map(_mean_squares, features(picture), target)
    values = jax.tree.reduce(jnp.add, apart)
    if maps is not None:
      values = values + noise_weight * noise_correlation(maps)
    return values.sum(), values

  @compilation.jit
  def step(i: Array, found: PyTree, state: PyTree, target: PyTree) -> tuple[PyTree, PyTree, Array]:
    scale = deviation * jitter * jnp.square(jnp.maximum(1.0 - i / (_QUIET * steps), 0.0))
    keys = example_keys(jax.random.fold_in(key, i), n)
    # One draw for all layers, as one style is for all of them.
    draws = jax.vmap(lambda k: jax.random.normal(k, start.shape[-1:], start.dtype))(keys)
    moved = scale * draws.reshape(n, *[1] * (start.ndim - 2), -1)
    gradient, values = jax.grad(loss, has_aux=True)(found, moved, target)
    updates, state = optimizer.update(gradient, state)
    w, maps = optax.apply_updates(found, updates)
    return (w, jax.tree.map(_standardized, maps)), state, values

  found = (start, jax.tree.map(jnp.asarray, noise))
  state, curve = optimizer.init(found), []
  for i in range(steps):
    found, state, values = step(jnp.asarray(i), found, state, target)
    curve.append(values)
    if progress is not None:
      progress(i, values)
  curve.append(compilation.jit(loss)(found, jnp.zeros_like(start), target)[1])
  styles = _spread(found[0], layers)
  pictures = compilation.jit(synthesize)(styles, found[1])
  return StyleInversion(styles, found[1], pictures, np.stack([np.asarray(x) for x in curve], -1))


def noise_correlation(noise: PyTree) -> Float[Array, "n"]:
  """How far noise maps are correlated with themselves a pixel aside, at every scale.

  Karras et al. 2019 (arXiv 1912.04958), appendix D: of every map and of its halves (means of 2x2
  pixels times 2) down to 8x8, the squared mean product with the map rolled by a pixel, along either
  axis, added up.

  Args:
    noise: maps `[n, height, width]`, a tree of them.

  Returns:
    One value for each example, 0 for white noise of infinite size.

  >>> float(noise_correlation(jnp.ones([1, 4, 4]))[0])
  2.0
  """

  def of_map(x: Array) -> Array:
    total = jnp.zeros(len(x), x.dtype)
    while True:
      for axis in (1, 2):
        total += jnp.square((x * jnp.roll(x, 1, axis)).mean((1, 2)))
      n, h, w = x.shape
      if min(h, w) <= _COARSEST or h % 2 or w % 2:
        return total
      # Twice the mean has the variance of what it is made of, if that is white.
      x = 2.0 * x.reshape(n, h // 2, 2, w // 2, 2).mean((2, 4))

  return jax.tree.reduce(jnp.add, jax.tree.map(of_map, noise))


def _spread(w: Array, layers: int) -> Array:
  return w if w.ndim == 3 else jnp.repeat(w[:, None], layers, 1)


def _standardized(x: Array) -> Array:
  x = x - x.mean((1, 2), keepdims=True)
  return x * jax.lax.rsqrt(jnp.square(x).mean((1, 2), keepdims=True) + 1e-8)


def _mean_squares(a: Array, b: Array) -> Array:
  return jnp.square((a - b).astype(jnp.float32)).reshape(len(a), -1).mean(1)
