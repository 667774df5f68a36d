"""Texts of pictures: where they are found, and the tokens that networks read.

Past 300 lines because the rule that finds texts and the tokeniser are told apart by functions, and
each is documented with an example.
"""

import collections
import csv
import dataclasses
import difflib
import json
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from jaxtyping import Bool, Int32

from jaxgan.data.dataset import Dataset
from jaxgan.data.errors import DataError, require

__all__ = [
  "Vocabulary",
  "attach",
  "captions_of",
  "emoji_name",
  "held_out",
  "length_of",
  "split_words",
  "take",
]

_SPECIAL = ("", "<unknown>", "<end>")
_UNKNOWN, _END = 1, 2
_MOST = 100_000  # different captions; a run keeps them in its config.json
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*|[#*&+!?]")
_TABLES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def split_words(text: str) -> list[str]:
  """The words of a text, in lower case; of punctuation only what names use.

  >>> split_words("Woman swimming: medium-light skin_tone")
  ['woman', 'swimming', 'medium-light', 'skin', 'tone']
  """
  return _WORD.findall(text.replace("_", " ").lower())


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """The words of some captions, and how texts become tokens.

  Token 0 pads, 1 is a word that is not known, 2 ends a text; the words follow.

  Attributes:
    words: all of them, those three among them.

  >>> vocabulary = Vocabulary.of(["red heart", "blue heart"])
  >>> vocabulary.words[3:]
  ('blue', 'heart', 'red')
  >>> vocabulary.encode(["red heart", "green"], 4)
  array([[5, 4, 2, 0],
         [1, 2, 0, 0]], dtype=int32)
  """

  words: tuple[str, ...]

  @classmethod
  def of(cls, captions: Iterable[str]) -> Self:
    """The words of captions, in alphabetical order."""
    return cls((*_SPECIAL, *sorted({word for text in captions for word in split_words(text)})))

  @property
  def known(self) -> tuple[str, ...]:
    """The words alone."""
    return self.words[len(_SPECIAL) :]

  def __len__(self) -> int:
    return len(self.words)

  def encode(self, texts: Sequence[str], length: int) -> Int32[np.ndarray, "texts length"]:
    """Tokens of texts, the end included; of longer ones the first words.

    Args:
      texts: any.
      length: tokens of each, at least 1.
    """
    if length < 1:
      raise DataError(f"length={length}: give at least 1, for the end")
    places = {word: place for place, word in enumerate(self.words)}
    tokens = np.zeros([len(texts), length], np.int32)
    for row, text in zip(tokens, texts, strict=True):
      found = [places.get(word, _UNKNOWN) for word in split_words(text)][: length - 1]
      row[: len(found) + 1] = [*found, _END]
    return tokens

  def unknown(self, text: str) -> dict[str, list[str]]:
    """The words of a text that the vocabulary lacks, each with the nearest that it has.

    >>> Vocabulary.of(["red heart"]).unknown("reed heart")
    {'reed': ['red']}
    """
    missing = [word for word in split_words(text) if word not in self.known]
    return {word: difflib.get_close_matches(word, self.known, n=3) for word in missing}


def length_of(captions: Iterable[str], most_words: int) -> int:
  """Tokens of the longest caption with its end, of so many words at most.

  >>> length_of(["red heart", "sun"], 16)
  3
  """
  return 1 + min(max(len(split_words(text)) for text in captions), most_words)


def emoji_name(stem: str) -> str | None:
  """The English CLDR short name of an emoji, of a file that its code points name.

  Args:
    stem: hexadecimal code points, with `-` or `_` between them; variation selectors and the end of
      a tag sequence may be missing.

  Returns:
    The name, None where the stem names no emoji.

  Raises:
    DataError: the package `emoji` is missing.

  >>> emoji_name("2764-fe0f"), emoji_name("cat")
  ('red heart', None)
  """
  parts = re.split("[-_]", stem.lower())
  if not all(re.fullmatch("[0-9a-f]{2,6}", part) for part in parts):
    return None
  points = [int(part, 16) for part in parts]
  if max(points) > 0x10FFFF:
    return None
  known = require("emoji", "naming emoji").EMOJI_DATA
  text = "".join(map(chr, points))
  for form in (text, text + "\ufe0f", text.replace("\ufe0f", ""), text + "\U000e007f"):
    if form in known:
      return known[form]["en"].strip(":").replace("_", " ")
  return None


def captions_of(dataset: Dataset, table: str | None = None) -> tuple[str, ...]:
  """One text for each picture.

  One rule finds them:

  1. In a table: `table`, or `captions.csv`, `captions.jsonl`, `metadata.csv` or `metadata.jsonl` in
     the folder of the pictures. It has `file_name`, the name without that folder, and `text` (or
     `caption`).
  2. In a file of the picture's name that ends in `.txt`, its first line.
  3. Emoji are named by the code points of their files.
  4. Otherwise the name of the class; of digits in words.

  Args:
    dataset: the pictures, from `load`.
    table: a file, instead of one in the folder.

  Returns:
    The texts, in the order of the pictures.

  Raises:
    DataError: a picture has no text; the message says what to do.

  >>> from jaxgan import data
  >>> captions_of(data.load("digits"))[:3]
  ('zero', 'one', 'two')
  """
  folder = None if dataset.folder is None else pathlib.Path(dataset.folder)
  path = None if table is None else pathlib.Path(table).expanduser()
  if path is None and folder is not None:
    path = next((folder / name for name in _TABLES if (folder / name).is_file()), None)
  if path is not None:
    return _from_table(path, dataset)
  if folder is not None and (folder / dataset.names[0]).with_suffix(".txt").is_file():
    return tuple(_first_line((folder / name).with_suffix(".txt")) for name in dataset.names)
  stems = [pathlib.Path(name).stem for name in dataset.names]
  if stems and re.fullmatch("[0-9a-fA-F]{4,6}([-_][0-9a-fA-F]{2,6})*", stems[0]):
    names = [emoji_name(stem) for stem in stems]
    if unnamed := [stem for stem, name in zip(stems, names, strict=True) if name is None]:
      raise DataError(
        f"'{dataset.name}' looks like emoji, but {len(unnamed)} of {len(stems)} files are none "
        f"that is known, such as '{unnamed[0]}': remove them, or give their texts in a table"
      )
    return tuple(name for name in names if name is not None)
  if dataset.classes:
    named = [_in_words(name) for name in dataset.classes]
    labels = dataset.labels
    if labels is None:
      labels = np.array([dataset[index]["label"] for index in range(len(dataset))])
    return tuple(named[int(label)] for label in labels)
  raise DataError(
    f"'{dataset.name}' has no texts: put captions.csv with the columns file_name and text into its "
    "folder, or a .txt beside each picture, or take a set with classes, such as digits"
  )


def _in_words(name: str) -> str:
  return _DIGITS[int(name)] if name in "0123456789" and name else name.replace("_", " ")


def _from_table(path: pathlib.Path, dataset: Dataset) -> tuple[str, ...]:
  if not dataset.names:
    raise DataError(f"'{path}' names files, but '{dataset.name}' is no folder of pictures")
  try:
    with path.open(newline="", encoding="utf-8") as file:
      if path.suffix == ".csv":
        entries = list(csv.DictReader(file))
      else:
        entries = [json.loads(line) for line in file if line.strip()]
    column = next((each for each in ("text", "caption") if each in entries[0]), "text")
    texts = {str(entry["file_name"]): str(entry[column]) for entry in entries}
  except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
    raise DataError(
      f"cannot read texts from '{path}' ({type(error).__name__}: {error}): give a .csv with the "
      'columns file_name and text, or a .jsonl with lines {"file_name": ..., "text": ...}'
    ) from error
  if missing := [name for name in dataset.names if not texts.get(name, "").strip()]:
    raise DataError(
      f"'{path}' has no text for {len(missing)} of {len(dataset)} pictures, such as "
      f"'{missing[0]}': add it, or remove the picture"
    )
  return tuple(texts[name].strip() for name in dataset.names)


def _first_line(path: pathlib.Path) -> str:
  try:
    text = path.read_text(encoding="utf-8").strip()
  except (OSError, ValueError) as error:
    raise DataError(f"cannot read the text of a picture, '{path}': {error}") from error
  if not text:
    raise DataError(f"'{path}' is empty: write the text of its picture there, or remove the two")
  return text.splitlines()[0]


def held_out(captions: Sequence[str], every: int) -> Bool[np.ndarray, "captions"]:
  """Which captions to hold out, so that all their words are learned from others.

  Of the different captions whose every word another one has, in alphabetical order, each so many-th
  is; of pictures with the same one all or none.

  Args:
    captions: one a picture.
    every: 10 holds out a tenth of those; 0 holds out none.

  >>> texts = ["blue cat", "blue dog", "red cat", "red dog", "sun"]
  >>> held_out(texts, 4).tolist()
  [False, False, False, True, False]
  """
  if every < 0:
    raise DataError(f"every={every}: give 0 for none, or more")
  different = sorted(set(captions))
  uses = collections.Counter(word for text in different for word in set(split_words(text)))
  chosen, composed = set(), 0
  for text in different if every else ():
    words = set(split_words(text))
    if words and all(uses[word] > 1 for word in words):
      composed += 1
      if composed % every == 0:
        chosen.add(text)
        uses.subtract(words)
  return np.array([text in chosen for text in captions], bool)


def take(dataset: Dataset, keep: Bool[np.ndarray, "records"]) -> Dataset:
  """A part of the pictures, with all that belongs to them.

  >>> dataset = Dataset("noise", images=np.zeros([5, 8, 8, 3], np.uint8))
  >>> len(take(dataset, np.arange(5) < 2))
  2
  """
  if keep.all():
    return dataset
  rows = np.flatnonzero(keep)
  if not len(rows):
    raise DataError(f"no picture of '{dataset.name}' is left")
  reader = dataset.reader
  if reader is not None:
    reader = dataclasses.replace(reader, chosen=[reader.chosen[int(row)] for row in rows])
  return dataclasses.replace(
    dataset,
    images=None if dataset.images is None else dataset.images[rows],
    labels=None if dataset.labels is None else dataset.labels[rows],
    reader=reader,
    beside={name: array[rows] for name, array in dataset.beside.items()},
    names=tuple(dataset.names[row] for row in rows) if dataset.names else (),
  )


def attach(dataset: Dataset, texts: Sequence[str], *, most_words: int = 16) -> Dataset:
  """The pictures with their texts: as tokens beside them, and as captions.

  Args:
    dataset: the pictures.
    texts: one each, as `captions_of` finds them.
    most_words: of longer texts the first so many are read.

  Returns:
    The set with `captions`, the different texts in alphabetical order, and `beside["text"]`, int32
    `[records, length_of(captions, most_words)]`, of the vocabulary of the captions.

  Raises:
    DataError: the texts are not as many as the pictures, have no words, or are too many.

  >>> noise = Dataset("noise", images=np.zeros([2, 8, 8, 3], np.uint8))
  >>> dataset = attach(noise, ["red heart", "sun"])
  >>> dataset.captions, dataset.beside["text"].tolist()
  (('red heart', 'sun'), [[4, 3, 2], [5, 2, 0]])
  """
  if len(texts) != len(dataset):
    raise DataError(f"there are {len(texts)} texts for {len(dataset)} pictures: give one each")
  captions = tuple(sorted(set(texts)))
  if wordless := [text for text in captions if not split_words(text)]:
    raise DataError(f"a text of '{dataset.name}' has no words: {wordless[0]!r}")
  if len(captions) > _MOST:
    raise DataError(
      f"'{dataset.name}' has {len(captions):,} different texts, and {_MOST:,} can be kept: set "
      "limit=, or shorten the texts"
    )
  vocabulary = Vocabulary.of(captions)
  tokens = vocabulary.encode(captions, length_of(captions, most_words))
  place = {text: row for row, text in enumerate(captions)}
  rows = tokens[[place[text] for text in texts]]
  return dataclasses.replace(dataset, captions=captions, beside={**dataset.beside, "text": rows})
