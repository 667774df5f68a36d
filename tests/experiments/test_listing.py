import pathlib
import re
import subprocess
import sys

from experiments.__main__ import main, programs
from experiments.measured import MEASURED

ROOT = pathlib.Path(__file__).parents[2]


def test_every_program_is_listed_with_a_line(capsys):
  main([])
  printed = capsys.readouterr().out
  for program in programs():
    assert re.search(rf"^  {program.name} +\S", printed, re.MULTILINE)
    assert len(program.about) > 20
  assert {"dcgan", "mixtures", "stylegan2"} <= {p.name for p in programs() if p.trains}
  assert {"sample", "evaluate"} <= {p.name for p in programs() if not p.trains}
  assert "choices" not in printed


def test_figures_are_those_of_the_readme():
  readme = (ROOT / "README.md").read_text()
  trained = {program.name for program in programs() if program.trains}
  assert set(MEASURED) <= trained
  for name, figure in MEASURED.items():
    for number in re.findall(r"\d+\.\d+|\d,\d+", figure):
      assert number in readme, f"{name}: {number} is not in README.md"


def test_it_answers_without_importing_jax():
  code = "import sys, experiments.__main__ as m; m.main([]); assert 'jax' not in sys.modules"
  subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
