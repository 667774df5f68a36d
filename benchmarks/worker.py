"""A process that takes one framework's steps when it is told to, and waits otherwise.

`python -m benchmarks.worker` reads orders as lines of JSON and answers each by one line:
a first order to build a step, then `{"steps": n}` or `{"matmul": [size, n]}` until its input ends.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import machine, models
from benchmarks.flops import Size

__all__ = ["main"]


def main() -> None:
  # What libraries print must not be taken for an answer.
  answers = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)

  def answer(**content: Any) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()

  try:
    step, matmul, begun = build(json.loads(sys.stdin.readline()))
    answer(**begun)
    for line in sys.stdin:
      order = json.loads(line)
      if "steps" in order:
        seconds = [timed(step) for _ in range(order["steps"])]
        answer(seconds=seconds, peak_bytes=machine.peak_bytes())
      else:
        size, tries = order["matmul"]
        product = matmul(size)
        product()
        answer(flops_per_second=[2.0 * size**3 / timed(product) for _ in range(tries)])
  except Exception as error:
    answer(error=f"{type(error).__name__}: {error}")
    raise


def build(order: dict[str, Any]) -> tuple[Callable[[], None], Any, dict[str, Any]]:
  """Imports the framework, builds the step and takes the first."""
  kept = order["keep_memory"] and machine.keep_memory()
  framework = models.FRAMEWORKS[order["framework"]]
  start = time.perf_counter()
  steps, matmul = framework.load()
  loaded = time.perf_counter()
  family = models.lookup(steps, order["family"], "family")
  work = family(Size(**order["size"]), order["options"])
  built = time.perf_counter()
  first = timed(work.step)
  begun = {
    "parameters": work.parameters,
    "kept_memory": kept,
    "import_seconds": loaded - start,
    "build_seconds": built - loaded,
    "first_step_seconds": first,
  }
  return work.step, matmul, begun


def timed(call: Callable[[], Any]) -> float:
  start = time.perf_counter()
  call()
  return time.perf_counter() - start


if __name__ == "__main__":
  main()
