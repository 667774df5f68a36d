"""What a store of pictures is, and the slices of its splits."""

import abc
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Shaped

from jaxgan.data.errors import DataError

__all__ = ["Picture", "Source", "choose", "parse_split", "unknown_split"]

Picture = tuple[Shaped[np.ndarray, "height width channels"], int | None]


class Source(abc.ABC):
  """A sequence of stored pictures, of any size, and their labels.

  Sources travel to worker processes: what is open or large stays behind when one is pickled.

  Attributes:
    name: what to call the set.
    identity: everything that decides what the pictures are, for the key of the cache.
    names: of the pictures' files, where each has one.
    folder: where they lie.
    sequential: it can be read from the beginning only, by iteration.
  """

  name: str
  identity: tuple[Any, ...]
  names: Sequence[str] = ()
  folder: str | None = None
  sequential: ClassVar[bool] = False

  @property
  @abc.abstractmethod
  def classes(self) -> tuple[str, ...]:
    """Names of the classes; `()` without labels."""

  @abc.abstractmethod
  def __len__(self) -> int: ...

  @abc.abstractmethod
  def __getitem__(self, index: int) -> Picture: ...

  def read(self, indices: Iterable[int]) -> Iterable[Picture]:
    """Several pictures, for stores that find many at once faster than one by one."""
    return (self[index] for index in indices)

  def __iter__(self) -> Iterator[Picture]:
    return iter(self.read(range(len(self))))

  @abc.abstractmethod
  def survey(self, channels: int | None) -> tuple[tuple[int, int] | None, int]:
    """Looks at all pictures without decoding them.

    Args:
      channels: what they will be converted to; None keeps what they have.

    Returns:
      `((height, width), channels)`, None for sizes that differ.

    Raises:
      DataError: grey and colour are mixed and nothing says what they should become.
    """


_SPLIT = re.compile(r"(?P<name>[\w-]+)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


def parse_split(split: str) -> tuple[str, str]:
  """Takes a split apart, for sets that TFDS does not know.

  Args:
    split: a name, with a slice of pictures or per cent if wanted: "train", "train[:80%]".

  Returns:
    The name and the part in brackets, for `choose`.

  Raises:
    DataError: it is written otherwise.

  >>> parse_split("train[:80%]")
  ('train', ':80%')
  """
  match = _SPLIT.fullmatch(split)
  if not match:
    raise DataError(f"split='{split}' is not understood: write it as 'train' or 'train[:80%]'")
  bounds = f"{match['start'] or ''}:{match['stop'] or ''}"
  return match["name"], bounds


def choose(bounds: str, count: int) -> range:
  """The pictures of a slice such as ":80%" of `count`."""

  def place(text: str) -> int | None:
    if not text:
      return None
    return round(count * int(text[:-1]) / 100) if text.endswith("%") else int(text)

  return range(count)[slice(*map(place, bounds.split(":")))]


def unknown_split(split: str, name: str, known: Sequence[str]) -> DataError:
  """The error for a split that the set has not."""
  return DataError(
    f"'{name}' has no split '{split}', only: {', '.join(known)}. Give one of them as split="
  )
