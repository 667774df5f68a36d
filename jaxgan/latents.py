"""Latents: constructors of pure samplers `sample(key, n, *, axis_name=None)`.

Every draw is keyed by the example's index in the global batch, not by the device that makes it, so
that 1, 2 and 8 devices draw the same latents. Under `shard_map`, `n` counts the device's own
examples and `axis_name` names the mesh axis that the batch is split over.

Past 300 lines because the samplers are one family: half of the file is their documentation.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jaxgan.types import Key

__all__ = [
  "AxisName",
  "Mixed",
  "Sampler",
  "Styles",
  "categorical",
  "example_keys",
  "mix_styles",
  "mixed",
  "normal",
  "rows",
  "style_mixing",
  "truncated_normal",
  "uniform",
]

AxisName = Hashable | tuple[Hashable, ...]


class Sampler(Protocol):
  """A pure function from a key and a count to float32 latents `[n, dimension]`.

  >>> sample: Sampler = normal(2)
  >>> sample(jax.random.key(0), 3).shape
  (3, 2)
  """

  def __call__(
    self, key: Key, n: int, *, axis_name: AxisName | None = None
  ) -> Float[Array, "n dimension"]:
    """Draws `n` latents; see `example_keys` for `axis_name`."""


def example_keys(key: Key, n: int, *, axis_name: AxisName | None = None) -> Key:
  """One key per example: `key` folded with the example's index in the global batch.

  Device i of the axis holds examples `i * n` to `i * n + n - 1`, the order in which `shard_map`
  splits a batch.

  Args:
    key: a typed key, equal on every device, and used for nothing else: `fold_in` and `split` of the
      same key give the same keys again.
    n: the number of examples on this device, at least 1.
    axis_name: the mapped axis (or tuple of axes, major first) that the batch is split over.

  Returns:
    Typed keys `[n]`.

  Raises:
    TypeError: if `key` is an old raw key.
    ValueError: if `n` is below 1.

  >>> key = jax.random.key(0)
  >>> bool((example_keys(key, 4)[:2] == example_keys(key, 2)).all())
  True
  """
  if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
    raise TypeError(f"key must be a typed key, jax.random.key(seed), got dtype {key.dtype}")
  if n < 1:
    raise ValueError(f"n must be at least 1, got {n}")
  index = jnp.arange(n, dtype=jnp.uint32)
  if axis_name is not None:
    index += jax.lax.axis_index(axis_name).astype(jnp.uint32) * jnp.uint32(n)
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)


def _per_example(draw: Callable[[Key], Array]) -> Sampler:
  def sample(key: Key, n: int, *, axis_name: AxisName | None = None) -> Array:
    return jax.vmap(draw)(example_keys(key, n, axis_name=axis_name))

  return sample


def _check_dimension(name: str, value: int) -> None:
  if value < 1:
    raise ValueError(f"{name} must be at least 1, got {value}")


def normal(dimension: int = 100) -> Sampler:
  """Standard normal latents, z ~ N(0, I).

  Args:
    dimension: length of a latent, at least 1.

  Returns:
    A sampler of float32 `[n, dimension]`.

  Raises:
    ValueError: if `dimension` is below 1.

  >>> normal(128)(jax.random.key(0), 4).shape
  (4, 128)
  """
  _check_dimension("dimension", dimension)
  return _per_example(lambda key: jax.random.normal(key, [dimension], jnp.float32))


def uniform(dimension: int = 100) -> Sampler:
  """Uniform latents, z ~ U(-1, 1), as DCGAN draws them (Radford et al. 2015, arXiv 1511.06434).

  Args:
    dimension: length of a latent, at least 1.

  Returns:
    A sampler of float32 `[n, dimension]` in [-1, 1).

  Raises:
    ValueError: if `dimension` is below 1.

  >>> z = uniform(2)(jax.random.key(0), 1000)
  >>> bool((jnp.abs(z) <= 1).all())
  True
  """
  _check_dimension("dimension", dimension)
  return _per_example(
    lambda key: jax.random.uniform(key, [dimension], jnp.float32, minval=-1.0, maxval=1.0)
  )


def truncated_normal(dimension: int = 100, *, threshold: float | Array) -> Sampler:
  """Normal latents whose entries beyond the threshold are drawn again: the truncation trick.

  Brock et al. 2018 (arXiv 1809.11096), section 3.1. Drawing again until |z| <= threshold is the
  normal conditioned on that interval, which is drawn here at once; it is not clipping. A smaller
  threshold trades variety for fidelity; use it for sampling, not for training.

  Args:
    dimension: length of a latent, at least 1.
    threshold: positive bound on |z|; may be traced.

  Returns:
    A sampler of float32 `[n, dimension]` in [-threshold, threshold].

  Raises:
    ValueError: if `dimension` is below 1 or `threshold` is a number that is not positive.

  >>> z = truncated_normal(2, threshold=0.5)(jax.random.key(0), 1000)
  >>> bool((jnp.abs(z) <= 0.5).all())
  True
  """
  _check_dimension("dimension", dimension)
  if not isinstance(threshold, Array) and not threshold > 0:
    raise ValueError(f"threshold must be positive, got {threshold}")
  return _per_example(
    lambda key: jax.random.truncated_normal(key, -threshold, threshold, [dimension], jnp.float32)
  )


def categorical(classes: int) -> Sampler:
  """One-hot codes of equally likely classes, c ~ Cat(classes), as InfoGAN feeds them.

  Chen et al. 2016 (arXiv 1606.03657), section 7.

  Args:
    classes: number of classes, at least 2.

  Returns:
    A sampler of one-hot float32 `[n, classes]`.

  Raises:
    ValueError: if `classes` is below 2.

  >>> categorical(10)(jax.random.key(0), 3).sum(axis=1)
  Array([1., 1., 1.], dtype=float32)
  """
  if classes < 2:
    raise ValueError(f"classes must be at least 2, got {classes}")

  def draw(key: Key) -> Array:
    label = jax.random.randint(key, [], 0, classes, jnp.int32)
    return jax.nn.one_hot(label, classes, dtype=jnp.float32)

  return _per_example(draw)


def rows(table: np.ndarray | Callable[[], np.ndarray]) -> Sampler:
  """Rows of a table, each as likely as the others: captions to paint, or pictures to translate.

  Args:
    table: numbers `[rows, ...]`, at least one row. A function that returns them is called when rows
      are first drawn, for tables that take time to read.

  Returns:
    A sampler of float32 `[n, ...]`. Whole numbers below 2^24 keep their values.

  Raises:
    ValueError: if the table has no row.

  >>> rows(np.array([[7, 2], [7, 3]]))(jax.random.key(0), 3).shape
  (3, 2)
  """

  @functools.cache
  def whole() -> np.ndarray:
    found = np.asarray(table() if callable(table) else table)
    if found.ndim < 1 or not len(found):
      raise ValueError(f"table must have at least one row, got the shape {found.shape}")
    return found

  if not callable(table):
    whole()

  def sample(key: Key, n: int, *, axis_name: AxisName | None = None) -> Array:
    keys = example_keys(key, n, axis_name=axis_name)
    last = len(whole())
    chosen = jax.vmap(lambda key: jax.random.randint(key, [], 0, last, jnp.int32))(keys)
    return jnp.asarray(whole())[chosen].astype(jnp.float32)

  return sample


@dataclasses.dataclass(frozen=True)
class Mixed:
  """A sampler that concatenates named parts, and the view back into them; see `mixed`.

  Attributes:
    parts: samplers by name, in the order of their entries.
  """

  parts: dict[str, Sampler]

  def __call__(
    self, key: Key, n: int, *, axis_name: AxisName | None = None
  ) -> Float[Array, "n dimension"]:
    """Draws every part, each with its own key, and concatenates them in the order given."""
    draws = [
      part(jax.random.fold_in(key, index), n, axis_name=axis_name)
      for index, part in enumerate(self.parts.values())
    ]
    return jnp.concatenate(draws, axis=-1)

  def split(self, z: Float[Array, "... dimension"]) -> dict[str, Float[Array, "... _"]]:
    """Slices latents, or a network's estimate of them, into the named parts.

    Args:
      z: of the sampler's dimension in its last axis.

    Returns:
      The parts by name, `[..., the part's dimension]`.

    Raises:
      ValueError: if the last axis is not the sum of the parts' dimensions.
    """
    shapes = {
      name: jax.eval_shape(lambda key, part=part: part(key, 1), jax.random.key(0))
      for name, part in self.parts.items()
    }
    dimension = sum(shape.shape[-1] for shape in shapes.values())
    if z.shape[-1] != dimension:
      raise ValueError(
        f"z has the shape {z.shape}, but the parts {list(shapes)} need a last axis of {dimension}"
      )
    views, start = {}, 0
    for name, shape in shapes.items():
      views[name] = z[..., start : start + shape.shape[-1]]
      start += shape.shape[-1]
    return views


def mixed(**parts: Sampler) -> Mixed:
  """Latents made of named parts side by side: InfoGAN's noise and codes.

  Chen et al. 2016 (arXiv 1606.03657), appendix C.1: 62 noise variables, one of ten classes and two
  continuous codes make MNIST's 74.

  Args:
    **parts: samplers by name; at least one.

  Returns:
    A sampler of float32 `[n, sum of the parts' dimensions]`, with a method `split` that gives the
    parts of such an array back by name.

  Raises:
    ValueError: if there is no part.

  >>> latent = mixed(noise=uniform(62), category=categorical(10), continuous=uniform(2))
  >>> z = latent(jax.random.key(0), 8)
  >>> z.shape, {name: part.shape for name, part in latent.split(z).items()}
  ((8, 74), {'noise': (8, 62), 'category': (8, 10), 'continuous': (8, 2)})
  """
  if not parts:
    raise ValueError("mixed needs at least one part, such as noise=latents.uniform(62)")
  return Mixed(parts)


class Styles(NamedTuple):
  """Two latents and where the second takes over, from `style_mixing`.

  Attributes:
    first: latents or styles of the layers below the crossover.
    second: those of the layers from it on.
    crossover: a layer for each example; the number of layers where there is no second style.
  """

  first: Float[Array, "n dimension"]
  second: Float[Array, "n dimension"]
  crossover: Int[Array, "n"]


def style_mixing(
  latent: Sampler, *, layers: int, probability: float = 0.9
) -> Callable[..., Styles]:
  """Pairs of latents with a random crossover layer: style mixing regularisation.

  Karras et al. 2018 (arXiv 1812.04948), section 3.1. Map both latents to styles, then join them
  with `mix_styles`. The crossover is drawn for each example, uniform in 1..layers-1; an example
  that is not mixed has `crossover == layers`.

  Args:
    latent: sampler of both latents.
    layers: number of layers that take a style, at least 2.
    probability: share of the examples that are mixed, in [0, 1].

  Returns:
    A pure function `sample(key, n, *, axis_name=None) -> Styles`.

  Raises:
    ValueError: if `layers` or `probability` is out of its range.

  >>> styles = style_mixing(normal(512), layers=10)(jax.random.key(0), 4)
  >>> mix_styles(styles, layers=10).shape
  (4, 10, 512)
  """
  if layers < 2:
    raise ValueError(f"layers must be at least 2 for two styles to mix, got {layers}")
  if not 0 <= probability <= 1:
    raise ValueError(f"probability must be in [0, 1], got {probability}")

  def draw(key: Key) -> Array:
    mix_key, layer_key = jax.random.split(key)
    layer = jax.random.randint(layer_key, [], 1, layers, jnp.int32)
    return jnp.where(jax.random.uniform(mix_key, [], jnp.float32) < probability, layer, layers)

  def sample(key: Key, n: int, *, axis_name: AxisName | None = None) -> Styles:
    first, second, crossover = jax.random.split(key, 3)
    return Styles(
      first=latent(first, n, axis_name=axis_name),
      second=latent(second, n, axis_name=axis_name),
      crossover=jax.vmap(draw)(example_keys(crossover, n, axis_name=axis_name)),
    )

  return sample


def mix_styles(styles: Styles, *, layers: int) -> Float[Array, "n layers dimension"]:
  """One style per layer: the first below the crossover, the second from it on.

  Karras et al. 2018 (arXiv 1812.04948), section 3.1; see `style_mixing`.

  Args:
    styles: two styles (mapped latents) and the crossover, as `style_mixing` draws them.
    layers: number of layers that take a style.

  Returns:
    Styles `[n, layers, dimension]`.

  Raises:
    ValueError: if the two styles differ in shape or the crossover is not one per example.

  >>> styles = Styles(jnp.zeros([1, 1]), jnp.ones([1, 1]), jnp.array([2]))
  >>> mix_styles(styles, layers=4)[0, :, 0]
  Array([0., 0., 1., 1.], dtype=float32)
  """
  first, second, crossover = styles
  if first.shape != second.shape or crossover.shape != first.shape[:1]:
    raise ValueError(
      "styles must have the shapes [n, dimension], [n, dimension] and [n], got "
      f"{first.shape}, {second.shape} and {crossover.shape}"
    )
  is_second = jnp.arange(layers)[None, :] >= crossover[:, None]
  return jnp.where(is_second[:, :, None], second[:, None, :], first[:, None, :])
