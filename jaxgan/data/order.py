"""Which record stands where in the endless training sequence, in NumPy alone.

Everything is a pure function of the seed and a place in the sequence, so that a resumed run, and
every process of a distributed one, finds the same examples without carrying any state.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int, Int32

__all__ = ["Groups", "Schedule", "flips", "permutation", "records"]

Groups = int | Callable[[int], int]  # batches a step: of every step, or by the step

_ORDER, _FLIP = 0, 1  # one random stream each


def _stream(seed: int, *path: int) -> np.random.Philox:
  return np.random.Philox(np.random.SeedSequence(seed, spawn_key=path))


# A batch may straddle two epochs, prefetching runs ahead, and a population has an order a member.
@functools.lru_cache(maxsize=32)
def permutation(seed: int, epoch: int, count: int) -> Int32[np.ndarray, "count"]:
  """The order in which one epoch visits its records.

  Sorting raw generator output keeps the order across NumPy versions, which promise the stream of a
  bit generator but not that of `Generator.permutation`.

  Args:
    seed: non-negative.
    epoch: non-negative.
    count: number of records.

  Returns:
    A read-only permutation of `range(count)`.

  >>> sorted(permutation(0, 0, 5).tolist())
  [0, 1, 2, 3, 4]
  """
  order = np.argsort(_stream(seed, _ORDER, epoch).random_raw(count), kind="stable").astype(np.int32)
  order.flags.writeable = False
  return order


def records(
  seed: int, count: int, positions: Int[np.ndarray, "*shape"]
) -> Int32[np.ndarray, "*shape"]:
  """The records at places of the endless sequence made of one permutation after another.

  Args:
    seed: non-negative.
    count: number of records, at least 1.
    positions: places in the sequence, counted from 0 at the start of training.

  Returns:
    Indices below `count`, in the shape of `positions`.

  >>> sorted(records(0, 3, np.arange(3, 6)).tolist())
  [0, 1, 2]
  """
  epochs, offsets = np.divmod(positions, count)
  chosen = np.empty(positions.shape, np.int32)
  for epoch in np.unique(epochs):
    here = epochs == epoch
    chosen[here] = permutation(seed, int(epoch), count)[offsets[here]]
  return chosen


def flips(seed: int, start: int, stop: int) -> Bool[np.ndarray, "places"]:
  """Whether the pictures at places `start` to `stop` are mirrored: a fair coin for each.

  Args:
    seed: non-negative.
    start: first place.
    stop: one past the last place.

  Returns:
    One boolean a place, the same whichever range it is asked in.

  >>> bool((flips(0, 0, 9)[5:] == flips(0, 5, 9)).all())
  True
  """
  whole = start // 4  # Philox draws four words a tick of its counter
  words = _stream(seed, _FLIP).advance(whole).random_raw(stop - 4 * whole)
  return (words >> np.uint64(63)).astype(bool)[start - 4 * whole :]


@functools.lru_cache(maxsize=8)
def _starts(groups: Callable[[int], int]) -> list[int]:
  """Batches taken before each step, as far as it was asked for."""
  return [0]


@dataclasses.dataclass(frozen=True)
class Schedule:
  """Which records each step takes: step s with its G batches the next `G B` places.

  Attributes:
    seed: non-negative.
    count: number of records.
    groups: G, batches a step; a pure function of the step where it changes.
    batch_size: B, records a batch.

  >>> Schedule(seed=0, count=10, groups=lambda step: 2 if step == 0 else 1, batch_size=3).places(1)
  (6, 9)
  """

  seed: int
  count: int
  groups: Groups
  batch_size: int

  def size(self, step: int) -> int:
    """Batches that one step takes."""
    return self.groups(step) if callable(self.groups) else self.groups

  def places(self, step: int) -> tuple[int, int]:
    """Where the step's records begin and end in the sequence."""
    if callable(self.groups):
      starts = _starts(self.groups)
      while len(starts) <= step:
        starts.append(starts[-1] + self.groups(len(starts) - 1))
      start = starts[step]
    else:
      start = step * self.groups
    return start * self.batch_size, (start + self.size(step)) * self.batch_size

  def records(self, step: int) -> Int32[np.ndarray, "groups batch"]:
    """The records of one step."""
    places = np.arange(*self.places(step)).reshape(-1, self.batch_size)
    return records(self.seed, self.count, places)

  def flips(self, step: int) -> Bool[np.ndarray, "groups batch"]:
    """Which of them are mirrored."""
    return flips(self.seed, *self.places(step)).reshape(-1, self.batch_size)
