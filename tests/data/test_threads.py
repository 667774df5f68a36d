import itertools
import threading

import pytest

from jaxgan.data import threads


def test_results_come_in_order_and_only_so_many_ahead():
  started = []

  def work(item):
    started.append(item)
    return item * item

  results = threads.run_ahead(work, itertools.count(), threads=3, ahead=4)
  assert [next(results) for _ in range(10)] == [n * n for n in range(10)]
  assert len(started) <= 14
  results.close()
  assert not any("jaxgan-data" in thread.name for thread in threading.enumerate())


def test_an_error_surfaces_in_its_place():
  results = threads.run_ahead(lambda n: 6 // n, [3, 2, 0, 1], threads=2, ahead=3)
  assert [next(results), next(results)] == [2, 3]
  with pytest.raises(ZeroDivisionError):
    next(results)
