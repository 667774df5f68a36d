"""The common form of feature networks."""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxgan import compilation
from jaxgan.types import Array, PyTree

__all__ = ["Features", "Outputs", "check_images", "of_function"]


class Outputs(NamedTuple):
  """What a feature network says of pictures.

  Attributes:
    features: float32 `[n, d]`.
    probabilities: of the classes, float32 `[n, classes]`; None where there are none.
  """

  features: Float[Array, "n d"] | Float[np.ndarray, "n d"]
  probabilities: Float[Array, "n classes"] | Float[np.ndarray, "n classes"] | None = None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Features:
  """A feature network with its weights, and what a score has to record of it.

  Attributes:
    name: what scores are called by, such as "EfficientNet-Lite0 224".
    dimension: of the features.
    classes: number of classes, None without probabilities.
    weights_hash: how the SHA-256 of the weights begins; "" where there are none.
    published: whether these are, weights and resize, the features of published FID figures. Only
      then may a Frechet distance be called FID.
    resize: how pictures get to the network's size.
    forward: pure function from variables and uint8 pictures `[n, h, w, 1 or 3]` to `Outputs`.
    variables: the weights, a pytree of arrays.
    compiled: whether `forward` is made of JAX operations, to be jitted; otherwise it is called
      with numpy arrays.
  """

  name: str
  dimension: int
  classes: int | None
  weights_hash: str
  published: bool
  resize: str
  forward: Callable[[PyTree, Any], Outputs]
  variables: PyTree = None
  compiled: bool = True

  def __repr__(self) -> str:
    return f"Features({self.name!r}, dimension={self.dimension}, weights={self.weights_hash!r})"

  def apply(self, images: UInt8[Array, "n h w c"]) -> Outputs:
    """Features and probabilities of one batch; compiled once a shape.

    Args:
      images: uint8 with one channel or three (`preprocessing.to_uint8` quantises).

    Returns:
      Float32 features `[n, dimension]`, and probabilities if there are classes.

    Raises:
      TypeError: the pictures are not uint8.
      ValueError: they are not `[n, h, w, 1 or 3]`, or the outputs are not what was promised.
    """
    check_images(images)
    if images.dtype != jnp.uint8:
      raise TypeError(
        f"images are {images.dtype}: quantise pictures in [-1, 1] by preprocessing.to_uint8"
      )
    return self.run(self.variables, images)

  def run(self, variables: PyTree, images: Any) -> Outputs:
    """`apply` with the variables where the caller has put them, without its checks of pictures."""
    if self.compiled:
      outputs = _jitted()(self.forward, variables, images)
    else:
      outputs = self.forward(variables, np.asarray(images))
    n = images.shape[0]
    wanted = [(n, self.dimension), (n, self.classes) if self.classes is not None else None]
    shapes = [None if x is None else tuple(x.shape) for x in outputs]
    if shapes != wanted:
      raise ValueError(
        f"{self.name} gave features and probabilities of the shapes {shapes} and not {wanted}: "
        "set dimension= and classes= to what it gives"
      )
    return outputs


@cache
def _jitted() -> Callable[..., Outputs]:
  return compilation.jit(_outputs, static_argnums=0)


def _outputs(forward: Callable[..., Outputs], variables: PyTree, images: Array) -> Outputs:
  # On a TPU, and on newer GPUs, the default product has 8 to 10 bits, which moves scores.
  with jax.default_matmul_precision("highest"):
    return jax.tree.map(lambda x: x.astype(jnp.float32), forward(variables, images))


def of_function(
  name: str,
  function: Callable[[Any], Any],
  *,
  dimension: int,
  classes: int | None = None,
  weights_hash: str = "",
  resize: str = "none",
  compiled: bool = True,
) -> Features:
  """Makes any function a feature network.

  Args:
    name: what scores are called by; different functions need different names.
    function: from uint8 pictures `[n, h, w, c]` to features `[n, d]`, or to `Outputs`. The features
      of one picture may not depend on the others.
    dimension: d.
    classes: number of classes, None without probabilities.
    weights_hash: identifies the weights, in scores too.
    resize: what the function does to get pictures to its size, in words.
    compiled: whether it is made of JAX operations; otherwise it gets numpy arrays, and runs on one
      device.

  Returns:
    The features.

  >>> mean = of_function("mean colour", lambda x: x.mean((1, 2)), dimension=3)
  >>> mean.apply(jnp.ones([2, 8, 8, 3], jnp.uint8)).features
  Array([[1., 1., 1.],
         [1., 1., 1.]], dtype=float32)
  """

  def forward(variables: PyTree, images: UInt8[Array, "n h w c"]) -> Outputs:
    del variables
    outputs = function(images)
    return outputs if isinstance(outputs, Outputs) else Outputs(outputs)

  return Features(name, dimension, classes, weights_hash, False, resize, forward, compiled=compiled)


def check_images(images: Any) -> None:
  """Refuses what is not a batch of grey or colour pictures.

  Raises:
    ValueError: the shape is not `[n, h, w, 1 or 3]`.
  """
  if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
    raise ValueError(f"images of the shape {images.shape} must be [n, height, width, 1 or 3]")
