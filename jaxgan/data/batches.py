"""Batches as a pure function of the step, wherever the pictures are kept."""

import itertools
import math
import time
import weakref
from collections.abc import Generator, Iterable
from typing import Any, Self

import jax
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Bool, Int, Int32

from jaxgan.data import feeds, order
from jaxgan.data.dataset import Dataset
from jaxgan.data.errors import DataError

__all__ = ["Batches"]

_OTHER = 1 << 64


class Batches:
  """Shuffled batches of a data set, forever; the batch of a step depends on the seed and step only.

  Training sees the endless sequence of one permutation of the data after another, one an epoch;
  each step takes the next `G B` places of it, so a batch may straddle two epochs. Pictures
  stay uint8 until they are on the device. A set of up to `device_limit` bytes is put there whole,
  once; a larger one is read from memory or its cache by a thread that runs ahead, and one that is
  only streamed by Grain. The batches are the same, bit for bit, in all three.

  Attributes:
    dataset: the pictures.
    wait_seconds: how long, in all, the caller has waited for batches so far.

  >>> from jaxgan import data
  >>> with Batches(data.load("digits", resolution=16), batch_size=8) as batches:
  ...   batch = batches(0)
  >>> batch["image"].shape, batch["label"].shape
  ((1, 8, 16, 16, 1), (1, 8))
  """

  def __init__(
    self,
    dataset: Dataset,
    batch_size: int,
    *,
    groups: order.Groups = 1,
    seed: int = 0,
    flip: bool = False,
    sharding: NamedSharding | None = None,
    workers: int = 0,
    device_limit: int = 1 << 30,
  ):
    """Prepares, and puts a small set on the device.

    Args:
      dataset: what `load` returned.
      batch_size: B, pictures in a group over all devices and processes.
      groups: G, batches that one step takes (the discriminator's updates, say); where it changes, a
        function of the step, which processes that decode (`workers`) must be able to pickle.
      seed: non-negative; decides the order and the mirroring.
      flip: mirror each picture, left to right, with probability one half.
      sharding: how `[G, B, ...]` lies on the devices, sharded along B at most; None for the default
        device. Each process then reads its own rows only.
      workers: processes that decode a streamed set; 0 for threads.
      device_limit: bytes that may be spent on a device to keep the set there.

    Raises:
      DataError: a number out of range, or a sharding that does not divide the batch.
    """
    least = {"batch_size": 1, "groups": 1, "seed": 0, "workers": 0}
    first = groups(0) if callable(groups) else groups
    given = {"batch_size": batch_size, "groups": first, "seed": seed, "workers": workers}
    for name, value in given.items():
      if value < least[name]:
        raise DataError(f"{name}={value}: give a whole number of at least {least[name]}")
    self.dataset = dataset
    self.wait_seconds = 0.0
    self._flip, self._sharding = flip, sharding
    self._schedule = order.Schedule(seed, len(dataset), groups, batch_size)
    # Another stream of the same kind: no person's seed is as large.
    other = order.Schedule(seed + _OTHER, _rows_beside(dataset), groups, batch_size)
    self._other = other if dataset.unpaired else None
    self._rows = _local_rows(sharding, first, batch_size)
    self._iterators: weakref.WeakSet[Generator[Any, None, None]] = weakref.WeakSet()
    self._feed: feeds.Feed
    taken = feeds.Taken(self._schedule, self._other, self._rows)
    size = sum(rows.nbytes for rows in dataset.beside.values())
    if dataset.images is None:
      assert dataset.reader is not None
      self._feed = feeds.Streamed(dataset.reader, dataset.beside, taken, workers)
    elif dataset.images.nbytes + size > device_limit:
      self._feed = feeds.Gathered(dataset.images, dataset.labels, dataset.beside, taken)
    else:
      self._feed = feeds.Resident(dataset.images, dataset.labels, dataset.beside, taken, sharding)
    self._combine = jax.jit(self.assemble, out_shardings=sharding)

  def indices(
    self, step: int
  ) -> tuple[Int32[np.ndarray, "groups batch"], Bool[np.ndarray, "groups batch"]]:
    """What one step takes, for `assemble`: whole, on the host.

    Args:
      step: from 0.

    Returns:
      The records, and which of them are mirrored.
    """
    return self._schedule.records(step), self._flips(step)

  def __call__(self, step: int) -> dict[str, Array]:
    """The batch of one step.

    Args:
      step: from 0.

    Returns:
      "image", float32 `[groups, batch, H, W, C]` in [-1, 1], "label", int32 `[groups, batch]`,
      where the set has classes, and what the set keeps beside its pictures (`Dataset.beside`).

    Raises:
      DataError: a streamed picture is damaged.
    """
    began = time.perf_counter()
    batch = self._on_device(step, self._feed.read(step))
    self.wait_seconds += time.perf_counter() - began
    return batch

  def starting_at(self, step: int) -> Generator[dict[str, Array], None, None]:
    """The batches of `step`, `step + 1` and so on, prepared ahead.

    Args:
      step: from 0.

    Returns:
      An endless iterator over what `batches(step)`, `batches(step + 1)` ... return.

    Raises:
      DataError: a streamed picture is damaged.
    """
    iterator = self._iterate(step)
    self._iterators.add(iterator)
    return iterator

  @property
  def source(self) -> feeds.Source:
    """What all steps pick from on the device: pictures and labels, or None if rows bring them."""
    return self._feed.source

  def assemble(self, source: feeds.Source, rows: tuple[Array | None, ...]) -> dict[str, Array]:
    """A step's batch from its rows, as `stacks` gives them; traceable.

    Args:
      source: the property of that name, so that a compiled program takes it as an argument.
      rows: of one step, on the device.

    Returns:
      What `batches(step)` returns.
    """
    return self._feed.combine(source, *rows)

  def stacks(
    self, step: int, counts: Iterable[int]
  ) -> Generator[tuple[Array | None, ...], None, None]:
    """The rows of several steps at a time, for a program that plays several.

    Args:
      step: the first.
      counts: how many steps each stack holds; all of a stack take as many groups.

    Returns:
      An iterator, prepared ahead; arrays `[count, groups, batch, ...]` whose slices along the first
      axis are for `assemble`.

    Raises:
      DataError: a streamed picture is damaged.
    """
    iterator = self._iterate_stacks(step, counts)
    self._iterators.add(iterator)
    return iterator

  def _iterate_stacks(
    self, step: int, counts: Iterable[int]
  ) -> Generator[tuple[Array | None, ...], None, None]:
    prepared = self._feed.ahead(step)
    try:
      for count in counts:
        began = time.perf_counter()
        rows = [(*next(prepared), *self._coins(step + i)) for i in range(count)]
        stack = jax.tree.map(lambda *steps: self._put(np.stack(steps), stacked=True), *rows)
        step += count
        self.wait_seconds += time.perf_counter() - began
        yield stack
    finally:
      prepared.close()

  def _iterate(self, step: int) -> Generator[dict[str, Array], None, None]:
    prepared = self._feed.ahead(step)
    try:
      for now in itertools.count(step):
        began = time.perf_counter()
        batch = self._on_device(now, next(prepared))
        self.wait_seconds += time.perf_counter() - began
        yield batch
    finally:
      prepared.close()

  # Programs start in the caller's thread only: the same order in every process.
  def _on_device(self, step: int, rows: feeds.Rows) -> dict[str, Array]:
    arrays = (*rows, *self._coins(step))
    return self._combine(self.source, jax.tree.map(self._put, arrays))

  def _put(self, array: np.ndarray, stacked: bool = False) -> Array:
    """This process's rows `[G, b, ...]` as part of `[G, B, ...]`; stacked, with steps in front."""
    if self._sharding is None:
      return jax.device_put(array)
    lead = (len(array),) if stacked else ()
    axes = (None,) * stacked
    sharding = NamedSharding(self._sharding.mesh, PartitionSpec(*axes, *self._sharding.spec))
    shape = (*lead, array.shape[len(lead)], self._schedule.batch_size)
    rest = array.shape[len(shape) :]
    return jax.make_array_from_process_local_data(sharding, array, (*shape, *rest))

  def _coins(
    self, step: int
  ) -> tuple[Bool[np.ndarray, "groups local"], Bool[np.ndarray, "groups local"] | None]:
    """The flips of this process's rows: of pictures, and of what is unpaired beside them."""
    other = None if self._other is None else self._flips(step, self._other)[:, self._rows]
    return self._flips(step)[:, self._rows], other

  def _flips(
    self, step: int, schedule: order.Schedule | None = None
  ) -> Bool[np.ndarray, "groups batch"]:
    flips = (schedule or self._schedule).flips(step)
    return flips if self._flip else np.zeros_like(flips)

  def close(self) -> None:
    """Ends all iterators with their threads and worker processes."""
    for iterator in list(self._iterators):
      iterator.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def _rows_beside(dataset: Dataset) -> int:
  return max((len(rows) for rows in dataset.beside.values()), default=len(dataset))


def _local_rows(
  sharding: NamedSharding | None, groups: int, batch_size: int
) -> Int[np.ndarray, "local"]:
  """The rows of the global batch that lie on this process's devices."""
  if sharding is None:
    return np.arange(batch_size)
  axes = [axis if isinstance(axis, tuple) else (axis,) for axis in (*sharding.spec, None, None)]
  over_groups, over_batch = (
    math.prod(sharding.mesh.shape[name] for name in names if name) for names in axes[:2]
  )
  if over_groups > 1:
    raise DataError(f"sharding={sharding.spec} splits the groups: shard the batch, P(None, 'data')")
  if batch_size % over_batch:
    raise DataError(
      f"batch_size={batch_size} does not divide over the {over_batch} shards of {sharding.spec}: "
      f"give a multiple of {over_batch}"
    )
  places = sharding.addressable_devices_indices_map((groups, batch_size)).values()
  bounds = sorted({place[1].indices(batch_size) for place in places if place})
  return np.concatenate([np.arange(*bound) for bound in bounds])
