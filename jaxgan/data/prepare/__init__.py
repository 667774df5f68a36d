"""A data set of your own pictures: checked, cropped, resized, without duplicates, as TFDS has them.

    python -m jaxgan.data.prepare --source=/data/pictures --out=/data/prepared --resolution=64

The folder that it makes is a `--dataset` of every experiment, is read by `jaxgan.data.load` and by
`tfds.builder_from_directory`. The same pictures and flags give the same files, byte for byte,
however many workers there are; the order is that of a hash of the pixels, so that any part of the
set (`train[:1000]`, `--limit`) is a fair sample.
"""

# Past 300 lines because flags, their checks and the report of what was left out belong together.

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from jaxgan.data import catalogue, paths, pictures
from jaxgan.data.errors import DataError, require
from jaxgan.data.prepare import labels, records
from jaxgan.data.prepare.duplicates import Fingerprint, Seen, fingerprint
from jaxgan.data.prepare.findings import Findings, LeftOut
from jaxgan.data.prepare.inputs import File, open_source
from jaxgan.data.threads import run_ahead

__all__ = ["REPORT", "Findings", "LeftOut", "Options", "prepare"]

REPORT = "report.json"  # beside the data


@dataclasses.dataclass(frozen=True)
class Options:
  """What is read, what is made of it, and where it goes."""

  source: str
  """Folder of pictures, searched to its depths, or a zip archive of one. PNG, JPEG, WebP, BMP, GIF;
  upright as the camera says, on white where they are transparent, the first frame if they move."""
  out: str
  """Folder of the data set, which is made: the --dataset of an experiment."""
  resolution: int
  """Height and width of its pictures, from 4 to 4096; most systems want a power of two."""
  labels: str = "folders"
  """folders: where all pictures lie in two or more sub-folders, these are the classes; none: there
  are no classes; or a CSV file with the columns file_name (in the source) and label."""
  crop: Literal["center", "pad", "none"] = "center"
  """center: the central square; pad: the whole picture, with white beside it; none: pictures that
  are not square are left out."""
  channels: Literal[1, 3] | None = None
  """Make all pictures grey (1) or coloured (3); by default coloured, unless all are grey."""
  min_size: int | None = None
  """Leave out pictures whose square (see --crop) has fewer pixels a side, instead of enlarging
  them; by default the resolution."""
  validation: float = 0.0
  """Share of the pictures of the split train to set apart as the split validation, such as 0.1."""
  near_duplicates: bool = False
  """Also leave out pictures that look nearly like an earlier one: the same in another size or
  compression."""
  shards: int | None = None
  """Files that the largest split is spread over, at most; by default one for each 256 MB."""
  name: str | None = None
  """Of the data set; by default that of --out."""
  overwrite: bool = False
  """Replace the data set in --out, if it was prepared by this program."""
  workers: int | None = None
  """Threads that decode; by default one for each core."""


def prepare(options: Options) -> Findings:
  """Makes a data set of pictures.

  Args:
    options: what the command line takes.

  Returns:
    What became of each file. `report.json` in the new folder holds the same.

  Raises:
    DataError: a flag is out of range, nothing usable is found, or the folder cannot be written;
      nothing is left behind.

  >>> from PIL import Image
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   os.mkdir(f"{folder}/mine")
  ...   Image.new("RGB", (90, 60), "red").save(f"{folder}/mine/photo.png")
  ...   Image.new("RGB", (60, 60), "red").save(f"{folder}/mine/cut.png")
  ...   findings = prepare(Options(f"{folder}/mine", f"{folder}/set", resolution=32))
  ...   print(findings.splits, findings.left_out)
  {'train': 1} [LeftOut(file='photo.png', kind='duplicate', why='as cut.png')]
  """
  _check(options)
  require("PIL.Image", "reading pictures")
  require("tensorflow_datasets", "writing a data set")
  try:
    source, out = (pathlib.Path(path).expanduser() for path in (options.source, options.out))
    _check_places(source, out, options.overwrite)
    out = out.resolve()
  except (OSError, RuntimeError, ValueError) as error:  # names that are too long, loops of links
    raise DataError(
      f"--source={options.source} or --out={options.out} is no path ({error}): check both"
    ) from error
  with open_source(source) as files, _in_place(out) as new:
    return _prepare(options, files, new, options.name or _name_of(out))


