"""From what was found in workdirs to a page.

The page is one file: style, script, charts and pictures are in it. Whatever comes from a workdir
passes jinja2's escaping, and beside it the page's content security policy lets no script run but
its own, and nothing be fetched.
"""

import base64
import hashlib
import math
import os
import pathlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2

import jaxgan
from jaxgan._files import replacing
from jaxgan.run.flags import RunError, flag
from jaxgan.run.page import charts, pictures
from jaxgan.run.page.drawings import drawings
from jaxgan.run.page.findings import Curve, Findings, find
from jaxgan.run.page.pictures import Picture
from jaxgan.run.page.tables import score_tables
from jaxgan.run.page.words import LONGEST, duration, number, value
from jaxgan.run.writing import writing

__all__ = ["MOST", "write_report"]

MOST = charts.COLOURS  # runs in a page
_BUDGET = 8_500_000  # characters of pictures
_THUMBNAILS = 16
_POSITIONS = 200  # of a slider without pictures


def write_report(
  workdirs: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]
) -> pathlib.Path:
  """Writes a page about one run, or about several side by side.

  Args:
    workdirs: of runs, at most `MOST`; files that are missing or damaged are left out, and the page
      says so.
    out: the page.

  Returns:
    Its path.

  Raises:
    RunError: a folder holds no run, there are too many, or the page cannot be written.
  """
  folders = [pathlib.Path(workdir) for workdir in workdirs]
  if not 0 < len(folders) <= MOST:
    raise RunError(f"--workdir: a report takes 1 to {MOST} runs, and here are {len(folders)}")
  for folder in folders:
    if not any((folder / name).exists() for name in ("config.json", "metrics.jsonl", "samples")):
      raise RunError(
        f"--workdir={folder} holds no run: there is no config.json, metrics.jsonl or samples in it"
      )
  runs = [find(folder) for folder in folders]
  for run, name in zip(runs, _names(folders), strict=True):
    run.name = name
  page = _render(runs)
  path = pathlib.Path(out)
  with writing(path), replacing(path) as temporary:
    temporary.write_text(page, encoding="utf-8", errors="replace")
  return path


def _names(folders: Sequence[pathlib.Path]) -> list[str]:
  """What tells the folders apart: as few of their last parts as do."""
  parts = [folder.resolve().parts for folder in folders]
  for count in range(1, max(map(len, parts)) + 1):
    names = ["/".join(each[-count:]) for each in parts]
    if len(set(names)) == len(names):
      return names
  return [f"{each[-1]} ({i + 1})" for i, each in enumerate(parts)]


