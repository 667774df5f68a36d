import itertools

import numpy as np
import pytest

from jaxgan import metrics


def test_a_code_that_is_the_class_under_other_names_is_pure():
  classes = np.random.default_rng(0).integers(0, 5, 200)
  names = np.array([3, 0, 4, 2, 1])
  found = metrics.code_purity(names[classes], classes)
  assert (found.purity, found.matched) == (1.0, 1.0)
  np.testing.assert_array_equal(found.matching[names], np.arange(5))


def test_two_codes_of_one_class_are_pure_but_not_matched():
  codes, classes = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 0, 0, 1, 2])
  found = metrics.code_purity(codes, classes)
  assert found.purity == 6 / 7
  assert found.matched == 4 / 7  # three of code 0, none of code 1, one of code 2
  assert found.matching[0] == 0
  np.testing.assert_array_equal(found.counts, [[3, 0, 0], [2, 0, 0], [0, 1, 1]])


def test_a_code_gives_up_its_majority_where_another_gains_more():
  counts = np.array([[5, 4], [4, 0]])  # greedily 5 + 0, at best 4 + 4
  codes, classes = (
    np.repeat(index, counts.ravel()) for index in np.indices(counts.shape).reshape(2, -1)
  )
  found = metrics.code_purity(codes, classes)
  assert (found.purity, found.matched) == (9 / 13, 8 / 13)
  np.testing.assert_array_equal(found.matching, [1, 0])


@pytest.mark.parametrize("sizes", [(3, 5), (4, 4), (5, 3)], ids=str)
def test_the_matching_is_the_best_of_all(sizes):
  random = np.random.default_rng(1)
  codes, classes = (random.integers(0, size, 60) for size in sizes)
  found = metrics.code_purity(codes, classes, sizes=sizes)
  k, m = sizes
  counts = np.array([[((codes == i) & (classes == j)).sum() for j in range(m)] for i in range(k)])
  np.testing.assert_array_equal(found.counts, counts)
  # classes -1 stand for none, where there are more codes
  options = itertools.permutations([*range(m), *[-1] * max(k - m, 0)], k)
  best = max(sum(counts[i, j] for i, j in enumerate(each) if j >= 0) for each in options)
  assert found.matched == best / 60
  assert found.purity == counts.max(1).sum() / 60
  matched = found.matching[found.matching >= 0]
  assert len(set(matched.tolist())) == len(matched) == min(k, m)
  assert sum(counts[i, j] for i, j in enumerate(found.matching) if j >= 0) == best


def test_a_code_that_nothing_was_drawn_of_changes_nothing():
  codes, classes = np.array([0, 0, 2]), np.array([1, 1, 0])
  small, large = (metrics.code_purity(codes, classes, sizes=sizes) for sizes in (None, (6, 4)))
  assert small[:2] == large[:2] == (1.0, 1.0)
  assert large.counts.shape == (6, 4)


def test_a_collapse_to_one_class_is_pure_and_matches_one_code():
  found = metrics.code_purity(np.arange(20) % 4, np.full(20, 2), sizes=(4, 3))
  assert (found.purity, found.matched) == (1.0, 0.25)
  assert sorted(found.matching.tolist()) == [-1, -1, -1, 2]


def test_a_code_without_meaning_has_the_purity_of_chance():
  random = np.random.default_rng(2)
  found = metrics.code_purity(random.integers(0, 10, 100_000), random.integers(0, 10, 100_000))
  assert 0.1 < found.matched <= found.purity < 0.11


def test_what_does_not_fit_is_refused():
  with pytest.raises(ValueError, match=r"classes must be \[2\]"):
    metrics.code_purity(np.array([0, 1]), np.array([0, 1, 2]))
  with pytest.raises(TypeError, match="codes must be integers"):
    metrics.code_purity(np.array([0.0, 1.0]), np.array([0, 1]))
  with pytest.raises(ValueError, match="empty"):
    metrics.code_purity(np.zeros(0, int), np.zeros(0, int))
  with pytest.raises(ValueError, match=r"codes must be in 0\.\.2, got 0\.\.3"):
    metrics.code_purity(np.array([0, 3]), np.array([0, 1]), sizes=(3, 2))
  with pytest.raises(ValueError, match=r"classes must be in 0\.\.1, got -1\.\.1"):
    metrics.code_purity(np.array([0, 3]), np.array([-1, 1]))
