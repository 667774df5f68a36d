"""A data set by name or path, processed and cached.

Past 300 lines because its one function documents every kind of set that it finds.
"""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32, Shaped, UInt8

from jaxgan.data import cache, catalogue, digits, paths, pictures, sources
from jaxgan.data.errors import DataError, require
from jaxgan.data.threads import run_ahead

__all__ = ["Dataset", "Reader", "load"]

_LARGEST = 4096  # pixels a side
_DIGITS = 512  # all of them are kept in memory


@dataclasses.dataclass(frozen=True)
class Reader:
  """Decodes and processes pictures when they are asked for; goes to worker processes.

  Attributes:
    source: the stored pictures.
    chosen: which of them.
    shape: of a processed picture.
  """

  source: sources.Source
  chosen: Sequence[int]
  shape: tuple[int, int, int]

  def __len__(self) -> int:
    return len(self.chosen)

  def read(self, indices: Iterable[int]) -> list[sources.Picture]:
    """Several processed pictures and their labels."""
    return self._process(self.source.read(self.chosen[index] for index in indices))

  def __iter__(self) -> Iterator[sources.Picture]:
    """All of them in order, by several threads."""
    portions: Iterator[Any]
    work: Callable[[Any], list[sources.Picture]]
    if self.source.sequential:
      stored = itertools.islice(self.source, len(self))
      portions = iter(lambda: list(itertools.islice(stored, 8)), [])
      work = self._process
    else:
      portions = (range(len(self))[start : start + 64] for start in range(0, len(self), 64))
      work = self.read
    threads = min(os.cpu_count() or 1, 16)
    for portion in run_ahead(work, portions, threads=threads, ahead=2 * threads):
      yield from portion

  def _process(self, stored: Iterable[sources.Picture]) -> list[sources.Picture]:
    side, _, channels = self.shape
    return [(pictures.fit(picture, side, channels), label) for picture, label in stored]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """Square uint8 pictures of one size, and their labels if they have any.

  Attributes:
    name: what to call the set.
    images: all pictures, in memory or mapped from the cache; None if they are streamed.
    labels: all labels; None if there are none or they are streamed.
    classes: names of the classes, `()` without labels.
    reader: decodes the pictures of a set that is streamed.
    beside: what else there is of each picture, by name, in arrays of as many rows: `"input"`, the
      uint8 picture `[H, W, C]` that is translated into it, or numbers, such as the tokens of a
      text. Batches bring them along, pictures scaled to [-1, 1] and mirrored with their pictures.
    unpaired: the rows of `beside` are not those of the pictures; there may be another number of
      them, and batches take them in an order, and mirrored by coins, of their own.
    names: of the files of a folder, without the folder; `()` elsewhere.
    folder: where these files lie.
    captions: the different texts of the pictures, whose tokens are `beside["text"]`; `()` without.

  >>> dataset = Dataset("noise", images=np.zeros([5, 8, 8, 3], np.uint8))
  >>> len(dataset), dataset.shape, dataset[0]["image"].dtype
  (5, (8, 8, 3), dtype('uint8'))
  """

  name: str
  images: UInt8[np.ndarray, "records H W C"] | None = None
  labels: Int32[np.ndarray, "records"] | None = None
  classes: tuple[str, ...] = ()
  reader: Reader | None = None
  beside: Mapping[str, Shaped[np.ndarray, "rows ..."]] = dataclasses.field(default_factory=dict)
  unpaired: bool = False
  names: tuple[str, ...] = ()
  folder: str | None = None
  captions: tuple[str, ...] = ()

  def __post_init__(self):
    if (self.images is None) == (self.reader is None):
      raise DataError("a Dataset has either images= or a reader=")
    self._check_beside()
    if self.images is None:
      return
    if self.images.ndim != 4 or self.images.dtype != np.uint8 or not len(self.images):
      raise DataError(
        f"images= is {self.images.dtype}{list(self.images.shape)}: give uint8 [count, H, W, C]"
      )
    if self.labels is not None and self.labels.shape != self.images.shape[:1]:
      raise DataError(
        f"labels= has the shape {list(self.labels.shape)} beside {len(self.images)} images: "
        "give one label for each"
      )

  def _check_beside(self) -> None:
    counts = {name: len(rows) for name, rows in self.beside.items()}
    allowed = set(counts.values()) if self.unpaired else {len(self)}
    if len(allowed) > 1 or not set(counts.values()) <= allowed or 0 in counts.values():
      raise DataError(
        f"beside= has {counts} rows beside {len(self)} pictures: give one row for each"
      )
    if self.unpaired and not counts:
      raise DataError("unpaired=True needs something in beside=, such as input=")
    for name, rows in self.beside.items():
      if name in ("image", "label") or rows.dtype.hasobject:
        raise DataError(f"beside= has {name!r} of {rows.dtype}: give numbers, under another name")

  @property
  def inputs(self) -> tuple[int, int, int] | None:
    """`(H, W, C)` of the pictures that are translated, `beside["input"]`; None without them."""
    return self.beside["input"].shape[1:] if "input" in self.beside else None

  @property
  def shape(self) -> tuple[int, int, int]:
    """`(H, W, C)` of every picture."""
    if self.images is not None:
      return self.images.shape[1:]
    assert self.reader is not None
    return self.reader.shape

  def __len__(self) -> int:
    if self.images is not None:
      return len(self.images)
    assert self.reader is not None
    return len(self.reader)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """One picture, uint8, as "image", its "label", if any, and what is paired with it."""
    if self.images is not None:
      image, label = self.images[index], None if self.labels is None else self.labels[index]
    else:
      assert self.reader is not None
      ((image, label),) = self.reader.read([index])
    entry = {"image": image} if label is None else {"image": image, "label": np.int32(label)}
    return entry if self.unpaired else entry | {k: rows[index] for k, rows in self.beside.items()}


