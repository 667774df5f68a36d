"""Regularizers: of weights, of a generator's smoothness, of codes. Scalars without their weight."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.nn import log_softmax
from jaxtyping import Float

from jaxgan._arrays import at_least_float32, safe_sqrt
from jaxgan.latents import AxisName, example_keys
from jaxgan.types import Array, Key, PyTree

__all__ = [
  "historical_averaging",
  "kernels",
  "minibatch_entropy",
  "off_diagonal_orthogonal",
  "orthogonal",
  "path_length",
  "path_lengths",
  "spectral",
]


def kernels(params: PyTree) -> list[Array]:
  """The leaves of Flax parameters called `kernel`: no biases, gains or embeddings.

  Args:
    params: any pytree of arrays.

  Returns:
    The kernels, in the order of the tree.

  >>> params = {"dense": {"kernel": jnp.ones([3, 2]), "bias": jnp.ones(2)}}
  >>> [kernel.shape for kernel in kernels(params)]
  [(3, 2)]
  """
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return [leaf for path, leaf in leaves if path and getattr(path[-1], "key", None) == "kernel"]


def orthogonal(weights: PyTree) -> Float[Array, ""]:
  """`|W^T W - I|_F^2`, summed over the weights: filters orthogonal and of norm 1.

  Brock et al. 2016 (arXiv 1609.07093), in the form of BigGAN, Brock et al. 2018 (arXiv 1809.11096),
  section 3.1, without its factor beta. `W` is the kernel `[..., in, out]` as `[rest, out]`.

  Args:
    weights: a pytree of kernels, such as `kernels(params)`.

  Returns:
    A non-negative scalar, float32 at least.

  Raises:
    ValueError: a weight has fewer than two axes.

  >>> float(orthogonal([jnp.eye(3), 2.0 * jnp.eye(2)]))
  18.0
  """
  return _sum_over(lambda w: ((w.T @ w - jnp.eye(w.shape[1], dtype=w.dtype)) ** 2).sum(), weights)


def off_diagonal_orthogonal(weights: PyTree) -> Float[Array, ""]:
  """`|W^T W * (1 - I)|_F^2`, summed over the weights: filters orthogonal, their norms left free.

  BigGAN, Brock et al. 2018 (arXiv 1809.11096), section 3.1, without its factor beta = 1e-4. (The
  released code adds half of this term's gradient.)

  Args:
    weights: a pytree of kernels, such as `kernels(params)`; the paper spares shared embeddings.

  Returns:
    A non-negative scalar, float32 at least.

  Raises:
    ValueError: a weight has fewer than two axes.

  >>> float(off_diagonal_orthogonal([2.0 * jnp.eye(2), jnp.ones([1, 2])]))
  2.0
  """
  return _sum_over(
    lambda w: ((w.T @ w * (1 - jnp.eye(w.shape[1], dtype=w.dtype))) ** 2).sum(), weights
  )


def spectral(weights: PyTree) -> Float[Array, ""]:
  """`sigma(W)^2`, the squared largest singular value, summed over the weights.

  Yoshida and Miyato 2017 (arXiv 1705.10941), without its factor lambda / 2: `sigma = u^T W v`, with
  the singular vectors `u` and `v` as constants. They come from a singular value decomposition of
  each `[rest, out]` matrix: for large kernels take it lazily (`penalties.lazily`).

  The gradient is `2 sigma u v^T`, that of `sigma^2` where the largest singular value is simple and
  one of its subgradients elsewhere. The Hessian is `2 vec(u v^T) vec(u v^T)^T`: it leaves out that
  `u` and `v` turn with `W`, which adds positive curvature, without bound as the two largest
  singular values meet. So it is finite everywhere, a lower bound of that of `sigma^2`, and equal to
  it along `u v^T` and along `W`.

  Args:
    weights: a pytree of kernels, such as `kernels(params)`.

  Returns:
    A non-negative scalar, float32 at least.

  Raises:
    ValueError: a weight has fewer than two axes.

  >>> spectral([jnp.diag(jnp.array([3.0, 1.0]))]).round(3)
  Array(9., dtype=float32)
  """
  return _sum_over(_squared_spectral_norm, weights)


def path_lengths(
  synthesis: Callable[[Array], Array],
  w: Float[Array, "batch ..."],
  key: Key,
  *,
  axis_name: AxisName | None = None,
) -> Float[Array, "batch"]:
  """How far a generator moves for a step of its latent: `|J^T y|` for a random image `y`.

  StyleGAN2, Karras et al. 2019 (arXiv 1912.04958), section 3.2 and its code: `y ~ N(0, I) / sqrt(H
  W)`, and over the layers the root of the mean of the squared norms.

  Args:
    synthesis: from `w` to images `[batch, H, W, channels]`; examples must not mix.
    w: latents `[batch, dimension]`, or `[batch, layers, dimension]`.
    key: used for the images `y`, one an example.
    axis_name: the mapped axis over which the batch is split, so that images do not depend on it.

  Returns:
    Non-negative, float32 at least, with gradient 0 at 0.

  Raises:
    ValueError: `w` lacks a latent axis, or the images are not `[batch, H, W, channels]`.

  >>> images = lambda w: 3.0 * w[:, None, None, :]  # 1x1, one channel a latent
  >>> lengths = path_lengths(images, jnp.ones([4096, 8]), jax.random.key(0))
  >>> bool(abs((lengths**2).mean() / 72.0 - 1.0) < 0.05)
  True
  """
  if w.ndim < 2:
    raise ValueError(f"w must be [batch, dimension] or more, got {list(w.shape)}: add axes")
  images, pull_back = jax.vjp(synthesis, w)
  if images.ndim != 4 or len(images) != len(w):
    raise ValueError(
      f"synthesis must return images [{len(w)}, H, W, channels], got {list(images.shape)}"
    )
  keys = example_keys(key, len(w), axis_name=axis_name)
  noise = jax.vmap(lambda k: jax.random.normal(k, images.shape[1:]))(keys)
  noise = noise / (images.shape[1] * images.shape[2]) ** 0.5
  gradient = at_least_float32(pull_back(noise.astype(images.dtype))[0])
  layers = gradient.reshape(len(w), -1, w.shape[-1])
  return safe_sqrt((layers**2).sum(-1).mean(-1))


def path_length(
  lengths: Float[Array, "batch"],
  average: Float[Array, ""],
  *,
  decay: float = 0.99,
  axis_name: AxisName | None = None,
) -> tuple[Float[Array, "batch"], Float[Array, ""]]:
  """`(|J^T y| - a)^2`: the generator moves equally far everywhere, and in every direction.

  StyleGAN2, Karras et al. 2019 (arXiv 1912.04958), section 3.2, without its factor (2 in the code's
  scaling); `a` is the moving average of the lengths, this batch included.

  Args:
    lengths: from `path_lengths`.
    average: `a` so far, 0 at the start.
    decay: how much of the average stays.
    axis_name: the mapped axis over which the batch is split; the average is then the global one.

  Returns:
    The penalty of each example, and the new average, which carries no gradient.

  >>> penalty, average = path_length(jnp.array([1.0, 3.0]), jnp.zeros([]), decay=0.5)
  >>> penalty, float(average)
  (Array([0., 4.], dtype=float32), 1.0)
  """
  mean = lengths.mean() if axis_name is None else jax.lax.pmean(lengths.mean(), axis_name)
  average = average + (1 - decay) * (jax.lax.stop_gradient(mean) - average)
  return (lengths - average) ** 2, average


def historical_averaging(params: PyTree, average: PyTree) -> Float[Array, ""]:
  """`|theta - mean_i theta_i|^2`: distance of the parameters from their average over training.

  Salimans et al. 2016 (arXiv 1606.03498), section 3.3. The caller keeps the average, with
  `optax.incremental_update(params, average, 1 / t)` at step `t = 1, 2, ...`.

  Args:
    params: any pytree of arrays.
    average: of the same structure and shapes; it carries no gradient.

  Returns:
    A non-negative scalar, float32 at least.

  Raises:
    ValueError: the structures or shapes differ.

  >>> float(historical_averaging({"w": jnp.ones(3)}, {"w": jnp.zeros(3)}))
  3.0
  """

  def squared_distance(p: Array, a: Array) -> Array:
    if p.shape != a.shape:
      raise ValueError(
        f"average must have the shapes of params, got {list(a.shape)} and {list(p.shape)}"
      )
    return ((at_least_float32(p) - jax.lax.stop_gradient(at_least_float32(a))) ** 2).sum()

  return jax.tree.reduce(jnp.add, jax.tree.map(squared_distance, params, average))


def minibatch_entropy(
  logits: Float[Array, "batch categories"], *, axis_name: AxisName | None = None
) -> Float[Array, ""]:
  """Entropy of the mean prediction over the batch, which is high if all categories are in use.

  `H(mean_i p(c | x_i))`, as in CatGAN, Springenberg 2015 (arXiv 1511.06390): a generator or a
  recognition head *subtracts* it, so that fakes cover the codes evenly.

  Args:
    logits: of the categories, a softmax's.
    axis_name: the mapped axis over which the batch is split; the mean is then the global one.

  Returns:
    Nats in [0, log categories], a scalar. Its gradient is finite for any finite logit.

  Raises:
    ValueError: `logits` is not a matrix.

  >>> minibatch_entropy(100.0 * jnp.eye(4)).round(4)  # log 4
  Array(1.3863, dtype=float32)
  """
  if logits.ndim != 2:
    raise ValueError(f"logits must be [batch, categories], got {list(logits.shape)}: reshape them")
  log_p = log_softmax(at_least_float32(logits), axis=-1)
  # The mean is taken in logarithms: p log p has no gradient at a p that underflows to 0.
  highest = jax.lax.stop_gradient(log_p.max(0))
  count = jnp.asarray(len(log_p), log_p.dtype)
  if axis_name is not None:
    highest, count = jax.lax.pmax(highest, axis_name), count * jax.lax.axis_size(axis_name)
  total = jnp.exp(log_p - highest[None]).sum(0)
  total = total if axis_name is None else jax.lax.psum(total, axis_name)
  log_mean = jnp.log(total) + highest - jnp.log(count)
  return -(jnp.exp(log_mean) * log_mean).sum()


def _squared_spectral_norm(w: Array) -> Array:
  # Differentiating the decomposition itself divides by the gaps between squared singular values.
  u, _, vh = jnp.linalg.svd(jax.lax.stop_gradient(w), full_matrices=False)
  exact = jax.lax.Precision.HIGHEST
  return jnp.vdot(u[:, 0], jnp.matmul(w, vh[0], precision=exact), precision=exact) ** 2


def _sum_over(term: Callable[[Array], Array], weights: PyTree) -> Array:
  """Sums the term over all weights, each in float32 at least and as a matrix `[rest, out]`."""

  def of_matrix(weight: Array) -> Array:
    if weight.ndim < 2:
      raise ValueError(
        f"weights must have two axes or more, got {list(weight.shape)}: pass kernels(params)"
      )
    return term(at_least_float32(weight).reshape(-1, weight.shape[-1]))

  return jax.tree.reduce(jnp.add, jax.tree.map(of_matrix, weights), jnp.zeros([]))
