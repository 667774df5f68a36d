"""Which charts a page has, and of which metrics."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jaxgan.run.page import charts
from jaxgan.run.page.charts import Line
from jaxgan.run.page.findings import Findings
from jaxgan.run.page.words import number

__all__ = ["Drawn", "drawings"]

_MOST = 40  # charts of a page

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


class Drawn(NamedTuple):
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


def drawings(runs: Sequence[Findings]) -> tuple[dict[str, list[Drawn]], list[str]]:
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
  drawn: dict[str, list[Drawn]] = {"scores": [], "curves": [], "speed": []}
  for i, (section, title, about, lines) in enumerate(wanted[:_MOST]):
    band = "twice the standard error" if section == "scores" else "a deviation of the members"
    drawn[section].append(_drawn(f"chart{i}", title, about, band, lines, last))
  return drawn, [title for _, title, _, _ in wanted[_MOST:]]


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
    yield (
      name,
      f"{protocol.fake:,} samples, {protocol.real:,} real",
      lines,
    )


def _drawn(name: str, title: str, about: str, band: str, lines: Sequence[Line], last: int) -> Drawn:
  said = "; ".join(
    f"{line.label} from {number(line.values[0])} to {number(line.values[-1])}" for line in lines
  )
  chart = charts.draw(name, f"Chart of {title} by step: {said}", lines, 0, last)
  box = {key: getattr(chart, key) for key in ("left", "right", "top", "bottom", "first", "last")}
  data = box | {
    "lines": [
      {"steps": list(line.steps), "values": [float(f"{x:.5g}") for x in line.values]}
      for line in lines
    ]
  }
  band = f"band: {band}" if any(line.spread for line in lines) else ""
  about = "; ".join(filter(None, [about, band, "logarithmic" if chart.log else ""]))
  legend = [(line.label, line.colour, number(line.values[-1])) for line in lines]
  return Drawn(name, title, about, chart, legend, data)
