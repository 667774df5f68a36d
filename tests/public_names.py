"""The public names of the library: `python -m tests.public_names` records them at a release.

Public is what the documentation of `jaxgan` leads to: names in `__all__` of `jaxgan`, of its public
modules, and of what these lead to, and no name with an underscore. `--check` writes nothing and
fails where the file is not up to date, which a release does.
"""

import importlib
import pathlib
import sys
import types

__all__ = ["FILE", "found", "recorded"]

FILE = pathlib.Path(__file__).parent / "public_names.txt"
# Imported by their names.
BESIDE = ("jaxgan.run", "jaxgan.types", "jaxgan.metrics.features", "jaxgan.metrics.health")


def found() -> list[str]:
  """All names that there are now, in order."""
  names: set[str] = set()
  waiting, seen = [importlib.import_module(name) for name in ("jaxgan", *BESIDE)], set()
  while waiting:
    module = waiting.pop()
    if module.__name__ in seen:
      continue
    seen.add(module.__name__)
    names.add(module.__name__)
    for name in module.__all__:
      value = getattr(module, name)
      if isinstance(value, types.ModuleType):
        waiting.append(value)
      else:
        names.add(f"{module.__name__}.{name}")
  return sorted(names)


def recorded() -> list[str]:
  """Those of the file."""
  return FILE.read_text().split()


def main() -> None:
  """Writes the file, or compares with it."""
  if sys.argv[1:] == ["--check"]:
    missing = sorted(set(found()) ^ set(recorded()))
    if missing:
      print(f"{FILE.name} is not up to date: python -m tests.public_names\n{missing}")
      sys.exit(1)
    return
  FILE.write_text("\n".join(found()) + "\n")


if __name__ == "__main__":
  main()
