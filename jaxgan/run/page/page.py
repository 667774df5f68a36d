"""From what was found in workdirs to a page.

The page is one file: style, script, charts and pictures are in it. Whatever comes from a workdir
passes jinja2's escaping, and beside it the page's content security policy lets no script run but
its own, and nothing be fetched.
"""

import base64
import dataclasses
import hashlib
import math
import os
import pathlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2

import jaxgan
from jaxgan._files import replacing
from jaxgan.metrics import Protocol, Score
from jaxgan.run.flags import RunError, flag
from jaxgan.run.page import charts, pictures
from jaxgan.run.page.charts import Line
from jaxgan.run.page.findings import Curve, Findings, find
from jaxgan.run.page.pictures import Picture
from jaxgan.run.writing import writing

__all__ = ["MOST", "write_report"]

MOST = charts.COLOURS  # runs in a page
_BUDGET = 8_500_000  # characters of pictures
_CHARTS = 40
_THUMBNAILS = 16
_POSITIONS = 200  # of a slider without pictures
_VALUE = 400  # characters of a flag's value

# What a single run shows in one chart, and what the names of the log stand for.
_TOGETHER: tuple[tuple[str, str, tuple[str, ...]], ...] = (
  ("Losses", "", ("loss_D", "loss_G")),
  (
    "What D says",
    "of real pictures, and of samples before and after its update",
    ("D_x", "D_G_z1", "D_G_z2"),
  ),
  ("Gradient norms", "", ("grad_norm_D", "grad_norm_G")),
)
_SAID = {
  "loss_D": "loss of D",
  "loss_G": "loss of G",
  "D_x": "D(x)",
  "D_G_z1": "D(G(z)), before",
  "D_G_z2": "D(G(z)), after",
  "D_accuracy": "accuracy of D",
  "grad_norm_D": "gradient norm of D",
  "grad_norm_G": "gradient norm of G",
  "penalty": "penalty of D",
  "penalty_G": "penalty of G",
  "augment_p": "probability of augmentation",
  "path_length": "path length",
  "diversity": "diversity, of the data's",
  "condition_effect": "effect of the condition",
  "sliced_wasserstein": "sliced Wasserstein distance",
  "steps_per_second": "steps per second",
  "data_wait_ms_per_step": "wait for data, ms per step",
}
_LATE = ("steps_per_second", "data_wait_ms_per_step")  # charts that come last


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
    temporary.write_text(page, encoding="utf-8")
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
  environment.filters |= {"number": _number, "whole": lambda x: f"{x:,.0f}", "flag": flag}
  script = (folder / "script.js").read_text()
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  drawn, undrawn = _charts(runs)
  shown = [_shown(run, _BUDGET // len(runs), several=len(runs) > 1) for run in runs]
  return environment.get_template("report.html").render(
    runs=list(zip(runs, shown, strict=True)),
    several=len(runs) > 1,
    charts=drawn,
    undrawn=undrawn,
    scores=_scores(runs),
    positions=_positions(runs, shown),
    differing=_differing(runs),
    script=script,
    digest=digest,
    style=(folder / "style.css").read_text(),
    version=jaxgan.__version__,
  )


class _Shown(NamedTuple):
  """What the page shows of a run beside its curves.

  Attributes:
    experiment: the module's last name.
    about: data and progress, in words.
    tiles: pairs of a name and a figure.
    frames: sample grids by step.
    real: the grid of real pictures.
    walk: between latents.
    thumbnails: by member.
  """

  experiment: str
  about: list[str]
  tiles: list[tuple[str, str]]
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
      thumbnails[member.index] = found
  beside = sum(len(picture.uri) for picture in (real, walk, *thumbnails.values()) if picture)
  frames = pictures.strip(run.frames, budget - beside)
  if len(frames) < len(run.frames):
    run.notes.append(f"{len(frames):,} of {len(run.frames):,} sample grids are in this page")
  experiment = str(run.record.get("experiment", "")).rpartition(".")[2]
  return _Shown(experiment, list(_about(run)), list(_tiles(run)), frames, real, walk, thumbnails)


def _about(run: Findings) -> Iterator[str]:
  config, spec = run.config, run.record.get("spec")
  if "dataset" in config:
    yield f"{_number(run.record.get('pictures'))} pictures of {_dataset(config)}"
  shape = spec.get("shape") if isinstance(spec, dict) else None
  if isinstance(shape, list) and len(shape) == 3:
    yield " × ".join(map(_number, shape))
  if run.config.get("population"):
    yield f"{_number(config['population'])} members"
  whole = config.get("steps")
  if isinstance(whole, int) and whole > run.step:
    yield f"at step {run.step:,} of {whole:,}"
  else:
    yield f"{run.step:,} steps"


def _dataset(config: Mapping[str, Any]) -> str:
  """The data set's name, of a path its last two parts."""
  return "/".join(pathlib.PurePath(str(config["dataset"])[:_VALUE]).parts[-2:])


def _tiles(run: Findings) -> Iterator[tuple[str, str]]:
  speed = run.curves.get("steps_per_second")
  batch = run.config.get("batch_size")
  known = run.scores or run.evaluation
  for step, score in [each for each in known if each[0] == known[-1][0]][:1]:
    yield f"{score.name} at step {step:,}", _value(score)
  last = run.curves.get("sliced_wasserstein")
  if last and not run.scores and not run.evaluation:
    yield "sliced Wasserstein distance", _number(last.values[-1])
  if isinstance(batch, int):
    yield "batch", f"{batch:,}"
  if speed:
    rate = statistics.median(speed.values)
    yield "steps per second, median", _number(rate)
    yield "time in steps, about", _duration(_seconds(speed))
  wait = run.curves.get("data_wait_ms_per_step")
  if wait:
    yield "wait for data, ms per step", _number(statistics.median(wait.values))


def _seconds(speed: Curve) -> float:
  """What the steps took, without what was done beside them."""
  spans = zip([0, *speed.steps], speed.steps, speed.values, strict=False)
  return math.fsum((stop - start) / rate for start, stop, rate in spans if rate > 0)


def _duration(seconds: float) -> str:
  if seconds < 100:
    return f"{seconds:.0f} s"
  minutes = round(seconds / 60)
  return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _number(x: Any) -> str:
  """A number for a reader; other things as they are, within bounds.

  >>> [_number(x) for x in (3081, 0.123456, 12345.678, None, "many")]
  ['3,081', '0.1235', '12,346', '', 'many']
  """
  if x is None:
    return ""
  if isinstance(x, bool) or not isinstance(x, int | float):
    return str(x)[:_VALUE]
  if isinstance(x, int):
    return f"{x:,}" if abs(x) < 10**30 else "a number without end"
  return f"{x:,.0f}" if 1e4 <= abs(x) < 1e15 else f"{x:.4g}"


def _value(score: Score) -> str:
  if score.standard_error is None:
    return _number(score.value)
  return f"{_number(score.value)} ± {_number(float(f'{score.standard_error:.2g}'))}"


class _Drawn(NamedTuple):
  """A chart of the page.

  Attributes:
    name: unique.
    title: for a reader.
    about: what it is of.
    chart: the drawing.
    legend: of each line the label, the colour and the last value.
    data: what the script reads.
  """

  name: str
  title: str
  about: str
  chart: charts.Chart
  legend: list[tuple[str, int, str]]
  data: dict[str, Any]


def _charts(runs: Sequence[Findings]) -> tuple[dict[str, list[_Drawn]], list[str]]:
  """The charts by the section that they stand in, and the names of what there was no room for."""
  wanted: list[tuple[str, str, str, list[Line]]] = []  # section, title, about, lines
  scored = {score.name for run in runs for _, score in run.scores}
  wanted += [("scores", *each) for each in _score_lines(runs)]
  names = dict.fromkeys(name for run in runs for name in run.curves if name not in scored)
  if len(runs) == 1:
    for title, about, together in _TOGETHER:
      group = [name for name in together if name in names]
      if group:
        wanted.append(("curves", title, about, _lines(runs[0], group)))
      for name in group:
        del names[name]
  rest = [name for name in names if not any(_is_spread(run, name) for run in runs)]
  order = {name: i for i, name in enumerate(_SAID)}
  for name in sorted(rest, key=lambda name: (name in _LATE, order.get(name, len(order)))):
    lines = [
      line._replace(colour=i, label=run.name if len(runs) > 1 else line.label)
      for i, run in enumerate(runs)
      for line in _lines(run, [name])
    ]
    section = "speed" if name in _LATE else "curves"
    wanted.append((section, _SAID.get(name, name), "", lines))
  last = max(run.step for run in runs)
  drawn: dict[str, list[_Drawn]] = {"scores": [], "curves": [], "speed": []}
  for i, (section, title, about, lines) in enumerate(wanted[:_CHARTS]):
    drawn[section].append(_drawn(f"chart{i}", title, about, lines, last))
  return drawn, [title for _, title, _, _ in wanted[_CHARTS:]]


def _is_spread(run: Findings, name: str) -> bool:
  """Whether a metric is the deviation of another over a population."""
  base = name.removesuffix("_std")
  return bool(run.config.get("population")) and base != name and base in run.curves


def _lines(run: Findings, names: Sequence[str]) -> list[Line]:
  lines = []
  for i, name in enumerate(names):
    if name not in run.curves:
      continue
    curve, spread = run.curves[name], None
    if _is_spread(run, f"{name}_std") and f"{name}_std" in run.curves:
      around = run.curves[f"{name}_std"]
      spread = around.values if around.steps == curve.steps else None
    lines.append(Line(_SAID.get(name, name), i, curve.steps, curve.values, spread))
  return lines


def _score_lines(runs: Sequence[Findings]) -> Iterator[tuple[str, str, list[Line]]]:
  """Of each score that was kept in training, by protocol, a line a run with twice its error."""
  kinds = dict.fromkeys((s.name, s.protocol) for run in runs for _, s in run.scores)
  for name, protocol in kinds:
    lines = []
    for i, run in enumerate(runs):
      # In the order of steps, the last one of each.
      found = {
        step: score
        for step, score in run.scores
        if (score.name, score.protocol) == (name, protocol)
      }
      if found:
        values = [score.value for score in found.values()]
        errors = [score.standard_error for score in found.values()]
        spread = None if None in errors else [2 * (error or 0.0) for error in errors]
        label = run.name if len(runs) > 1 else name
        lines.append(Line(label, i, list(found), values, spread))
    yield name, f"{protocol.fake:,} samples, {protocol.real:,} real", lines


def _drawn(name: str, title: str, about: str, lines: Sequence[Line], last: int) -> _Drawn:
  said = "; ".join(
    f"{line.label} from {_number(line.values[0])} to {_number(line.values[-1])}" for line in lines
  )
  chart = charts.draw(name, f"Chart of {title} by step: {said}", lines, 0, last)
  box = {key: getattr(chart, key) for key in ("left", "right", "top", "bottom", "first", "last")}
  data = box | {
    "lines": [
      {"steps": list(line.steps), "values": [float(f"{x:.5g}") for x in line.values]}
      for line in lines
    ]
  }
  about = ", ".join(filter(None, [about, "logarithmic" if chart.log else ""]))
  legend = [(line.label, line.colour, _number(line.values[-1])) for line in lines]
  return _Drawn(name, title, about, chart, legend, data)


class _Table(NamedTuple):
  """Scores of one protocol, but for the measures' own settings.

  Attributes:
    protocol: in words.
    rows: name, settings, and for each run its value with the step, or None.
  """

  protocol: str
  rows: list[tuple[str, str, list[tuple[str, int] | None]]]


def _scores(runs: Sequence[Findings]) -> list[_Table]:
  """The newest score of each kind."""
  tables: dict[Protocol, dict[tuple[str, str], list[tuple[str, int] | None]]] = {}
  for i, run in enumerate(runs):
    for step, score in sorted([*run.scores, *run.evaluation], key=lambda each: each[0]):
      shared = dataclasses.replace(score.protocol, settings=())
      settings = ", ".join(f"{name}={value}" for name, value in dict(score.protocol.settings).items())
      rows = tables.setdefault(shared, {})
      cells = rows.setdefault((score.name, settings), [None] * len(runs))
      cells[i] = (_value(score), step)
  return [
    _Table(_protocol(protocol), [(*key, cells) for key, cells in rows.items()])
    for protocol, rows in tables.items()
  ]


def _protocol(protocol: Protocol) -> str:
  parts = [
    f"{protocol.fake:,} samples"
    + ("" if protocol.ema is None else f" of {'averaged' if protocol.ema else 'raw'} weights"),
    f"against {protocol.real:,} real pictures"
    + (f" of {protocol.dataset}" if protocol.dataset else "")
    + (f" ({protocol.split})" if protocol.split else ""),
    f"{protocol.resolution} pixels" if protocol.resolution else "",
    f"features: {protocol.features}" if protocol.features else "",
    f"weights {protocol.weights_hash}" if protocol.weights_hash else "",
    protocol.resize,
    f"{protocol.quantisation}, {protocol.dtype}",
    "" if protocol.seed is None else f"seed {protocol.seed}",
  ]
  return ", ".join(filter(None, parts))


def _positions(runs: Sequence[Findings], shown: Sequence[_Shown]) -> list[int]:
  """The steps that the slider stops at: those of the pictures, or without them of the curves."""
  steps = sorted({frame.step for each in shown for frame in each.frames})
  if not steps:
    every = sorted({step for run in runs for curve in run.curves.values() for step in curve.steps})
    steps = every[:: -(-len(every) // _POSITIONS) or 1]
    if every and steps[-1] != every[-1]:
      steps.append(every[-1])
  return steps


def _differing(runs: Sequence[Findings]) -> list[tuple[str, list[str]]]:
  """Flags that are not the same in all runs, but for the folder."""
  names = dict.fromkeys(name for run in runs for name in run.config if name != "workdir")
  values: Callable[[str], list[str]] = lambda name: [_number(run.config.get(name)) for run in runs]
  return [(name, values(name)) for name in names if len(set(values(name))) > 1]
