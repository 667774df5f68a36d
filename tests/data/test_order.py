import numpy as np
import pytest

from jaxgan.data import order


def test_each_epoch_visits_each_record_once_and_in_its_own_order():
  sequence = order.records(3, 10, np.arange(40)).reshape(4, 10)
  np.testing.assert_array_equal(np.sort(sequence), np.tile(np.arange(10), [4, 1]))
  assert len({tuple(epoch) for epoch in sequence.tolist()}) == 4
  assert (sequence != order.records(4, 10, np.arange(40)).reshape(4, 10)).any()


def test_the_order_is_what_it_was():
  # A change here changes what resumed runs train on.
  assert order.permutation(0, 0, 8).tolist() == GOLDEN_ORDER
  assert order.flips(0, 0, 8).astype(int).tolist() == GOLDEN_FLIPS


GOLDEN_ORDER = [7, 6, 3, 2, 4, 1, 5, 0]
GOLDEN_FLIPS = [1, 0, 0, 0, 1, 1, 0, 0]


def test_permutations_are_uniform():
  first = np.array([order.permutation(0, epoch, 5)[0] for epoch in range(2000)])
  counts = np.bincount(first, minlength=5)
  assert ((counts - 400) ** 2 / 400).sum() < 18.5  # chi-squared, 4 degrees: p = 0.001


@pytest.mark.parametrize("start", [0, 1, 3, 4, 7, 1000])
def test_a_flip_belongs_to_its_place(start):
  np.testing.assert_array_equal(order.flips(5, start, 1010), order.flips(5, 0, 1010)[start:])


def test_flips_are_fair_and_follow_the_seed():
  flips = order.flips(0, 0, 10_000)
  assert abs(flips.mean() - 0.5) < 0.02
  assert 0.45 < (flips != order.flips(1, 0, 10_000)).mean() < 0.55


def test_a_schedule_cuts_the_sequence_into_steps():
  schedule = order.Schedule(seed=2, count=7, groups=2, batch_size=3)
  steps = np.stack([schedule.records(step) for step in range(7)])
  assert steps.dtype == np.int32
  np.testing.assert_array_equal(steps.ravel(), order.records(2, 7, np.arange(42)))
  flips = np.stack([schedule.flips(step) for step in range(7)])
  np.testing.assert_array_equal(flips.ravel(), order.flips(2, 0, 42))
