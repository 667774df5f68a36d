"""Two sets of pictures, of which one is to become the other."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage

from jaxgan._archives import headers
from jaxgan.data.catalogue import is_path
from jaxgan.data.dataset import Dataset, load
from jaxgan.data.errors import DataError
from jaxgan.data.sources import parse_split

__all__ = ["load_pairs", "outlines"]

_NAMES = (("a", "b"), ("A", "B"), ("inputs", "images"), ("input", "target"))
_LISTED = 3  # names that a message shows


def load_pairs(
  dataset: str | os.PathLike[str],
  *,
  paired: bool = True,
  backward: bool = False,
  split: str = "train",
  **options: Any,
) -> Dataset:
  """Finds two sets of pictures: those to translate, A, and what they are to look like, B.

  One rule finds them:

  1. "digits" are the outlines of scikit-learn's digits, and the digits: no download.
  2. An `.npz` file holds them as arrays `a` and `b` (or `inputs` and `images`), `[count, H, W]` or
     `[count, H, W, C]`.
  3. A folder holds them in two sub-folders `a` and `b`, `A` and `B`, `inputs` and `images`, `input`
     and `target`, or, as CycleGAN's sets are told apart, `trainA` and `trainB` (`testA` ...), where
     the first part is the split. Pairs are files of the same name but for their ending.
  4. Anything else is a name of TFDS with splits `trainA` and `trainB`, such as
     "cycle_gan/horse2zebra", for `paired=False` alone: TFDS shuffles each side apart.

  Args:
    dataset: name or path.
    paired: each picture of A belongs to one of B, so that batches bring them together. Without it
      they are two sets that know nothing of each other, of any number of pictures.
    backward: A and B change places.
    split: as `load` takes it; its slice holds for both sets.
    **options: the other ones of `load`, for both sets alike.

  Returns:
    B as `images` and A as `beside["input"]`; it has no classes.

  Raises:
    DataError: there are no two such sets, they are no pairs, or what `load` raises.

  >>> pairs = load_pairs("digits", resolution=16)
  >>> pairs.shape, pairs.inputs, len(pairs)
  ((16, 16, 1), (16, 16, 1), 1797)
  """
  first, second = (
    _two(str(dataset), split, paired, options)
    if str(dataset) != "digits"
    else _digits(split, options)
  )
  if paired:
    _check_pairs(first, second, str(dataset))
  if backward:
    first, second = second, first
  return dataclasses.replace(
    second,
    labels=None,
    classes=(),
    beside={"input": _in_memory(first)},
    unpaired=not paired,
  )


def outlines(
  pictures: UInt8[np.ndarray, "records H W 1"], *, level: int = 128
) -> UInt8[np.ndarray, "records H W 1"]:
  """The edges of bright shapes on black: pixels of at least `level` that touch a darker one.

  >>> square = np.zeros([1, 7, 7, 1], np.uint8)
  >>> square[:, 1:6, 1:6] = 255
  >>> outlines(square)[0, 3, :, 0].tolist()
  [0, 255, 0, 0, 0, 255, 0]
  """
  inside = pictures >= level
  core = ndimage.binary_erosion(inside, structure=_CROSS)
  return np.where(inside & ~core, 255, 0).astype(np.uint8)


_CROSS = ndimage.generate_binary_structure(2, 1)[None, :, :, None]


def _digits(split: str, options: dict[str, Any]) -> tuple[Dataset, Dataset]:
  whole = load("digits", split=split, **options)
  assert whole.images is not None
  edges = outlines(whole.images[..., :1])
  edges = np.repeat(edges, whole.shape[-1], axis=-1)
  return dataclasses.replace(whole, images=edges), whole


def _two(
  dataset: str, split: str, paired: bool, options: dict[str, Any]
) -> tuple[Dataset, Dataset]:
  path = pathlib.Path(dataset).expanduser()
  name, bounds = parse_split(split)
  sliced = f"[{bounds}]" if bounds != ":" else ""
  if path.is_dir():
    folders = [entry.name for entry in path.iterdir() if entry.is_dir()]
    split_names = [(f"{name}A", f"{name}B"), (f"{name}_a", f"{name}_b")]
    both = _found(folders, split_names) or (_found(folders, _NAMES) if name == "train" else None)
    if both is None:
      raise DataError(_without(path, f"split='{split}'", "sub-folders", folders, split_names))
    first, second = (load(path / side, split=f"train{sliced}", **options) for side in both)
  elif path.is_file():
    arrays = list(_arrays(path))
    split_names = [(f"{name}_a", f"{name}_b")]
    both = _found(arrays, split_names) or (_found(arrays, _NAMES) if name == "train" else None)
    if both is None:
      raise DataError(_without(path, f"split='{split}'", "arrays", arrays, split_names))
    first, second = (load(f"{path}#{side}", split=f"train{sliced}", **options) for side in both)
  elif is_path(dataset):
    raise DataError(f"nothing lies at '{path.absolute()}'. Check the path")
  elif paired:
    raise DataError(
      f"'{dataset}' is no existing path, and sets of TFDS are no pairs: each side is shuffled "
      "apart. Give a folder or an .npz of pairs, or take the sets as paired=False"
    )
  else:
    first, second = (load(dataset, split=f"{name}{side}{sliced}", **options) for side in "AB")
  return first, second


def _found(names: Sequence[str], wanted: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
  return next((both for both in wanted if set(both) <= set(names)), None)


def _without(
  path: pathlib.Path,
  split: str,
  what: str,
  names: Sequence[str],
  split_names: Sequence[tuple[str, str]],
) -> str:
  wanted = ", ".join(f"'{a}' and '{b}'" for a, b in (*split_names, *_NAMES))
  found = ", ".join(sorted(names)[:10]) or "none"
  return (
    f"'{path}' has no two {what} to translate between at {split}, only: {found}. It takes one of "
    f"{wanted}; the latter without a split's name hold for split='train'"
  )


def _arrays(path: pathlib.Path) -> list[str]:
  if path.suffix != ".npz":
    raise DataError(
      f"'{path}' is a file of an unknown kind: pairs are in an .npz file with arrays a and b, or "
      "in a folder with two sub-folders a and b"
    )
  try:
    return list(headers(path))
  except Exception as error:  # a damaged archive can raise nearly anything
    raise DataError(
      f"cannot read '{path}' as a NumPy archive ({type(error).__name__}: {error}). Save it again "
      "with numpy.savez(path, a=..., b=...)"
    ) from error


def _check_pairs(first: Dataset, second: Dataset, dataset: str) -> None:
  stems = [[re.sub(r"\.\w+$", "", name) for name in side.names] for side in (first, second)]
  if stems[0] != stems[1]:
    sides = [set(stems[0]) - set(stems[1]), set(stems[1]) - set(stems[0])]
    alone = "; ".join(
      f"{len(names)} of {side} ({', '.join(sorted(names)[:_LISTED])})"
      for side, names in zip("AB", sides, strict=True)
      if names
    )
    raise DataError(
      f"'{dataset}' has pictures without a partner of the same name: {alone}. Complete the pairs, "
      "or take the sets as paired=False"
    )
  if len(first) != len(second):
    raise DataError(
      f"'{dataset}' has {len(first)} and {len(second)} pictures, which are no pairs: give as many "
      "of both, or take the sets as paired=False"
    )


def _in_memory(dataset: Dataset) -> UInt8[np.ndarray, "records H W C"]:
  if dataset.images is None:
    raise DataError(
      f"'{dataset.name}' has more pictures to translate than cache_limit= allows to keep, and they "
      "cannot be streamed: raise it, or take the first ones by limit="
    )
  return dataset.images
