"""Workers, alternation, results and tables, on steps that take no time."""

import dataclasses
import json
import platform
import subprocess
import sys

import pytest

from benchmarks import compare, growth, models, step, table, timing
from benchmarks.flops import Size

TINY = dict(resolution=8, width=2, batch_size=2)
PLAN = timing.Plan(rounds=2, steps=2, warm=0, pause=0.0, matmul=16, tries=1, patience=120.0)


class Recorded:
  """A worker that has nothing to do; notes whose turn it was."""

  def __init__(self, name, times, turns):
    self.name, self.times, self.turns = name, iter(times), turns
    self.seconds, self.peaks, self.peak_bytes = [], [], 10**9
    self.begun, self.options = {"parameters": 3, "first_step_seconds": 1.0}, {}

  def turn(self, plan):
    self.turns.append(self.name)
    times = next(self.times)
    if times is None:
      raise timing.WorkerError("no memory")
    self.seconds.append(times)
    self.peaks.append([100.0, 50.0])


def test_turns_alternate_and_a_failure_ends_only_its_own():
  turns = []
  workers = {
    "a": Recorded("a", [[1.0], [1.0], [1.0]], turns),
    "b": Recorded("b", [[1.0], None], turns),
    "c": Recorded("c", [[1.0], [1.0], [1.0]], turns),
  }
  assert timing.alternate(workers, dataclasses.replace(PLAN, rounds=3)) == {"b": "no memory"}
  assert "".join(turns) == "abcabcac"


def test_ratios_by_round_are_not_moved_by_a_machine_that_slows_down():
  theirs = [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0]]
  ours = [[0.8 * value for value in turn] for turn in theirs]
  ours[2][0] = 100.0  # an outlier
  result = timing.ratios(ours, theirs)
  assert result["by_round"] == pytest.approx(0.8)
  assert result["by_round_quartiles"] == pytest.approx([0.8, 0.8])
  assert result["of_medians"] == pytest.approx(0.8)


def test_summary():
  worker = Recorded("a", [[2.0, 2.0], [4.0, 6.0]], [])
  timing.alternate({"a": worker}, PLAN)
  result = timing.summary(worker, 60.0, steps_per_call=2)
  assert result["seconds"] == [[1.0, 1.0], [2.0, 3.0]]
  assert result["median"] == 1.5
  assert result["quartiles"] == [1.0, 2.25]
  assert result["efficiency"] == pytest.approx(60 / 1.5 / 100)
  assert result["efficiency_by_round"] == pytest.approx((0.6 + 60 / 2.5 / 100) / 2)
  assert result["peak_bytes"] == 10**9


def compared(tmp_path, capsys, model, frameworks):
  options = compare.Options(
    models=model,
    frameworks=frameworks,
    rounds=2,
    steps=1,
    tune=False,
    matmul=16,
    out=str(tmp_path),
    name="tiny",
    **TINY,
  )
  assert compare.main(options)
  printed = capsys.readouterr().out
  assert [path.name for path in tmp_path.iterdir()] == ["tiny.json"]
  result = json.loads((tmp_path / "tiny.json").read_text())
  assert {name: result["size"][name] for name in TINY} == TINY
  first, *others = frameworks.split(",")
  keeps = platform.libc_ver()[0] == "glibc"
  for name, entry in result["frameworks"].items():
    assert [len(turn) for turn in entry["seconds"]] == [1, 1], name
    assert 0 < entry["median"] < 60
    assert 5e7 < entry["peak_bytes"] < 2e9
    assert entry["kept_memory"] == (keeps and name != "torch-official")
    assert entry["parameters"] == result["frameworks"][first]["parameters"]
    assert f"| {name} |" in printed
  for other in others:
    medians = [result["frameworks"][name]["median"] for name in (first, other)]
    assert result["ratios"][other]["of_medians"] == pytest.approx(medians[0] / medians[1])
  table.main([str(tmp_path / "tiny.json")])
  assert capsys.readouterr().out == printed


@pytest.mark.slow
def test_a_comparison_from_command_to_table(tmp_path, capsys):
  """Real processes, a network that compiles in no time."""
  pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
  compared(tmp_path, capsys, "residual64", "jaxgan,torch")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dcgan32", "wgan_gp32"])
def test_all_frameworks_take_the_step(tmp_path, capsys, model):
  pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
  frameworks = [name for name in models.MODELS[model].frameworks if name != "torch-compile"]
  compared(tmp_path, capsys, model, ",".join(frameworks))


