"""Workdirs of strangers: their record imports nothing of its own, and what is damaged is named."""

import dataclasses
import json
import sys

import pytest

from experiments import dcgan
from jaxgan import run
from jaxgan.types import ImageSpec


def recorded(workdir, **changes):
  workdir.mkdir(parents=True, exist_ok=True)
  config = dcgan.Config(workdir=str(workdir), resolution=8, width=2)
  record = run.Record("experiments.dcgan", dataclasses.asdict(config), ImageSpec((8, 8, 1), ()), 9)
  record.save(workdir)
  content = json.loads((workdir / "config.json").read_text())
  config = {**content["config"], **changes.pop("config", {})}
  content = {**content, "config": config, **changes}
  (workdir / "config.json").write_text(json.dumps(content))
  return str(workdir)


def test_an_honest_record_is_read_up_to_its_checkpoint(tmp_path):
  with pytest.raises(run.RunError, match="no checkpoints in"):
    run.restore(recorded(tmp_path / "run"))


@pytest.mark.parametrize(
  "name",
  [
    "os", "json.decoder", "nowhere.at.all", "", ".", "..x", "experiments.", "../run", "a b",
    "__main__", "experiments.dcgan:build", "experiments.choices", "experiments.mixtures",
    "jaxgan.run",
  ],
)  # fmt: skip
def test_a_record_of_what_is_no_experiment_is_refused(tmp_path, name):
  workdir = recorded(tmp_path / "run", experiment=name)
  with pytest.raises(run.RunError, match=r"config\.json names .* no experiment"):
    run.restore(workdir)


@pytest.mark.parametrize("name", ["stranger.evil", "stranger", "above.stranger.evil"])
def test_a_module_in_the_workdir_is_not_imported(tmp_path, monkeypatch, name):
  monkeypatch.syspath_prepend(tmp_path)  # as Python does for the current folder
  parent = tmp_path / "above" if name.startswith("above") else tmp_path
  workdir = recorded(parent / "stranger", experiment=name)
  trap = f"open({str(tmp_path / 'executed')!r}, 'w')\n"
  for file in ("__init__.py", "evil.py"):
    (parent / "stranger" / file).write_text(trap)
  with pytest.raises(run.RunError, match="no experiment"):
    run.restore(workdir)
  assert not (tmp_path / "executed").exists()
  assert name not in sys.modules


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"spec": {"shape": [10**9, 10**9, 1], "classes": []}}, "is damaged"),
    ({"spec": {"shape": [8, 8], "classes": []}}, "is damaged"),
    ({"spec": {"shape": [8, 8, "1"], "classes": []}}, "is damaged"),
    ({"spec": {"shape": [8, 8, 1], "classes": [1]}}, "is damaged"),
    ({"spec": []}, "is damaged"),
    ({"experiment": 5}, "is damaged"),
    ({"pictures": "many"}, "is damaged"),
    ({"config": {"width": "wide"}}, "--width=wide must be a whole number"),
    ({"config": {"latent_dim": 10**30}}, "--latent-dim="),
    ({"config": {"latent_dim": None}}, "--latent-dim=None"),
    ({"config": {"game": "chess"}}, "--game=chess"),
    (
      {
        "config": {"width": 60_000, "resolution": 32},
        "spec": {"shape": [32, 32, 1], "classes": []},
      },
      "--width=60000: .* GB",
    ),
    (
      {"config": {"resolution": 10}, "spec": {"shape": [10, 10, 1], "classes": []}},
      "resolution=10",
    ),
  ],
)
def test_records_that_lie(tmp_path, changes, message):
  with pytest.raises(run.RunError, match=message):
    run.restore(recorded(tmp_path, **changes))


@pytest.mark.parametrize(
  "content", [b"", b"[]", b"1", b"\xff\xfe", b"[" * 10_000, b'{"config": ', b"\0" * 99]
)
def test_damaged_records(tmp_path, content):
  (tmp_path / "config.json").write_bytes(content)
  with pytest.raises(run.RunError, match=r"config\.json is damaged"):
    run.restore(str(tmp_path))
