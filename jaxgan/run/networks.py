"""Feature networks by the names that flags give them."""

import math
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.metrics import features
from jaxgan.metrics.features import Features
from jaxgan.run.config import RunError
from jaxgan.types import Array

__all__ = ["Named", "features_named", "network_named", "pixels", "smooth"]


class Named(NamedTuple):
  """A feature network, and what its file says of it.

  Attributes:
    features: the network.
    classes: names of its classes, `()` where they are not known.
  """

  features: Features
  classes: tuple[str, ...] = ()


def network_named(name: str, flag: str) -> Named:
  """The feature network of a flag: `lite0`, `inception`, or a classifier's file.

  Args:
    name: `lite0` (EfficientNet-Lite0 of `jaxgan[metrics]`), `inception` (the published FID's,
      downloaded once), or an .npz that `python -m experiments.classifier` wrote.
    flag: what the message calls it.

  Raises:
    RunError: the weights cannot be had.
  """
  try:
    if name == "lite0":
      return Named(features.efficientnet_lite0())
    if name == "inception":
      return Named(features.inception_v3())
    if pathlib.Path(name).suffix == ".npz":
      description, params = features.classifier.load(name)
      return Named(features.classifier.features_of(description, params), description.classes)
  except features.WeightsError as error:
    raise RunError(f"{flag}={name}: {error}") from error
  raise RunError(f"{flag}={name} must be lite0, inception or a classifier's .npz file")


def features_named(name: str, flag: str) -> Features:
  """The features alone of `network_named`, which raises as it does."""
  return network_named(name, flag).features


def pixels(shape: tuple[int, int, int]) -> Features:
  """Pictures of a shape as their own features: flat, 0 to 255."""

  def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32)

  return features.of_function("pixels", flat, dimension=math.prod(shape), compiled=False)


def smooth(network: Features, what: str) -> Callable[[Array], Array]:
  """The features of pictures as a generator makes them, of which derivatives can be taken.

  Scores are of pictures as they would be saved, and the step from one of 256 levels to the next has
  no slope: here pictures are not quantised.

  Args:
    network: made of JAX operations.
    what: names the network, with its flag, in the message.

  Returns:
    A function from pictures `[n, h, w, c]` in [-1, 1] to float32 features `[n, d]`.

  Raises:
    RunError: the network is no JAX function.
  """
  if not network.compiled:
    raise RunError(
      f"{what}: the features of {network.name} are no JAX function, so that they have no "
      "derivatives; take lite0, inception or a classifier's .npz file"
    )

  def look(images: Array) -> Array:
    with jax.default_matmul_precision("highest"):
      found = network.forward(network.variables, (images + 1.0) * 127.5).features
    return jnp.asarray(found, jnp.float32)

  return look