def test_a_worker_says_what_is_wrong():
  size = Size(8, 1, 2, 2)
  with pytest.raises(ValueError, match="--framework=keras must be one of jaxgan"):
    timing.Worker("keras", "dcgan", size)
  with pytest.raises(timing.WorkerError, match="family=stylegan9 must be one of dcgan"):
    timing.Worker("linen", "stylegan9", size)


def test_a_worker_that_dies_or_hangs_is_told(tmp_path, monkeypatch):
  size = Size(8, 1, 2, 2)
  script = tmp_path / "benchmarks" / "worker.py"
  script.parent.mkdir()
  monkeypatch.setattr(timing, "_ROOT", str(tmp_path))
  script.write_text("import sys; sys.exit('out of memory')")
  with pytest.raises(timing.WorkerError, match=r"process ended, code 1: .*out of memory"):
    timing.Worker("linen", "dcgan", size)
  script.write_text("import time; time.sleep(60)")
  with pytest.raises(timing.WorkerError, match=r"within --patience=0\.1"):
    timing.Worker("linen", "dcgan", size, patience=0.1)


def test_flags_are_checked():
  with pytest.raises(ValueError, match="--models=dcgan16 must be one of dcgan, dcgan64"):
    compare.main(compare.Options(models="dcgan16"))
  with pytest.raises(ValueError, match="torch-official has no residual64"):
    compare.main(compare.Options(models="residual64", frameworks="torch-official"))
  with pytest.raises(ValueError, match="--name=x names one file"):
    compare.main(compare.Options(name="x"))
  with pytest.raises(ValueError, match="--framework=torch-official has no wgan_gp32"):
    step.measure(step.Options(model="wgan_gp32", framework="torch-official"))
  with pytest.raises(ValueError, match="--series=depth must be one of batch_size"):
    growth.main(growth.Options(series="depth"))
  with pytest.raises(ValueError, match="--rounds=0 must be at least 1"):
    timing.Plan(rounds=0)


def test_networks_of_unequal_size_are_refused(monkeypatch):
  turns = []

  def start(framework, *args, **kwargs):
    worker = Recorded(framework, [[1.0]] * 9, turns)
    worker.begun["parameters"] = len(framework)
    worker.__class__ = type("W", (Recorded,), {"__enter__": lambda s: s, "__exit__": _exit})
    return worker

  monkeypatch.setattr(timing, "start", start)
  with pytest.raises(ValueError, match=r"number of parameters: \{'jaxgan': 6, 'torch': 5\}"):
    compare.compare("dcgan32", compare.Options(frameworks="jaxgan,torch", tune=False))
  assert turns == []


def _exit(self, *exception):
  return None


def test_tuning_takes_the_fastest(monkeypatch):
  def start(framework, family, size, candidate, **kwargs):
    fast = not candidate["channels_last"] and candidate["fused"]
    worker = Recorded(framework, [[0.5 if fast else 1.0]] * 9, [])
    worker.__class__ = type("W", (Recorded,), {"__enter__": lambda s: s, "__exit__": _exit})
    return worker

  monkeypatch.setattr(timing, "start", start)
  model = models.MODELS["dcgan32"]
  chosen, tried = compare.tune(model, model.size, PLAN)
  assert chosen == {"channels_last": False, "fused": True}
  assert sorted(entry["median"] for entry in tried) == [0.5, 1.0, 1.0, 1.0]


def test_a_failed_framework_stands_in_the_table():
  entry = timing.summary(_worked([[0.01]]), 1e6)
  result = {
    "model": "dcgan32",
    "size": dataclasses.asdict(Size(32, 3, 64)),
    "frameworks": {"jaxgan": entry, "torch-compile": {"failed": "RuntimeError: no |\n compiler"}},
    "ratios": {},
  }
  rows = table.markdown([result]).splitlines()
  assert rows[2].startswith(
    "| dcgan32 (32x32x3, batch 64) | jaxgan | 10.0 (10.0 to 10.0) |  | 100000000%;"
  )
  assert "| torch-compile | failed: RuntimeError: no / compiler |" in rows[3]
  assert len({row.count("|") for row in rows}) == 1


def _worked(times):
  worker = Recorded("a", times, [])
  timing.alternate({"a": worker}, dataclasses.replace(PLAN, rounds=len(times)))
  return worker


def test_the_worker_imports_neither_jax_nor_torch_before_the_allocator():
  code = (
    "import sys, benchmarks.worker; print(sorted({'jax', 'torch', 'numpy'} & set(sys.modules)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, cwd=timing._ROOT
  )
  assert done.stdout.strip() == "[]", done.stderr
