"""The three places that batches come from: the device, the host's memory, and a decoder.

Each gives this process's rows of a step as NumPy arrays, now or ahead of time, and says how they
become a batch on the device, by a function that can be traced.
"""

import dataclasses
import itertools
import signal
from collections.abc import Callable, Generator, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Bool, Int, Int32, Shaped, UInt8

from jaxgan.data import order
from jaxgan.data.dataset import Reader
from jaxgan.data.errors import require
from jaxgan.data.threads import run_ahead
from jaxgan.types import PyTree

__all__ = ["Feed", "Gathered", "Resident", "Streamed", "Taken", "assemble"]

# [groups, local rows, ...], of what is beside pictures by name
Rows = tuple[np.ndarray | dict[str, np.ndarray] | None, ...]
Source = tuple[Array, Array | None, dict[str, Array]] | None  # all of a set, on the device
Batch = dict[str, Array]

_AHEAD = 3  # batches prepared before they are asked for
_ENDLESS = 1 << 60  # steps


def _scaled(pictures: UInt8[Array, "*batch H W C"], flips: Bool[Array, "*batch"]) -> Array:
  pictures = jnp.where(flips[..., None, None, None], pictures[..., ::-1, :], pictures)
  # The difference is exact, so that fusing the two operations cannot change a bit.
  return (pictures.astype(jnp.float32) - 127.5) / 127.5


def _finish(
  pictures: UInt8[Array, "*batch H W C"],
  labels: Int[Array, "*batch"] | None,
  beside: Mapping[str, Shaped[Array, "..."]],
  flips: Bool[Array, "*batch"],
  other_flips: Bool[Array, "*batch"] | None,
) -> Batch:
  batch = {"image": _scaled(pictures, flips)}
  if labels is not None:
    batch["label"] = labels.astype(jnp.int32)
  other_flips = flips if other_flips is None else other_flips
  for name, rows in beside.items():
    is_picture = rows.dtype == jnp.uint8 and rows.ndim == flips.ndim + 3
    batch[name] = _scaled(rows, other_flips) if is_picture else rows
  return batch


def assemble(
  images: UInt8[Array, "records H W C"],
  labels: Int32[Array, "records"] | None,
  indices: Int32[Array, "*batch"],
  flips: Bool[Array, "*batch"],
  *,
  beside: Mapping[str, Shaped[Array, "rows ..."]] | None = None,
  other: tuple[Int32[Array, "*batch"], Bool[Array, "*batch"]] | None = None,
) -> dict[str, Shaped[Array, "..."]]:
  """Picks, mirrors and scales pictures; traceable, so that a `lax.scan` may do it step by step.

  Args:
    images: all pictures, 0 to 255.
    labels: all labels, or None.
    indices: which records to take, from 0 and below `records`.
    flips: which of them to mirror, left to right.
    beside: what there is beside all pictures, see `Dataset.beside`.
    other: indices and flips of `beside`, where the set is unpaired.

  Returns:
    "image" in [-1, 1], "label" where there are labels, and what is beside them, by its names.

  >>> images = jnp.array([0, 255], jnp.uint8).reshape(1, 1, 2, 1)
  >>> batch = assemble(images, None, jnp.array([0, 0]), jnp.array([False, True]))
  >>> batch["image"].reshape(2, 2).tolist()
  [[-1.0, 1.0], [1.0, -1.0]]
  """
  other_indices, other_flips = (indices, None) if other is None else other

  def pick(arrays: PyTree, chosen: Array) -> PyTree:
    return jax.tree.map(lambda array: array.at[chosen].get(mode="promise_in_bounds"), arrays)

  images, labels = pick((images, labels), indices)
  return _finish(images, labels, pick(dict(beside or {}), other_indices), flips, other_flips)


def _combine_indices(
  source: tuple[Array, Array | None, dict[str, Array]],
  indices: Array,
  others: Array | None,
  flips: Array,
  other_flips: Array | None,
) -> Batch:
  images, labels, beside = source
  other = None if others is None or other_flips is None else (others, other_flips)
  return assemble(images, labels, indices, flips, beside=beside, other=other)


def _combine_rows(source: None, *rows: Any) -> Batch:
  del source
  return _finish(*rows)


