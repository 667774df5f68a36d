"""The benchmark of populations runs and says a ratio of what it timed."""

import pytest

from benchmarks import population


def test_a_ratio_is_that_of_the_steps_that_were_timed():
  found = population.measure(
    population.Options(members=2, resolution=8, width=2, batch_size=4, rounds=3)
  )
  low, middle, high = found["quartiles"]
  assert 0 < low <= found["ratio"] == middle <= high
  with pytest.raises(ValueError, match="--members=0 must be positive"):
    population.measure(population.Options(members=0))