def load(
  dataset: str | os.PathLike[str],
  *,
  resolution: int | None = 32,
  split: str = "train",
  channels: int | None = None,
  data_dir: str | os.PathLike[str] | None = None,
  limit: int | None = None,
  cache_dir: str | os.PathLike[str] | None = None,
  cache_limit: int = 8 << 30,
) -> Dataset:
  """Finds a data set, processes it and keeps the result.

  One rule finds it:

  1. "digits" is scikit-learn's 1,797 handwritten digits, which need no download.
  2. A path that exists is read as what lies there: a folder of pictures, searched to its depths
     (sub-folders `train`, `test` and the like are splits; otherwise, where all pictures lie in
     several sub-folders, these are the classes); a folder where TFDS, or
     `python -m jaxgan.data.prepare`, has prepared a set; an `.npz` file with `images` and perhaps
     `labels` (any other array as `file.npz#array`); an IDX file as MNIST's, or a folder of such
     pairs.
  3. Anything else is a name that TFDS knows, `name/config:version` in full. It is prepared as
     array_record if it is not yet, and read without TensorFlow.

  Pictures are cropped to their centre square, resized with antialiasing and kept as uint8: grey
  with one channel, colour with three, transparency on white.

  Args:
    dataset: name or path.
    resolution: side of the pictures, from 4 to 4096, the digits' to 512; None keeps their size if
      they share one square.
    split: as TFDS writes it: "train", "test", "train[:80%]".
    channels: 1 or 3 to convert all pictures; None keeps grey grey and colour colour.
    data_dir: where TFDS keeps its sets; None for its own default.
    limit: take the first so many pictures, at least 1; all if there are fewer.
    cache_dir: where processed pictures are kept; None for `$XDG_CACHE_HOME/jaxgan/data` or the like
      below `~/.cache`.
    cache_limit: bytes up to which a set is cached; a larger one is decoded anew whenever it is
      read. 0 never caches.

  Returns:
    The pictures.

  Raises:
    DataError: there is no such set or split, it cannot be had or read, or an argument is out of
      range; the message says what to do.

  >>> dataset = load("digits", resolution=32)
  >>> len(dataset), dataset.shape, dataset.classes[:3]
  (1797, (32, 32, 1), ('0', '1', '2'))
  """
  if resolution is not None and resolution < 4:
    raise DataError(f"resolution={resolution} is too small: give at least 4, or None")
  most = _DIGITS if str(dataset) == "digits" else _LARGEST
  if resolution is not None and resolution > most:
    raise DataError(f"resolution={resolution} is too large: '{dataset}' comes in at most {most}")
  if channels not in (None, 1, 3):
    raise DataError(f"channels={channels}: give 1 for grey, 3 for colour, or None")
  if limit is not None and limit < 1:
    raise DataError(f"limit={limit} leaves no pictures: give at least 1, or None for all")
  if str(dataset) == "digits":
    return _digits(resolution, split, channels, limit)

  name, archive, array = str(dataset).partition(".npz#")
  path = pathlib.Path(name + archive.removesuffix("#"))
  try:
    path = path.expanduser()
    found = bool(str(dataset)) and path.exists()
    prepared = found and not array and catalogue.is_prepared(path)
  except (OSError, RuntimeError, ValueError) as error:  # names that are too long, users not known
    raise DataError(f"dataset={str(dataset)!r:.200} is no path ({error}): check it") from error
  source: sources.Source
  if prepared:
    source = catalogue.open_prepared(path, split)
    chosen = range(len(source))
  elif found:
    split_name, bounds = sources.parse_split(split)
    try:
      source = paths.open_path(path, array or None, split_name)
    except OSError as error:
      raise DataError(f"cannot read '{path}': {error}. Check its permissions") from error
    chosen = sources.choose(bounds, len(source))
  else:
    source = catalogue.open_name(str(dataset), split, data_dir)
    chosen = range(len(source))
  chosen = _nonempty(chosen[:limit], str(dataset), split)
  folder = pathlib.Path(cache_dir).expanduser() if cache_dir else cache.default_folder()
  folder /= cache.key(source.name, source.identity, chosen, resolution, channels)
  labelled = bool(source.classes)
  names = tuple(source.names[index] for index in chosen) if source.names else ()
  if cache_limit and (arrays := cache.opened(folder, len(chosen), labelled)):
    return Dataset(source.name, *arrays, source.classes, names=names, folder=source.folder)

  reader = Reader(source, chosen, _shape(source, resolution, channels))
  size = len(reader) * int(np.prod(reader.shape))
  if size > cache_limit:
    if source.sequential:
      raise DataError(
        f"'{dataset}' is prepared as tfrecord, which is read through the cache only, and "
        f"{size:,} bytes are more than cache_limit={cache_limit:,}: raise it, set limit=, or "
        "prepare the set anew as array_record in another data_dir="
      )
    return Dataset(
      source.name, classes=source.classes, reader=reader, names=names, folder=source.folder
    )
  bar = require("tqdm", "preparing a data set").tqdm
  title = f"preparing {source.name}"
  progress = bar(reader, title, len(reader), unit=" pictures", leave=False, disable=None)
  cache.write(folder, iter(progress), (len(reader), *reader.shape), labelled)
  arrays = cache.opened(folder, len(chosen), labelled)
  if arrays is None:
    raise DataError(
      f"the cache '{folder}' was damaged while it was written: remove it, start again"
    )
  return Dataset(source.name, *arrays, source.classes, names=names, folder=source.folder)


