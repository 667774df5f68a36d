"""What became of the files: a table for the terminal and a record beside the data."""

import collections
import dataclasses
import os
from collections.abc import Mapping
from typing import Any

__all__ = ["KINDS", "Findings", "LeftOut", "shown"]

KINDS = {  # why pictures are left out, in the order of the table, and what would keep them
  "unsupported": "convert them to PNG or JPEG",
  "unreadable": "check their permissions and links",
  "damaged": "replace them",
  "too small": "lower --min-size to enlarge them",
  "not square": "take --crop=center or --crop=pad",
  "unlabelled": "complete the table of --labels",
  "outside of the splits": "move them into one of the folders",
  "duplicate": "nothing is lost",
  "duplicate of another class": "check which class is right",
  "nearly duplicate": "look at some of them, or leave out --near-duplicates",
}

_SHOWN = 3  # examples and classes a line


@dataclasses.dataclass(frozen=True)
class LeftOut:
  """A file that is not in the set.

  Attributes:
    file: its name.
    kind: one of `KINDS`.
    why: more about it.
  """

  file: str
  kind: str
  why: str


@dataclasses.dataclass
class Findings:
  """What became of the files.

  Attributes:
    source: what was read.
    files: how many there were.
    resolution: side of the pictures.
    channels: 1 or 3.
    flags: what else decided.
    splits: pictures of each split.
    classes: pictures of each class.
    left_out: the others.
    missing: files of the table of labels that the source has not.
    beside: pictures because of which sub-folders are no classes.
  """

  source: str
  files: int
  resolution: int
  flags: Mapping[str, Any]
  channels: int = 3
  splits: dict[str, int] = dataclasses.field(default_factory=dict)
  classes: dict[str, int] = dataclasses.field(default_factory=dict)
  left_out: list[LeftOut] = dataclasses.field(default_factory=list)
  missing: list[str] = dataclasses.field(default_factory=list)
  beside: list[str] = dataclasses.field(default_factory=list)

  def content(self) -> dict[str, Any]:
    """All of it, of JSON's types."""
    by_kind = self._by_kind()
    return dataclasses.asdict(self) | {
      "source": shown(self.source),
      "missing": [shown(name) for name in self.missing],
      "beside": [shown(name) for name in self.beside],
      "left_out": {
        kind: [{"file": shown(each.file), "why": shown(each.why)} for each in found]
        for kind, found in by_kind.items()
      },
    }

  def _by_kind(self) -> dict[str, list[LeftOut]]:
    found = collections.defaultdict(list)
    for each in self.left_out:
      found[each.kind].append(each)
    return {kind: found[kind] for kind in KINDS if found[kind]}

  def __str__(self) -> str:
    """The table."""
    rows: list[tuple[str, int | None, str]] = [
      ("found", self.files, f"files in {shown(self.source)}")
    ]
    colour = "grey" if self.channels == 1 else "colour"
    side = f"{self.resolution}x{self.resolution}"
    rows.append(("kept", sum(self.splits.values()), f"pictures of {side} pixels, in {colour}"))
    rows += [(f"  {split}", count, "") for split, count in self.splits.items()]
    if self.classes:
      rows.append(("classes", len(self.classes), _extremes(self.classes)))
    if self.beside:
      count, first = len(self.beside), shown(self.beside[0])
      rows.append(("classes", 0, f"as pictures lie beside sub-folders ({count:,}: {first} ...)"))
    rows.append(("left out", len(self.left_out), ""))
    for kind, found in self._by_kind().items():
      rows.append((f"  {kind}", len(found), KINDS[kind]))
      rows += [("", None, f"{shown(each.file)}: {shown(each.why)}") for each in found[:_SHOWN]]
      if len(found) > _SHOWN:
        rows.append(("", None, f"and {len(found) - _SHOWN:,} more"))
    if self.missing:
      first = f"files of the table are not in the source, such as {shown(self.missing[0])}"
      rows.append(("missing", len(self.missing), first))
    wide = max(len(name) for name, *_ in rows)
    return "\n".join(
      f"{name:{wide}}  {'' if count is None else f'{count:,}':>9}  {about}".rstrip()
      for name, count, about in rows
    )

  def in_short(self) -> str:
    """Why files were left out, in a line."""
    parts = []
    for kind, found in self._by_kind().items():
      parts.append(f"{len(found):,} {kind} ('{shown(found[0].file)}': {shown(found[0].why)})")
    return "; ".join(parts) or "it is empty"


def _extremes(classes: Mapping[str, int]) -> str:
  """Pictures of all classes if they are few, else of the largest and the smallest."""
  ranked = sorted(classes.items(), key=lambda item: -item[1])
  if len(ranked) <= 2 * _SHOWN:
    return ", ".join(f"{name} {count:,}" for name, count in ranked)
  largest = ", ".join(f"{name} {count:,}" for name, count in ranked[:_SHOWN])
  smallest = ", ".join(f"{name} {count:,}" for name, count in ranked[-_SHOWN:])
  return f"from {largest} to {smallest}"


def shown(text: str) -> str:
  r"""A file's name as text that can be printed and kept, whatever its bytes are.

  >>> print(shown("caf\udce9 \n"))
  caf\xe9 \n
  """
  text = os.fsencode(text).decode("utf-8", "backslashreplace")
  return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
