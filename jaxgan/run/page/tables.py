"""The newest scores of runs, by protocol."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from jaxgan.metrics import Protocol
from jaxgan.run.page.findings import Findings
from jaxgan.run.page.words import protocol_words, value

__all__ = ["Table", "score_tables"]


class Table(NamedTuple):
  """Scores of one protocol, but for the measures' own settings.

  Attributes:
    protocol: in words.
    rows: name, settings, and for each run its value with the step, or None.
  """

  protocol: str
  rows: list[tuple[str, str, list[tuple[str, int] | None]]]


def score_tables(runs: Sequence[Findings]) -> list[Table]:
  """The newest score of each kind."""
  tables: dict[Protocol, dict[tuple[str, str], list[tuple[str, int] | None]]] = {}
  for i, run in enumerate(runs):
    for step, score in sorted([*run.scores, *run.evaluation], key=lambda each: each[0]):
      shared = dataclasses.replace(score.protocol, settings=())
      settings = ", ".join(f"{name}={x}" for name, x in dict(score.protocol.settings).items())
      rows = tables.setdefault(shared, {})
      cells = rows.setdefault((score.name, settings), [None] * len(runs))
      cells[i] = (value(score), step)
  return [
    Table(protocol_words(protocol), [(*key, cells) for key, cells in rows.items()])
    for protocol, rows in tables.items()
  ]
