"""Inception-v3 as the published FID was measured with: the TensorFlow graph of 2015-12-05.

Szegedy et al. 2015 (arXiv 1512.00567), in the form of that graph, whose weights pytorch-fid
converted. It differs from other Inception-v3: average pools count no padding, the last block pools
by its maximum, there are 1,008 classes, and pictures are scaled to [-1, 1].
"""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from jaxgan.metrics.features import preprocessing, weights
from jaxgan.metrics.features.download import fetch, sha256
from jaxgan.metrics.features.network import Features, Outputs
from jaxgan.types import Array, PyTree

__all__ = ["HASH", "SIZE", "URL", "Inception", "Stages", "inception_v3"]

URL = (
  "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
  "pt_inception-2015-12-05-6726825d.pth"
)
HASH = "6726825d"  # how the SHA-256 of that file begins, by the convention of its name
SIZE = 299
CLASSES = 1008
_WIDTHS = {"first": 64, "second": 192, "third": 768, "pool3": 2048, "logits": CLASSES}

_zeros = nn.initializers.zeros  # the weights come from a file

Images: TypeAlias = Float[Array, "n h w c"]


class Stages(NamedTuple):
  """What the network gives at its depths, each averaged over the picture.

  Attributes:
    first: after the first max pool.
    second: after the second max pool.
    third: before the blocks of the lowest resolution (Mixed_6e).
    pool3: the last average pool, the features of FID.
    logits: of 1,008 classes.
  """

  first: Float[Array, "n 64"]
  second: Float[Array, "n 192"]
  third: Float[Array, "n 768"]
  pool3: Float[Array, "n 2048"]
  logits: Float[Array, "n 1008"]


def _average_pool(x: Images) -> Images:
  """Mean over 3x3 pixels; at the border over those that are there."""
  total = lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
  rows, columns = (
    np.minimum(np.arange(n) + 1, n - 1) - np.maximum(np.arange(n) - 1, 0) + 1 for n in x.shape[1:3]
  )
  counts = np.outer(rows, columns).astype(np.float32)
  return total / counts.reshape(1, *counts.shape, 1)


def _max_pool(x: Images, *, stride: int, padding: str = "VALID") -> Images:
  return nn.max_pool(x, (3, 3), (stride, stride), padding)


class _Conv(nn.Module):
  """Convolution, batch norm (folded into it) and ReLU."""

  features: int
  kernel_size: tuple[int, int]
  stride: int = 1
  padding: str = "SAME"

  @nn.compact
  def __call__(self, x: Images) -> Images:
    # XLA's own: the house's would run no faster here, and compile six times as long.
    convolution = nn.Conv(
      self.features, self.kernel_size, self.stride, self.padding, kernel_init=_zeros, name="conv"
    )
    return nn.relu(convolution(x))


def _conv(features: int, height: int, width: int | None = None, **options: Any) -> _Conv:
  return _Conv(features, (height, width or height), **options)


class _BlockA(nn.Module):
  """35x35: 1x1, 5x5, two 3x3 and pooling."""

  pooled: int

  @nn.compact
  def __call__(self, x: Images) -> Images:
    one = _conv(64, 1, name="branch1x1")(x)
    five = _conv(48, 1, name="branch5x5_1")(x)
    five = _conv(64, 5, name="branch5x5_2")(five)
    three = _conv(64, 1, name="branch3x3dbl_1")(x)
    three = _conv(96, 3, name="branch3x3dbl_2")(three)
    three = _conv(96, 3, name="branch3x3dbl_3")(three)
    pool = _conv(self.pooled, 1, name="branch_pool")(_average_pool(x))
    return jnp.concatenate([one, five, three, pool], -1)


class _BlockB(nn.Module):
  """From 35x35 to 17x17."""

  @nn.compact
  def __call__(self, x: Images) -> Images:
    half: dict[str, Any] = dict(stride=2, padding="VALID")
    three = _conv(384, 3, **half, name="branch3x3")(x)
    double = _conv(64, 1, name="branch3x3dbl_1")(x)
    double = _conv(96, 3, name="branch3x3dbl_2")(double)
    double = _conv(96, 3, **half, name="branch3x3dbl_3")(double)
    return jnp.concatenate([three, double, _max_pool(x, stride=2)], -1)