def _render(runs: Sequence[Findings]) -> str:
  folder = pathlib.Path(__file__).parent
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(folder),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters |= {"number": number, "whole": lambda x: f"{x:,.0f}", "flag": flag}
  script = (folder / "script.js").read_text()
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  drawn, undrawn = drawings(runs)
  shown = [_shown(run, _BUDGET // len(runs), several=len(runs) > 1) for run in runs]
  return environment.get_template("report.html").render(
    runs=list(zip(runs, shown, strict=True)),
    several=len(runs) > 1,
    charts=drawn,
    undrawn=undrawn,
    scores=score_tables(runs),
    positions=_positions(runs, shown),
    overview=_overview(shown),
    differing=_side_by_side([run.config for run in runs]),
    environments=_side_by_side([_environment(run) for run in runs], differing=False),
    script=script,
    digest=digest,
    style=(folder / "style.css").read_text(),
    version=jaxgan.__version__,
  )


class _Tile(NamedTuple):
  """A figure of the whole run, with its name and what is to be added to that."""

  name: str
  figure: str
  added: str = ""


class _Shown(NamedTuple):
  """What the page shows of a run beside its curves.

  Attributes:
    experiment: the module's last name.
    about: data and progress, in words.
    tiles: figures of the whole run.
    frames: sample grids by step.
    real: the grid of real pictures.
    walk: between latents.
    thumbnails: by member.
  """

  experiment: str
  about: list[str]
  tiles: list[_Tile]
  frames: list[Picture]
  real: Picture | None
  walk: Picture | None
  thumbnails: dict[int, Picture]


def _shown(run: Findings, budget: int, *, several: bool) -> _Shown:
  real = pictures.embedded(run.real) if run.real and not several else None
  walk = pictures.embedded(run.walk.path, run.walk.step) if run.walk else None
  if sum(len(picture.uri) for picture in (real, walk) if picture) > budget // 2:
    real = pictures.embedded(run.real, side=256) if run.real and not several else None
    walk = pictures.embedded(run.walk.path, run.walk.step, side=256) if run.walk else None
  thumbnails = {}
  for member in run.members[: _THUMBNAILS // (4 if several else 1)]:
    if member.frame and (found := pictures.embedded(*member.frame[::-1], side=160)):
      thumbnails[member.number] = found
  beside = sum(len(picture.uri) for picture in (real, walk, *thumbnails.values()) if picture)
  frames = pictures.strip(run.frames, budget - beside)
  if len(frames) < len(run.frames):
    run.notes.append(f"{len(frames):,} of {len(run.frames):,} sample grids are in this page")
  experiment = str(run.record.get("experiment", "")).rpartition(".")[2][:LONGEST]
  return _Shown(experiment, list(_about(run)), list(_tiles(run)), frames, real, walk, thumbnails)


def _about(run: Findings) -> Iterator[str]:
  config, spec = run.config, run.record.get("spec")
  if "dataset" in config:
    yield f"{number(run.record.get('pictures'))} pictures of {_dataset(config)}"
  shape = spec.get("shape") if isinstance(spec, dict) else None
  if isinstance(shape, list) and len(shape) == 3:
    yield " x ".join(map(number, shape))
  if run.config.get("population"):
    yield f"{number(config['population'])} members"
  whole = config.get("steps")
  if isinstance(whole, int) and whole > run.step:
    yield f"at step {run.step:,} of {number(whole)}"
  else:
    yield f"{run.step:,} steps"


def _dataset(config: Mapping[str, Any]) -> str:
  """The data set's name, of a path its last two parts."""
  return "/".join(pathlib.PurePath(str(config["dataset"])[:LONGEST]).parts[-2:])


def _tiles(run: Findings) -> Iterator[_Tile]:
  speed = run.curves.get("steps_per_second")
  batch = run.config.get("batch_size")
  known = run.scores or run.evaluation
  for step, score in [each for each in known if each[0] == known[-1][0]][:1]:
    yield _Tile(score.name, value(score), f"at step {step:,}")
  last = run.curves.get("sliced_wasserstein")
  if last and not run.scores and not run.evaluation:
    yield _Tile("sliced Wasserstein distance", number(last.values[-1]))
  if isinstance(batch, int):
    yield _Tile("batch", number(batch))
  if speed:
    rate = statistics.median(speed.values)
    yield _Tile("steps per second, median", number(rate))
    yield _Tile("time in steps, about", duration(_seconds(speed)))
  wait = run.curves.get("data_wait_ms_per_step")
  if wait:
    yield _Tile("wait for data, ms per step", number(statistics.median(wait.values)))


def _seconds(speed: Curve) -> float:
  """What the steps took, without what was done beside them."""
  spans = zip([0, *speed.steps], speed.steps, speed.values, strict=False)
  return math.fsum((stop - start) / rate for start, stop, rate in spans if rate > 1e-9)


def _positions(runs: Sequence[Findings], shown: Sequence[_Shown]) -> list[int]:
  """The steps that the slider stops at: those of the pictures, or without them of the curves."""
  steps = sorted({frame.step for each in shown for frame in each.frames})
  last = max((curve.steps[-1] for run in runs for curve in run.curves.values()), default=0)
  if steps and last > steps[-1]:
    steps.append(last)
  if not steps:
    every = sorted({step for run in runs for curve in run.curves.values() for step in curve.steps})
    steps = every[:: -(-len(every) // _POSITIONS) or 1]
    if every and steps[-1] != every[-1]:
      steps.append(every[-1])
  return steps


def _overview(shown: Sequence[_Shown]) -> list[tuple[str, list[_Tile | None]]]:
  """The tiles of runs as rows of a table."""
  names = dict.fromkeys(tile.name for each in shown for tile in each.tiles)
  columns = [{tile.name: tile for tile in each.tiles} for each in shown]
  return [(name, [column.get(name) for column in columns]) for name in names]


def _environment(run: Findings) -> dict[str, Any]:
  found = run.record.get("environment")
  return found if isinstance(found, dict) else {}


def _side_by_side(
  columns: Sequence[Mapping[str, Any]], *, differing: bool = True
) -> list[tuple[str, list[str]]]:
  """Values by name in rows; if so asked, only what differs."""
  rows = []
  for name in dict.fromkeys(name for column in columns for name in column if name != "workdir"):
    values = [number(column[name]) if name in column else "-" for column in columns]
    if not differing or len(set(values)) > 1:
      rows.append((name, values))
  return rows
