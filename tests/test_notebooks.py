"""The notebooks run from top to bottom, and are stored as a run leaves them.

Here cells are executed in this process: a kernel for each notebook would start, import and compile
anew what the tests of a process share, and hides the names that are looked at. The two notebooks
that compile most are slow tests here; CI's job `notebooks` executes all four in kernels.
"""

import ast
import importlib.util
import json
import pathlib
import re
import sys

import jax
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

from experiments import dcgan, stylegan2
from jaxgan import data
from jaxgan.types import ImageSpec

ROOT = pathlib.Path(__file__).parents[1]
NAMES = ("dcgan_on_colab", "losses_in_your_loop", "populations", "style_editing")
COLAB = "https://colab.research.google.com/github/jaxgan/jaxgan/blob/main/notebooks"


def tool():
  """`notebooks/execute.py`, which is a script and in no package."""
  spec = importlib.util.spec_from_file_location("execute", ROOT / "notebooks" / "execute.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope="module")
def execute():
  return tool()


def book(name):
  return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def code(name):
  return [cell for cell in book(name).cells if cell.cell_type == "code"]


def text(name):
  return "\n".join(cell.source for cell in book(name).cells if cell.cell_type == "markdown")


def run(name, until=None):
  """The names that the cells define, the whole of them or those up to one that defines a name."""
  names = {}
  for number, cell in enumerate(code(name)):
    exec(compile(cell.source, f"{name}, cell {number}", "exec"), names)
    if until in names:
      break
  return names


@pytest.fixture
def tiny(execute, monkeypatch):
  """In a folder of the checkout, at the size of tests."""
  monkeypatch.setenv("JAXGAN_TINY", "1")
  monkeypatch.setattr(sys, "path", sys.path[:])  # to which the first cell adds
  with execute.workplace() as place:
    monkeypatch.chdir(place)
    yield place
    monkeypatch.undo()
  plt.close("all")


def test_there_are_four(execute):
  assert tuple(execute.NAMES) == NAMES


def test_a_dcgan_on_colab(tiny):
  names = run("dcgan_on_colab")
  assert names["samples"].shape == (64, 8, 8, 1)
  assert (tiny / "runs" / "dcgan" / "config.json").exists()


@pytest.mark.slow
def test_losses_in_your_loop(tiny):
  names = run("losses_in_your_loop")
  assert names["samples"].shape == (64, 8, 8, 1)
  assert np.isfinite([float(names["value_d"]), float(names["value_g"])]).all()


@pytest.mark.slow
def test_populations(tiny):
  names = run("populations")
  assert names["quality"].shape == (10, 2)
  assert {len(members) for members in names["curves"].values()} == {4}
  assert (tiny / "runs" / "best" / "config.json").exists()


@pytest.mark.slow
def test_style_editing(tiny):
  names = run("style_editing")
  # In the row of psi = 0 all samples are the mean picture, and the other rows' are not.
  rows = names["paint"](names["pulled"].reshape(-1, 8)).reshape(6, 7, 8, 8, 1)
  np.testing.assert_allclose(rows[:, 4], rows[:1, 4].repeat(6, 0), atol=1e-6)
  assert np.ptp(rows[:, 0], axis=0).max() > 1e-3
  # A mixture of which no layer comes from above is the picture on the left.
  left, top = names["left"], names["top"]
  table = names["mixed"](left, top, names["layers"] < 0).reshape(len(left) + 1, len(top) + 1, -1)
  np.testing.assert_allclose(table[1:, 1:], table[1:, :1].repeat(len(top), 1), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_of_an_accelerator(tiny, name):
  """Settings that nothing here can train with: their flags and shapes fit each other."""
  experiment = stylegan2 if name == "style_editing" else dcgan
  settings = run(name, until="SETTINGS")["SETTINGS"]
  assert tuple(settings) == ("accelerator", "cpu", "tiny")
  chosen, small, tiniest = (x.get("pictures", x) for x in settings.values())
  assert small["dataset"] == tiniest["dataset"] == "digits"
  assert chosen["dataset"] == ("oxford_flowers102" if name == "style_editing" else "cifar10")
  if name == "losses_in_your_loop":  # whose loop is its own
    return
  config = experiment.Config(workdir="never", **chosen)
  shape = (config.resolution, config.resolution, 3)
  system = experiment.build(config, ImageSpec(shape, tuple("0123456789")))
  z = jax.eval_shape(lambda key: system.latents(key, 2), jax.random.key(0))
  game = jax.eval_shape(system.init, jax.random.key(0))
  images = jax.eval_shape(system.generate, game.generator.evaluated(), z)
  assert images.shape == (2, *shape)
  assert config.batch_size % 8 == 0  # as many devices as a TPU of Colab may have


def test_cifar10_is_read_as_the_notebooks_ask(tmp_path, monkeypatch):
  """TFDS's own CIFAR-10, of an archive of its form with a few pictures: the real one is far."""
  tfds = pytest.importorskip("tensorflow_datasets")
  pytest.importorskip("tensorflow")
  folder = tmp_path / "archive" / "cifar-10-batches-bin"
  folder.mkdir(parents=True)
  names = [f"name {i}" for i in range(10)]
  (folder / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
  files = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
  for number, name in enumerate(files):
    records = [bytes([number, *[40 * number] * 3072]), bytes([9, *[255] * 3072])]
    (folder / name).write_bytes(b"".join(records))
  downloads = tfds.download.DownloadManager
  monkeypatch.setattr(downloads, "download_and_extract", lambda *_: str(folder.parent))
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  dataset = data.load("cifar10", resolution=32, data_dir=tmp_path / "tfds")
  assert (len(dataset), dataset.shape, dataset.classes) == (10, (32, 32, 3), tuple(names))
  values = sorted(
    (int(x["label"]), int(x["image"].max())) for x in map(dataset.__getitem__, range(10))
  )
  assert values == [(i, 40 * i) for i in range(5)] + [(9, 255)] * 5


def makes_output(source):
  """Whether a cell prints, draws or ends in a value: at its top level, not in its functions."""
  statements = ast.parse(source).body
  called = {
    ast.unparse(node.func)
    for statement in statements
    if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
    for node in ast.walk(statement)
    if isinstance(node, ast.Call)
  }
  return isinstance(statements[-1], ast.Expr) or bool(called & {"print", "plt.subplots"})


@pytest.mark.parametrize("name", NAMES)
def test_stored_as_a_run_leaves_it(execute, name):
  nbformat.validate(book(name))
  path = ROOT / "notebooks" / f"{name}.ipynb"
  assert path.stat().st_size <= execute.LARGEST
  cells = code(name)
  assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
  silent = "sys.path.insert"  # the last call of the first cell, of no value
  for cell in cells:
    kinds = [output.output_type for output in cell.outputs]
    assert "error" not in kinds
    assert all(output.get("name") != "stderr" for output in cell.outputs)
    assert bool(kinds) == (makes_output(cell.source) and silent not in cell.source), cell.source
  pictures = [x for cell in cells for x in cell.outputs if "image/png" in x.get("data", {})]
  assert len(pictures) >= 4
  assert not execute.PATHS.search(path.read_text())


def test_what_makes_output():
  assert makes_output("x = 1\nx")
  assert makes_output("for x in y:\n  print(x)")
  assert not makes_output("def f():\n  print(1)\n  return 2")
  assert not makes_output("x = f()")


def test_a_place_of_this_machine_is_not_stored(execute):
  output = nbformat.v4.new_output("stream", name="stdout", text="samples in /home/me/run\n")
  written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
  with pytest.raises(ValueError, match="/home/me/run"):
    execute.clean(written)
  written.cells[0].outputs = [
    nbformat.v4.new_output("stream", name="stdout", text="step 1\n"),
    nbformat.v4.new_output("stream", name="stderr", text="31 steps/s, see /home/me/run"),
    nbformat.v4.new_output("stream", name="stdout", text="step 2\n"),
    nbformat.v4.new_output("display_data", {"image/png": "a", "image/jpeg": "b"}),
  ]
  execute.clean(written)
  printed, drawn = written.cells[0].outputs
  assert (printed.text, dict(drawn.data)) == ("step 1\nstep 2\n", {"image/png": "a"})


def test_the_first_cell_is_the_same_and_knows_the_repository():
  first = {code(name)[0].source for name in NAMES}
  assert len(first) == 1
  (url,) = re.findall(r"^repo_url: (\S+)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
  assert f'REPOSITORY = "{url}"\n' in first.pop()
  assert url in COLAB.replace("https://colab.research.google.com/github", "https://github.com")


def test_nothing_is_installed_in_a_checkout(monkeypatch, tiny):
  def refuse(*args, **options):
    raise AssertionError(f"started {args}")

  monkeypatch.setattr("subprocess.run", refuse)
  names = {}
  exec(code(NAMES[0])[0].source, names)
  assert names["checkout"] == ROOT


@pytest.mark.parametrize(
  ("tpu", "device", "extras"),
  [
    ("1", "", "experiments,tpu"),
    ("", "/dev/nvidia0", "experiments,cuda12"),
    ("", "", "experiments"),
  ],
)
def test_what_is_installed_on_colab(monkeypatch, tmp_path, tpu, device, extras):
  started = []
  monkeypatch.setattr(
    "subprocess.run", lambda command, **_: started.append(list(map(str, command)))
  )
  monkeypatch.setitem(sys.modules, "google.colab", None)
  monkeypatch.setattr("pathlib.Path.exists", lambda path: str(path) == device)
  monkeypatch.setenv("COLAB_TPU_1VM", tpu)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", sys.path[:])
  exec(code(NAMES[0])[0].source, {})
  clone, remove, install = started
  assert clone == ["git", "clone", "--depth=1", clone[3], str(tmp_path / "jaxgan")]
  assert remove[-2:] == ["--yes", "tensorflow"]
  assert install[-1] == f"{tmp_path / 'jaxgan'}[{extras}]"


@pytest.mark.parametrize("name", NAMES)
def test_badges(name):
  badge = f"https://colab.research.google.com/assets/colab-badge.svg)]({COLAB}/{name}.ipynb)"
  assert badge in (ROOT / "README.md").read_text()
  assert badge in text(name)
  assert f"notebooks/{name}.ipynb" in (ROOT / "docs" / "notebooks.md").read_text()


def test_accelerators_are_asked_for():
  asked = {name: book(name).metadata for name in NAMES}
  found = {name: (m.get("accelerator"), m.colab.get("gpuType")) for name, m in asked.items()}
  assert found == {
    "dcgan_on_colab": ("TPU", "V5E1"),
    "losses_in_your_loop": (None, None),
    "populations": ("GPU", "T4"),
    "style_editing": ("GPU", "T4"),
  }
  assert all(m.kernelspec.name == "python3" for m in asked.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_the_text_names_is_there(name):
  prose = text(name)
  for target in re.findall(r"\]\((\w+\.ipynb)\)", prose):
    assert (ROOT / "notebooks" / target).exists(), target
  for target in re.findall(r"github\.com/jaxgan/jaxgan/(?:blob|tree)/main/([\w./]+)", prose):
    assert (ROOT / target).exists(), target
  for module in re.findall(r"python -m experiments\.(\w+)", prose):
    assert (ROOT / "experiments" / f"{module}.py").exists(), module
  headings = re.findall(r"^#+ (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
  anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
  for anchor in re.findall(r"github\.com/jaxgan/jaxgan#([\w-]+)", prose):
    assert anchor in anchors, anchor


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_in_a_kernel(execute, name):
  done = execute.executed(execute.read(name), tiny=True)
  execute.clean(done)
  assert json.dumps(done).count("image/png") >= 4
