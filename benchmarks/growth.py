"""How the cost of a DCGAN step grows: `python -m benchmarks.growth`.

With the batch, the resolution, the steps that one call takes, and the number of devices; of the
last not the time, which devices that share a processor do not tell, but the collectives.
Results go to `benchmarks/results/growth.json`.
"""

import contextlib
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from benchmarks import machine, models, timing
from benchmarks.compare import RESULTS, save
from benchmarks.table import growth_markdown

__all__ = ["Options", "Series", "devices", "main", "measure"]


@dataclasses.dataclass(frozen=True)
class Series:
  """Points along which one thing grows.

  Attributes:
    model: of `benchmarks.models.MODELS`.
    values: of what grows.
    fixed: other fields of the size, if not the model's.
  """

  model: str
  values: tuple[int, ...]
  fixed: dict[str, int] = dataclasses.field(default_factory=dict)


SERIES = {
  "batch_size": Series("dcgan32", (16, 32, 64, 128, 256)),
  "resolution": Series("dcgan64", (32, 64, 128), {"batch_size": 16}),
  "steps_per_call": Series("dcgan32grey", (1, 2, 4, 8, 16)),
  "devices": Series("dcgan32", (1, 2, 4, 8)),
}


@dataclasses.dataclass(frozen=True)
class Options:
  """Times the step over a range of sizes."""

  series: str = ",".join(SERIES)
  """What grows, with commas: batch_size, resolution, steps_per_call, devices."""
  rounds: int = 4
  """Turns that each point of a series has."""
  steps: int = 3
  """Timed calls a turn."""
  matmul: int = 2048
  """Rows and columns of the matrix product that tells the machine's speed."""
  out: str = str(RESULTS / "growth.json")
  """File of the results; the tables go beside it, as .md."""


def measure(name: str, series: Series, plan: timing.Plan) -> dict[str, Any]:
  """The points of a series, alternated."""
  model = models.lookup(models.MODELS, series.model, "model")
  base = dataclasses.replace(model.size, **series.fixed)
  points = []
  with contextlib.ExitStack() as stack:
    workers = {}
    for value in series.values:
      size, calls = base, 1
      if name == "steps_per_call":
        calls = value
      else:
        size = dataclasses.replace(base, **{name: value})
      worker = timing.start("jaxgan", model.family, size, {"steps_per_call": calls})
      workers[value] = stack.enter_context(worker), size, calls
    failed = timing.alternate({str(v): worker for v, (worker, *_) in workers.items()}, plan)
    if failed:
      raise timing.WorkerError(f"{name}: {failed}")
    for value, (worker, size, calls) in workers.items():
      work = sum(model.flops(size).values())
      points.append(
        {
          "value": value,
          "size": dataclasses.asdict(size),
          "flops": work,
          **timing.summary(worker, work, steps_per_call=calls),
        }
      )
  return {"model": series.model, "points": points}


def devices(series: Series) -> dict[str, Any]:
  """The collectives of the step, from a process that divides its processor."""
  model = models.lookup(models.MODELS, series.model, "model")
  size = dataclasses.replace(model.size, **series.fixed)
  command = [sys.executable, "-m", "benchmarks.collectives"]
  command.append(f"--size={json.dumps(dataclasses.asdict(size))}")
  command.append(f"--devices={json.dumps(series.values)}")
  done = subprocess.run(
    command, capture_output=True, text=True, cwd=pathlib.Path(__file__).parents[1]
  )
  if done.returncode:
    raise timing.WorkerError(f"devices: {done.stderr.strip().splitlines()[-1]}")
  return {"model": series.model, "points": json.loads(done.stdout)}


def main(options: Options, table: dict[str, Series] = SERIES) -> None:
  chosen: Sequence[str] = options.series.split(",")
  plan = timing.Plan(rounds=options.rounds, steps=options.steps, matmul=options.matmul)
  for name in chosen:
    models.lookup(table, name, "--series")
  result: dict[str, Any] = {
    "kind": "growth",
    **machine.describe("benchmarks.growth"),
    "plan": dataclasses.asdict(plan),
    "series": {},
  }
  for name in chosen:
    if name == "devices":
      result["devices"] = devices(table[name])
    else:
      result["series"][name] = measure(name, table[name], plan)
  path = pathlib.Path(options.out)
  save(path, result)
  text = growth_markdown(result)
  save_text(path.with_suffix(".md"), text)
  print(text)


def save_text(path: pathlib.Path, text: str) -> None:
  from jaxgan._files import replacing

  with replacing(path) as temporary:
    temporary.write_text(text + "\n")


if __name__ == "__main__":
  with timing.command_line():
    main(tyro.cli(Options))
