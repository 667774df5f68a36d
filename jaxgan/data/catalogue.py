"""Data sets of TensorFlow Datasets (TFDS), by name or by the folder where one lies prepared."""

import contextlib
import difflib
import functools
import logging
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from jaxgan.data.errors import DataError, require
from jaxgan.data.sources import Picture, Source, unknown_split

__all__ = ["is_path", "is_prepared", "open_name", "open_prepared"]


def open_name(name: str, split: str, data_dir: str | os.PathLike[str] | None) -> Source:
  """Opens a set that TFDS knows, and prepares it first where that was not done.

  Args:
    name: `name`, `name/config` or `name/config:version`.
    split: as TFDS writes it.
    data_dir: where TFDS keeps its sets; None for its own default.

  Returns:
    The pictures of that split.

  Raises:
    DataError: the name or split is unknown, the download failed, or the set has no pictures.
  """
  if is_path(name):
    place = os.path.abspath(os.path.expanduser(name))
    raise DataError(f"nothing lies at '{place}', and '{name}' is no name of TFDS. Check the path")
  tfds = require("tensorflow_datasets", f"the data set '{name}'")
  directory = None if data_dir is None else os.path.expanduser(data_dir)
  try:
    builder = tfds.builder(name, data_dir=directory)
  except tfds.core.DatasetNotFoundError as error:
    raise _unknown(name, tfds) from error
  except Exception as error:  # configs, versions and optional packages each raise their own
    raise DataError(f"TFDS cannot open '{name}': {_first_line(error)}. {_INSTEAD}") from error
  if not builder.is_prepared():
    _prepare(builder)
  return _opened(name, builder, split, _AGAIN)


def is_prepared(path: pathlib.Path) -> bool:
  """Whether a set of TFDS lies in a folder: the one of its version, with `dataset_info.json`."""
  return all((path / name).is_file() for name in ("dataset_info.json", "features.json"))


def open_prepared(path: pathlib.Path, split: str) -> Source:
  """Opens a set by the folder where it lies prepared, whoever prepared it.

  Args:
    path: of which `is_prepared` holds.
    split: as TFDS writes it.

  Returns:
    The pictures of that split.

  Raises:
    DataError: the split is unknown, the files are damaged, or the set has no pictures.
  """
  tfds = require("tensorflow_datasets", f"the data set in '{path}'")
  try:
    builder = tfds.builder_from_directory(path.resolve())
  except Exception as error:  # its files may be anybody's
    raise _undescribed(str(path), str(path), error, _ANEW) from error
  return _opened(builder.name, builder, split, _ANEW)


_AGAIN = "Remove the folder and start again: it is then prepared anew"
_ANEW = "Prepare it anew in another folder, or fetch it again"


def _undescribed(name: str, folder: str, error: Exception, remedy: str) -> DataError:
  return DataError(
    f"cannot read the description of '{name}' in '{folder}' ({_first_line(error)}). {remedy}"
  )


def _opened(name: str, builder: Any, split: str, remedy: str) -> Source:
  sources = {"array_record": ArrayRecordSource, "tfrecord": TfrecordSource}
  try:
    if (kind := _format(builder)) not in sources:
      raise DataError(
        f"'{name}' is prepared as {kind} in '{builder.data_path}', which is not read safely: "
        "prepare it anew as array_record in another --data-dir"
      )
    return sources[kind](name, builder, split, remedy)
  except DataError:
    raise
  except Exception as error:  # its description is a file too
    raise _undescribed(name, builder.data_path, error, remedy) from error


_INSTEAD = (
  "Use --dataset=digits, which needs no download, a folder of pictures, or --data-dir with the "
  "place where TFDS prepared the set"
)


def _first_line(error: Exception) -> str:
  return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0].rstrip('.')}"


def _format(builder: Any) -> str:
  return builder.info.file_format.value


def is_path(name: str) -> bool:
  """Whether a name can be a path alone, by how it is written."""
  suffix = pathlib.Path(name.partition("#")[0]).suffix
  return name.startswith((os.sep, "~", ".")) or suffix[1:].isalpha()


def _unknown(name: str, tfds: Any) -> DataError:
  plain = name.partition("/")[0].partition(":")[0]
  near = difflib.get_close_matches(plain, [*tfds.list_builders(), "digits"], n=3)
  advice = f"Did you mean {' or '.join(map(repr, near))}?" if near else _INSTEAD + "."
  if os.sep in name:
    advice = f"If it is a path: nothing lies at '{os.path.abspath(name)}'. {advice}"
  return DataError(f"'{name}' is neither an existing path nor a data set that TFDS knows. {advice}")


