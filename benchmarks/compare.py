"""Times this library's step against other frameworks, alternated in one run.

`python -m benchmarks.compare --models=dcgan32,dcgan64`. Each framework has a process of its own,
only one works at a time, and results go to `benchmarks/results/<model>.json`.
"""

import contextlib
import dataclasses
import json
import pathlib
import statistics
import sys
from typing import Any

import tyro

from benchmarks import machine, models, timing
from benchmarks.step import size_of
from benchmarks.table import markdown

__all__ = ["Options", "compare", "main", "save"]

RESULTS = pathlib.Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Options:
  """Times models on several frameworks, alternated in one run."""

  models: str = "dcgan32,dcgan64"
  """Names of benchmarks.models.MODELS, with commas."""
  frameworks: str | None = None
  """Names with commas; by default all that have the model but linen. The first is compared with
  each of the others."""
  rounds: int = 5
  """Turns that each framework has."""
  steps: int = 3
  """Timed steps a turn, after an untimed one."""
  resolution: int | None = None
  """Height and width in pixels, if not the model's."""
  channels: int | None = None
  """Of the pictures."""
  width: int | None = None
  """Features of the widest-resolution stage."""
  batch_size: int | None = None
  """Pictures a batch."""
  tune: bool = True
  """First choose the fastest of torch's layouts and forms of Adam, in two rounds."""
  matmul: int = 2048
  """Rows and columns of the matrix product that tells the machine's speed."""
  out: str = str(RESULTS)
  """Folder of the results, a file a model."""
  name: str | None = None
  """Name of the file, if not the model's."""
  markdown: bool = False
  """Print the results as a Markdown table too."""


def main(options: Options) -> bool:
  """Compares and writes; false if a framework failed."""
  chosen = options.models.split(",")
  if options.name is not None and len(chosen) > 1:
    raise ValueError(f"--name={options.name} names one file, --models={options.models} gives more")
  for name in chosen:  # before anything is timed
    _frameworks(models.lookup(models.MODELS, name, "--models"), name, options.frameworks)
  results = []
  for name in chosen:
    result = compare(name, options)
    save(pathlib.Path(options.out) / f"{options.name or name}.json", result)
    results.append(result)
    if not options.markdown:
      print(markdown([result]), flush=True)
  if options.markdown:
    print(markdown(results))
  return not any("failed" in entry for r in results for entry in r["frameworks"].values())


def compare(name: str, options: Options) -> dict[str, Any]:
  """The result of one model, for its file."""
  model = models.lookup(models.MODELS, name, "--models")
  size = size_of(model, options)
  frameworks = _frameworks(model, name, options.frameworks)
  passes = model.flops(size)
  plan = timing.Plan(rounds=options.rounds, steps=options.steps, matmul=options.matmul)
  result = {
    "kind": "compare",
    "model": name,
    "size": dataclasses.asdict(size),
    **machine.describe("benchmarks.compare"),
    "plan": dataclasses.asdict(plan),
    "flops": sum(passes.values()),
    "passes": passes,
  }
  tuned: dict[str, Any] = {}
  if options.tune and {"torch", "torch-compile"} & {*frameworks}:
    tuned, result["tuning"] = tune(model, size, plan)

  failed: dict[str, str] = {}
  with contextlib.ExitStack() as stack:
    workers = {}
    for framework in frameworks:
      choice = tuned if framework in ("torch", "torch-compile") else {}
      try:
        worker = timing.start(framework, model.family, size, choice, patience=plan.patience)
        workers[framework] = stack.enter_context(worker)
        first = workers[framework].begun["first_step_seconds"]
        print(f"{name}: {framework}, first step {first:.1f} s", file=sys.stderr)
      except timing.WorkerError as error:
        failed[framework] = str(error)
    _check_parameters({name: worker.begun["parameters"] for name, worker in workers.items()})
    failed |= timing.alternate(workers, plan)
    summaries = {
      framework: timing.summary(worker, result["flops"])
      for framework, worker in workers.items()
      if framework not in failed
    }
  for framework, reason in failed.items():
    print(f"{name}: {framework} failed: {reason}", file=sys.stderr)
  result["frameworks"] = {
    framework: summaries.get(framework) or {"failed": failed[framework]} for framework in frameworks
  }
  first, *others = frameworks
  result["ratios"] = {
    other: timing.ratios(summaries[first]["seconds"], summaries[other]["seconds"])
    for other in others
    if first in summaries and other in summaries
  }
  return result


def tune(
  model: models.Model, size: models.Size, plan: timing.Plan
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
  """The fastest options of tuned torch, and the times of all, alternated too."""
  candidates = models.FRAMEWORKS["torch"].candidates
  with contextlib.ExitStack() as stack:
    workers = {}
    for i, candidate in enumerate(candidates):
      worker = timing.start("torch", model.family, size, candidate, patience=plan.patience)
      workers[str(i)] = stack.enter_context(worker)
    failed = timing.alternate(workers, dataclasses.replace(plan, rounds=min(2, plan.rounds)))
    if failed:
      raise timing.WorkerError(f"torch: {failed}")
    times = [
      statistics.median([value for turn in worker.seconds for value in turn])
      for worker in workers.values()
    ]
  tried = [{**c, "median": t} for c, t in zip(candidates, times, strict=True)]
  return dict(candidates[times.index(min(times))]), tried


def save(path: pathlib.Path, result: dict[str, Any]) -> None:
  """Writes a result; the file appears whole or not at all."""
  from jaxgan._files import replacing  # imports jax, which this process otherwise does without

  with replacing(path) as temporary:
    temporary.write_text(json.dumps(result, indent=1) + "\n")


def _frameworks(model: models.Model, name: str, chosen: str | None) -> tuple[str, ...]:
  if chosen is None:
    return model.compared
  frameworks = tuple(chosen.split(","))
  for framework in frameworks:
    if framework not in model.frameworks:
      raise ValueError(
        f"--frameworks={chosen}: {framework} has no {name}, only {', '.join(model.frameworks)}"
      )
  return frameworks


def _check_parameters(parameters: dict[str, int]) -> None:
  if len(set(parameters.values())) > 1:
    raise ValueError(f"the networks differ in their number of parameters: {parameters}")


if __name__ == "__main__":
  with timing.command_line():
    sys.exit(0 if main(tyro.cli(Options)) else 1)
