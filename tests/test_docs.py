"""The pages of the documentation: none is lost, links lead somewhere, figures and flags are true.

What needs MkDocs (that all is rendered, without a warning) is the job `docs` of the workflows.
"""

import ast
import dataclasses
import importlib
import inspect
import pathlib
import re
import typing

import pytest
import yaml

from experiments.measured import MEASURED

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
EXPERIMENTS = (*MEASURED, "study", "inversion")
OURS = "https://github.com/jaxgan/jaxgan"
README = (ROOT / "README.md").read_text()
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *PAGES]


def name_of(path):
  return str(path.relative_to(ROOT))


def page_of(name):
  return (DOCS / "experiments" / f"{name}.md").read_text()


def section(text, heading):
  return re.split(r"^## ", text.split(f"## {heading}\n", 1)[1], flags=re.MULTILINE)[0]


def without_code(text):
  return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def test_navigation_and_pages_are_the_same():
  def leaves(node):
    if isinstance(node, str):
      return [node]
    children = node.values() if isinstance(node, dict) else node
    return [leaf for child in children for leaf in leaves(child)]

  listed = leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
  assert len(set(listed)) == len(listed)
  assert [leaf for leaf in listed if not (DOCS / leaf).exists()] == []
  assert {str(path.relative_to(DOCS)) for path in PAGES} - set(listed) == set()


def shown_on(path):
  """What the directives of an API page show."""
  return re.findall(r"^::: ([\w.]+)$", path.read_text(), re.MULTILINE)


SHOWN = {name for path in (DOCS / "api").glob("*.md") for name in shown_on(path)}


def modules_of(folder):
  """Names of the public modules and packages in a folder."""
  return {
    path.stem
    for path in folder.iterdir()
    if path.name[0] != "_" and (path.suffix == ".py" or (path / "__init__.py").exists())
  }


@pytest.mark.parametrize("folder", ["jaxgan", "jaxgan/models"])
def test_every_public_module_has_a_page(folder):
  package = folder.replace("/", ".")
  modules = {f"{package}.{name}" for name in modules_of(ROOT / folder)}
  assert modules - SHOWN - {"jaxgan.models"} == set()


@pytest.mark.parametrize("room", sorted(modules_of(ROOT / "jaxgan")))
def test_every_public_name_has_a_page(room):
  """A function with the name of its module is hidden by it, and wants a directive of its own."""
  module = importlib.import_module(f"jaxgan.{room}")
  if not (ROOT / "jaxgan" / room).is_dir():
    return
  hidden = {
    name
    for name in set(module.__all__) & modules_of(ROOT / "jaxgan" / room)
    if not inspect.ismodule(getattr(module, name))
  }
  assert {f"{module.__name__}.{name}.{name}" for name in hidden} - SHOWN == set()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_has_its_page(name):
  text = page_of(name)
  assert 40 <= len(text.splitlines()) <= 90
  assert f"python -m experiments.{name} " in section(text, "Run it")
  source = ast.parse((ROOT / "experiments" / f"{name}.py").read_text())
  papers = re.findall(r"\d{4}\.\d{4,5}", ast.get_docstring(source))
  assert papers
  assert [paper for paper in papers if f"https://arxiv.org/abs/{paper}" not in text] == []
  assert text.count("\n$$") >= 1
  assert re.search(r"!\[[^\]]+\]\(\.\./(samples|images)/\w+\.png\)", text)
  assert re.search(r"\]\(\.\./api/\w+\.md#jaxgan\.", text)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_figures_are_those_of_the_readme(name):
  text = section(page_of(name), "What was measured")
  text = re.sub(r"\]\([^)]*\)", "]", text).replace("`", "")
  figures = set(re.findall(r"\d[\d,]*\.\d+|\d{1,3}(?:,\d{3})+|\d{3,}", text))
  plain = README.replace("`", "")
  said = set(re.findall(r"\d[\d,]*\.\d+|\d{1,3}(?:,\d{3})+|\d{3,}", plain))
  assert figures, "no figure"
  assert sorted(figures - said) == []
  whole = page_of(name).replace(",", "")
  mine = re.findall(r"\d+\.\d+|\d{3,}", MEASURED.get(name, "").replace(",", ""))
  assert [figure for figure in mine if figure not in whole] == []


