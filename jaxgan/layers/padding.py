"""Padding of images by what they show."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

__all__ = ["reflection_pad"]


def reflection_pad(x: Float[Array, "n h w c"], width: int) -> Float[Array, "n H W c"]:
  """Continues images beyond their borders by reflection at the outermost pixels.

  Convolve the result with the padding "VALID": against the frame that zeros leave around
  translated pictures (Zhu et al. 2017, arXiv 1703.10593, appendix).

  Args:
    x: images.
    width: pixels on each side; fewer than the images have.

  Returns:
    Images larger by `2 width` each way.

  Raises:
    ValueError: the images are too small, or no images.

  >>> reflection_pad(jnp.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 2, 2, 1), 1)[0, :, :, 0]
  Array([[4., 3., 4., 3.],
         [2., 1., 2., 1.],
         [4., 3., 4., 3.],
         [2., 1., 2., 1.]], dtype=float32)
  """
  if x.ndim != 4 or not 0 <= width < min(x.shape[1:3]):
    raise ValueError(
      f"x {x.shape} must be [n, h, w, c] with more than width={width} pixels each way, as many as "
      "are reflected and the border itself"
    )
  sides = (width, width)
  return jnp.pad(x, ((0, 0), sides, sides, (0, 0)), mode="reflect")
