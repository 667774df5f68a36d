"""Lists the experiments: what each is, and what was measured of it.

`python -m experiments` reads the modules without importing them, so that it answers at once.
"""

import argparse
import ast
import pathlib
from typing import NamedTuple

from experiments.measured import MEASURED

__all__ = ["Program", "main", "programs"]


class Program(NamedTuple):
  """A module that people start.

  Attributes:
    name: as in `python -m experiments.NAME`.
    about: the first line of its documentation.
    trains: it trains a system, with presets; else it works with what was trained.
  """

  name: str
  about: str
  trains: bool


def programs(folder: pathlib.Path | None = None) -> list[Program]:
  """The modules of a folder that have a main part, by name.

  >>> [program.about for program in programs() if program.name == "dcgan"]
  ['DCGAN: Radford, Metz and Chintala 2015 (arXiv 1511.06434).']
  """
  found = []
  for path in sorted((folder or pathlib.Path(__file__).parent).glob("*.py")):
    tree = ast.parse(path.read_text())
    if path.stem.startswith("_") or not any(isinstance(node, ast.If) for node in tree.body):
      continue
    targets = [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    trains = "PRESETS" in {getattr(target, "id", None) for target in targets}
    about = (ast.get_docstring(tree) or "").partition("\n")[0]
    found.append(Program(path.stem, about, trains))
  return found


def main(argv: list[str] | None = None) -> None:
  """Prints both lists."""
  parser = argparse.ArgumentParser(
    prog="python -m experiments",
    description="Lists the experiments: what each is, and what was measured of it (README.md says "
    "how). Start one by python -m experiments.NAME --workdir=FOLDER; --help explains its flags.",
  )
  parser.parse_args(argv)
  listed = programs()
  width = max(len(program.name) for program in listed)
  print("train: python -m experiments.NAME --workdir=FOLDER [--preset=quick|measured|paper]\n")
  for program in listed:
    if program.trains:
      print(f"  {program.name:{width}}  {program.about}")
      if program.name in MEASURED:
        print(f"  {'':{width}}  measured: {MEASURED[program.name]}")
  print("\nwork with what was trained: python -m experiments.NAME --help\n")
  for program in listed:
    if not program.trains:
      print(f"  {program.name:{width}}  {program.about}")


if __name__ == "__main__":
  main()
