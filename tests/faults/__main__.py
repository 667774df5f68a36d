"""Strikes the real program by every fault, and writes what came of it.

`python -m tests.faults [--tries=N] [--only=NAME,NAME] [--out=docs/reliability.md]`
"""

import argparse
import collections
import concurrent.futures
import pathlib
import platform
import random
import sys
import tempfile
import time

import flax
import jax
import jaxlib
import orbax.checkpoint as ocp

from jaxgan._files import replacing
from tests.faults.program import Run
from tests.faults.strikes import STRIKES
from tests.faults.trials import TRIALS, Result, struck

_BEGIN, _END = "<!-- table -->", "<!-- end of table -->"


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--tries", type=int, default=3, help="of each fault")
  parser.add_argument("--only", default="", help=f"of {', '.join([*STRIKES, *TRIALS])}")
  parser.add_argument("--out", help="a file with a table between its markers")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
  options = parser.parse_args()
  names = options.only.split(",") if options.only else [*STRIKES, *TRIALS]
  if unknown := [name for name in names if name not in {**STRIKES, **TRIALS}]:
    parser.error(f"--only={options.only}: no fault is called {', '.join(unknown)}")
  with tempfile.TemporaryDirectory() as folder:
    results = strike(pathlib.Path(folder), names, options.tries, options.seed, options.jobs)
  table = as_table(results, names)
  print(table)
  if options.out:
    write(pathlib.Path(options.out), table, options)
  sys.exit(any(result.failure for result in results))


def strike(
  folder: pathlib.Path, names: list[str], tries: int, seed: int, jobs: int
) -> list[Result]:
  """All faults, each so many times; runs side by side."""
  strikes = [name for name in names if name in STRIKES]
  chances = iter([random.Random(f"{seed} {i}") for i in range(tries + len(names))])
  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    waiting = []
    if strikes:
      reference = Run(folder / "untouched", folder)
      reference.finish()
      for index in range(tries):
        chance = next(chances)
        order = chance.sample(strikes, len(strikes))
        waiting.append(pool.submit(struck, folder, reference, order, chance, index))
    for name in names:
      if name in TRIALS:
        waiting.append(pool.submit(TRIALS[name][1], folder, tries, next(chances)))
    began, results = time.monotonic(), []
    for each in concurrent.futures.as_completed(waiting):
      for result in each.result():
        print(f"{time.monotonic() - began:.0f} s: {result}", file=sys.stderr, flush=True)
        results.append(result)
  return results


def as_table(results: list[Result], names: list[str]) -> str:
  """Markdown: a row a fault."""
  titles = {name: title for name, (title, _) in STRIKES.items()}
  for rows_of_trial, _ in TRIALS.values():
    titles |= rows_of_trial
  rows = ["| Fault | Tries | Equal to the untouched run | What was hit |", "|---|---|---|---|"]
  for name, title in titles.items():
    mine = [result for result in results if result.fault == name]
    tried = [result for result in mine if result.counts]
    if not mine:
      continue
    good = sum(not result.failure for result in tried)
    notes = collections.Counter(result.note for result in mine if result.note)
    said = "; ".join(f"{note} ({n})" if n > 1 else note for note, n in sorted(notes.items()))
    rows.append(f"| {title} | {len(tried)} | {good} | {said} |")
  return "\n".join(rows)


def write(path: pathlib.Path, table: str, options: argparse.Namespace) -> None:
  """Puts a table between the markers of a file."""
  before, rest = path.read_text().split(_BEGIN)
  after = rest.split(_END)[1]
  made = (
    f"Made by `python -m tests.faults --tries={options.tries} --seed={options.seed} "
    f"--jobs={options.jobs} --out={path}` with Python {platform.python_version()}, "
    f"jax {jax.__version__}, jaxlib {jaxlib.__version__}, flax {flax.__version__}, "
    f"orbax {ocp.__version__} on {platform.system()}, CPU.\n"
  )
  with replacing(path) as temporary:
    temporary.write_text(f"{before}{_BEGIN}\n{table}\n\n{made}{_END}{after}")


if __name__ == "__main__":
  main()
