"""A small classifier of small pictures: features for digits and clothes, which ImageNet's misjudge.

The network and its file. Training one takes data, and so is an experiment:
`python -m experiments.classifier`.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgan._archives import read_arrays
from jaxgan._files import replacing
from jaxgan.metrics.features import preprocessing
from jaxgan.metrics.features.network import Features, Outputs
from jaxgan.metrics.features.weights import WeightsError, match
from jaxgan.types import Array, PyTree

__all__ = ["Classifier", "Description", "features_of", "load", "save"]

_FORM = 1  # of the file and of the network: a change of either makes old files unreadable


_he = nn.initializers.he_normal()


class Classifier(nn.Module):
  """Three convolutions, the first two of which halve the picture, and two dense layers.

  Attributes:
    classes: number of classes.
    width: channels of the first convolution; the others have twice as many.
    dimension: of the features, the layer before the last.
    dropout: share of the features that training drops.

  >>> network = Classifier(classes=10)
  >>> images = jnp.zeros([2, 28, 28, 1])
  >>> params = network.init(jax.random.key(0), images)
  >>> features, logits = network.apply(params, images)
  >>> features.shape, logits.shape
  ((2, 128), (2, 10))
  """

  classes: int
  width: int = 32
  dimension: int = 128
  dropout: float = 0.25

  @nn.compact
  def __call__(
    self, images: Float[Array, "n h w c"], *, train: bool = False
  ) -> tuple[Float[Array, "n d"], Float[Array, "n classes"]]:
    """Features, not negative, and logits of pictures in [-1, 1]; training needs a "dropout" key."""
    x = images
    for factor, size, stride in ((1, 4, 2), (2, 4, 2), (2, 3, 1)):
      x = nn.relu(nn.Conv(factor * self.width, (size, size), stride, kernel_init=_he)(x))
    x = nn.max_pool(x, (2, 2), (2, 2), "SAME").reshape(x.shape[0], -1)
    features = nn.relu(nn.Dense(self.dimension, kernel_init=_he)(x))
    dropped = nn.Dropout(self.dropout, deterministic=not train)(features)
    return features, nn.Dense(self.classes)(dropped)


@dataclasses.dataclass(frozen=True)
class Description:
  """What a trained classifier is of.

  Attributes:
    dataset: name of the data set.
    shape: of its pictures, `(height, width, channels)`.
    classes: their names.
    accuracy: on pictures that it was not trained on, in [0, 1].
    network: attributes of `Classifier` that are not the default.
  """

  dataset: str
  shape: tuple[int, int, int]
  classes: tuple[str, ...]
  accuracy: float
  network: dict[str, Any] = dataclasses.field(default_factory=dict)

  def module(self) -> Classifier:
    """The network."""
    return Classifier(len(self.classes), **self.network)


def features_of(description: Description, params: PyTree) -> Features:
  """A trained classifier as features.

  Args:
    description: of the classifier.
    params: its parameters.

  Returns:
    Features named "classifier(fashion_mnist 28)" or the like, with the probabilities of the
    classes. Pictures of another size are resized, grey and colour made what it was trained on.
  """
  network = description.module()
  size, _, channels = description.shape
  resize = preprocessing.antialiased_bicubic

  def forward(params: PyTree, images: Array) -> Outputs:
    resized = resize(preprocessing.to_channels(images, channels), size)
    outputs: Any = network.apply({"params": params}, resized / 127.5 - 1.0)
    features, logits = outputs
    return Outputs(features, jax.nn.softmax(logits))

  return Features(
    f"classifier({description.dataset} {size})",
    network.dimension,
    network.classes,
    _digest(_flat(params)),
    False,
    preprocessing.describe(resize, size),
    forward,
    params,
  )


def _flat(params: PyTree) -> dict[str, np.ndarray]:
  flat = flax.traverse_util.flatten_dict(params, sep=".")
  return {name: np.asarray(flat[name], np.float32) for name in sorted(flat)}


def _digest(flat: dict[str, np.ndarray]) -> str:
  digest = hashlib.sha256()
  for name, array in flat.items():
    digest.update(f"{name}{array.shape}".encode())
    digest.update(array.astype("<f4").tobytes())
  return digest.hexdigest()[:16]


def save(path: str | os.PathLike[str], description: Description, params: PyTree) -> None:
  """Writes a classifier as an `.npz`, which appears whole or not at all.

  Args:
    path: the file.
    description: of the classifier.
    params: its parameters.
  """
  content = json.dumps({"form": _FORM, **dataclasses.asdict(description)})
  with replacing(path) as temporary, temporary.open("wb") as file:
    arrays: dict[str, Any] = {"description": np.array(content), **_flat(params)}
    np.savez(file, **arrays)


def load(path: str | os.PathLike[str]) -> tuple[Description, PyTree]:
  """Reads what `save` wrote.

  Args:
    path: the file.

  Returns:
    The description and the parameters, for `features_of`.

  Raises:
    WeightsError: there is no such file, it is damaged, or of another version.
  """
  path = pathlib.Path(path)
  try:
    flat = read_arrays(path)
    content = json.loads(str(flat.pop("description")))
    if not all(array.dtype == np.float32 for array in flat.values()):
      raise TypeError("parameters that are not float32")
    form = content.pop("form")
    if form != _FORM:
      raise ValueError(f"form {form} and not {_FORM}")
    description = Description(
      **{**content, "shape": tuple(content["shape"]), "classes": tuple(content["classes"])}
    )
    _check(description)
    images = jax.ShapeDtypeStruct((1, *description.shape), jnp.float32)
    shapes = jax.eval_shape(description.module().init, jax.random.key(0), images)["params"]
  except OSError as error:
    raise WeightsError(
      f"cannot read the classifier '{path}' ({error}): train it by python -m experiments.classifier"
    ) from error
  except Exception as error:  # a damaged archive can raise nearly anything
    reason = f"{error}".partition("\n")[0]
    raise WeightsError(
      f"the classifier '{path}' is damaged or of another version ({reason}): train it anew"
    ) from error
  wanted = {name: x.shape for name, x in flax.traverse_util.flatten_dict(shapes, sep=".").items()}
  match(flat, wanted, f"the classifier of {description.dataset}")
  params = {name: jnp.asarray(array) for name, array in flat.items()}
  return description, flax.traverse_util.unflatten_dict(params, sep=".")


def _check(description: Description) -> None:
  """Refuses a description that `save` did not write."""
  texts = (description.dataset, *description.classes)
  numbers = (*description.shape, description.accuracy, *description.network.values())
  if not all(isinstance(each, str) for each in texts):
    raise TypeError("a name that is no text")
  if not all(isinstance(each, int | float) for each in numbers):
    raise TypeError("a size that is no number")
  shape = description.shape
  if len(shape) != 3 or not 0 < min(shape) <= max(shape) < 1 << 16:
    raise ValueError(f"pictures of {shape}")