class _BlockC(nn.Module):
  """17x17: 7x7 convolutions as 1x7 and 7x1."""

  width: int

  @nn.compact
  def __call__(self, x: Images) -> Images:
    w = self.width
    one = _conv(192, 1, name="branch1x1")(x)
    seven = _conv(w, 1, name="branch7x7_1")(x)
    seven = _conv(w, 1, 7, name="branch7x7_2")(seven)
    seven = _conv(192, 7, 1, name="branch7x7_3")(seven)
    double = _conv(w, 1, name="branch7x7dbl_1")(x)
    double = _conv(w, 7, 1, name="branch7x7dbl_2")(double)
    double = _conv(w, 1, 7, name="branch7x7dbl_3")(double)
    double = _conv(w, 7, 1, name="branch7x7dbl_4")(double)
    double = _conv(192, 1, 7, name="branch7x7dbl_5")(double)
    pool = _conv(192, 1, name="branch_pool")(_average_pool(x))
    return jnp.concatenate([one, seven, double, pool], -1)


class _BlockD(nn.Module):
  """From 17x17 to 8x8."""

  @nn.compact
  def __call__(self, x: Images) -> Images:
    half: dict[str, Any] = dict(stride=2, padding="VALID")
    three = _conv(192, 1, name="branch3x3_1")(x)
    three = _conv(320, 3, **half, name="branch3x3_2")(three)
    seven = _conv(192, 1, name="branch7x7x3_1")(x)
    seven = _conv(192, 1, 7, name="branch7x7x3_2")(seven)
    seven = _conv(192, 7, 1, name="branch7x7x3_3")(seven)
    seven = _conv(192, 3, **half, name="branch7x7x3_4")(seven)
    return jnp.concatenate([three, seven, _max_pool(x, stride=2)], -1)


class _BlockE(nn.Module):
  """8x8: 3x3 convolutions as 1x3 beside 3x1."""

  pool: Callable[[Images], Images]

  @nn.compact
  def __call__(self, x: Images) -> Images:
    one = _conv(320, 1, name="branch1x1")(x)
    three = _conv(384, 1, name="branch3x3_1")(x)
    three_a = _conv(384, 1, 3, name="branch3x3_2a")(three)
    three_b = _conv(384, 3, 1, name="branch3x3_2b")(three)
    double = _conv(448, 1, name="branch3x3dbl_1")(x)
    double = _conv(384, 3, name="branch3x3dbl_2")(double)
    double_a = _conv(384, 1, 3, name="branch3x3dbl_3a")(double)
    double_b = _conv(384, 3, 1, name="branch3x3dbl_3b")(double)
    pool = _conv(192, 1, name="branch_pool")(self.pool(x))
    return jnp.concatenate([one, three_a, three_b, double_a, double_b, pool], -1)


class Inception(nn.Module):
  """The network, from pictures in [-1, 1] of 75 pixels at least (299 as published) to all stages.

  Parameters are named as in pytorch-fid's file, with batch norm folded into the convolutions.
  """

  @nn.compact
  def __call__(self, images: Float[Array, "n h w 3"]) -> Stages:
    """Computes all stages; what is not used is not computed under `jit`."""
    x = _conv(32, 3, stride=2, padding="VALID", name="Conv2d_1a_3x3")(images)
    x = _conv(32, 3, padding="VALID", name="Conv2d_2a_3x3")(x)
    x = _conv(64, 3, name="Conv2d_2b_3x3")(x)
    x = first = _max_pool(x, stride=2)
    x = _conv(80, 1, padding="VALID", name="Conv2d_3b_1x1")(x)
    x = _conv(192, 3, padding="VALID", name="Conv2d_4a_3x3")(x)
    x = second = _max_pool(x, stride=2)
    x = _BlockA(32, name="Mixed_5b")(x)
    x = _BlockA(64, name="Mixed_5c")(x)
    x = _BlockA(64, name="Mixed_5d")(x)
    x = _BlockB(name="Mixed_6a")(x)
    x = _BlockC(128, name="Mixed_6b")(x)
    x = _BlockC(160, name="Mixed_6c")(x)
    x = _BlockC(160, name="Mixed_6d")(x)
    x = third = _BlockC(192, name="Mixed_6e")(x)
    x = _BlockD(name="Mixed_7a")(x)
    x = _BlockE(_average_pool, name="Mixed_7b")(x)
    # By its maximum: a slip of the graph, and so a part of what FID is.
    x = _BlockE(functools.partial(_max_pool, stride=1, padding="SAME"), name="Mixed_7c")(x)
    mean = functools.partial(jnp.mean, axis=(1, 2))
    features = mean(x)
    logits = nn.Dense(CLASSES, kernel_init=_zeros, name="fc")(features)
    return Stages(mean(first), mean(second), mean(third), features, logits)


