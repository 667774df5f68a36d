"""A report of a run: one page, `report.html`, with all that its workdir tells.

    python -m experiments.report --workdir=/tmp/run
    python -m experiments.report --workdir=/tmp/none --workdir=/tmp/ada --out=compared.html

Samples over training, curves, scores, health, a latent walk, flags and environment; several runs
side by side. The file holds everything and fetches nothing. A run writes it at its end, too.
"""

import dataclasses
import pathlib
import sys
from typing import Annotated

import tyro

from jaxgan import compilation, run, sampling
from jaxgan._files import read_json
from jaxgan.run.checkpoints import Checkpoints
from jaxgan.run.judge import grid_latents
from jaxgan.run.page import write_report
from jaxgan.run.processes import local
from jaxgan.run.walks import draw_walk, walk_latents, walk_path


@dataclasses.dataclass(frozen=True)
class Options:
  """Writes a page about a run, or about several side by side."""

  workdir: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="FOLDER")]
  """Folder of a run; give it again for each run to compare."""
  out: str | None = None
  """The page; by default report.html in the workdir, or here if there are several."""
  walk: bool = True
  """Draw a latent walk from the last checkpoint where there is none yet, which takes seconds."""


def main(options: Options) -> pathlib.Path:
  """Draws the walks that are missing, and writes the page."""
  if not options.workdir:
    raise run.RunError("--workdir names the folder of a run, and is missing")
  for workdir in options.workdir:
    _check(pathlib.Path(workdir))
  first = pathlib.Path(options.workdir[0])
  out = options.out or (first / "report.html" if len(options.workdir) == 1 else "report.html")
  for workdir in options.workdir if options.walk else ():
    try:
      _walk(workdir)
    except run.RunError as error:  # the page has the rest
      print(f"no latent walk: {error}", file=sys.stderr)
  path = write_report(options.workdir, out)
  print(f"written to {path}", file=sys.stderr)
  return path


def _check(workdir: pathlib.Path) -> None:
  """Refuses what is no training run of pictures."""
  try:
    content = read_json(workdir / "config.json", 1 << 24)
  except (OSError, ValueError, RecursionError):
    return  # the page says what it lacks
  if isinstance(content, dict) and "mixture" in content:
    raise run.RunError(
      f"--workdir={workdir} is of experiments.mixtures, whose results are its metrics.jsonl and "
      "samples.png: there is no report of them"
    )


def _walk(workdir: str) -> None:
  """Draws the walk of the last checkpoint, if it can be had and is not there."""
  record = run.Record.load(workdir)
  if record is None or record.config.get("population"):
    return
  if not (pathlib.Path(workdir) / "checkpoints").is_dir():
    return
  with Checkpoints(workdir, read_only=True) as checkpoints:
    latest = checkpoints.latest
  if latest is None or walk_path(workdir, latest).exists():
    return
  restored = run.restore(workdir)
  z = walk_latents(restored.system, grid_latents(restored.system, restored.config))
  if z is None:
    return
  variables = local(restored.game.generator.evaluated())
  generate = compilation.jit(restored.system.generate)
  draw_walk(
    lambda z: sampling.in_batches(lambda part: generate(variables, part), z), z, workdir, latest
  )


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