def _prepare(builder: Any) -> None:
  tfds = require("tensorflow_datasets", "preparing a data set")
  logger = logging.getLogger("urllib3.connectionpool")
  level = logger.level
  logger.setLevel(logging.ERROR)  # it tells of each of many attempts
  try:
    builder.download_and_prepare(file_format=tfds.core.FileFormat.ARRAY_RECORD)
  except Exception as error:  # the network, the disk, a changed site, a missing package
    raise DataError(
      f"'{builder.name}' could not be downloaded and prepared in '{builder.data_path}': "
      f"{_first_line(error)}. {_INSTEAD}"
    ) from error
  finally:
    logger.setLevel(level)


class _CatalogueSource(Source):
  """What both file formats share: TFDS's description of the set."""

  def __init__(self, name: str, builder: Any, split: str, remedy: str):
    self.name, self.split, self.directory = name, split, str(builder.data_path)
    self._remedy = remedy
    info = builder.info
    try:
      self._count = info.splits[split].num_examples
    except (KeyError, ValueError) as error:
      raise unknown_split(split, name, list(info.splits)) from error
    features = require("tensorflow_datasets", "TFDS").features
    stored = dict(info.features.items())
    image, label = stored.get("image"), stored.get("label")
    if not isinstance(image, features.Image):
      raise DataError(
        f"'{name}' has no picture called 'image', only {', '.join(stored)}: "
        "save its pictures in a folder and give its path"
      )
    self._size = image.shape
    self._classes = tuple(label.names) if isinstance(label, features.ClassLabel) else ()
    stamp = os.stat(os.path.join(self.directory, "dataset_info.json")).st_mtime_ns
    self.identity = ("tfds", self.directory, _format(builder), stamp, split)

  @property
  def classes(self) -> tuple[str, ...]:
    """Names from the feature "label"."""
    return self._classes

  def __len__(self) -> int:
    return self._count

  def survey(self, channels: int | None) -> tuple[tuple[int, int] | None, int]:
    """See `Source`."""
    height, width, stored = self._size
    size = None if height is None or width is None else (height, width)
    return size, channels or (1 if stored == 1 else 3)

  @property
  def _builder(self) -> Any:
    tfds = require("tensorflow_datasets", f"the data set '{self.name}'")
    return tfds.builder_from_directory(self.directory)

  def _picture(self, example: dict[str, Any]) -> Picture:
    return example["image"], int(example["label"]) if self._classes else None

  def _damaged(self, error: Exception) -> DataError:
    return DataError(
      f"cannot read '{self.name}' from '{self.directory}' ({_first_line(error)}), whose files may "
      f"be damaged. {self._remedy}"
    )


class ArrayRecordSource(_CatalogueSource):
  """A prepared set that is read by index, without TensorFlow."""

  @functools.cached_property
  def _records(self) -> Any:
    tfds = require("tensorflow_datasets", f"the data set '{self.name}'")
    builder = self._builder
    skipped = {
      name: tfds.decode.SkipDecoding() for name in builder.info.features if name != "image"
    }
    return builder.as_data_source(split=self.split, decoders=skipped)

  def __getitem__(self, index: int) -> Picture:
    (picture,) = self.read([index])
    return picture

  def read(self, indices: Iterable[int]) -> Iterable[Picture]:
    """See `Source`."""
    try:
      return list(map(self._picture, self._records.__getitems__(list(indices))))
    except Exception as error:  # TFDS, array_record and Pillow each raise their own
      raise self._damaged(error) from error

  def __getstate__(self) -> dict[str, Any]:
    return {key: value for key, value in vars(self).items() if key != "_records"}


class TfrecordSource(_CatalogueSource):
  """A prepared set that TensorFlow reads, from the beginning only."""

  sequential = True

  def __getitem__(self, index: int) -> Picture:
    raise TypeError("tfrecord files have no index")

  def __iter__(self) -> Iterator[Picture]:
    purpose = f"reading '{self.name}', which is prepared as tfrecord,"
    tensorflow = require("tensorflow", purpose)
    tfds = require("tensorflow_datasets", purpose)
    with contextlib.suppress(RuntimeError):  # TensorFlow was used before, and has it already
      tensorflow.config.set_visible_devices([], "GPU")  # its memory is for training
    in_order = tfds.ReadConfig(interleave_cycle_length=1)
    examples = self._builder.as_dataset(split=self.split, shuffle_files=False, read_config=in_order)
    try:
      yield from map(self._picture, tfds.as_numpy(examples))
    except Exception as error:  # TensorFlow has a dozen of its own
      raise self._damaged(error) from error
