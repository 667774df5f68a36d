"""Names for what travels between the modules."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jax import Array
from jaxtyping import Float

__all__ = ["AdversarialLoss", "Array", "Batch", "Critic", "ImageSpec", "Key", "Metrics", "PyTree"]

Key = Array  # a typed key, `jax.random.key(seed)`
PyTree = Any
# "image" [B, H, W, C] float32 in [-1, 1]; "label" [B] int32, if any; what a set keeps beside its
# pictures, such as "input", pictures too; what objectives add to it
Batch = Mapping[str, Any]
Metrics = dict[str, Array]  # scalars
Critic = Callable[[Array], Array]  # [batch, ...] to logits [batch]


class AdversarialLoss(NamedTuple):
  """A pair of pure functions from logits to per-example losses.

  Both take `(real_logits, fake_logits)` and return float32 (or wider) of the shape of the logits.
  """

  discriminator: Callable[[Float[Array, "..."], Float[Array, "..."]], Float[Array, "..."]]
  generator: Callable[[Float[Array, "..."] | None, Float[Array, "..."]], Float[Array, "..."]]


class ImageSpec(NamedTuple):
  """What a network has to know of a data set.

  Attributes:
    shape: `(height, width, channels)` of one picture.
    classes: names of the classes, `()` where the pictures have no labels.
    inputs: `(height, width, channels)` of the pictures that are translated into them, if any.
    captions: the different texts of the pictures, `()` where they have none.
  """

  shape: tuple[int, int, int]
  classes: tuple[str, ...] = ()
  inputs: tuple[int, int, int] | None = None
  captions: tuple[str, ...] = ()
