"""Samples from a generator, in batches of one size."""

from collections.abc import Callable

import numpy as np

from jaxgan.types import Array

__all__ = ["in_batches"]


def in_batches(
  generate: Callable[[Array], Array], latents: Array, batch_size: int = 256
) -> np.ndarray:
  """Maps latents to pictures with bounded device memory and one compilation.

  Args:
    generate: from latents `[b, ...]` to pictures `[b, H, W, C]`, typically jitted.
    latents: `[n, ...]`.
    batch_size: most latents at a time; the last batch is filled up and cut.

  Returns:
    Pictures `[n, H, W, C]` on the host.

  >>> in_batches(lambda z: z * 2, np.arange(5.0)[:, None], batch_size=2)[:, 0]
  array([0., 2., 4., 6., 8.])
  """
  n = latents.shape[0]
  if n < 1 or batch_size < 1:
    raise ValueError(f"number of latents {n} and batch_size={batch_size} must be at least 1")
  batch_size = min(batch_size, n)
  rows = np.arange(-(-n // batch_size) * batch_size) % n
  parts = [np.asarray(generate(latents[part])) for part in rows.reshape(-1, batch_size)]
  return np.concatenate(parts)[:n]
