"""Fidelity and variety apart: precision, recall, density and coverage of k-neighbour balls."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxgan.metrics._checks import AnyArray, feature_matrix, same_width
from jaxgan.metrics._tiles import centred, squared_distances, sweep
from jaxgan.metrics.neighbours import smallest_distances
from jaxgan.types import Array

__all__ = ["DensityCoverage", "PrecisionRecall", "density_coverage", "precision_recall"]


class PrecisionRecall(NamedTuple):
  """What `precision_recall` measures, both in [0, 1].

  Attributes:
    precision: share of samples that are like data.
    recall: share of data that are like samples.
  """

  precision: float
  recall: float


class DensityCoverage(NamedTuple):
  """What `density_coverage` measures.

  Attributes:
    density: mean number of data's balls around a sample, by k; about 1 for equal distributions, and
      above where samples gather in dense regions.
    coverage: share of data with a sample in their ball, in [0, 1]; see `density_coverage` for what
      equal distributions give.
  """

  density: float
  coverage: float


def precision_recall(
  real: Float[AnyArray, "n d"], fake: Float[AnyArray, "m d"], *, k: int = 3
) -> PrecisionRecall:
  """Improved precision and recall: shares of each set within the other's k-neighbour balls.

  Kynkäänniemi et al. 2019 (arXiv 1904.06991), who take 50,000 examples of each and k = 3. The ball
  of an example reaches to its k-th neighbour in its own set, edge included. One outlier's large
  ball can hold many; `density_coverage` was made for that.

  Distances are taken in float32 about the data's mean, to about 1e-6 of the features' spread, tile
  by tile on the devices that hold the arrays: memory beyond the features does not grow with n.

  Args:
    real: features of data, `[n, d]`.
    fake: features of samples, `[m, d]`; equal counts are the habit.
    k: which neighbour, from 1 to the smaller count less one.

  Returns:
    Precision and recall.

  Raises:
    ValueError: shapes, k out of range, or values that are not finite.

  >>> x = np.arange(10.0)[:, None]
  >>> precision_recall(x, x[:4] + 0.1, k=1)
  PrecisionRecall(precision=1.0, recall=0.5)
  """
  a, b = _prepared(real, fake, k)
  shared: Any = {"like": (real, fake), "largest": max(len(real), len(fake))}
  a["radius"] = smallest_distances(a, a, k=k, distinct=True, **shared)[0][:, -1]
  b["radius"] = smallest_distances(b, b, k=k, distinct=True, **shared)[0][:, -1]
  in_fake, in_real = np.zeros(len(a["x"]), bool), np.zeros(len(b["x"]), bool)
  for rows, columns, row_part, column_part in sweep(_either_tile, a, b, **shared):
    in_fake[rows] |= row_part
    in_real[columns] |= column_part.any(0)
  return PrecisionRecall(float(in_real.mean()), float(in_fake.mean()))


def density_coverage(
  real: Float[AnyArray, "n d"], fake: Float[AnyArray, "m d"], *, k: int = 5
) -> DensityCoverage:
  """Density of samples in the data's k-neighbour balls, and the share of balls that hold one.

  Naeem et al. 2020 (arXiv 2002.09797), who take 10,000 of each and k = 5; the ball's edge does not
  belong to it. Of equal distributions the density is 1 on average and the coverage
  `1 - (n-1)...(n-k) / ((m+n-1)...(m+n-k))`, 0.969 at their counts.

  Computed as `precision_recall` is.

  Args:
    real: features of data, `[n, d]`.
    fake: features of samples, `[m, d]`.
    k: which neighbour, from 1 to n - 1.

  Returns:
    Density and coverage.

  Raises:
    ValueError: shapes, k out of range, or values that are not finite.

  >>> x = np.arange(10.0)[:, None]
  >>> density_coverage(x, x[:4] + 0.1, k=1)
  DensityCoverage(density=2.0, coverage=0.5)
  """
  a, b = _prepared(real, fake, k, balls_of_fake=False)
  shared: Any = {"like": (real, fake), "largest": max(len(real), len(fake))}
  a["radius"] = smallest_distances(a, a, k=k, distinct=True, **shared)[0][:, -1]
  holds, inside = np.zeros(len(a["x"]), bool), 0
  for rows, _, row_part, column_part in sweep(_inside_tile, a, b, **shared):
    holds[rows] |= row_part
    inside += int(column_part.sum())
  return DensityCoverage(inside / (k * len(b["x"])), float(holds.mean()))


def _prepared(
  real: AnyArray, fake: AnyArray, k: int, *, balls_of_fake: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  x, y = feature_matrix("real", real), feature_matrix("fake", fake)
  same_width(real=x, fake=y)
  most = (min(len(x), len(y)) if balls_of_fake else len(x)) - 1
  if not 1 <= k <= most:
    raise ValueError(
      f"k={k} must be from 1 to {most}, the other examples of a set ({len(x)} real, {len(y)} fake)"
    )
  centre = x.mean(0, dtype=np.float64)
  return centred(x, centre), centred(y, centre)


def _either_tile(rows: Mapping[str, Array], columns: Mapping[str, Array]) -> tuple[Array, Array]:
  valid = (rows["index"][:, None] >= 0) & (columns["index"][None, :] >= 0)
  distances = squared_distances(rows, columns)
  in_row_ball = valid & (distances <= rows["radius"][:, None])
  in_column_ball = valid & (distances <= columns["radius"][None, :])
  return in_column_ball.any(1), in_row_ball.any(0)


def _inside_tile(rows: Mapping[str, Array], columns: Mapping[str, Array]) -> tuple[Array, Array]:
  valid = (rows["index"][:, None] >= 0) & (columns["index"][None, :] >= 0)
  inside = valid & (squared_distances(rows, columns) < rows["radius"][:, None])
  return inside.any(1), inside.sum(0)