def _check(options: Options) -> None:
  bounds = {
    "resolution": (4, 4096),
    "min_size": (1, 8192),
    "shards": (1, 10_000),
    "workers": (1, 1000),
  }
  for name, (low, high) in bounds.items():
    value = getattr(options, name)
    if value is not None and not low <= value <= high:
      flag = "--" + name.replace("_", "-")
      raise DataError(f"{flag}={value} must be from {low} to {high:,}")
  if not 0.0 <= options.validation <= 0.9:
    raise DataError(f"--validation={options.validation} must be a share from 0 to 0.9")
  if options.crop not in ("center", "pad", "none"):
    raise DataError(f"--crop={options.crop} must be one of center, pad, none")
  if options.channels not in (None, 1, 3):
    raise DataError(f"--channels={options.channels} must be 1 or 3")
  if options.name is not None and not re.fullmatch("[a-z][a-z0-9_]*", options.name):
    raise DataError(f"--name={options.name} must be of a-z, 0-9 and _, and start with a letter")
  if options.labels not in ("folders", "none") and not _table(options).is_file():
    raise DataError(
      f"--labels={options.labels} must be folders, none, or the path of a CSV file, and no such "
      "file is there"
    )


def _table(options: Options) -> pathlib.Path:
  return pathlib.Path(options.labels).expanduser()


def _name_of(out: pathlib.Path) -> str:
  """A name as TFDS wants it."""
  name = re.sub("[^a-z0-9]+", "_", out.name.lower()).strip("_")
  return name if name[:1].isalpha() else f"pictures_{name}".rstrip("_")


def _check_places(source: pathlib.Path, out: pathlib.Path, overwrite: bool) -> None:
  one, other = source.resolve(), out.resolve()
  if one == other or one in other.parents or other in one.parents:
    raise DataError(f"--out={out} and --source={source} lie in each other: give another --out")
  if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
    return
  if not overwrite:
    raise DataError(f"--out={out} is there already: give another, or --overwrite to replace it")
  if not (out.is_dir() and catalogue.is_prepared(out) and (out / REPORT).is_file()):
    raise DataError(
      f"--overwrite replaces data sets that this program made, and --out={out} is none: give "
      "another --out"
    )


@contextlib.contextmanager
def _in_place(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """An empty folder, which becomes `out` at the end and is removed after an error."""
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
      dir=out.parent, prefix=f".{out.name}-", ignore_cleanup_errors=True
    ) as temporary:
      new, old = pathlib.Path(temporary, "new"), pathlib.Path(temporary, "old")
      new.mkdir()
      yield new
      if out.exists():
        out.rename(old)
      try:
        new.rename(out)
      except OSError:
        if old.exists():
          old.rename(out)
        raise
  except OSError as error:
    raise DataError(
      f"cannot write --out={out} ({error}): free space, check its permissions, or give another"
    ) from error


class _Done(NamedTuple):
  """A picture that can be used."""

  png: bytes
  channels: int
  mark: Fingerprint


@dataclasses.dataclass(frozen=True)
class _Work:
  """From a file to the picture of the set; done by several threads."""

  options: Options

  def __call__(self, file: File) -> _Done | LeftOut:
    options = self.options
    try:
      with file.open() as content:
        picture = pictures.decode(content)
    except DataError:
      raise
    except OSError as error:
      # Pillow's own have no number; their text may hold the address of an object.
      kind = "damaged" if error.errno is None else "unreadable"
      plain = type(error).__name__ == "UnidentifiedImageError"
      why = "its content is no picture" if plain else error.strerror or str(error)
      return LeftOut(file.name, kind, why)
    except Exception as error:  # decoders and zipfile raise nearly anything
      why = str(error).partition("\n")[0]
      return LeftOut(file.name, "damaged", why or type(error).__name__)
    height, width = picture.shape[:2]
    if options.crop == "none" and height != width:
      return LeftOut(file.name, "not square", f"{width}x{height} pixels")
    least = options.resolution if options.min_size is None else options.min_size
    if (max if options.crop == "pad" else min)(height, width) < least:
      return LeftOut(file.name, "too small", f"{width}x{height} pixels")
    if options.crop == "pad":
      picture = pictures.pad(picture, options.resolution)
    picture = pictures.fit(picture, options.resolution, options.channels)
    mark = fingerprint(picture, options.near_duplicates)
    return _Done(records.to_png(picture), picture.shape[-1], mark)


def _prepare(options: Options, files: Sequence[File], new: pathlib.Path, name: str) -> Findings:
  flags = dataclasses.asdict(options) | {"name": name}
  for other in ("source", "resolution", "channels", "out", "overwrite", "workers"):
    del flags[other]
  findings = Findings(options.source, len(files), options.resolution, flags)
  usable, split_of, class_of = _sorted_out(options, files, findings)
  with tempfile.TemporaryFile(dir=new.parent) as file:
    spool = records.Spool(file)
    kept = _read(options, usable, split_of, class_of, spool, findings)
    if not kept:
      raise DataError(f"--source={options.source} has no usable picture: {findings.in_short()}")
    splits = _split(kept, options.validation)
    classes = labels.in_order({record.label for record in kept if record.label is not None})
    findings.channels = max(record.channels for record in kept)
    findings.splits = {split: len(part) for split, part in splits.items()}
    counts = collections.Counter(record.label for record in kept)
    findings.classes = {label: counts[label] for label in classes}
    side = options.resolution
    shape = side, side, findings.channels
    records.write(new, name, splits, spool, classes, shape, options.shards)
  (new / REPORT).write_text(json.dumps(findings.content(), indent=2, ensure_ascii=False) + "\n")
  return findings


