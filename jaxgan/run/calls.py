"""The steps of a run by the call: one program may play several."""

import functools
from collections.abc import Callable, Generator
from typing import Any

from jax.sharding import Mesh

from jaxgan import data, training
from jaxgan.training import Game, System
from jaxgan.types import Metrics

__all__ = ["Call", "calls", "spans"]

Call = Callable[[Game], tuple[Game, Metrics]]


def calls(
  system: System, mesh: Mesh, batches: data.Batches, first: int, last: int, per_call: int
) -> Generator[tuple[int, Call], None, None]:
  """The calls that take a game from one step to another.

  Args:
    system: its step, and the updates of D that it makes.
    mesh: devices to split batches over.
    batches: the data.
    first: completed steps.
    last: completed steps at the end, above `first`.
    per_call: steps of one call. Calls end at its multiples, so that runs with interruptions make
      the same calls; the first and the last may be shorter, and those around a step at which D's
      updates change in number, since that is compiled apart.

  Yields:
    How many steps a call plays, and the call; with `per_call` above 1 its metrics are `[steps]`.
  """
  step_at = system.step_at or (lambda step: system.step)
  if per_call == 1:
    single = functools.cache(lambda step: training.data_parallel(step, mesh))
    for batch in batches.starting_at(first):
      yield 1, _bind(single(step_at(first)), batch)
      first += 1
      if first == last:
        return
  several = functools.cache(lambda step: training.scanned(step, mesh, batches.assemble))
  counts = spans(system, first, last, per_call)
  stacks = batches.stacks(first, counts)
  for count, rows in zip(counts, stacks, strict=True):
    yield count, _bind(several(step_at(first)), batches.source, rows)
    first += count


def spans(system: System, first: int, last: int, per_call: int) -> list[int]:
  """How many steps each call plays, as `calls` explains."""

  def program(step: int) -> Any:
    played = system.step if system.step_at is None else system.step_at(step)
    return played, system.d_steps(step) if callable(system.d_steps) else system.d_steps

  counts = []
  while first < last:
    count = min(per_call - first % per_call, last - first)
    programs = [program(step) for step in range(first, first + count)]
    count = next((i for i, other in enumerate(programs) if other != programs[0]), count)
    counts.append(count)
    first += count
  return counts


def _bind(function: Callable[..., Any], *args: Any) -> Call:
  return lambda game: function(game, *args)