def test_the_list_is_that_of_the_command_line():
  text = (DOCS / "experiments" / "index.md").read_text()
  rows = re.findall(
    r"^\| \[(\w+)\]\((\w+)\.md\) \| \[([\d.]+)\]\(https://arxiv.org/abs/([\d.]+)\) \| (.+) \|$",
    text,
    re.MULTILINE,
  )
  assert sorted(row[0] for row in rows) == sorted(EXPERIMENTS)
  for name, target, shown, paper, rest in rows:
    assert (name, shown) == (target, paper)
    assert f"https://arxiv.org/abs/{paper}" in page_of(name)
    if name in MEASURED:
      assert rest.split(" | ")[1] == MEASURED[name]


def headings(path):
  """Anchors of a file as GitHub and MkDocs make them: they agree on plain words."""
  found = re.findall(r"^#+ (.+)$", without_blocks(path.read_text()), re.MULTILINE)
  return {re.sub(r"[^\w\s-]", "", title.lower()).strip().replace(" ", "-") for title in found}


def without_blocks(text):
  return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def is_documented(anchor):
  """Whether an anchor of an API page names something public."""
  module, _, name = anchor.rpartition(".")
  try:
    owner = importlib.import_module(module)
  except ModuleNotFoundError:  # a class and its method are not linked to
    return False
  return name in owner.__all__ if hasattr(owner, "__all__") else hasattr(owner, name)


@pytest.mark.parametrize("path", PROSE, ids=name_of)
def test_links_lead_somewhere(path):
  broken = []
  for link in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
    target, _, anchor = link.partition("#")
    if target.startswith(f"{OURS}/blob/main/"):
      file = ROOT / target.removeprefix(f"{OURS}/blob/main/")
    elif target == OURS:
      file = ROOT / "README.md"
      anchor = "" if anchor == "readme" else anchor
    elif re.match(r"\w+:", target):
      continue
    else:
      file = path.parent / target if target else path
      if DOCS in path.parents and DOCS not in file.resolve().parents:
        broken.append(f"{link} leaves docs/")
    if not file.exists():
      broken.append(link)
    elif anchor.startswith("jaxgan.") and file.parent.name == "api":
      on_page = {anchor, anchor.rpartition(".")[0]} & set(shown_on(file))
      if not on_page or not is_documented(anchor):
        broken.append(link)
    elif anchor and anchor not in headings(file):
      broken.append(link)
  assert broken == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_equations_are_closed(path):
  text = without_code(path.read_text())
  for line in text.splitlines():
    if line.startswith("$$"):  # one on a line, apart from the paragraphs
      assert line.endswith("$$"), line
      assert line.count("$") == 4, line
    else:
      assert "$$" not in line, line
      assert line.count("$") % 2 == 0, line
  assert re.search(r"[^\n]\n\$\$|\$\$\n[^\n]", text) is None


def commands(path):
  """Module, words and flags of each command of a page."""
  for block in re.findall(r"^```bash\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
    for line in block.replace("\\\n", " ").splitlines():
      if found := re.search(r"python -m (experiments\.\w+)([^#']*)", line):
        yield found[1], found[2].split()


def flags_of(module, words):
  """Names of the flags that a command takes: its fields, under their own names or others."""
  taken = importlib.import_module(module)
  if words and re.fullmatch(r"\w+", words[0]):  # not "$@" of a shell's function
    options = taken.COMMANDS[words[0]].options
  else:
    options = getattr(taken, "Config", None) or taken.Options
  names = {field.name for field in dataclasses.fields(options)}
  for hint in typing.get_type_hints(options, include_extras=True).values():
    for told in getattr(hint, "__metadata__", ()):
      names |= {getattr(told, "name", None), *(getattr(told, "aliases", None) or ())} - {None}
  return {name.lstrip("-").replace("_", "-") for name in names}


@pytest.mark.parametrize("path", PROSE, ids=name_of)
def test_flags_exist(path):
  unknown = []
  for module, words in commands(path):
    names = {re.match(r"--(?:no-)?([\w-]+)", word)[1] for word in words if word.startswith("--")}
    names = {name for name in names if not name.startswith("tyro-")}
    unknown += [f"{module} --{name}" for name in sorted(names - flags_of(module, words))]
  assert unknown == []
