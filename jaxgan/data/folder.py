"""Folders of picture files."""

import dataclasses
import os
import pathlib
import stat
from collections.abc import Callable, Iterator
from concurrent import futures

from jaxgan.data import pictures
from jaxgan.data.errors import DataError
from jaxgan.data.sources import Picture, Source

__all__ = ["FolderSource", "walk"]


@dataclasses.dataclass(frozen=True)
class _File:
  path: pathlib.Path
  size: int
  changed: int


def _wanted(entry: os.DirEntry[str]) -> bool:
  if entry.name.startswith("."):  # macOS leaves its own beside the pictures
    return False
  return os.path.splitext(entry.name)[1].lower() in pictures.SUFFIXES or entry.is_dir()


def walk(
  folder: pathlib.Path, wanted: Callable[[os.DirEntry[str]], bool] = _wanted
) -> Iterator[_File]:
  """The pictures below a folder by name; a folder that links lead to again counts once.

  Args:
    folder: searched to its depths.
    wanted: which entries to take or to look into; by default pictures and folders.

  Raises:
    OSError: a folder cannot be read, or a link that is wanted leads nowhere.
  """
  seen: set[tuple[int, int]] = set()
  waiting = [folder.as_posix()]
  while waiting:
    path = waiting.pop()
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
      if (status.st_dev, status.st_ino) not in seen:
        seen.add((status.st_dev, status.st_ino))
        entries = sorted(os.scandir(path), key=lambda entry: entry.name, reverse=True)
        waiting += [entry.path for entry in entries if wanted(entry)]
    elif stat.S_ISREG(status.st_mode):  # a pipe would never end
      yield _File(pathlib.Path(path), status.st_size, status.st_mtime_ns)


class FolderSource(Source):
  """All pictures below a folder; sub-folders are classes if each picture lies in one of several."""

  def __init__(self, folder: pathlib.Path, name: str):
    files = list(walk(folder))
    if not files:
      raise DataError(
        f"there are no pictures below '{folder}': give a folder with files of "
        f"{', '.join(sorted(pictures.SUFFIXES))}, or an .npz or IDX file"
      )
    self.name, self.folder = name, str(folder)
    self.paths = [file.path for file in files]
    self.identity = ("folder", *((str(f.path.resolve()), f.size, f.changed) for f in files))
    tops = [path.relative_to(folder).parts[:-1][:1] for path in self.paths]
    classes = sorted({top[0] for top in tops if top})
    if not all(tops) or len(classes) < 2:
      classes = []
    self.names = [path.relative_to(folder).as_posix() for path in self.paths]
    self._classes = tuple(classes)
    self.labels = [classes.index(top[0]) for top in tops] if classes else None

  @property
  def classes(self) -> tuple[str, ...]:
    """Names of the sub-folders that are classes."""
    return self._classes

  def __len__(self) -> int:
    return len(self.paths)

  def __getitem__(self, index: int) -> Picture:
    return pictures.read(self.paths[index]), self.labels[index] if self.labels else None

  def survey(self, channels: int | None) -> tuple[tuple[int, int] | None, int]:
    """See `Source`."""
    with futures.ThreadPoolExecutor() as pool:
      found = list(pool.map(pictures.survey, self.paths))
    sizes = {size for size, _ in found}
    example = {kind: path for (_, kind), path in zip(found, self.paths, strict=True)}
    if len(example) > 1 and channels is None:
      raise DataError(
        f"'{self.name}' mixes grey pictures ('{example[1]}') with colour ones ('{example[3]}'): "
        "give channels=1 to make all grey or channels=3 to make all colour"
      )
    return sizes.pop() if len(sizes) == 1 else None, channels or min(example)