def _nonempty(chosen: Sequence[int], dataset: str, split: str) -> Any:
  if not len(chosen):
    raise DataError(f"split='{split}' of '{dataset}' is empty: widen the slice")
  return chosen


def _digits(resolution: int | None, split: str, channels: int | None, limit: int | None) -> Dataset:
  name, bounds = sources.parse_split(split)
  if name != "train":
    raise sources.unknown_split(split, "digits", ["train (or a part of it, as train[80%:])"])
  images, labels = digits.digits(resolution)
  chosen = _nonempty(sources.choose(bounds, len(images))[:limit], "digits", split)
  part = slice(chosen.start, chosen.stop)
  images = np.repeat(images[part], channels or 1, axis=-1)
  return Dataset("digits", images, labels[part], tuple("0123456789"))


def _shape(
  source: sources.Source, resolution: int | None, channels: int | None
) -> tuple[int, int, int]:
  if resolution is not None and channels is not None:
    return resolution, resolution, channels
  size, channels = source.survey(channels)
  if resolution is None:
    if size is None or size[0] != size[1]:
      found = "pictures of different sizes" if size is None else f"pictures of {size[0]}x{size[1]}"
      raise DataError(
        f"'{source.name}' has {found}, so resolution=None cannot keep their size: give a number"
      )
    resolution = size[0]
  return resolution, resolution, channels
