"""From pictures to what a feature network takes, as the field defines it.

Two choices move a Frechet distance by whole points: whether samples are quantised as a saved
picture is, and how they are resized (Parmar et al. 2022, arXiv 2104.11222, "clean-fid"). Here all
pictures become uint8 first. `antialiased_bicubic` is that paper's recommendation; `bilinear`, which
skips pixels where it makes a picture smaller, is what the published FID figures were measured with.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Float, Shaped, UInt8

from jaxgan.types import Array

__all__ = ["Resize", "antialiased_bicubic", "bilinear", "describe", "to_channels", "to_uint8"]

Resize: TypeAlias = Callable[[Array, int], Array]
"""From pictures `[n, h, w, c]` with values 0 to 255 to float32 `[n, size, size, c]`."""


def to_uint8(images: Float[Array, "..."]) -> UInt8[Array, "..."]:
  """Quantises pictures in [-1, 1] as they would be saved: rounded, and clipped outside.

  >>> to_uint8(jnp.array([-1.0, 0.0, 1.0, 7.0]))
  Array([  0, 128, 255, 255], dtype=uint8)
  """
  scaled = (images.astype(jnp.float32) + 1.0) * 127.5
  return jnp.clip(jnp.round(scaled), 0, 255).astype(jnp.uint8)


def to_channels(images: Shaped[Array, "n h w c"], channels: int) -> Shaped[Array, "n h w d"]:
  """Grey pictures with three equal channels, or colour ones by their luma (ITU-R 601) with one.

  Raises:
    ValueError: there are neither one nor three channels.

  >>> to_channels(jnp.full([1, 2, 2, 1], 7, jnp.uint8), 3)[0, 0, 0]
  Array([7, 7, 7], dtype=uint8)
  >>> to_channels(jnp.array([[[[255, 0, 0]]]], jnp.uint8), 1)
  Array([[[[76]]]], dtype=uint8)
  """
  if images.ndim != 4 or images.shape[-1] not in (1, 3) or channels not in (1, 3):
    raise ValueError(
      f"images {images.shape} to {channels} channels: give [n, height, width, 1 or 3], and 1 or 3"
    )
  if images.shape[-1] == channels:
    return images
  if channels == 3:
    return jnp.repeat(images, 3, axis=-1)
  weights = jnp.array([0.299, 0.587, 0.114], jnp.float32)
  luma = (images.astype(jnp.float32) * weights.reshape(1, 1, 1, 3)).sum(-1, keepdims=True)
  if jnp.issubdtype(images.dtype, jnp.integer):
    luma = jnp.round(luma)
  return luma.astype(images.dtype)


def antialiased_bicubic(
  images: Shaped[Array, "n h w c"], size: int
) -> Float[Array, "n size size c"]:
  """Resizes by Keys' cubic, widened where the picture gets smaller, as Pillow's bicubic filter is.

  Parmar et al. 2022 (arXiv 2104.11222): neither skipping pixels nor rounding the result, which is
  clipped to [0, 255].

  Args:
    images: values 0 to 255.
    size: height and width of the result.

  Returns:
    Float32 in [0, 255].

  >>> antialiased_bicubic(jnp.full([1, 64, 48, 3], 9, jnp.uint8), 16)[0, 0, 0]
  Array([9., 9., 9.], dtype=float32)
  """
  return jnp.clip(_resize(images, size, "cubic", antialias=True), 0.0, 255.0)


def bilinear(images: Shaped[Array, "n h w c"], size: int) -> Float[Array, "n size size c"]:
  """Resizes by linear interpolation between pixel centres, without antialiasing.

  What pytorch-fid does (`F.interpolate(mode="bilinear", align_corners=False)`), and so the resize
  of published FID figures.

  Args:
    images: values 0 to 255.
    size: height and width of the result.

  Returns:
    Float32 in [0, 255].

  >>> bilinear(jnp.array([[[[0.0], [10.0]]] * 2]), 4)[0, 0, :, 0]
  Array([ 0. ,  2.5,  7.5, 10. ], dtype=float32)
  """
  return _resize(images, size, "linear", antialias=False)


def _resize(images: Array, size: int, method: str, *, antialias: bool) -> Array:
  shape = (images.shape[0], size, size, images.shape[3])
  return jax.image.resize(images.astype(jnp.float32), shape, method, antialias=antialias)


def describe(resize: Resize, size: int) -> str:
  """What a protocol records of a resize.

  >>> describe(antialiased_bicubic, 224)
  'antialiased bicubic to 224'
  """
  return f"{getattr(resize, '__name__', repr(resize)).replace('_', ' ')} to {size}"
