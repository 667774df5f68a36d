"""The class of each picture: by sub-folders, or from a table."""

import csv
import pathlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

from jaxgan.data.errors import DataError

__all__ = ["Table", "by_folder", "from_table", "in_order"]

_FILES = ("file_name", "filename", "file", "path", "image")
_CLASSES = ("label", "class", "category")


def by_folder(names: Sequence[str]) -> dict[str, str]:
  """The first folder of each picture, if all lie in one of several.

  Args:
    names: of pictures, with `/`.

  Returns:
    The class of each; nothing where there are no classes.

  >>> by_folder(["cat/1.png", "dog/old/2.png"])
  {'cat/1.png': 'cat', 'dog/old/2.png': 'dog'}
  >>> by_folder(["cat/1.png", "2.png"]), by_folder(["all/1.png"])
  ({}, {})
  """
  if not all("/" in name for name in names):
    return {}
  classes = {name: name.partition("/")[0].strip() for name in names}
  return classes if len(set(classes.values())) > 1 else {}


class Table(NamedTuple):
  """What a table tells.

  Attributes:
    classes: of each picture that it has.
    missing: the others that it has.
  """

  classes: dict[str, str]
  missing: list[str]


def from_table(path: pathlib.Path, names: Sequence[str]) -> Table:
  """The classes that a table gives.

  Args:
    path: a CSV file whose first line names its columns: `file_name` (or `filename`, `file`, `path`,
      `image`), the path of a picture in the source, and `label` (or `class`, `category`).
    names: of the pictures, with `/`.

  Returns:
    The class of each picture that the table has, and what else it has.

  Raises:
    DataError: the table cannot be read, or a row is wrong; the message names the row.
  """
  known, classes = set(names), dict[str, str]()
  first: tuple[int, str] | None = None
  try:
    with path.open(newline="", encoding="utf-8-sig") as file:
      rows = csv.reader(file)
      header = [column.strip().lower() for column in next(rows, [])]
      place, label = _column(path, header, _FILES), _column(path, header, _CLASSES)
      for row in rows:
        if not any(row):
          continue
        where = f"--labels={path}, line {rows.line_num}"
        if len(row) <= max(place, label):
          raise DataError(f"{where}: has {len(row)} of {len(header)} columns. Complete it")
        name, value = _plain(row[place]), row[label].strip()
        if not name or not value:
          raise DataError(f"{where}: the {'file' if not name else 'label'} is empty. Fill it in")
        if classes.setdefault(name, value) != value:
          raise DataError(
            f"{where}: '{name}' is '{value}', and was '{classes[name]}' above. Keep one of the two"
          )
        if name not in known and first is None:
          first = rows.line_num, name
  except (OSError, ValueError, csv.Error) as error:
    raise DataError(f"cannot read --labels={path} ({error}): save it as CSV in UTF-8") from error
  labelled = {name: classes[name] for name in names if name in classes}
  if first and not labelled:
    raise DataError(
      f"--labels={path} has none of the pictures: line {first[0]} names '{first[1]}', and the "
      f"source holds '{names[0]}'. Write paths as they are in the source"
    )
  return Table(labelled, [name for name in classes if name not in known])


def in_order(classes: Collection[str]) -> list[str]:
  """The different classes, numbers by their size and words by the alphabet.

  Raises:
    DataError: a name cannot be kept, since a file of TFDS has one a line.

  >>> in_order(["10", "9", "9"]), in_order(["dog", "10", "9"])
  (['9', '10'], ['10', '9', 'dog'])
  """
  for name in classes:
    if not name or not name.isprintable() or name.strip() != name:
      raise DataError(
        f"{name!a} cannot be the name of a class: rename it, to letters, digits and spaces, or "
        "leave classes out with --labels=none"
      )
  numbers = all(name.isdecimal() for name in classes)
  return sorted(set(classes), key=lambda name: (int(name) if numbers else 0, name))


def _plain(name: str) -> str:
  return name.strip().replace("\\", "/").removeprefix("./")


def _column(path: pathlib.Path, header: Sequence[str], names: Sequence[str]) -> int:
  found = [header.index(name) for name in names if name in header]
  if not found:
    raise DataError(
      f"--labels={path} has no column '{names[0]}' in its first line, only "
      f"{', '.join(header) or 'nothing'}: name the columns {_FILES[0]} and {_CLASSES[0]}"
    )
  return found[0]
