"""What lies at a path."""

import pathlib
from collections.abc import Collection

from jaxgan.data.arrays import IDX_NAME, IdxSource, NpzSource
from jaxgan.data.errors import DataError
from jaxgan.data.folder import FolderSource
from jaxgan.data.sources import Source, unknown_split

__all__ = ["open_path", "split_folders"]

_SPLITS = frozenset({"train", "test", "val", "valid", "validation", "eval"})  # folders' names


def open_path(path: pathlib.Path, key: str | None, split: str) -> Source:
  """Opens whatever lies at a path.

  Args:
    path: an existing file or folder.
    key: which array of an archive to take; None to find it.
    split: the name of the split, without a slice.

  Returns:
    The pictures of that split.

  Raises:
    DataError: there are no pictures, or they cannot be told from other things.
  """
  if path.is_dir():
    pairs = {
      match["split"]: file
      for file in sorted(path.iterdir())
      if (match := IDX_NAME.fullmatch(file.name))
    }
    if pairs:
      wanted = "t10k" if split == "test" and "test" not in pairs else split
      if wanted not in pairs:
        raise unknown_split(split, str(path), list(pairs))
      return IdxSource(pairs[wanted])
    return _open_folder(path, split)
  if not path.is_file():
    raise DataError(f"'{path}' is neither a file nor a folder: give one of them")
  if match := IDX_NAME.fullmatch(path.name):
    if split not in ("train", match["split"]):
      raise unknown_split(split, str(path), [match["split"]])
    return IdxSource(path)
  if path.suffix == ".npz":
    return NpzSource(path, key, split)
  raise DataError(
    f"'{path}' is a file of an unknown kind: give a folder of pictures, an .npz file or an IDX "
    "file named *-images-idx3-ubyte"
  )


def split_folders(names: Collection[str], split: str = "train") -> set[str]:
  """Those of the sub-folders that are splits.

  Args:
    names: of all sub-folders.
    split: that is asked for; the only sub-folder may be it.

  >>> sorted(split_folders(["train", "test"])), split_folders(["train", "car"])
  (['test', 'train'], set())
  """
  splits = _SPLITS.intersection(names)
  if len(splits) < 2 and set(names) != {split}:  # "train" among others is a class of vehicles
    return set()
  return set(splits)


def _open_folder(path: pathlib.Path, split: str) -> Source:
  name = path.resolve().name
  splits = split_folders({entry.name for entry in path.iterdir() if entry.is_dir()}, split)
  if split not in (splits or {"train"}):
    raise unknown_split(split, str(path), sorted(splits) or ["train"])
  return FolderSource(path / split if splits else path, name)