@dataclasses.dataclass(frozen=True)
class Taken:
  """This process's records of each step; goes to worker processes.

  Attributes:
    schedule: of the pictures.
    other: of what is beside them, where that is unpaired.
    rows: of the batch that are this process's.
  """

  schedule: order.Schedule
  other: order.Schedule | None
  rows: Int[np.ndarray, "local"]

  def records(self, step: int) -> Int32[np.ndarray, "groups local"]:
    """The pictures."""
    return self.schedule.records(step)[:, self.rows]

  def others(self, step: int) -> Int32[np.ndarray, "groups local"] | None:
    """The rows of what is beside them, where these are others."""
    return None if self.other is None else self.other.records(step)[:, self.rows]

  def beside(
    self, arrays: Mapping[str, np.ndarray], step: int
  ) -> dict[str, Shaped[np.ndarray, "groups local ..."]]:
    """What is beside the pictures of a step."""
    chosen = self.records(step) if self.other is None else self.others(step)
    return {name: array[chosen] for name, array in arrays.items()}


class Feed(Protocol):
  """Where batches come from."""

  source: Source
  combine: Callable[..., Batch]  # (source, *rows on the device, flips) -> batch

  def read(self, step: int) -> Rows:
    """What `combine` needs of one step but for the flips of pictures and of what is beside them."""

  def ahead(self, step: int) -> Generator[Rows, None, None]:
    """`read(step)`, `read(step + 1)` and so on, prepared before they are asked for."""


class Resident(Feed):
  """The whole set lies on each device; only indices travel."""

  def __init__(
    self,
    images: UInt8[np.ndarray, "records H W C"],
    labels: Int32[np.ndarray, "records"] | None,
    beside: Mapping[str, np.ndarray],
    taken: Taken,
    sharding: NamedSharding | None,
  ):
    self._taken = taken
    whole = (images, labels, dict(beside))
    self.source = jax.tree.map(lambda array: _everywhere(array, sharding), whole)
    self.combine = _combine_indices

  def read(self, step: int) -> Rows:
    """See `Feed`."""
    return self._taken.records(step), self._taken.others(step)

  def ahead(self, step: int) -> Generator[Rows, None, None]:
    """See `Feed`; there is nothing to prepare."""
    yield from map(self.read, itertools.count(step))


class Gathered(Feed):
  """The set lies in the host's memory or is mapped into it; a thread picks pictures ahead."""

  def __init__(
    self,
    images: UInt8[np.ndarray, "records H W C"],
    labels: Int32[np.ndarray, "records"] | None,
    beside: Mapping[str, np.ndarray],
    taken: Taken,
  ):
    self._images, self._labels, self._beside = images, labels, beside
    self._taken = taken
    self.source, self.combine = None, _combine_rows

  def read(self, step: int) -> Rows:
    """See `Feed`."""
    chosen = self._taken.records(step)
    labels = None if self._labels is None else self._labels[chosen]
    return self._images[chosen], labels, self._taken.beside(self._beside, step)

  def ahead(self, step: int) -> Generator[Rows, None, None]:
    """See `Feed`."""
    return run_ahead(self.read, itertools.count(step), threads=1, ahead=_AHEAD)


@dataclasses.dataclass(frozen=True)
class _Decode:
  """Decodes this process's rows of a step; goes to worker processes."""

  reader: Reader
  beside: Mapping[str, np.ndarray]
  taken: Taken

  def __call__(self, step: int) -> Rows:
    step = int(step)
    chosen = self.taken.records(step)
    images, given = zip(*self.reader.read(chosen.ravel().tolist()), strict=True)
    stacked = np.stack(images).reshape(*chosen.shape, *self.reader.shape)
    labels = None if None in given else np.array(given, np.int32).reshape(chosen.shape)
    return stacked, labels, self.taken.beside(self.beside, step)


class Streamed(Feed):
  """The set is decoded again whenever it is read, by threads or worker processes of Grain."""

  def __init__(
    self,
    reader: Reader,
    beside: Mapping[str, np.ndarray],
    taken: Taken,
    workers: int,
  ):
    self._grain = require("grain", "streaming a data set")
    self._workers = workers
    self._steps = self._grain.MapDataset.range(_ENDLESS).map(_Decode(reader, beside, taken))
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
