"""Directions of a latent space along which pictures change most, found without labels."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxgan.sampling.generation import batches
from jaxgan.types import Array, PyTree

__all__ = [
  "Directions",
  "PrincipalComponents",
  "input_kernel",
  "layer_outputs",
  "principal_components",
  "principal_directions",
  "semantic_factorisation",
]

_SPARE = 10  # components that are carried beyond those asked for: what is cut off is lost


class Directions(NamedTuple):
  """Directions in a latent space, the strongest first; walk along them with `traverse`.

  Attributes:
    vectors: one step along each.
    shares: how much of the whole effect each has, in [0, 1]; see the function that made them.
  """

  vectors: Float[np.ndarray, "k d"]
  shares: Float[np.ndarray, "k"]


def semantic_factorisation(weight: Float[ArrayLike, "d out"], k: int | None = None) -> Directions:
  """SeFa: the latent directions that the first layer stretches most.

  Shen and Zhou 2021 (arXiv 2007.06600): a step n changes the output of an affine layer by A n,
  whatever the latent, and the unit steps with the largest |A n| are the leading eigenvectors of
  A^T A, with |A n|^2 as eigenvalues. `weight` is the transpose of their A.

  Args:
    weight: the matrix that acts on the latent, `z @ weight`; see `input_kernel`. Several layers
      that read the same latent go side by side.
    k: number of directions, by default all.

  Returns:
    Orthonormal directions; the largest entry of each is positive. `shares` are the eigenvalues
    over their sum.

  Raises:
    ValueError: the weight is no matrix or has values that are not finite, or k is out of range.

  >>> semantic_factorisation(np.array([[1.0, 0.0], [0.0, 3.0]])).vectors.round(2) + 0.0
  array([[0., 1.],
         [1., 0.]])
  """
  matrix = np.asarray(weight, np.float64)
  if matrix.ndim != 2 or not np.isfinite(matrix).all():
    raise ValueError(f"weight {matrix.shape} must be a matrix [d, out] of finite values")
  k = _count(k, min(matrix.shape))
  vectors, lengths, _ = np.linalg.svd(matrix, full_matrices=False)
  shares = lengths**2 / max((lengths**2).sum(), np.finfo(np.float64).tiny)
  return Directions(_signed(vectors.T[:k]), shares[:k])


def input_kernel(
  params: PyTree, dimension: int, *, layer: str | None = None
) -> tuple[str, Float[np.ndarray, "d out"]]:
  """Finds the kernel that acts on the latent among a generator's parameters.

  It is the one whose inputs, its last axis but one, are as many as the latent has coordinates. A
  transposed convolution that starts from a 1x1 map is a matrix too: its places are outputs.

  Args:
    params: the parameters.
    dimension: of the latent.
    layer: name of the layer, or of its kernel, where several fit: `"Dense_0"`.

  Returns:
    The kernel's name, `"Dense_0.kernel"`, and its matrix.

  Raises:
    ValueError: no kernel fits or several do; the message names them.

  >>> name, weight = input_kernel({"Dense_0": {"kernel": np.zeros([5, 8])}}, 5)
  >>> name, weight.shape
  ('Dense_0.kernel', (5, 8))
  """
  leaves = jax.tree_util.tree_leaves_with_path(params)
  named = {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}
  kernels = {name: x for name, x in named.items() if x.ndim > 1}
  fitting = {name: x for name, x in kernels.items() if x.shape[-2] == dimension}
  if not fitting:
    raise ValueError(f"no kernel has {dimension} inputs, as the latent; found: {_shapes(kernels)}")
  chosen = {
    name: x for name, x in fitting.items() if layer is None or f"{name}.".startswith(f"{layer}.")
  }
  if len(chosen) != 1:
    raise ValueError(
      f"layer={layer} must name one of the kernels with {dimension} inputs: {_shapes(fitting)}"
    )
  ((name, kernel),) = chosen.items()
  return name, np.moveaxis(np.asarray(kernel), -2, 0).reshape(dimension, -1)


def layer_outputs(
  apply: Callable[..., Any], layer: str, *args: Any, **options: Any
) -> Callable[..., Array]:
  """A function to the outputs of one layer of a linen network, for `principal_directions`.

  Args:
    apply: the network's `apply`.
    layer: name of the layer, with those of the modules around it: `"Block_0.Dense_1"`. Of a layer
      that is called several times the first call counts.
    *args: variables and inputs as `apply` takes them, or their shapes, to look for the layer.
    **options: of `apply`, such as `train=False`.

  Returns:
    A function from the positional arguments to the layer's outputs. Under `jit` nothing that comes
    behind the layer is computed.

  Raises:
    ValueError: there is no such layer; the message names those that there are.

  >>> from flax import linen as nn
  >>> network, z = nn.Sequential([nn.Dense(4), nn.Dense(2)]), np.zeros([1, 3], np.float32)
  >>> variables = network.init(jax.random.key(0), z)
  >>> layer_outputs(network.apply, "layers_0", variables, z)(variables, z).shape
  (1, 4)
  """

  def captured(chosen: Any, *args: Any) -> dict[str, Array]:
    _, kept = apply(*args, **options, capture_intermediates=chosen, mutable=["intermediates"])
    leaves = jax.tree_util.tree_leaves_with_path(kept["intermediates"])
    named = {tuple(str(getattr(part, "key", part)) for part in path[:-1]): x for path, x in leaves}
    return {".".join(path[:-1]): x for path, x in named.items() if path[-1] == "__call__"}

  layers = jax.eval_shape(functools.partial(captured, True), *args)
  if layer not in layers or not layer:
    known = ", ".join(sorted(filter(None, layers)))
    raise ValueError(f"layer={layer} must be one of {known}")
  path = tuple(layer.split("."))
  return lambda *args: captured(lambda module, _: module.path == path, *args)[layer]


def principal_directions(
  activations: Callable[[Array], Array],
  latents: Float[Array, "n d"],
  k: int,
  *,
  batch_size: int = 256,
) -> Directions:
  """GANSpace: latent directions of the principal components of a layer's activations.

  Härkönen et al. 2020 (arXiv 2004.02546): PCA of the activations of many samples, then
  the linear map from the components' coordinates x to latents that minimises the sum of
  |U x_j - z_j|^2. A step is as long as the component's standard deviation, so that steps of -3 to 3
  cover what samples do.

  Args:
    activations: from latents `[b, d]` to a layer's outputs `[b, ...]`, typically jitted.
    latents: many draws; a few thousand show the first directions.
    k: number of directions, less than n.
    batch_size: most latents at a time.

  Returns:
    Directions, not orthogonal in general; `shares` are shares of the activations' variance.

  Raises:
    ValueError: shapes, k out of range, or activations that are not finite.

  >>> z = jax.random.normal(jax.random.key(0), [500, 2])
  >>> found = principal_directions(lambda z: z * np.array([[1.0, 10.0]]), z, 1)
  >>> abs(found.vectors).round(1) + 0.0, found.shares.round(2)
  (array([[0., 1.]]), array([0.99]))
  """
  if latents.ndim != 2 or len(latents) < 2:
    raise ValueError(f"latents {latents.shape} must be [n, d] with n of at least 2")
  k = _count(k, len(latents) - 1)

  def outputs() -> Iterable[np.ndarray]:
    for part in batches(activations, latents, batch_size):
      yield part.reshape(len(part), -1).astype(np.float32)

  mean, vectors, deviations, shares = principal_components(outputs(), k)
  z = np.asarray(latents, np.float64)
  z -= z.mean(0)
  moments, products = np.zeros([len(vectors)] * 2), np.zeros([len(vectors), z.shape[1]])
  start = 0
  for part in outputs():
    x = ((part - mean) @ vectors.T) / deviations
    moments += x.T @ x
    products += x.T @ z[start : start + len(x)]
    start += len(x)
  steps = np.linalg.solve(moments, products)
  signs = np.sign(np.take_along_axis(steps, np.abs(steps).argmax(1)[:, None], 1))
  return Directions(steps * np.where(signs == 0.0, 1.0, signs), shares)


class PrincipalComponents(NamedTuple):
  """What `principal_components` finds, the largest first.

  Attributes:
    mean: of all examples.
    vectors: orthonormal.
    deviations: standard deviation along each, positive.
    shares: of the whole variance.
  """

  mean: Float[np.ndarray, "f"]
  vectors: Float[np.ndarray, "k f"]
  deviations: Float[np.ndarray, "k"]
  shares: Float[np.ndarray, "k"]


def principal_components(parts: Iterable[Float[np.ndarray, "_ f"]], k: int) -> PrincipalComponents:
  """Principal components of more examples than fit in memory, read once.

  Ross et al. 2008, "Incremental learning for robust visual tracking": the singular vectors of what
  was found so far, the new examples about their mean, and the difference of the means. Exact where
  the data have at most k + 10 components, else as good as what the cut keeps.

  Args:
    parts: examples, part by part, at least two altogether.
    k: most components; those without variance are left out.

  Returns:
    The components, float64; deviations with n - 1.

  Raises:
    ValueError: there are fewer than two examples, or values that are not finite, or all examples
      are the same.

  >>> x = np.array([[0.0, 1.0], [0.0, 3.0], [0.0, 5.0]])
  >>> found = principal_components([x[:1], x[1:]], 2)
  >>> found.mean, found.deviations
  (array([0., 3.]), array([2.]))
  """
  n, total = 0, 0.0
  mean, scaled = np.zeros(0), np.zeros((0, 0))
  for part in parts:
    if not np.isfinite(part).all():
      raise ValueError("parts hold values that are not finite")
    new = part.mean(0, dtype=np.float64)
    moved = part - new
    total += float((moved**2).sum())
    if n:
      weight = n * len(part) / (n + len(part))
      total += weight * float(((mean - new) ** 2).sum())
      moved = np.concatenate([scaled, moved, np.sqrt(weight) * (mean - new)[None]])
    n += len(part)
    mean = new if n == len(part) else mean + (new - mean) * len(part) / n
    scaled = _leading(moved, k + _SPARE)
  if n < 2 or not total > 0.0:
    raise ValueError(f"parts hold {n} examples of variance {total}: there is nothing to analyse")
  lengths = np.linalg.norm(scaled, axis=1)
  kept = lengths[:k] > 1e-6 * lengths[0]
  lengths, vectors = lengths[:k][kept], scaled[:k][kept] / lengths[:k][kept][:, None]
  return PrincipalComponents(mean, vectors, lengths / np.sqrt(n - 1), lengths**2 / total)


def _leading(matrix: np.ndarray, k: int) -> np.ndarray:
  """The leading right singular vectors times their singular values.

  By the smaller of the two Gram matrices, several times cheaper than a decomposition of the whole.
  In float64 that costs precision only below 1e-7 of the largest singular value.
  """
  rows, columns = matrix.shape
  if rows <= columns:
    _, left = np.linalg.eigh(matrix @ matrix.T)  # ascending
    return left[:, ::-1][:, :k].T @ matrix
  squares, right = np.linalg.eigh(matrix.T @ matrix)
  order = np.arange(columns)[::-1][:k]
  return np.sqrt(np.maximum(squares[order], 0.0))[:, None] * right.T[order]


def _shapes(kernels: Mapping[str, Array]) -> str:
  return ", ".join(f"{name} {list(x.shape)}" for name, x in kernels.items()) or "none"


def _count(k: int | None, most: int) -> int:
  k = most if k is None else k
  if not 1 <= k <= most:
    raise ValueError(f"k={k} must be from 1 to {most}")
  return k


def _signed(vectors: np.ndarray) -> np.ndarray:
  """An eigenvector's sign is arbitrary: the largest entry becomes positive."""
  largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1)
  return vectors * np.where(largest < 0.0, -1.0, 1.0)
