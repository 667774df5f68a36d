"""Scores of several runs side by side."""

import json

import pytest

from experiments import compare
from jaxgan import run
from jaxgan.metrics import Protocol, Score
from jaxgan.run.config import Record
from jaxgan.types import ImageSpec


def kept(folder, values, batch_size=8, fake=100):
  """A run that has kept scores at every 10th step."""
  folder.mkdir()
  config = {"batch_size": batch_size}
  Record("experiments.dcgan", config, ImageSpec((8, 8, 1)), 10).save(folder)
  protocol = Protocol(features="net", real=100, fake=fake)
  rows = [
    {"step": 10 * (i + 1), **Score(name, value + shift, 0.01, protocol).to_dict()}
    for i, value in enumerate(values)
    for name, shift in (("KD (net)", 0.0), ("precision (net)", 0.5))
  ]
  (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(folder)


def test_runs_are_compared_at_equal_numbers_of_pictures(tmp_path, capsys):
  folders = kept(tmp_path / "a", [0.3, 0.2]), kept(tmp_path / "b", [0.4], batch_size=16)
  out = tmp_path / "scores.png"
  compare.main(compare.Options(folders, "plain,ADA", out=str(out)))
  table, second = capsys.readouterr().out.strip().split("\n\n")
  assert table.splitlines() == [
    "| KD (net), after steps x batch size | plain | ADA |",
    "|---|---|---|",
    "| 80 | 0.300 ± 0.010 |  |",
    "| 160 | 0.200 ± 0.010 | 0.400 ± 0.010 |",
  ]
  assert second.startswith("| precision (net)")
  assert out.read_bytes().startswith(b"\x89PNG")
  compare.main(compare.Options(folders, scores="precision", out=str(out)))
  assert "KD" not in capsys.readouterr().out


def test_what_does_not_compare_is_refused(tmp_path):
  a, b = kept(tmp_path / "a", [0.3]), kept(tmp_path / "b", [0.3], fake=50)
  out = tmp_path / "scores.png"
  for options, said in (
    (dict(workdirs=(a, b)), "fake 50 against 100"),
    (dict(workdirs=(a, str(tmp_path))), "holds no run"),
    (dict(workdirs=(a,), scores="ppl"), "has no such scores"),
    (dict(workdirs=(a, b), names="x,x"), "--names=x,x"),
    (dict(workdirs=(a, b), names="x"), "--names=x"),
  ):
    with pytest.raises(run.RunError, match=said):
      compare.main(compare.Options(**options, out=str(out)))
  assert not out.exists()
