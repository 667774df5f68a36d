"""Nearest neighbours in a set of features, and what they say of memorisation."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgan.metrics._checks import AnyArray, feature_matrix, same_width
from jaxgan.metrics._tiles import Columns, centred, squared_distances, sweep
from jaxgan.types import Array

__all__ = ["Memorisation", "Neighbours", "memorisation", "nearest_neighbours", "smallest_distances"]

_SPARE = 8  # candidates beyond k whose distances are taken exactly
_CHUNK = 256  # samples whose candidates are gathered at a time


class Neighbours(NamedTuple):
  """What `nearest_neighbours` finds, nearest first.

  Attributes:
    indices: int64 `[n, k]`, rows of the data.
    distances: float64 `[n, k]`.
  """

  indices: np.ndarray
  distances: np.ndarray


def nearest_neighbours(
  samples: Float[AnyArray, "n d"], data: Float[AnyArray, "m d"], *, k: int = 1
) -> Neighbours:
  """The k examples of the data nearest to each sample, by Euclidean distance.

  Candidates (eight more than k) are found in float32 on the devices that hold the arrays, tile by
  tile; their distances are then taken from differences in float64, so that copies have distance 0.

  Args:
    samples: `[n, d]`, features or flat pictures.
    data: `[m, d]`.
    k: from 1 to m.

  Returns:
    Indices into the data and distances, nearest first.

  Raises:
    ValueError: shapes, k out of range, or values that are not finite.

  >>> found = nearest_neighbours(np.array([[0.9], [3.0]]), np.array([[0.0], [1.0], [3.0]]))
  >>> found.indices[:, 0], found.distances.round(6)[:, 0]
  (array([1, 2]), array([0.1, 0. ]))
  """
  like = (samples, data)
  x = feature_matrix("samples", samples)
  y = feature_matrix("data", data)
  same_width(samples=x, data=y)
  if not 1 <= k <= len(y):
    raise ValueError(f"k={k} must be from 1 to the number of examples in data, {len(y)}")
  centre = y.mean(0, dtype=np.float64)
  _, candidates = smallest_distances(
    centred(x, centre), centred(y, centre), k=min(k + _SPARE, len(y)), like=like
  )
  indices = np.empty((len(x), k), np.int64)
  distances = np.empty((len(x), k), np.float64)
  for start in range(0, len(x), _CHUNK):
    rows = slice(start, start + _CHUNK)
    near = np.sort(candidates[rows], axis=1)  # of two at one distance the first in the data
    apart = y[near].astype(np.float64) - x[rows, None].astype(np.float64)
    exact = np.sqrt((apart**2).sum(-1))
    order = np.argsort(exact, axis=1, kind="stable")[:, :k]
    indices[rows] = np.take_along_axis(near, order, axis=1)
    distances[rows] = np.take_along_axis(exact, order, axis=1)
  return Neighbours(indices, distances)


def smallest_distances(
  rows: Columns,
  columns: Columns,
  *,
  k: int,
  distinct: bool = False,
  like: tuple[Any, ...] = (),
  largest: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """The k smallest squared distances of every row, float32, and their columns.

  Args:
    rows: of `centred`.
    columns: of `centred`, about the same centre.
    k: at most the number of columns (less one if `distinct`).
    distinct: rows and columns are one set, and no example is its own neighbour.
    like: arrays whose devices share the work.
    largest: as `sweep` has it.

  Returns:
    `[n, k]` each, smallest first.
  """
  n = len(rows["x"])
  best = np.full((n, k), np.inf, np.float32)
  found = np.full((n, k), -1, np.int64)
  for part, _, (values, places), _ in sweep(
    _nearest_tile, rows, columns, like=like, largest=largest, k=k, distinct=distinct
  ):
    values = np.concatenate([best[part], values], axis=1)
    places = np.concatenate([found[part], places], axis=1)
    order = np.argsort(values, axis=1, kind="stable")[:, :k]
    best[part] = np.take_along_axis(values, order, axis=1)
    found[part] = np.take_along_axis(places, order, axis=1)
  return best, found


def _nearest_tile(
  rows: Mapping[str, Array], columns: Mapping[str, Array], *, k: int, distinct: bool
) -> tuple[tuple[Array, Array], tuple[()]]:
  i, j = rows["index"][:, None], columns["index"][None, :]
  excluded = (j < 0) | (i == j) if distinct else jnp.broadcast_to(j < 0, (len(i), j.shape[1]))
  distances = jnp.where(excluded, jnp.inf, squared_distances(rows, columns))
  values, places = jax.lax.top_k(-distances, min(k, j.shape[1]))
  return (-values, columns["index"][places]), ()


class Memorisation(NamedTuple):
  """What `memorisation` finds.

  Attributes:
    share: of all pairs of a sample and a held-out example, the share where the sample is nearer to
      the training set (ties count half), in [0, 1]; 0.5 if samples are like held-out data.
    z: its standardised rank sum, standard normal if samples are like held-out data; negative where
      samples are nearer (data-copying), positive where they are farther (underfitting).
    p_value: of a z as low as this, one-sided: small speaks for memorisation.
  """

  share: float
  z: float
  p_value: float

  def __str__(self) -> str:
    return (
      f"share {self.share:.4f} nearer than held-out data (z = {self.z:.2f}, p = {self.p_value:.2g})"
    )


def memorisation(
  fake: Float[AnyArray, "n d"], train: Float[AnyArray, "m d"], held_out: Float[AnyArray, "l d"]
) -> Memorisation:
  """Are samples nearer to the training set than held-out data are? A Mann-Whitney test.

  The test of data-copying of Meehan, Chaudhuri and Dasgupta 2020 (arXiv 2004.05675) with the whole
  space as its one cell: distances to the nearest training example are ranked together, and the
  rank sum is standardised under the null that both sets are drawn alike, with ties accounted for.
  A generator that copies in one region and underfits in another may pass: test regions (clusters,
  classes) apart.

  Args:
    fake: features of samples, `[n, d]`.
    train: features of the training set, `[m, d]`.
    held_out: features of data that were not trained on, from the same distribution, `[l, d]`.

  Returns:
    Share, z and p-value; see `Memorisation`.

  Raises:
    ValueError: shapes, fewer than 8 samples or held-out examples (the normal law is an
      approximation), or values that are not finite.

  >>> train, held_out = jax.random.normal(jax.random.key(0), [2, 200, 4])
  >>> print(memorisation(train[:100] + 0.01, train, held_out))
  share 1.0000 nearer than held-out data (z = -14.13, p = 1.3e-45)
  """
  same_width(
    fake=feature_matrix("fake", fake, at_least=8),
    train=feature_matrix("train", train),
    held_out=feature_matrix("held_out", held_out, at_least=8),
  )
  nearest = [nearest_neighbours(z, train).distances[:, 0] for z in (fake, held_out)]
  n, m = (len(d) for d in nearest)
  both = np.concatenate(nearest)
  _, place, ties = np.unique(both, return_inverse=True, return_counts=True)
  ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]  # equal distances share their mean rank
  farther = ranks[:n].sum() - n * (n + 1) / 2  # pairs in which the sample is; ties as halves
  total = n + m
  variance = n * m / 12 * (total + 1 - (ties**3 - ties).sum() / (total * (total - 1)))
  z = float((farther - n * m / 2) / np.sqrt(variance)) if variance > 0 else 0.0
  return Memorisation(float(1 - farther / (n * m)), z, math.erfc(-z / math.sqrt(2)) / 2)
