import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from jaxgan import metrics


def points(seed, n, d=5):
  return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 4])
def test_neighbours_against_all_distances(k):
  x, y = points(0, 70), points(1, 110)
  distances = cdist(x.astype(np.float64), y.astype(np.float64))
  found = metrics.nearest_neighbours(x, y, k=k)
  np.testing.assert_array_equal(found.indices, np.argsort(distances, axis=1)[:, :k])
  np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :k], rtol=1e-12)


def test_copies_far_from_the_origin_are_found_at_distance_zero():
  """|a|^2 + |b|^2 - 2ab of float32 features this far off has no digit left."""
  data = points(0, 200, 64) + np.float32(1000)
  which = np.array([7, 3, 150])
  near = data[which].copy()
  near[2, 0] += np.float32(0.01)
  found = metrics.nearest_neighbours(near, data)
  np.testing.assert_array_equal(found.indices[:, 0], which)
  np.testing.assert_allclose(found.distances[:2, 0], 0.0, atol=0)
  np.testing.assert_allclose(found.distances[2, 0], 0.01, rtol=1e-2)  # float32 steps are 6e-5 here


def test_near_examples_far_from_the_mean_are_told_apart():
  """Two clusters 2,000 apart: float32 squared distances are off by 0.1, neighbours by 1e-4."""
  rng = np.random.default_rng(0)
  data = np.concatenate([side + 0.01 * rng.normal(size=(6, 3)) for side in (-1000.0, 1000.0)])
  x = np.concatenate([side + 0.01 * rng.normal(size=(20, 3)) for side in (-1000.0, 1000.0)])
  found = metrics.nearest_neighbours(x, data, k=2)
  np.testing.assert_array_equal(found.indices, np.argsort(cdist(x, data), axis=1)[:, :2])


def test_of_equal_distances_the_first_example_is_taken():
  data = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
  found = metrics.nearest_neighbours(np.zeros([1, 2]), data, k=4)
  np.testing.assert_array_equal(found.indices, [[0, 1, 2, 3]])


def test_the_memorisation_test_against_scipy():
  rng = np.random.default_rng(0)
  # a grid gives many equal distances, which the variance has to know
  train, held_out = rng.integers(0, 6, size=(2, 90, 3)).astype(np.float64)
  fake = rng.integers(0, 6, size=(60, 3)).astype(np.float64)
  result = metrics.memorisation(fake, train, held_out)
  to_train = [cdist(x, train).min(1) for x in (fake, held_out)]
  test = stats.mannwhitneyu(
    *to_train, alternative="less", method="asymptotic", use_continuity=False
  )
  np.testing.assert_allclose(result.p_value, test.pvalue, rtol=1e-10)
  np.testing.assert_allclose(result.share, 1 - test.statistic / (60 * 90), rtol=1e-12)


def test_z_is_standard_normal_for_samples_like_held_out_data():
  z = []
  for seed in range(200):
    fake, held_out = points(3 * seed, 40), points(3 * seed + 1, 30)
    z.append(metrics.memorisation(fake, points(3 * seed + 2, 50), held_out).z)
  # 200 normal values: mean to 0.07 and deviation to 0.05, three of each
  assert abs(np.mean(z)) < 0.21
  assert abs(np.std(z, ddof=1) - 1) < 0.15


def test_copying_is_negative_and_underfitting_positive():
  train, held_out = points(0, 200), points(1, 200)
  copies = metrics.memorisation(train[:100] + np.float32(0.01), train, held_out)
  assert copies.share == 1.0
  assert copies.z < -10
  assert copies.p_value < 1e-20
  far = metrics.memorisation(points(2, 100) + 5, train, held_out)
  assert far.share < 0.01
  assert far.z > 10
  # half copies, half like data: visible too
  half = np.concatenate([train[:50], points(3, 50)])
  assert metrics.memorisation(half, train, held_out).p_value < 1e-6
  same = np.zeros([20, 5])
  assert metrics.memorisation(same, same, same) == (0.5, 0.0, 0.5)


def test_k_out_of_range_is_refused():
  with pytest.raises(ValueError, match="k=5 must be from 1 to the number of examples in data, 4"):
    metrics.nearest_neighbours(points(0, 3), points(1, 4), k=5)
