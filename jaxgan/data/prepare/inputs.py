"""The files of a folder or a zip archive, one at a time; nothing is unpacked to disk."""

import contextlib
import dataclasses
import functools
import io
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from jaxgan._files import ordinary
from jaxgan.data.errors import DataError
from jaxgan.data.folder import walk

__all__ = ["File", "open_source"]

_MOST_BYTES = 1 << 28  # of a file of an archive; the largest picture that is decoded has no more


@dataclasses.dataclass(frozen=True)
class File:
  """A file that may be a picture.

  Attributes:
    name: its path in the source, with `/`.
    open: gives its content; raises ValueError, OSError and the errors of `zipfile`.
  """

  name: str
  open: Callable[[], BinaryIO]


@contextlib.contextmanager
def open_source(source: pathlib.Path) -> Iterator[list[File]]:
  """All files of a folder, searched to its depths, or of a zip archive, by name.

  Hidden files are left out. Names of an archive lead nowhere: they are only read. A folder that
  holds all of an archive is no part of the names.

  Args:
    source: folder or archive.

  Yields:
    The files, which can be opened within the context, by several threads at once.

  Raises:
    DataError: it is neither, or cannot be read.
  """
  with contextlib.ExitStack() as stack:
    try:
      if source.is_dir():
        files = _of_folder(source)
      elif not source.exists():
        raise DataError(f"nothing lies at --source={source}: check the path")
      elif not zipfile.is_zipfile(source):
        raise DataError(
          f"--source={source} is neither a folder nor a zip archive: unpack it, give the folder"
        )
      else:
        files = _of_archive(stack.enter_context(zipfile.ZipFile(source)))
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
      raise DataError(
        f"cannot read --source={source} ({error}): check its permissions, or fetch it again"
      ) from error
    yield sorted(files, key=lambda file: file.name.split("/"))


def _of_folder(folder: pathlib.Path) -> list[File]:
  broken = []

  def wanted(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith("."):
      return False
    if not os.path.exists(entry.path):
      broken.append(pathlib.Path(entry.path))
      return False
    return True

  paths = [file.path for file in walk(folder, wanted)]
  return [
    File(path.relative_to(folder).as_posix(), functools.partial(ordinary, path))
    for path in paths + broken  # opening a broken link says what is the matter
  ]


def _of_archive(archive: zipfile.ZipFile) -> list[File]:
  named = ((each.filename.replace("\\", "/"), each) for each in archive.infolist())
  members = [(name, member) for name, member in named if name[-1:] not in ("", "/")]
  members = [(name, member) for name, member in members if not _hidden(name)]
  tops = {name.partition("/")[0] if "/" in name else "" for name, _ in members}
  # Whoever packs a folder packs it with its own name around all.
  wrapper = f"{tops.pop()}/" if len(tops) == 1 and tops != {""} else ""
  return [
    File(name.removeprefix(wrapper), functools.partial(_read, archive, member))
    for name, member in members
  ]


def _hidden(name: str) -> bool:
  return any(
    part == "__MACOSX" or (part.startswith(".") and part not in (".", ".."))
    for part in name.split("/")
  )


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
  if member.flag_bits & 1:
    raise ValueError("it is encrypted")
  if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    raise ValueError("it is compressed in an uncommon way")  # whose memory the file chooses
  if member.file_size > _MOST_BYTES:
    raise ValueError(f"it would unpack to {member.file_size:,} bytes")
  with archive.open(member) as file:  # which reads no more than the member declares
    return io.BytesIO(file.read())
