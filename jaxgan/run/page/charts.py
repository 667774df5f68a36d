"""Curves as SVG that takes its colours from the page.

Drawn by matplotlib, which the experiments need anyway: some 10 kB a chart, sharp at any size and
readable without a script, where plotly's script alone has 4 MB and a smaller library would be
other people's code to carry along. Text of a workdir never enters a drawing: the page has it.
"""

import io
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

__all__ = ["COLOURS", "Chart", "Line", "draw"]

COLOURS = 8  # of the page, for lines
_SIZE = (3.6, 2.1)  # inches; an SVG's unit is 1/72 of one
_BOX = (0.135, 0.13, 0.835, 0.82)  # of the axes: left, bottom, width, height
_FEW = 30  # points that are marked
# What matplotlib is told, and what the page reads instead.
_INK, _GRID = "#010203", "#010204"
_LINES = [f"#0102{16 + i:02x}" for i in range(COLOURS)]


class Line(NamedTuple):
  """One curve of a chart.

  Attributes:
    label: for a reader.
    colour: its number, from 0.
    steps: increasing.
    values: finite.
    spread: half the width of a band around it.
  """

  label: str
  colour: int
  steps: Sequence[int]
  values: Sequence[float]
  spread: Sequence[float] | None = None


class Chart(NamedTuple):
  """A drawing and how to find a step in it.

  Attributes:
    svg: safe to stand in a page.
    left: where the axes start, in the SVG's units.
    right: where they end.
    top: likewise.
    bottom: likewise.
    first: step at the left.
    last: step at the right.
    log: the values' axis is logarithmic.
  """

  svg: Markup
  left: float
  right: float
  top: float
  bottom: float
  first: float
  last: float
  log: bool


def draw(name: str, about: str, lines: Sequence[Line], first: int, last: int) -> Chart:
  """Draws lines over steps.

  Args:
    name: unique in the page, of letters and digits.
    about: what the chart says, for those who do not see it.
    lines: at least one, none without points.
    first: step at the left.
    last: step at the right.
  """
  left, right = float(first), float(max(last, first + 1))
  settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "jaxgan", "text.usetex": False}
  with mpl.rc_context(settings):
    figure = Figure(figsize=_SIZE)
    axes = figure.add_axes(_BOX)
    log = _logarithmic(lines)
    for line in lines:
      _draw_line(axes, line)
    axes.set_xlim(left, right)
    _dress(axes, log)
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
  width, height = (72 * x for x in _SIZE)
  x0, y0, w, h = _BOX
  return Chart(
    _embedded(file.getvalue(), name, about),
    width * x0,
    width * (x0 + w),
    height * (1 - y0 - h),
    height * (1 - y0),
    left,
    right,
    log,
  )


def _draw_line(axes: Axes, line: Line) -> None:
  colour = _LINES[line.colour % COLOURS]
  if line.spread is not None:
    low, high = (
      [x + sign * s for x, s in zip(line.values, line.spread, strict=True)] for sign in (-1, 1)
    )
    axes.fill_between(line.steps, low, high, color=colour, alpha=0.2, linewidth=0)
  few = len(line.steps) <= _FEW
  marks: Any = {"marker": "o", "markersize": 2.5} if few else {}
  axes.plot(line.steps, line.values, color=colour, linewidth=1.4, **marks)


def _logarithmic(lines: Sequence[Line]) -> bool:
  """Whether values are positive and of several orders of magnitude."""
  values = [x for line in lines for x in line.values]
  return min(values) > 0 and max(values) > 100 * min(values) and max(values) < 1e300


def _dress(axes: Axes, log: bool) -> None:
  if log:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
  else:
    axes.yaxis.set_major_locator(MaxNLocator(4))
  axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))
  axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
  axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))
  axes.tick_params(colors=_INK, labelsize=7.5, length=0, pad=3)
  axes.grid(color=_GRID, linewidth=0.6)
  axes.set_axisbelow(True)
  for side, spine in axes.spines.items():
    spine.set_visible(side == "bottom")
    spine.set_color(_GRID)


def _short(x: float) -> str:
  """A number of few characters.

  >>> [_short(x) for x in (0.0, 0.25, 1500.0, 2e6, 1e-7, -30000.0)]
  ['0', '0.25', '1,500', '2M', '1e-07', '-30k']
  """
  size = abs(x)
  if size and (size < 1e-3 or size >= 1e9):
    return f"{x:.3g}"
  if size >= 1e6:
    return f"{x / 1e6:.4g}M"
  if size >= 1e4:
    return f"{x / 1e3:.4g}k"
  return f"{x:,.4g}" if size < 1000 or not math.isclose(x, round(x)) else f"{x:,.0f}"


def _embedded(svg: str, name: str, about: str) -> Markup:
  """An SVG file as an element of a page."""
  svg = svg[svg.index("<svg") :]
  svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
  head, body = svg[: svg.index(">") + 1], svg[svg.index(">") + 1 :]
  box = re.search(r'viewBox="([\d. ]+)"', head)
  # Each file counts its elements anew; all stand in one page.
  body = re.sub(r'<g id="[^"]*">', "<g>", body)
  body = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
  body = body.replace(_INK, "var(--muted)").replace(_GRID, "var(--line)")
  for i, colour in enumerate(_LINES):
    body = body.replace(colour, f"var(--c{i})")
  # The page's fonts, and its rules for all lines.
  body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
  body = re.sub(r"font-family: [^;]*; ", "", body)
  body = re.sub(r' transform="rotate\(-0[^"]*"|<g id="[^"]*"/>', "", body)
  body = re.sub(r"\s*\n\s*", "\n", body)
  return Markup(
    f'<svg viewBox="{box[1] if box else "0 0 1 1"}" role="img" aria-label="{escape(about)}">{body}'
  )
