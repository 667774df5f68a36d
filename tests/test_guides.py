"""The Python of the guides runs as it stands, and what they name is there."""

import pathlib
import re

import jax.numpy as jnp
import pytest

import jaxgan

GUIDES = sorted((pathlib.Path(__file__).parents[1] / "docs" / "guides").glob("*.md"))


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_the_python_runs(path):
  names = {}
  for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
    exec(compile(block, path.name, "exec"), names)
  if path.stem == "custom":
    assert all(jnp.isfinite(value) for value in names["metrics"].values())


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_modules_and_pages_exist(path):
  text = path.read_text()
  for module in re.findall(r"python -m (experiments\.\w+)", text):
    assert (path.parents[2] / f"{module.replace('.', '/')}.py").exists(), module
  for target in re.findall(r"\]\(([\w./]+\.md)\)", text):
    assert (path.parent / target).exists(), target
  rooms = "losses|penalties|layers|models|training|metrics|sampling|data|latents"
  for room, name in re.findall(rf"`({rooms})\.(?!jsonl)(\w+)", text):
    assert hasattr(getattr(jaxgan, room), name), f"{room}.{name}"
