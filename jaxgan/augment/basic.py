"""What every augmentation shares: its type, composition, and keys per example."""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxgan.latents import AxisName, example_keys
from jaxgan.types import Key

__all__ = ["Augmentation", "compose", "per_example"]


class Augmentation(Protocol):
  """A pure, differentiable function from images to images of the same shape and dtype.

  >>> from jaxgan import augment
  >>> policy: Augmentation = augment.translation
  >>> policy(jnp.ones([2, 8, 8, 3]), jax.random.key(0)).shape
  (2, 8, 8, 3)
  """

  def __call__(
    self, images: Float[Array, "batch h w c"], key: Key, *, axis_name: AxisName | None = None
  ) -> Float[Array, "batch h w c"]:
    """Augments each image with its own randomness.

    Args:
      images: floating `[batch, h, w, c]` in [-1, 1].
      key: a typed key.
      axis_name: the mapped axis that the batch is split over, if any; see `latents.example_keys`.

    Returns:
      Images of the same shape and dtype.

    Raises:
      ValueError: if `images` lacks that shape.
      TypeError: if `images` is not floating.
    """


def per_example(transform: Callable[[Array, Key], Array]) -> Augmentation:
  """An augmentation of a batch from a transform of one image.

  Args:
    transform: maps an image `[h, w, c]`, float32 or float64, and a key to an image.

  Returns:
    An augmentation that keys each example by its index in the global batch. It computes in float32
    at least and returns the dtype of its input. Images that are not floating `[batch, h, w, c]`
    raise.

  >>> augment = per_example(lambda image, key: image + jax.random.normal(key, []))
  >>> augment(jnp.zeros([2, 4, 4, 3], jnp.bfloat16), jax.random.key(0)).dtype
  dtype(bfloat16)
  """

  def augment(images: Array, key: Key, *, axis_name: AxisName | None = None) -> Array:
    if images.ndim != 4:
      raise ValueError(f"images must have the shape [batch, h, w, c], got {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
      raise TypeError(f"images must be floating, in [-1, 1], got dtype {images.dtype}")
    keys = example_keys(key, images.shape[0], axis_name=axis_name)
    wide = images.astype(jnp.promote_types(images.dtype, jnp.float32))
    return jax.vmap(transform)(wide, keys).astype(images.dtype)

  return augment


def compose(*augmentations: Augmentation) -> Augmentation:
  """Augmentations one after another, each with its own key.

  Args:
    *augmentations: applied first to last.

  Returns:
    An augmentation.

  >>> from jaxgan import augment
  >>> policy = augment.compose(augment.colour, augment.translation, augment.cutout)
  >>> policy(jnp.ones([2, 8, 8, 3]), jax.random.key(0)).shape
  (2, 8, 8, 3)
  """

  def augment(images: Array, key: Key, *, axis_name: AxisName | None = None) -> Array:
    for index, augmentation in enumerate(augmentations):
      images = augmentation(images, jax.random.fold_in(key, index), axis_name=axis_name)
    return images

  return augment
