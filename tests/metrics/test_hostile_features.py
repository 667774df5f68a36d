"""Any matrices at all: a measure gives finite numbers, or an error that names the argument."""

import functools

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from jaxgan import metrics
from jaxgan.metrics import _checks

GOOD = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
SCALES = (0.0, 1e-300, 1e-30, 1e-3, 1.0, 1e3, 1e14, 1e16, 1e30, 1e300)
TYPES = (np.float64, np.float32, np.float16, np.int8, np.uint16, bool, object, str, np.complex64)

MEASURES = {
  "kernel_distance": (metrics.kernel_distance, ("real", "fake")),
  "frechet_distance": (metrics.frechet_distance, ("real", "fake")),
  "precision_recall": (functools.partial(metrics.precision_recall, k=2), ("real", "fake")),
  "density_coverage": (functools.partial(metrics.density_coverage, k=2), ("real", "fake")),
  "nearest_neighbours": (metrics.nearest_neighbours, ("samples", "data")),
  "parzen": (lambda a, b: metrics.parzen_log_likelihood(a, b, 1.0), ("samples", "held_out")),
}


@st.composite
def matrices(draw):
  """Ordinary features, or with one or two things wrong about them."""
  x = GOOD.astype(np.float64)
  kinds = st.sampled_from(["shape", "rows", "scale", "constant", "entry", "type"])
  for kind in draw(st.lists(kinds, max_size=2, unique=True)):
    if kind == "shape" and x.size == 24:
      x = x.reshape(draw(st.sampled_from([(24,), (4, 6), (2, 4, 3), (8, 3, 1), (24, 1), (1, 24)])))
    elif kind == "rows":
      x = x[: draw(st.integers(0, 5))]
    elif kind == "scale":
      x = x * draw(st.sampled_from(SCALES))
    elif kind == "constant":
      x = np.full_like(x, draw(st.sampled_from(SCALES)))
    elif kind == "entry" and x.size:
      x = x.copy()
      x.flat[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1e16, 5e-324]))
    elif kind == "type":
      with np.errstate(all="ignore"):
        return x.astype(draw(st.sampled_from(TYPES)))
  return x


def check(measure, names, a, b):
  try:
    result = measure(a, b)
  except (TypeError, ValueError) as error:
    message = str(error)
  else:
    message = None
    for leaf in jax.tree.leaves(result):
      if np.asarray(leaf).dtype.kind == "f":
        assert np.isfinite(leaf).all(), (leaf, a, b)
  if message is not None:
    assert any(name in message for name in (*names, "dimensions must match", "k=")), message


MANY = pytest.mark.parametrize(("measure", "names"), MEASURES.values(), ids=MEASURES)


# Each shape is compiled anew: few by default, and the checks, which compile nothing, often.
@MANY
@hypothesis.given(matrices(), st.booleans())
@hypothesis.settings(max_examples=4)
def test_measures(measure, names, x, first):
  check(measure, names, *((x, GOOD) if first else (GOOD, x)))


@pytest.mark.slow
@MANY
@hypothesis.given(matrices(), matrices())
@hypothesis.settings(max_examples=100)
def test_measures_of_anything(measure, names, a, b):
  check(measure, names, a, b)


@hypothesis.given(matrices(), st.integers(1, 6))
@hypothesis.settings(max_examples=200)
def test_what_is_let_through_has_finite_distances_in_float32(x, rows):
  try:
    array = _checks.feature_matrix("name_of_it", x, at_least=rows)
  except (TypeError, ValueError) as error:
    message = str(error)
  else:
    message = "name_of_it"
    assert array.ndim == 2
    assert len(array) >= rows
    spread = (array[:1] - array).astype(np.float32)
    assert np.isfinite(np.square(spread).sum(1)).all()
  assert "name_of_it" in message
