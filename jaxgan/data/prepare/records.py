"""Encoded pictures, first in a temporary file and then in a folder as TFDS has them."""

import io
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxgan.data import catalogue, pictures
from jaxgan.data.errors import DataError, require
from jaxgan.data.prepare.findings import shown

__all__ = ["Record", "Spool", "to_png", "write"]

_SHARD_BYTES = 256 << 20


class Record(NamedTuple):
  """A picture of the set.

  Attributes:
    file: name of the file that it came from.
    split: where it belongs.
    label: name of its class, if any.
    digest: of its pixels; gives it its place in the set.
    place: of its PNG in the spool: offset and length.
    channels: of its PNG.
  """

  file: str
  split: str
  label: str | None
  digest: bytes
  place: tuple[int, int]
  channels: int


class Spool:
  """A temporary file for what is written before the order is known."""

  def __init__(self, file: BinaryIO):
    self._file, self._end = file, 0

  def add(self, content: bytes) -> tuple[int, int]:
    """Appends; returns the place."""
    self._file.write(content)
    self._end += len(content)
    return self._end - len(content), len(content)

  def read(self, place: tuple[int, int]) -> bytes:
    """What lies at a place."""
    self._file.seek(place[0])
    return self._file.read(place[1])


def to_png(picture: UInt8[np.ndarray, "side side channels"]) -> bytes:
  """Encodes a grey or colour picture without loss.

  >>> pictures.decode(io.BytesIO(to_png(np.full([1, 2, 1], 7, np.uint8)))).ravel().tolist()
  [7, 7]
  """
  image = require("PIL.Image", "writing pictures")
  file = io.BytesIO()
  image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(file, "png")
  return file.getvalue()


def write(
  folder: pathlib.Path,
  name: str,
  splits: Mapping[str, Sequence[Record]],
  spool: Spool,
  classes: Sequence[str],
  shape: tuple[int, int, int],
  shards: int | None,
) -> int:
  """Writes a data set as TFDS does, in the order given, and looks whether it can be read.

  Args:
    folder: an empty one.
    name: of the set.
    splits: the pictures.
    spool: holds their PNGs.
    classes: names of the classes, `()` for none.
    shape: of each picture.
    shards: files of the largest split at most; None for files of about 256 MB.

  Returns:
    Bytes of the files.

  Raises:
    OSError: the disk is full, or fails otherwise.
  """
  tfds = require("tensorflow_datasets", "writing a data set")
  features = {
    "image": tfds.features.Image(shape=shape, encoding_format="png"),
    "file": tfds.features.Text(),
  }
  if classes:
    features["label"] = tfds.features.ClassLabel(names=list(classes))
  identity = tfds.core.DatasetIdentity(
    name=name, version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name=__name__
  )
  info = tfds.core.DatasetInfo(
    builder=identity,
    description="Pictures that python -m jaxgan.data.prepare has checked, cropped and resized.",
    features=tfds.features.FeaturesDict(features),
    supervised_keys=("image", "label") if classes else None,
    disable_shuffling=True,
  )
  most = max(map(len, splits.values()))
  if shards is None:
    size = sum(record.place[1] for records in splits.values() for record in records)
    shards = max(1, round(size / _SHARD_BYTES))
  portion = -(-most // shards)
  writer = tfds.core.SequentialWriter(info, portion, file_format="array_record")
  examples = {
    split: _examples(records, spool, shape[-1], bool(classes)) for split, records in splits.items()
  }
  try:
    writer.initialize_splits(list(splits))
    writer.add_examples(examples)
    writer.close_all()
    for split, records in splits.items():
      ends = {*range(0, len(records), portion), *range(portion - 1, len(records), portion)}
      # Of each file the first and the last, whatever the writer says of a full disk.
      list(catalogue.open_prepared(folder, split).read(sorted({*ends, len(records) - 1})))
  except RuntimeError as error:  # of array_record
    raise OSError(f"{error}") from error
  except DataError as error:
    raise OSError(f"what was written cannot be read: {error.__cause__}") from error
  return sum(path.stat().st_size for path in folder.iterdir())


def _examples(
  records: Sequence[Record], spool: Spool, channels: int, labelled: bool
) -> Iterator[dict[str, Any]]:
  bar = require("tqdm", "writing a data set").tqdm
  for record in bar(records, "writing", unit=" pictures", leave=False, disable=None):
    content = spool.read(record.place)
    if record.channels != channels:  # grey among colour
      content = to_png(pictures.fit(pictures.decode(io.BytesIO(content)), channels=channels))
    example = {"image": content, "file": shown(record.file)}
    yield example | {"label": record.label} if labelled else example