_SPLITS = {"val": "validation", "valid": "validation", "eval": "validation"}


def _sorted_out(
  options: Options, files: Sequence[File], findings: Findings
) -> tuple[list[File], dict[str, str], Mapping[str, str]]:
  """The files that may be pictures, their splits and their classes, by their names alone."""
  table = None if options.labels in ("folders", "none") else _table(options)
  root = pathlib.Path(options.source).expanduser()
  candidates = []
  for file in files:
    suffix = os.path.splitext(file.name)[1].lower()
    if suffix in pictures.SUFFIXES:
      candidates.append(file)
    elif table is None or (root / file.name).resolve() != table.resolve():
      why = f"{suffix} files are not read" if suffix else "its name has no ending"
      findings.left_out.append(LeftOut(file.name, "unsupported", why))
  splits = paths.split_folders({f.name.partition("/")[0] for f in candidates if "/" in f.name})
  inside, split_of = [], {}
  for file in candidates:
    top, _, rest = file.name.partition("/")
    if splits and not (rest and top in splits):
      why = f"it lies in none of the folders {', '.join(sorted(splits))}"
      findings.left_out.append(LeftOut(file.name, "outside of the splits", why))
      continue
    inside.append(file)
    split_of[file.name] = _SPLITS.get(top, top) if splits else "train"
  if options.validation and "validation" in split_of.values():
    raise DataError(
      f"--validation={options.validation} of --source={options.source}, which has a folder for "
      "that already: leave out the flag"
    )
  class_of: Mapping[str, str] = {}
  if table is not None and inside:
    found = labels.from_table(table, [file.name for file in inside])
    class_of = found.classes
    everything = {file.name for file in files}
    findings.missing = [name for name in found.missing if name not in everything]
    for file in inside:
      if file.name not in class_of:
        why = f"it is not in {table.name}"
        findings.left_out.append(LeftOut(file.name, "unlabelled", why))
    inside = [file for file in inside if file.name in class_of]
  elif options.labels == "folders":
    rests = {f.name: f.name.partition("/")[2] if splits else f.name for f in inside}
    by_rest = labels.by_folder(list(rests.values()))
    class_of = {name: by_rest[rest] for name, rest in rests.items() if by_rest}
    beside = [name for name, rest in rests.items() if "/" not in rest]
    if 0 < len(beside) < len(rests):
      findings.beside = beside
  labels.in_order(set(class_of.values()))  # refuses names before the work
  return inside, split_of, class_of


def _read(
  options: Options,
  files: Sequence[File],
  split_of: Mapping[str, str],
  class_of: Mapping[str, str],
  spool: records.Spool,
  findings: Findings,
) -> list[records.Record]:
  """Decodes all files in order; keeps the first of pictures that are the same."""
  threads = options.workers or min(os.cpu_count() or 1, 16)
  done = run_ahead(_Work(options), files, threads=threads, ahead=2 * threads)
  bar = require("tqdm", "preparing a data set").tqdm
  seen, kept = Seen(), list[records.Record]()
  with (
    contextlib.closing(done),
    bar(total=len(files), desc="reading", unit=" pictures", leave=False, disable=None) as progress,
  ):
    for file, result in zip(files, done, strict=True):
      progress.update()
      if isinstance(result, LeftOut):
        findings.left_out.append(result)
        continue
      label = class_of.get(file.name)
      kind, place = "duplicate", seen.find(result.mark)
      if place is None:
        kind, place = "nearly duplicate", seen.find_near(result.mark)
      if place is not None:
        first = kept[place]
        if first.label != label:
          kind = "duplicate of another class"
        findings.left_out.append(LeftOut(file.name, kind, f"as {_described(first)}"))
        continue
      seen.add(result.mark)
      at = spool.add(result.png)
      kept.append(
        records.Record(
          file.name, split_of[file.name], label, result.mark.digest, at, result.channels
        )
      )
  return kept


def _described(record: records.Record) -> str:
  return record.file if record.label is None else f"{record.file} of class {record.label}"


def _split(
  kept: Sequence[records.Record], validation: float
) -> dict[str, Sequence[records.Record]]:
  """The splits in the order of their pictures' digests, of train a share as validation."""
  splits: dict[str, Any] = {}
  for record in sorted(kept, key=lambda record: record.digest):
    splits.setdefault(record.split, []).append(record)
  train = splits.get("train", [])
  if apart := round(validation * len(train)):
    splits["validation"], splits["train"] = train[:apart], train[apart:]
  elif validation:
    raise DataError(
      f"--validation={validation} of {len(train)} pictures are none: raise it or leave it out"
    )
  return {split: splits[split] for split in sorted(splits, key=_RANKS.index)}


_RANKS = ("train", "validation", "test")
