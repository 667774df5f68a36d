"""Modes of stacked pictures, such as three digits in three colours."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxgan.metrics._checks import AnyArray

__all__ = ["StackedModeCoverage", "stacked_mode_coverage"]


class StackedModeCoverage(NamedTuple):
  """What `stacked_mode_coverage` measures.

  Attributes:
    covered: number of combinations that occur.
    modes: number of combinations that there are.
    reverse_kl: KL divergence, in nats, from the samples' shares of the combinations to equal
      shares, in [0, log modes].
  """

  covered: int
  modes: int
  reverse_kl: float


def stacked_mode_coverage(
  labels: Int[AnyArray, "n stack"], *, classes: int = 10
) -> StackedModeCoverage:
  """How many combinations of predicted labels occur, and how evenly.

  Metz et al. 2016 (arXiv 1611.02163) and PacGAN, Lin et al. 2017 (arXiv 1712.04086): three digits
  in the three colours of a picture make 1,000 modes, and a classifier of single digits labels
  each. A perfect sampler does not score 0: of n samples the divergence is about
  `(modes - 1) / (2 n)`, 0.019 of the 26,000 that are the habit.

  Args:
    labels: integers `[n, stack]` in 0..classes-1, the predicted class of each layer.
    classes: classes of one layer.

  Returns:
    Covered and possible combinations, and the divergence.

  Raises:
    TypeError: labels are not integers.
    ValueError: another shape, no samples, or a label out of range.

  >>> coverage = stacked_mode_coverage(np.array([[0, 1, 2], [9, 9, 9]]))
  >>> coverage.covered, coverage.modes, round(coverage.reverse_kl, 4)
  (2, 1000, 6.2146)
  """
  array = np.asarray(labels)
  if array.ndim != 2 or not array.size:
    raise ValueError(f"labels must be [n, stack] with n at least 1, got {list(array.shape)}")
  if array.dtype.kind not in "iu":
    raise TypeError(f"labels must be integers, got dtype {array.dtype}: take argmax of scores")
  if classes < 2 or array.min() < 0 or array.max() >= classes:
    raise ValueError(
      f"labels must be in 0..classes-1 with classes={classes} at least 2, got "
      f"{array.min()}..{array.max()}"
    )
  n, stack = array.shape
  _, counts = np.unique(array, axis=0, return_counts=True)
  shares = counts / n
  divergence = float((shares * np.log(shares)).sum() + stack * np.log(classes))
  return StackedModeCoverage(len(counts), classes**stack, max(divergence, 0.0))
