import json

import jax.numpy as jnp

from jaxgan.metrics.health import Monitor
from jaxgan.run.logs import Log, Window


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_verdicts_are_said_once_and_kept_over_a_resume(tmp_path):
  """D is right about everything from step 0 on; the run dies at step 600 of a checkpoint at 500."""
  said = []

  def write(first, last, completed):
    with Log(tmp_path, completed, Monitor(warmup=0), said.append) as log:
      for step in range(first, last, 50):
        log.scalars(step, {"D_accuracy": 1.0, "loss_D": 1e-4})

  write(0, 650, 0)
  assert len(said) == 1
  assert "discriminator wins" in said[0]
  kept = lines(tmp_path / "health.jsonl")
  assert [(verdict["name"], verdict["step"]) for verdict in kept] == [("discriminator_wins", 450)]
  write(550, 800, 500)
  assert len(said) == 1  # it still stands
  assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == list(range(0, 800, 50))
  assert lines(tmp_path / "health.jsonl") == kept
  write(450, 600, 400)  # from before the verdict: it is found again
  assert len(said) == 2
  assert lines(tmp_path / "health.jsonl") == kept


def test_lines_behind_the_checkpoint_are_dropped(tmp_path):
  """By their step; by their number where it is known; and what is no line."""

  def start(step, lines=None):
    return Log(tmp_path, step, Monitor(), lambda text: None, lines)

  with start(0) as log:
    for step in (2, 4, 4, 6):
      log.scalars(step, {"loss_D": float(step)})
    assert log.lines == 4
  with (tmp_path / "metrics.jsonl").open("ab") as file:
    file.write(b'{"step": 8, "loss_D": 1\xff')
  with start(4) as log:
    assert log.lines == 3
  with start(4, 2) as log:
    assert log.lines == 2
    log.scalars(5, {"loss_D": 0.0})
  assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [2, 4, 5]


def test_means_do_not_see_an_interruption():
  def window(pending=None):
    return Window(lambda: 0.0, pending)

  values = [jnp.float32(x) for x in (0.1, 1e-7, 3.3, 1e4)]
  whole, before = window(), window()
  for x in values:
    whole.add({"loss_D": x}, 1)
  for x in values[:2]:
    before.add({"loss_D": x}, 1)
  after = window(json.loads(json.dumps(before.pending())))
  for x in values[2:]:
    after.add({"loss_D": x}, 1)
  assert after.means(4)["loss_D"] == whole.means(4)["loss_D"]
  assert after.pending() == {}


def test_damaged_lines_are_dropped_and_the_others_kept(tmp_path):
  good = [{"step": 1, "loss_D": 0.5}, {"step": 2, "loss_D": float("nan")}, {"step": 4, "a": "b"}]
  bad = [
    b"\xff\xfe", b"[1]", b"5", b"null", b'{"step": "3"}', b'{"step": 3', b'{"step": null}', b"",
    b'{"step": -1}', b'{"step": 1}', b'{"step": 9}', b"[" * 10_000,
    b'{"step": 3, "x": 1' + b"0" * 400 + b"}",
    b'{"step": 3, "x": "' + "\N{LINE SEPARATOR}".encode() + b'"}',
  ]  # fmt: skip
  lines = [json.dumps(row).encode() for row in good]
  (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([*lines[:2], *bad, lines[2], b'{"st']))
  with Log(tmp_path, 4, Monitor()):
    pass
  kept = (tmp_path / "metrics.jsonl").read_text().splitlines()
  assert kept == [line.decode() for line in lines]
