"""Times one framework's step: `python -m benchmarks.step --model=dcgan --resolution=64`."""

import dataclasses
import json

import tyro

from benchmarks import machine, models, timing

__all__ = ["Options", "main", "measure"]


@dataclasses.dataclass(frozen=True)
class Options:
  """Times one framework's step of a model."""

  model: str = "dcgan"
  """One of benchmarks.models.MODELS, which sets the size."""
  framework: str = "jaxgan"
  """jaxgan, torch, torch-official, torch-compile or linen."""
  resolution: int | None = None
  """Height and width in pixels, if not the model's."""
  channels: int | None = None
  """Of the pictures."""
  width: int | None = None
  """Features of the widest-resolution stage."""
  batch_size: int | None = None
  """Pictures a batch."""
  steps: int = 12
  """Timed steps."""
  channels_last: bool = True
  """Layout of torch's images."""
  fused: bool = True
  """Fused Adam in torch, else the foreach form."""
  keep_memory: bool | None = None
  """Have the allocator keep freed memory; by default as in a comparison."""
  matmul: int = 2048
  """Rows and columns of the matrix product that tells the machine's speed."""
  json: bool = False
  """Print JSON rather than a table."""


def size_of(model: models.Model, options) -> models.Size:
  """The model's size with the flags that were given."""
  names = [field.name for field in dataclasses.fields(models.Size)]
  given = {name: getattr(options, name) for name in names}
  size = dataclasses.replace(
    model.size, **{name: value for name, value in given.items() if value is not None}
  )
  # The residual block has no pictures: its features are its channels.
  return dataclasses.replace(size, channels=size.width) if model.family == "residual" else size


def measure(options: Options) -> dict:
  """What is printed."""
  model = models.lookup(models.MODELS, options.model, "--model")
  size = size_of(model, options)
  if options.framework not in model.frameworks:
    raise ValueError(
      f"--framework={options.framework} has no {options.model}: {', '.join(model.frameworks)} do"
    )
  passes = model.flops(size)
  plan = timing.Plan(rounds=1, steps=options.steps, pause=0.0, matmul=options.matmul, tries=5)
  chosen = {}
  if options.framework in ("torch", "torch-compile"):
    chosen = {"channels_last": options.channels_last, "fused": options.fused}
  with timing.start(
    options.framework, model.family, size, chosen, keep_memory=options.keep_memory
  ) as worker:
    worker.turn(plan)
    return {
      "kind": "step",
      "model": options.model,
      "framework": options.framework,
      "size": dataclasses.asdict(size),
      **machine.describe("benchmarks.step"),
      "flops": sum(passes.values()),
      "passes": passes,
      **timing.summary(worker, sum(passes.values())),
    }


def table(result: dict) -> str:
  low, high = (1e3 * value for value in result["quartiles"])
  rows = {
    "step, median": f"{1e3 * result['median']:.1f} ms",
    "quartiles": f"{low:.1f} to {high:.1f} ms",
    "imports": f"{result['import_seconds']:.1f} s",
    "first step, with compilation": f"{result['first_step_seconds']:.1f} s",
    "peak memory": f"{result['peak_bytes'] / 1e9:.2f} GB",
    "parameters": f"{result['parameters']:,}",
    "useful work": f"{result['flops'] / 1e9:.2f} GFLOP",
    "speed": f"{result['flops_per_second'] / 1e9:.1f} GFLOP/s",
    "matrix products": f"{result['matmul_peak'] / 1e9:.1f} GFLOP/s",
    "efficiency": f"{result['efficiency']:.1%}",
  }
  width = max(map(len, rows))
  return "\n".join(f"{name:{width}}  {value}" for name, value in rows.items())


def main(options: Options) -> None:
  result = measure(options)
  print(json.dumps(result, indent=2) if options.json else table(result))


if __name__ == "__main__":
  with timing.command_line():
    main(tyro.cli(Options))
