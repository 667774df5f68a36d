"""Markdown tables of results: `python -m benchmarks.table [files]`."""

import json
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["growth_markdown", "markdown"]

RESULTS = pathlib.Path(__file__).parent / "results"

Result = Mapping[str, Any]


def rows(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
  lines = [head, ["---"] * len(head), *body]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(results: Sequence[Result]) -> str:
  """Comparisons, a row a model and framework; ratios are those of the first framework."""
  body = []
  for result in results:
    for framework, entry in result["frameworks"].items():
      body.append([_title(result), framework, *_cells(entry, result["ratios"].get(framework))])
  first = {next(iter(result["frameworks"])) for result in results}
  head = [
    "step",
    "framework",
    "ms: median (quartiles)",
    f"{' or '.join(sorted(first)) or 'the first'} takes: of medians; by round (quartiles)",
    "of matmul peak: in all; by round",
    "memory, GB",
    "first step, s",
  ]
  return rows(head, body)


def _title(result: Result) -> str:
  size = result["size"]
  shape = f"{size['resolution']}x{size['resolution']}x{size['channels']}"
  return f"{result['model']} ({shape}, batch {size['batch_size']})"


def _cells(entry: Result, ratio: Result | None) -> list[str]:
  if "failed" in entry:
    reason = " ".join(entry["failed"].replace("|", "/").split())
    reason = reason if len(reason) <= 160 else reason[:157] + "..."
    return [f"failed: {reason}", "", "", "", ""]
  compared = ""
  if ratio is not None:
    low, high = ratio["by_round_quartiles"]
    compared = f"{ratio['of_medians']:.2f}; {ratio['by_round']:.2f} ({low:.2f} to {high:.2f})"
  return [
    milliseconds(entry),
    compared,
    f"{entry['efficiency']:.0%}; {entry['efficiency_by_round']:.0%}",
    f"{entry['peak_bytes'] / 1e9:.1f}",
    f"{entry['first_step_seconds']:.1f}",
  ]


def milliseconds(entry: Result) -> str:
  values = [1e3 * value for value in (entry["median"], *entry["quartiles"])]
  digits = 0 if values[0] >= 100 else 1 if values[0] >= 10 else 2
  median, low, high = (f"{value:.{digits}f}" for value in values)
  return f"{median} ({low} to {high})"


def growth_markdown(result: Result) -> str:
  """Tables of `benchmarks.growth`, one a series."""
  parts = []
  for name, series in result["series"].items():
    first = series["points"][0]
    body = [
      [
        str(point["value"]),
        milliseconds(point),
        f"{1e3 * point['median'] / point['size']['batch_size']:.2f}",
        f"{point['median'] / first['median']:.2f}",
        f"{point['flops'] / first['flops']:.2f}",
        f"{point['efficiency']:.0%}",
        f"{point['peak_bytes'] / 1e9:.1f}",
        f"{point['first_step_seconds']:.1f}",
      ]
      for point in series["points"]
    ]
    head = [
      name.replace("_", " "),
      "ms a step (quartiles)",
      "ms a picture",
      "times the first",
      "its FLOP",
      "of matmul peak",
      "memory, GB",
      "first step, s",
    ]
    parts.append(f"{series['model']}:\n\n{rows(head, body)}")
  if result.get("devices"):
    parts.append(_devices(result["devices"]))
  return "\n\n".join(parts)


def _devices(devices: Result) -> str:
  roles = ("discriminator", "generator")
  body = []
  for point in devices["points"]:
    cells = [f"{point[role]['count']}; {point[role]['bytes'] / 1e6:.2f}" for role in roles]
    body.append([str(point["devices"]), *cells, f"{point['ring_bytes'] / 1e6:.2f}"])
  head = ["devices", *(f"{role}: all-reduces; MB" for role in roles), "MB a device sends in a ring"]
  return f"{devices['model']}, collectives a step in the compiled program:\n\n{rows(head, body)}"


def main(paths: Sequence[str]) -> None:
  chosen = [pathlib.Path(path) for path in paths] or sorted(RESULTS.glob("*.json"))
  results = [json.loads(path.read_text()) for path in chosen]
  comparisons = [result for result in results if result["kind"] == "compare"]
  parts = [markdown(comparisons)] if comparisons else []
  parts += [growth_markdown(result) for result in results if result["kind"] == "growth"]
  if not parts:
    sys.exit(f"error: no results in {RESULTS}: run python -m benchmarks.compare")
  print("\n\n".join(parts))


if __name__ == "__main__":
  main(sys.argv[1:])