@functools.cache
def _convolutions() -> dict[tuple[str, ...], tuple[int, ...]]:
  """Shapes of all kernels, by the names of their modules."""
  shapes = jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros([1, 75, 75, 3]))
  flat = jax.tree_util.tree_leaves_with_path(shapes["params"])
  return {
    tuple(entry.key for entry in path[:-2]): leaf.shape
    for path, leaf in flat
    if path[-1].key == "kernel" and path[-2].key == "conv"
  }


def variables_of(file: Mapping[str, np.ndarray]) -> PyTree:
  """Variables of `Inception` from pytorch-fid's file; `WeightsError` if it is another's."""
  convolutions = _convolutions()
  shapes: dict[str, tuple[int, ...]] = {"fc.weight": (CLASSES, 2048), "fc.bias": (CLASSES,)}
  for path, (height, width, inputs, outputs) in convolutions.items():
    name = ".".join(path)
    shapes[f"{name}.conv.weight"] = (outputs, inputs, height, width)
    for part in ("weight", "bias", "running_mean", "running_var"):
      shapes[f"{name}.bn.{part}"] = (outputs,)
  weights.match(file, shapes, "the Inception-v3 of FID")
  flat: dict[tuple[str, ...], np.ndarray] = {}
  flat["fc", "kernel"] = file["fc.weight"].T
  flat["fc", "bias"] = file["fc.bias"]
  for path in convolutions:
    name = ".".join(path)
    folded = weights.fold_batch_norm(file, f"{name}.conv", f"{name}.bn")
    flat |= {(*path, "conv", part): array for part, array in folded.items()}
  arrays = {path: jnp.asarray(array, jnp.float32) for path, array in flat.items()}
  return {"params": flax.traverse_util.unflatten_dict(arrays)}


def pool3(stages: Stages) -> Array:
  """The features of FID."""
  return stages.pool3


def inception_v3(
  path: str | os.PathLike[str] | None = None,
  *,
  resize: preprocessing.Resize = preprocessing.bilinear,
  stage: Callable[[Stages], Array] = pool3,
) -> Features:
  """The features of FID: Heusel et al. 2017 (arXiv 1706.08500), by pytorch-fid's network.

  With the defaults, and the genuine file, the features are those of published FID figures, equal
  to pytorch-fid's, and `published` is true. Any other file, resize or stage makes it false.

  Args:
    path: the weights, `pt_inception-2015-12-05-6726825d.pth` or another file of that layout; None
      to download that file (95 MB) to the user's cache once.
    resize: `preprocessing.antialiased_bicubic` gives the features of clean-fid (Parmar et al. 2022,
      arXiv 2104.11222).
    stage: which depth is taken: `lambda stages: stages.third`, say.

  Returns:
    Features of 2,048 dimensions. Probabilities are the softmax of the logits without their bias,
    which is how the published inception score reads the graph.

  Raises:
    WeightsError: the file cannot be had, is damaged or of another network.
  """
  found = fetch(URL, HASH) if path is None else path
  variables = variables_of(weights.read_torch(found))
  digest = sha256(found)
  genuine = digest.startswith(HASH)

  def forward(variables: PyTree, images: Array) -> Outputs:
    resized = resize(preprocessing.to_channels(images, 3), SIZE)
    stages: Any = Inception().apply(variables, resized / 127.5 - 1.0)
    unbiased = stages.logits - variables["params"]["fc"]["bias"].reshape(1, -1)
    return Outputs(stage(stages), jax.nn.softmax(unbiased))

  shapes = {name: jax.ShapeDtypeStruct((1, width), jnp.float32) for name, width in _WIDTHS.items()}
  dimension = jax.eval_shape(lambda shapes: stage(Stages(**shapes)), shapes).shape[1]
  name = "Inception-v3 2015-12-05" if genuine else "Inception-v3 of other weights"
  return Features(
    name if stage is pool3 else f"{name} {dimension}",
    dimension,
    CLASSES,
    digest[:16],
    genuine and stage is pool3 and resize is preprocessing.bilinear,
    preprocessing.describe(resize, SIZE),
    forward,
    variables,
  )
