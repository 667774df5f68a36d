import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxgan import metrics
from jaxgan.metrics import _tiles


def by_definition(real, fake, k):
  """All four from whole distance matrices in float64."""
  xx, yy, xy = (cdist(a, b) for a, b in ((real, real), (fake, fake), (real, fake)))
  real_radius, fake_radius = (np.sort(d, axis=1)[:, k] for d in (xx, yy))  # column 0 is itself
  return {
    "precision": (xy <= real_radius[:, None]).any(0).mean(),
    "recall": (xy <= fake_radius[None, :]).any(1).mean(),
    "density": (xy < real_radius[:, None]).sum(0).mean() / k,
    "coverage": (xy < real_radius[:, None]).any(1).mean(),
  }


def measured(real, fake, k):
  return {
    **metrics.precision_recall(real, fake, k=k)._asdict(),
    **metrics.density_coverage(real, fake, k=k)._asdict(),
  }


def sets(n, m, d, *, scale=0.8, shift=0.0):
  rng = np.random.default_rng(0)
  real = rng.normal(size=(n, d)) + shift
  return real.astype(np.float32), (scale * rng.normal(size=(m, d)) + 0.3 + shift).astype(np.float32)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("n", "m", "d"), [(150, 150, 3), (90, 170, 12)])
def test_values_against_all_distances(n, m, d, k):
  real, fake = sets(n, m, d)
  expected = by_definition(real.astype(np.float64), fake.astype(np.float64), k)
  assert 0.05 < expected["precision"] <= 1
  # Shares of examples: a decision differs only where float32 sees a tie, and here there is none.
  assert measured(real, fake, k) == pytest.approx(expected, abs=1e-12)


def test_values_against_the_authors_package():
  prdc = pytest.importorskip("prdc", reason="needs prdc: pip install prdc")
  real, fake = sets(120, 140, 6)
  expected = prdc.compute_prdc(real.astype(np.float64), fake.astype(np.float64), nearest_k=5)
  assert measured(real, fake, 5) == pytest.approx(expected, abs=1e-12)


def test_a_large_common_mean_changes_nothing():
  """Without centring, float32 would see distances of 0 here."""
  near, far = sets(150, 150, 12), sets(150, 150, 12, shift=1000.0)
  exact = [x.astype(np.float64) for x in far]
  assert measured(*far, 3) == pytest.approx(by_definition(*exact, 3), abs=1e-12)
  # the features themselves were rounded to 6e-5 of their spread, which may turn single decisions
  assert measured(*far, 3) == pytest.approx(measured(*near, 3), abs=0.02)


def test_equal_distributions_score_what_theory_says():
  """Density 1 and coverage 1 - (n-1)...(n-k) / ((m+n-1)...(m+n-k))."""
  n, k, coverages, densities = 200, 5, [], []
  for seed in range(20):
    real, fake = np.random.default_rng(seed).normal(size=(2, n, 4)).astype(np.float32)
    result = metrics.density_coverage(real, fake, k=k)
    densities.append(result.density)
    coverages.append(result.coverage)
  i = np.arange(1, k + 1)
  expected = 1 - np.prod((n - i) / (2 * n - i))
  for values, theory in ((densities, 1.0), (coverages, expected)):
    assert abs(np.mean(values) - theory) < 3.5 * np.std(values, ddof=1) / np.sqrt(len(values))


def test_the_same_set_twice():
  """Each example is in its own ball; the edge belongs to it for precision, not for density."""
  x = sets(100, 100, 8)[0]
  assert metrics.precision_recall(x, x, k=3) == (1.0, 1.0)
  assert metrics.density_coverage(x, x, k=3) == (1.0, 1.0)


def test_the_edge_of_a_ball_counts_for_precision_and_recall_only():
  """Whole numbers with a whole mean: radii are 1, and each sample is at 1 from one of the data."""
  real, fake = np.array([[0.0], [1.0], [3.0], [4.0]]), np.array([[-1.0], [5.0], [6.0], [-2.0]])
  assert metrics.precision_recall(real, fake, k=1) == (0.5, 0.5)
  assert metrics.density_coverage(real, fake, k=1) == (0.0, 0.0)


@pytest.mark.parametrize("more", [0, 200])
@pytest.mark.parametrize("tiles", [None, (32, 24)])
def test_copies_of_some_data_are_on_the_edges_of_balls(tiles, more, monkeypatch):
  """A copy of the k-th neighbour is on the edge exactly: its distance has to have the same bits."""
  if tiles is not None:
    monkeypatch.setattr(_tiles, "ROWS", tiles[0])
    monkeypatch.setattr(_tiles, "COLUMNS", tiles[1])
  real, others = sets(120, 200, 20)
  copies = real[np.random.default_rng(1).permutation(120)[:50]]
  fake = np.concatenate([copies, others[:more]])  # with them the sets differ in their tiles' size
  expected = by_definition(real.astype(np.float64), fake.astype(np.float64), 3)
  assert measured(real, fake, 3) == pytest.approx(expected, abs=1e-12)


def test_a_dropped_mode_costs_recall_and_a_foreign_one_precision():
  rng = np.random.default_rng(0)
  left, right = (rng.normal(size=(2, 100, 4)) + shift for shift in (0.0, 50.0))
  both = np.concatenate([left[0], right[0]])
  dropped = metrics.precision_recall(both, np.concatenate(left))
  assert dropped.recall <= 0.5
  assert dropped.precision > 0.85
  foreign = metrics.precision_recall(left[0], np.concatenate([left[1], right[1]]))
  assert foreign.precision <= 0.5
  assert metrics.density_coverage(both, np.concatenate(left)).coverage <= 0.5


@pytest.mark.parametrize("measure", [metrics.precision_recall, metrics.density_coverage])
def test_k_out_of_range_is_refused(measure):
  x = np.random.default_rng(0).normal(size=(6, 3))
  for k in (0, 6):
    with pytest.raises(ValueError, match=f"k={k} must be from 1 to 5"):
      measure(x, np.concatenate([x, x]), k=k)
