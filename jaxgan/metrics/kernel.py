"""Kernel distance of two sets of features: the unbiased squared MMD with a cubic kernel."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgan.metrics._checks import AnyArray, feature_matrix, same_width
from jaxgan.metrics._tiles import Columns, dot, sweep
from jaxgan.metrics.estimate import Estimate
from jaxgan.types import Array, Key

__all__ = ["kernel_distance"]


def kernel_distance(
  real: Float[AnyArray, "n d"],
  fake: Float[AnyArray, "m d"],
  *,
  subsets: int | None = None,
  subset_size: int = 1000,
  key: Key | None = None,
) -> Estimate:
  """Unbiased squared MMD with the kernel (x.y / d + 1)^3, and its standard error.

  Bińkowski et al. 2018 (arXiv 1801.01401). It is the "KID" only on the features of the published
  Inception network; see `jaxgan.metrics.kernel_name`. Unlike the Fréchet distance its expectation
  does not depend on the counts; around 0 it may be negative.

  By default all pairs are summed, which has the least variance that the examples allow. The
  standard error is then that of Hoeffding's decomposition of a two-sample U-statistic (as
  Sutherland et al. 2016, arXiv 1611.04488, for equal counts): a part linear in each example, which
  rules where the distributions differ, and a part of pairs, which rules where they are equal. Both
  are estimated without bias from sums over rows, where a jackknife counts the second twice. Neither
  is taken below 0, so that the error is never below that of equal distributions; close to equality
  it is therefore too large, by a tenth to a quarter. It covers the draw of both sets.

  With `subsets` the value is the mean over random subsets of both, as the paper's code reports
  it, and the error the standard deviation over subsets by the root of their number. Subsets share
  examples, so that this error falls below the true one as their number grows.

  Scalar products are in float32 on the devices that hold the arrays, sums in float64 on the host;
  memory beyond the features does not grow with n.

  Args:
    real: features of data, `[n, d]`.
    fake: features of samples, `[m, d]`; m may differ from n.
    subsets: number of subsets (the paper's code: 100); None for all pairs.
    subset_size: examples in a subset, of either set, without replacement.
    key: of the subsets; needed with them.

  Returns:
    The value and its standard error.

  Raises:
    ValueError: shapes, fewer than 4 examples, values that are not finite or too large, subsets
      larger than a set, or subsets without a key.

  >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
  >>> round(kernel_distance(x, x + 1.0).value, 4)
  21.6667
  """
  like = (real, fake)
  x, y = _features("real", real), _features("fake", fake)
  same_width(real=x, fake=y)
  if subsets is None:
    sums = _sums(x, y, like)
    # Neither part of the variance is negative but for noise.
    variance = sum(max(part, 0.0) for part in _variance_parts(*sums))
    return Estimate(_mmd(*sums), float(np.sqrt(variance)))
  if key is None:
    raise ValueError(f"key must be given with subsets={subsets}, such as key=jax.random.key(0)")
  if subsets < 2 or not 4 <= subset_size <= min(len(x), len(y)):
    raise ValueError(
      f"subsets={subsets} must be at least 2 and subset_size={subset_size} from 4 to the number "
      f"of examples ({len(x)} real, {len(y)} fake): set them, or leave subsets out"
    )
  values = []
  for i in range(subsets):
    keys = jax.random.split(jax.random.fold_in(key, i))
    rows = [
      np.asarray(jax.random.permutation(k, len(z))[:subset_size])
      for k, z in zip(keys, (x, y), strict=True)
    ]
    values.append(_mmd(*_sums(x[rows[0]], y[rows[1]], like)))
  return Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(subsets)))


def _features(name: str, x: AnyArray) -> np.ndarray:
  matrix = feature_matrix(name, x, at_least=4)  # the variance needs two pairs without a shared one
  if np.square(matrix, dtype=np.float64).sum(1).max() > 1e6 * matrix.shape[1]:
    raise ValueError(
      f"{name} is too large for sums of sixth powers in float32, up to {np.abs(matrix).max():.3g}: "
      "scale the features of both sets by one number"
    )
  return matrix.astype(np.float32)


class _Sums(NamedTuple):
  """Of a kernel matrix less a constant: by row, by column, and of its squares."""

  rows: np.ndarray
  columns: np.ndarray
  squares: float


def _kernel_tile(
  rows: Mapping[str, Array],
  columns: Mapping[str, Array],
  offset: Array,
  *,
  distinct: bool,
) -> tuple[Array, Array]:
  i, j = rows["index"][:, None], columns["index"][None, :]
  counts = (i >= 0) & (j >= 0)
  if distinct:
    counts &= i != j
  base = dot(rows["x"], columns["x"]) / rows["x"].shape[1] + 1.0
  k = jnp.where(counts, base**3 - offset, 0.0)
  return jnp.stack([k.sum(1), (k**2).sum(1)], axis=1), k.sum(0)


def _sums(x: np.ndarray, y: np.ndarray, like: tuple[Any, ...]) -> tuple[_Sums, _Sums, _Sums]:
  # Value and variance do not change if the kernel loses a constant; its typical value taken off,
  # float32 sums over a tile keep the digits in which the sets differ.
  means = [z.mean(0, dtype=np.float64) for z in (x, y)]
  offset = np.asarray((means[0] @ means[1] / x.shape[1] + 1.0) ** 3, np.float32)

  def total(a: Columns, b: Columns, distinct: bool) -> _Sums:
    by_row, by_column = np.zeros((len(a["x"]), 2)), np.zeros(len(b["x"]))
    parts = sweep(_kernel_tile, a, b, offset, like=like, distinct=distinct)
    for rows, columns, row_part, column_part in parts:
      by_row[rows] += row_part
      by_column[columns] += column_part.sum(0, dtype=np.float64)
    return _Sums(by_row[:, 0], by_column, float(by_row[:, 1].sum()))

  a, b = {"x": x}, {"x": y}
  return total(a, a, True), total(b, b, True), total(a, b, False)


def _mmd(xx: _Sums, yy: _Sums, xy: _Sums) -> float:
  n, m = len(xy.rows), len(xy.columns)
  within = xx.rows.sum() / (n * (n - 1)) + yy.rows.sum() / (m * (m - 1))
  return float(within - 2.0 * xy.rows.sum() / (n * m))


def _variance_parts(xx: _Sums, yy: _Sums, xy: _Sums) -> tuple[float, float]:
  """Variance of the squared MMD over draws of both sets: its linear part and that of pairs.

  Every product of expectations in the functions below is the mean over index tuples without a
  repeat, which makes both parts unbiased.
  """
  n, m = len(xy.rows), len(xy.columns)
  linear = _linear(xx, xy.rows, xy, m) * 4.0 / n + _linear(yy, xy.columns, xy, n) * 4.0 / m
  pairs = (
    2.0 * _pair_part(xx) / (n * (n - 1))
    + 2.0 * _pair_part(yy) / (m * (m - 1))
    + 4.0 * _cross_part(xy) / (n * m)
  )
  return linear, pairs


def _linear(own: _Sums, cross_rows: np.ndarray, cross: _Sums, m: int) -> float:
  """Var[E k(x, X') - E k(x, Y)] over x: of what one example changes."""
  n = len(own.rows)
  total, cross_total = own.rows.sum(), cross_rows.sum()
  row_product = ((own.rows**2).sum() - own.squares) / (n * (n - 1) * (n - 2))
  own_variance = row_product - _squared_mean(own)
  cross_variance = ((cross_rows**2).sum() - cross.squares) / (n * m * (m - 1)) - (
    _squared_cross_mean(cross)
  )
  shared = own.rows @ cross_rows
  covariance = shared / (n * (n - 1) * m) - (total * cross_total - 2.0 * shared) / (
    n * (n - 1) * (n - 2) * m
  )
  return float(own_variance + cross_variance - 2.0 * covariance)


def _squared_mean(k: _Sums) -> float:
  n = len(k.rows)
  apart = k.rows.sum() ** 2 - 4.0 * (k.rows**2).sum() + 2.0 * k.squares
  return apart / (n * (n - 1) * (n - 2) * (n - 3))


def _squared_cross_mean(k: _Sums) -> float:
  n, m = len(k.rows), len(k.columns)
  apart = k.rows.sum() ** 2 - (k.rows**2).sum() - (k.columns**2).sum() + k.squares
  return apart / (n * (n - 1) * m * (m - 1))


def _pair_part(k: _Sums) -> float:
  """Variance of k(x, x') less its projections on x and on x'."""
  n = len(k.rows)
  row_product = ((k.rows**2).sum() - k.squares) / (n * (n - 1) * (n - 2))
  return k.squares / (n * (n - 1)) - 2.0 * row_product + _squared_mean(k)


def _cross_part(k: _Sums) -> float:
  """Variance of k(x, y) less its projections on x and on y."""
  n, m = len(k.rows), len(k.columns)
  row_product = ((k.rows**2).sum() - k.squares) / (n * m * (m - 1))
  column_product = ((k.columns**2).sum() - k.squares) / (n * m * (n - 1))
  return k.squares / (n * m) - row_product - column_product + _squared_cross_mean(k)
