"""Samples from a generator, in batches of one size."""

from collections.abc import Callable, Iterator

import numpy as np

from jaxgan.types import Array

__all__ = ["batches", "in_batches"]


def in_batches(
  generate: Callable[[Array], Array], latents: Array, batch_size: int = 256
) -> np.ndarray:
  """Maps latents to pictures with bounded device memory and one compilation.

  Args:
    generate: from latents `[b, ...]` to pictures `[b, H, W, C]` (or to logits, features ...),
      typically jitted.
    latents: `[n, ...]`.
    batch_size: most latents at a time; the last batch is filled up and cut.

  Returns:
    Pictures `[n, H, W, C]` on the host.

  >>> in_batches(lambda z: z * 2, np.arange(5.0)[:, None], batch_size=2)[:, 0]
  array([0., 2., 4., 6., 8.])
  """
  return np.concatenate(list(batches(generate, latents, batch_size)))


def batches(
  generate: Callable[[Array], Array], latents: Array, batch_size: int = 256
) -> Iterator[np.ndarray]:
  """As `in_batches`, batch by batch, for what need not be kept.

  Yields:
    Pictures `[b, H, W, C]` on the host, `n` of them altogether.

  >>> [len(part) for part in batches(lambda z: z, np.arange(5.0), batch_size=2)]
  [2, 2, 1]
  """
  n = latents.shape[0]
  if n < 1 or batch_size < 1:
    raise ValueError(f"number of latents {n} and batch_size={batch_size} must be at least 1")
  batch_size = min(batch_size, n)
  rows = np.arange(-(-n // batch_size) * batch_size) % n
  for start in range(0, n, batch_size):
    made = np.asarray(generate(latents[rows[start : start + batch_size]]))
    yield made[: n - start]
