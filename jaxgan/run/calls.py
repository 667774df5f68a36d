"""The steps of a run by the call: one program may play several."""

import functools
from collections.abc import Callable, Generator
from typing import Any

from jax.sharding import Mesh

from jaxgan import data, training
from jaxgan.training import Game, System
from jaxgan.types import Metrics

__all__ = ["Call", "calls"]

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

  def program(step: int) -> Any:
    return step_at(step), system.d_steps(step) if callable(system.d_steps) else system.d_steps

  counts, steps = [], []
  while first < last:
    count = min(per_call - first % per_call, last - first)
    programs = [program(step) for step in range(first, first + count)]
    count = next((i for i, other in enumerate(programs) if other != programs[0]), count)
    counts.append(count)
    steps.append(programs[0][0])
    first += count
  stacks = batches.stacks(last - sum(counts), counts)
  for count, step, rows in zip(counts, steps, stacks, strict=True):
    yield count, _bind(several(step), batches.source, rows)


def _bind(function: Callable[..., Any], *args: Any) -> Call:
  return lambda game: function(game, *args)
