"""Log-likelihood of held-out data under Gaussian kernels around samples."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgan.metrics._checks import AnyArray, feature_matrix, same_width
from jaxgan.metrics._tiles import centred, squared_distances, sweep
from jaxgan.types import Array

__all__ = ["ParzenBandwidth", "ParzenLogLikelihood", "parzen_bandwidth", "parzen_log_likelihood"]

WARNING = (
  "a Parzen window estimate neither follows the quality of samples nor comes near the model's "
  "log-likelihood in many dimensions (Theis et al. 2015, arXiv 1511.01844): use it only to "
  "reproduce published tables"
)


class ParzenLogLikelihood(NamedTuple):
  """What `parzen_log_likelihood` measures; printed with its warning.

  Attributes:
    mean: mean log-likelihood of the held-out data, in nats.
    standard_error: of that mean over held-out examples; the samples are taken as given.
    sigma: the bandwidth.
  """

  mean: float
  standard_error: float
  sigma: float

  def __str__(self) -> str:
    return (
      f"{self.mean:.6g} ± {self.standard_error:.2g} nats at bandwidth {self.sigma:.3g} "
      f"(warning: {WARNING})"
    )


class ParzenBandwidth(NamedTuple):
  """What `parzen_bandwidth` finds.

  Attributes:
    sigma: the bandwidth of the greatest mean log-likelihood.
    sigmas: those that were tried.
    log_likelihoods: the mean of each.
  """

  sigma: float
  sigmas: tuple[float, ...]
  log_likelihoods: tuple[float, ...]


def parzen_log_likelihood(
  samples: Float[AnyArray, "n d"], held_out: Float[AnyArray, "m d"], sigma: float
) -> ParzenLogLikelihood:
  """Mean log-likelihood of held-out data under a Gaussian kernel around each sample.

  Goodfellow et al. 2014 (arXiv 1406.2661): 10,000 samples, pixels in [0, 1], the bandwidth by
  `parzen_bandwidth` on a validation set, never on the test set:
  `log p(x) = log mean_i N(x; s_i, sigma^2 I)`.

  Warning, from Theis, van den Oord and Bethge 2015 (arXiv 1511.01844): the estimate neither follows
  the quality of samples nor comes near the model's log-likelihood in many dimensions, whatever the
  number of samples; it can rank bad models above the true one. Use it only to reproduce published
  tables.

  Distances are in float32 about the samples' mean: an example's log-likelihood is right to about
  1e-6 of its squared norm about that mean, by sigma^2.

  Args:
    samples: `[n, d]`, flat pictures.
    held_out: `[m, d]` in the same units, m at least 2.
    sigma: bandwidth, positive.

  Returns:
    Mean, standard error and the bandwidth.

  Raises:
    ValueError: shapes, a bandwidth that is not positive, or values that are not finite.

  >>> result = parzen_log_likelihood(np.zeros([1, 2]), np.array([[0.0, 0.0], [1.0, 1.0]]), 1.0)
  >>> round(result.mean, 6)  # -log(2 pi) - 1 / 2
  -2.337877
  >>> print(result)
  -2.33788 ± 0.5 nats at bandwidth 1 (warning: a Parzen window estimate neither follows ...)
  """
  values = _log_likelihoods("held_out", samples, held_out, (sigma,))[:, 0]
  error = values.std(ddof=1) / np.sqrt(len(values))
  return ParzenLogLikelihood(float(values.mean()), float(error), float(sigma))


def parzen_bandwidth(
  samples: Float[AnyArray, "n d"],
  validation: Float[AnyArray, "m d"],
  sigmas: Sequence[float] = tuple(np.logspace(-1.0, 0.0, 10)),
) -> ParzenBandwidth:
  """The bandwidth with the greatest log-likelihood of validation data.

  Goodfellow et al. 2014 (arXiv 1406.2661) and their code: ten bandwidths from 0.1 to 1, evenly
  spaced in the logarithm, on 1,000 validation examples. See `parzen_log_likelihood` for a warning.

  Args:
    samples: `[n, d]`, flat pictures.
    validation: `[m, d]`, neither trained nor tested on, m at least 2.
    sigmas: bandwidths to try, positive.

  Returns:
    The best bandwidth, and all with their mean log-likelihoods.

  Raises:
    ValueError: shapes, bandwidths that are not positive, or values that are not finite.

  >>> x, y = np.asarray(jax.random.normal(jax.random.key(0), [2, 100, 2]))
  >>> round(parzen_bandwidth(x, y, [0.01, 0.4, 5.0]).sigma, 2)
  0.4
  """
  means = _log_likelihoods("validation", samples, validation, sigmas).mean(0)
  tried = tuple(float(s) for s in sigmas)
  return ParzenBandwidth(tried[int(means.argmax())], tried, tuple(float(v) for v in means))


def _log_likelihoods(
  name: str, samples: AnyArray, held_out: AnyArray, sigmas: Sequence[float]
) -> np.ndarray:
  """Float64 `[m, len(sigmas)]`."""
  like: tuple[Any, ...] = (samples, held_out)
  x, y = feature_matrix("samples", samples), feature_matrix(name, held_out, at_least=2)
  same_width(samples=x, **{name: y})
  wide = np.asarray(sigmas, np.float64)
  if not wide.size or not (np.isfinite(wide) & (wide > 0)).all():
    raise ValueError(f"sigma must be positive and finite, got {[float(s) for s in wide]}")
  centre = x.mean(0, dtype=np.float64)
  total = np.full((len(y), len(wide)), -np.inf)
  weights = (0.5 / wide**2).astype(np.float32)
  for rows, _, row_part, _ in sweep(
    _kernels_tile, centred(y, centre), centred(x, centre), weights, like=like
  ):
    total[rows] = np.logaddexp(total[rows], row_part)
  n, d = x.shape
  return total - np.log(n) - d * np.log(wide * np.sqrt(2.0 * np.pi))


def _kernels_tile(
  rows: Mapping[str, Array], columns: Mapping[str, Array], weights: Array
) -> tuple[Array, tuple[()]]:
  distances = jnp.where(columns["index"][None, :] >= 0, squared_distances(rows, columns), jnp.inf)
  sums = jax.lax.map(lambda w: jax.nn.logsumexp(-w * distances, axis=1), weights)
  return sums.T, ()
