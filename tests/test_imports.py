"""The arrows between the rooms: imports run downwards only, and `import jaxgan` stays light."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# A room may import from rooms of a larger number and from itself. Rooms that share a number do not
# know each other.
LEVELS = {
  "experiments": 0,
  "run": 1,
  "training": 2,
  "metrics": 3,
  "sampling": 3,
  "data": 3,
  "models": 4,
  "layers": 5,
  "penalties": 6,
  "regularizers": 6,
  "augment": 6,
  "losses": 6,
  "latents": 7,
  "compilation": 8,
  "_archives": 8,
  "_arrays": 8,
  "_files": 8,
  "types": 9,
}


def rooms(path):
  """Rooms that a module imports from, with line numbers."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module == "jaxgan":
      names = [f"jaxgan.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names = [node.module or ""]
    else:
      continue
    for name in names:
      parts = name.split(".")
      if parts[0] in ("experiments", "tests", "benchmarks"):
        yield node.lineno, parts[0]
      elif parts[0] == "jaxgan" and len(parts) > 1:
        yield node.lineno, parts[1]


@pytest.mark.parametrize("path", sorted((ROOT / "jaxgan").rglob("*.py")), ids=lambda p: p.stem)
def test_imports_run_downwards(path):
  relative = path.relative_to(ROOT / "jaxgan")
  own = relative.parts[0].removesuffix(".py")
  if own == "__init__":
    return
  assert own in LEVELS, f"{relative} is in a room without a level"
  for line, room in rooms(path):
    assert room == own or LEVELS[room] > LEVELS[own], f"{relative}:{line} imports {room}"


def test_training_knows_neither_layers_nor_models():
  for path in (ROOT / "jaxgan" / "training").rglob("*.py"):
    assert not {room for _, room in rooms(path)} & {"layers", "models", "metrics", "data"}


def test_the_library_imports_nothing_heavy():
  code = """
import sys
import jaxgan
jaxgan.losses.hinge, jaxgan.training.make_train_step, jaxgan.data.load
heavy = "tensorflow tensorflow_datasets sklearn grain clu PIL matplotlib tyro torch"
print(sorted(set(heavy.split()) & set(sys.modules)))
"""
  result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
  assert result.stdout.strip() == "[]", result.stdout + result.stderr
