"""The three places that batches come from: the device, the host's memory, and a decoder.

Each gives this process's rows of a step as NumPy arrays, now or ahead of time, and says how they
become a batch on the device, by a function that can be traced.
"""

import dataclasses
import itertools
import signal
from collections.abc import Callable, Generator
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Bool, Float, Int, Int32, UInt8

from jaxgan.data import order
from jaxgan.data.dataset import Reader
from jaxgan.data.errors import require
from jaxgan.data.threads import run_ahead

__all__ = ["Feed", "Gathered", "Resident", "Streamed", "assemble"]

Rows = tuple[np.ndarray | None, ...]  # each [groups, local rows, ...]
Source = tuple[Array, Array | None] | None  # pictures and labels on the device
Batch = dict[str, Array]

_AHEAD = 3  # batches prepared before they are asked for
_ENDLESS = 1 << 60  # steps


def _finish(
  pictures: UInt8[Array, "*batch H W C"],
  labels: Int[Array, "*batch"] | None,
  flips: Bool[Array, "*batch"],
) -> Batch:
  pictures = jnp.where(flips[..., None, None, None], pictures[..., ::-1, :], pictures)
  # The difference is exact, so that fusing the two operations cannot change a bit.
  batch = {"image": (pictures.astype(jnp.float32) - 127.5) / 127.5}
  return batch if labels is None else {**batch, "label": labels.astype(jnp.int32)}


def assemble(
  images: UInt8[Array, "records H W C"],
  labels: Int32[Array, "records"] | None,
  indices: Int32[Array, "*batch"],
  flips: Bool[Array, "*batch"],
) -> dict[str, Float[Array, "*batch H W C"] | Int32[Array, "*batch"]]:
  """Picks, mirrors and scales pictures; traceable, so that a `lax.scan` may do it step by step.

  Args:
    images: all pictures, 0 to 255.
    labels: all labels, or None.
    indices: which records to take, from 0 and below `records`.
    flips: which of them to mirror, left to right.

  Returns:
    "image" in [-1, 1] and, where there are labels, "label".

  >>> images = jnp.array([0, 255], jnp.uint8).reshape(1, 1, 2, 1)
  >>> batch = assemble(images, None, jnp.array([0, 0]), jnp.array([False, True]))
  >>> batch["image"].reshape(2, 2).tolist()
  [[-1.0, 1.0], [1.0, -1.0]]
  """
  images, labels = jax.tree.map(
    lambda array: array.at[indices].get(mode="promise_in_bounds"), (images, labels)
  )
  return _finish(images, labels, flips)


def _combine_indices(source: tuple[Array, Array | None], indices: Array, flips: Array) -> Batch:
  return assemble(*source, indices, flips)


def _combine_rows(source: None, *rows: Array) -> Batch:
  del source
  return _finish(*rows)


class Feed(Protocol):
  """Where batches come from."""

  source: Source
  combine: Callable[..., Batch]  # (source, *rows on the device, flips) -> batch

  def read(self, step: int) -> Rows:
    """What `combine` needs of one step but for the flips."""

  def ahead(self, step: int) -> Generator[Rows, None, None]:
    """`read(step)`, `read(step + 1)` and so on, prepared before they are asked for."""


class Resident(Feed):
  """The whole set lies on each device; only indices travel."""

  def __init__(
    self,
    images: UInt8[np.ndarray, "records H W C"],
    labels: Int32[np.ndarray, "records"] | None,
    schedule: order.Schedule,
    rows: Int[np.ndarray, "local"],
    sharding: NamedSharding | None,
  ):
    self._schedule, self._rows = schedule, rows
    self.source = jax.tree.map(lambda array: _everywhere(array, sharding), (images, labels))
    self.combine = _combine_indices

  def read(self, step: int) -> Rows:
    """See `Feed`."""
    return (self._schedule.records(step)[:, self._rows],)

  def ahead(self, step: int) -> Generator[Rows, None, None]:
    """See `Feed`; there is nothing to prepare."""
    yield from map(self.read, itertools.count(step))


class Gathered(Feed):
  """The set lies in the host's memory or is mapped into it; a thread picks pictures ahead."""

  def __init__(
    self,
    images: UInt8[np.ndarray, "records H W C"],
    labels: Int32[np.ndarray, "records"] | None,
    schedule: order.Schedule,
    rows: Int[np.ndarray, "local"],
  ):
    self._images, self._labels = images, labels
    self._schedule, self._rows = schedule, rows
    self.source, self.combine = None, _combine_rows

  def read(self, step: int) -> Rows:
    """See `Feed`."""
    chosen = self._schedule.records(step)[:, self._rows]
    return self._images[chosen], None if self._labels is None else self._labels[chosen]

  def ahead(self, step: int) -> Generator[Rows, None, None]:
    """See `Feed`."""
    return run_ahead(self.read, itertools.count(step), threads=1, ahead=_AHEAD)


@dataclasses.dataclass(frozen=True)
class _Decode:
  """Decodes this process's rows of a step; goes to worker processes."""

  reader: Reader
  schedule: order.Schedule
  rows: Int[np.ndarray, "local"]

  def __call__(self, step: int) -> Rows:
    chosen = self.schedule.records(int(step))[:, self.rows]
    images, labels = zip(*self.reader.read(chosen.ravel().tolist()), strict=True)
    stacked = np.stack(images).reshape(*chosen.shape, *self.reader.shape)
    return stacked, None if None in labels else np.array(labels, np.int32).reshape(chosen.shape)


class Streamed(Feed):
  """The set is decoded again whenever it is read, by threads or worker processes of Grain."""

  def __init__(
    self,
    reader: Reader,
    schedule: order.Schedule,
    rows: Int[np.ndarray, "local"],
    workers: int,
  ):
    self._grain = require("grain", "streaming a data set")
    self._workers = workers
    self._steps = self._grain.MapDataset.range(_ENDLESS).map(_Decode(reader, schedule, rows))
    self.source, self.combine = None, _combine_rows

  def read(self, step: int) -> Rows:
    """See `Feed`."""
    return self._steps[step]

  def ahead(self, step: int) -> Generator[Rows, None, None]:
    """See `Feed`."""
    options = self._grain.ReadOptions(num_threads=_AHEAD, prefetch_buffer_size=_AHEAD)
    stream = self._steps[step:].to_iter_dataset(options)
    if self._workers:
      flags = require("absl.flags", "decoding in worker processes").FLAGS
      if not flags.is_parsed():  # Grain hands absl's flags to its workers, used or not
        flags.mark_as_parsed()
      stream = stream.mp_prefetch(
        self._grain.MultiprocessingOptions(num_workers=self._workers),
        worker_init_fn=_leave_interrupts,
      )
    iterator = iter(stream)
    try:
      yield from iterator
    finally:
      iterator.close()


def _leave_interrupts(*_: int) -> None:
  """Ctrl-C reaches all processes of a terminal; the run ends its workers when it has saved."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)


def _everywhere(array: np.ndarray, sharding: NamedSharding | None) -> Array:
  """A whole copy of the array on each device."""
  if sharding is None:
    return jax.device_put(array)
  replicated = NamedSharding(sharding.mesh, PartitionSpec())
  return jax.make_array_from_callback(array.shape, replicated, lambda where: array[where])
