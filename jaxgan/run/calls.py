"""The steps of a run by the call: one program may play several."""

from collections.abc import Callable, Generator
from typing import Any

from jax.sharding import Mesh

from jaxgan import data, training
from jaxgan.training import Game
from jaxgan.training.step import Step
from jaxgan.types import Metrics

__all__ = ["Call", "calls"]

Call = Callable[[Game], tuple[Game, Metrics]]


def calls(
  step: Step, mesh: Mesh, batches: data.Batches, first: int, last: int, per_call: int
) -> Generator[tuple[int, Call], None, None]:
  """The calls that take a game from one step to another.

  Args:
    step: of the system.
    mesh: devices to split batches over.
    batches: the data.
    first: completed steps.
    last: completed steps at the end, above `first`.
    per_call: steps of one call. Calls end at its multiples, so that runs with interruptions make
      the same calls; the first and the last may be shorter.

  Yields:
    How many steps a call plays, and the call; with `per_call` above 1 its metrics are `[steps]`.
  """
  if per_call == 1:
    single = training.data_parallel(step, mesh)
    for batch in batches.starting_at(first):
      yield 1, _bind(single, batch)
      first += 1
      if first == last:
        return
  several = training.scanned(step, mesh, batches.assemble)
  counts = []
  while first < last:
    counts.append(min(per_call - first % per_call, last - first))
    first += counts[-1]
  stacks = batches.stacks(last - sum(counts), counts)
  for count, rows in zip(counts, stacks, strict=True):
    yield count, _bind(several, batches.source, rows)


def _bind(function: Callable[..., Any], *args: Any) -> Call:
  return lambda game: function(game, *args)
