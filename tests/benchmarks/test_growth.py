"""Growth: collectives of compiled programs, and a series from command to table."""

import contextlib
import json

import jax
import pytest

from benchmarks import collectives, growth, jaxgan_steps, timing
from benchmarks.flops import Size
from benchmarks.linen_steps import count
from benchmarks.table import growth_markdown


def test_collectives_of_a_program_text():
  hlo = """
  %all-reduce.1 = f32[4,8]{1,0} all-reduce(%x), channel_id=1, to_apply=%add
  %all-reduce.2 = (f32[3]{0}, bf16[2,2]{1,0}, /*index=5*/pred[]) all-reduce(%a, %b, %c)
  %s = f32[5]{0} all-reduce-start(%x), channel_id=3
  %d = f32[5]{0} all-reduce-done(%s)
  %add.9 = f32[4,8]{1,0} add(%all-reduce.1, %all-reduce.1)
  """
  found = collectives.all_reduces(hlo)
  assert found == {"count": 3, "bytes": 4 * 32 + (12 + 8 + 1) + 20}
  with pytest.raises(ValueError, match="has a all-gather"):
    collectives.all_reduces("%g = f32[8]{0} all-gather(%x), dimensions={0}")


def test_both_players_send_their_gradients_and_little_else():
  size = Size(8, 1, 4, 4)
  gan = jaxgan_steps.dcgan_system(size)
  game = jax.eval_shape(gan.init, jax.random.key(0))
  point = collectives.collectives(size, 2)
  # Statistics of batch norm, forward and backward, and metrics: a few numbers a feature.
  features = 4
  for role in ("discriminator", "generator"):
    gradients = 4 * count(getattr(game, role).params)
    assert 0 <= point[role]["bytes"] - gradients < 4 * 40 * features, role
    assert point[role]["count"] >= 1
  total = point["discriminator"]["bytes"] + point["generator"]["bytes"]
  assert point["ring_bytes"] == total  # 2 (n - 1) / n of it, with two devices


SMALL = {"resolution": 8, "width": 2, "batch_size": 2}


def test_a_series_becomes_a_table(monkeypatch):
  """A call of k steps counts k steps; ratios are to the first point."""

  def start(framework, family, size, options):
    worker = timing.Worker.__new__(timing.Worker)
    worker.seconds, worker.peaks, worker.peak_bytes = [], [], 10**9
    worker.begun, worker.options = {"first_step_seconds": 2.0}, options

    def turn(plan):
      worker.seconds.append([0.003 * options["steps_per_call"] + 0.001] * plan.steps)
      worker.peaks.append([1e9])

    worker.turn = turn
    return contextlib.nullcontext(worker)

  monkeypatch.setattr(timing, "start", start)
  series = growth.Series("dcgan32grey", (1, 4), SMALL)
  measured = growth.measure("steps_per_call", series, timing.Plan(rounds=2, steps=2))
  assert [point["median"] for point in measured["points"]] == pytest.approx([0.004, 0.00325])
  text = growth_markdown({"series": {"steps_per_call": measured}})
  rows = text.splitlines()
  assert rows[2].startswith("| steps per call | ms a step (quartiles)")
  assert rows[4].startswith("| 1 | 4.00 (4.00 to 4.00) | 2.00 | 1.00 | 1.00 |")
  assert rows[5].startswith("| 4 | 3.25 (3.25 to 3.25) | 1.63 | 0.81 | 1.00 |")


@pytest.mark.slow
def test_series_from_command_to_table(tmp_path, capsys):
  table = {
    "batch_size": growth.Series("residual64", (1, 2), {"resolution": 8, "width": 2}),
    "steps_per_call": growth.Series("dcgan32grey", (1, 2), SMALL),
    "devices": growth.Series("dcgan32grey", (1, 2), SMALL),
  }
  out = tmp_path / "growth.json"
  options = growth.Options(series=",".join(table), rounds=1, steps=2, matmul=16, out=str(out))
  growth.main(options, table)
  result = json.loads(out.read_text())
  one, two = result["series"]["steps_per_call"]["points"]
  assert one["flops"] == two["flops"]
  assert one["parameters"] == two["parameters"]
  assert two["options"]["steps_per_call"] == 2
  one, two = result["series"]["batch_size"]["points"]
  assert 2 * one["flops"] == two["flops"]
  single, pair = result["devices"]["points"]
  assert single["ring_bytes"] == 0
  assert pair["ring_bytes"] > 4 * result["series"]["steps_per_call"]["points"][0]["parameters"]
  printed = capsys.readouterr().out
  assert printed == out.with_suffix(".md").read_text()
  assert "| steps per call | ms a step (quartiles)" in printed
  assert "| devices | discriminator: all-reduces; MB" in printed
