"""Thresholds of the checks, and the monitor's memory, on curves that are written down."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.metrics import health

LINE = 5  # steps between two lines of the bilinear game


def period(verdict):
  return float(verdict.evidence.split("about ")[1].split(" steps")[0])


def curve(*values, every=50):
  return [(every * (i + 1), value) for i, value in enumerate(values)]


def names(curves, **options):
  return [(v.name, v.step) for v in health.diagnose(curves, **{"warmup": 0, **options})]


def test_conditions_without_an_effect_and_labels_by_chance():
  assert names({"condition_effect": curve(0.02, 0.0, 0.04)}) == [("conditions_ignored", 150)]
  assert not names({"condition_effect": curve(0.02, 0.0, 0.06)})
  # twice chance, and for few classes a tenth of the way from chance to 1
  for classes, ignored, follows in ((1000, 0.0019, 0.0021), (10, 0.189, 0.191), (2, 0.549, 0.551)):
    assert names({"label_accuracy": curve(*[ignored] * 3)}, classes=classes)
    assert not names({"label_accuracy": curve(*[follows] * 3)}, classes=classes)
    assert not names({"label_accuracy": curve(*[ignored] * 3)})


def test_a_bilinear_game_of_scores_swings_ever_wider():
  """Simultaneous steps on min max x y; the critic's scores have no scale to compare with."""
  x = y = 1.0
  line, values = [], []
  for step in range(1, 501):
    x, y = x - 0.05 * y, y + 0.05 * x
    line.append(x * y)
    if step % LINE == 0:
      values.append(float(np.mean(line)))
      line = []
  zeros = [0.0] * len(values)
  curves = {"D_x": curve(*zeros, every=LINE), "D_G_z1": curve(*values, every=LINE)}
  (found,) = health.diagnose(curves, probabilities=False, warmup=0)
  assert found.name == "oscillation"
  assert abs(period(found) - np.pi / 0.05) < 0.5 * LINE  # the product, twice as fast as the angle
  assert "D_x - D_G_z1 swings" in found.evidence


def test_noise_that_wanders_does_not_oscillate():
  """Of 48,000 windows of such noise none passed; here are 200, of the time that a test has."""
  rng = np.random.default_rng(0)
  for memory in (0.0, 0.5, 0.8, 0.9, 1.0):
    noise = np.zeros(264)
    walks = []
    for _ in range(20):
      for i in range(1, 264):
        noise[i] = memory * noise[i - 1] + rng.normal()
      walks.append(noise[200:].copy())
    for walk in walks:
      values = 0.5 + 0.2 * walk / np.abs(walk).max()
      assert not names({"D_x": curve(*values), "loss_G": curve(*10 * values)})


@pytest.mark.parametrize("lines", [5.5, 8.2, 12.7, 15.8])
def test_a_noisy_cycle_is_found_with_its_period(lines):
  t = np.arange(64)
  rng = np.random.default_rng(0)
  values = 0.5 + 0.2 * np.sin(2 * np.pi * t / lines) + 0.03 * rng.normal(size=64)
  (found,) = health.diagnose({"D_x": curve(*values)}, warmup=0)
  assert abs(period(found) / 50 - lines) < 0.25  # a parabola is not quite a cosine
  assert not names({"D_x": curve(*(0.5 + 0.04 * np.sin(t)))})  # too small to matter
  assert not names({"D_x": curve(*(0.5 + 0.4 * np.sin(t) * np.exp(-t / 40)))})  # dies out


def test_a_cycle_is_seen_through_lines_at_uneven_steps():
  steps = np.delete(np.arange(50, 50 * 80, 50), [7, 8, 30, 51])[-70:]
  points = [(int(s), 0.5 + 0.3 * float(np.sin(2 * np.pi * s / 500))) for s in steps]
  (found,) = health.diagnose({"D_G_z2": points}, warmup=0)
  assert found.name == "oscillation"


WON = {"D_accuracy": 1.0, "D_x": 0.999, "D_G_z1": 0.001}
LEVEL = {"D_accuracy": 0.7, "D_x": 0.6, "D_G_z1": 0.4}


def test_a_discriminator_wins_by_what_is_logged_of_it():
  def found(**values):
    return names({name: curve(*[value] * 10) for name, value in values.items()})

  won = [("discriminator_wins", 500)]
  assert found(**WON) == found(D_accuracy=0.99) == found(D_x=0.999, D_G_z1=0.001) == won
  assert not found(D_accuracy=1.0, D_x=0.6, D_G_z1=0.4)  # right by a little, as under R1
  assert not found(D_accuracy=0.98)
  assert not found(D_x=0.98, D_G_z1=0.001)
  assert not found(D_x=0.999)
  assert not names({name: curve(*[value] * 9) for name, value in WON.items()})
  assert not names({name: curve(*[x] * 10) for name, x in WON.items()}, probabilities=False)
  assert names({name: curve(*[x] * 14) for name, x in WON.items()}, warmup=201) == [
    ("discriminator_wins", 700)
  ]


def test_gradients_that_are_small_because_the_game_is_solved():
  norms = curve(*[1.0] * 5, *[5e-4] * 10)

  def gap(real, fake):
    return {"D_x": curve(*[real] * 15), "D_G_z1": curve(*[fake] * 15)}

  vanished = [("vanishing_gradients", 750)]
  assert names({"grad_norm_G": norms}) == vanished
  assert names({"grad_norm_G": norms, **gap(0.9, 0.1)}) == vanished
  assert not names({"grad_norm_G": norms, **gap(0.52, 0.48)})
  # scores are compared with what they were
  scores = {"D_x": curve(*[30.0] * 5, *[22.0] * 10), "D_G_z1": curve(*[20.0] * 15)}
  assert names({"grad_norm_G": norms, **scores}, probabilities=False) == vanished
  scores["D_x"] = curve(*[30.0] * 5, *[20.5] * 10)
  assert not names({"grad_norm_G": norms, **scores}, probabilities=False)
  # one wild step at the start is no height to fall from
  assert not names({"grad_norm_G": curve(1e4, *[1.0] * 20)})
  assert names({"grad_norm_G": curve(*[1e-9] * 10)}) == [("vanishing_gradients", 500)]


def test_a_verdict_is_given_once_until_it_has_ended():
  monitor = health.Monitor(warmup=0)
  started = []
  for step in range(1, 100):
    values = LEVEL if 30 <= step < 45 or step >= 60 else WON
    started += [(v.name, v.step) for v in monitor.update(step, values)]
    if step == 34:  # the windows that end in lines 30 to 34 hold a line that is level
      assert monitor.active == ("discriminator_wins",)
    if step in (40, 70, 99):
      assert monitor.active == ()
  assert started == [("discriminator_wins", 10), ("discriminator_wins", 54)]


def test_scores_of_their_own_do_not_end_a_verdict_that_they_do_not_touch():
  monitor = health.Monitor(warmup=0)
  for step, value in curve(1.0, 1.0, 1.0, 0.1, 0.1, 0.1):
    monitor.update(step, {"diversity": value})
  assert monitor.active == ("mode_collapse",)
  for step in range(400, 700):
    assert not monitor.update(step, LEVEL)
  assert monitor.active == ("mode_collapse",)


def test_a_resumed_run_goes_on_as_if_there_had_been_no_break(tmp_path):
  lines = [(10 * i, {**(WON if i % 40 < 25 else LEVEL), "loss_D": 1 / i}) for i in range(1, 121)]
  lines += [(1200 + 10 * i, {"D_x": float("nan")}) for i in range(1, 3)]
  whole = health.Monitor(warmup=0)
  expected = [whole.update(*line) for line in lines]
  assert sum(map(len, expected)) == 4
  for cut in range(0, len(lines), 25):
    path = tmp_path / "metrics.jsonl"
    with path.open("w") as file:
      for (step, values), found in zip(lines[:cut], expected, strict=False):
        for row in (values, *(v._asdict() for v in found)):  # verdicts are kept in the log
          file.write(json.dumps({"step": step, **row}) + "\n")
    resumed = health.Monitor(warmup=0)
    resumed.replay(map(json.loads, path.read_text().splitlines()))
    assert [resumed.update(*line) for line in lines[cut:]] == expected[cut:]


def test_a_curve_keeps_its_end_and_its_peak():
  whole = health.Curve()
  for step in range(1000):
    whole = whole.append(step, 5.0 if step in (3, 4, 5) else 1.0)
  assert len(whole.values) == len(whole.steps) == 64
  assert whole.steps[-1] == 999
  assert whole.peak == 5.0
  assert health.Curve().append(1, float("nan")).append(2, 1.0).append(3, 1.0).peak == -np.inf


def test_a_check_of_ones_own():
  def slow(curves, setting):
    rate = curves["steps_per_second"].values[-1]
    return (
      health.Finding(f"{rate:.1f} steps/s", "Look at data_wait_ms_per_step") if rate < 1 else None
    )

  monitor = health.Monitor(
    checks=(*health.CHECKS, health.Check("slow", ("steps_per_second",), 1, slow))
  )
  (found,) = monitor.update(50, {"steps_per_second": jnp.float32(0.5)})
  assert str(found) == "step 50: slow: 0.5 steps/s. Look at data_wait_ms_per_step"
  assert not monitor.update(100, {"steps_per_second": 2.0})
  assert monitor.active == ()


def test_every_check_has_advice_with_a_paper_and_reads_what_it_says():
  assert len({check.name for check in health.CHECKS}) == len(health.CHECKS) == 8
  empty = health.Setting()
  assert all(check.find({}, empty) is None for check in health.CHECKS)


def test_what_cannot_be_a_log_is_refused():
  monitor = health.Monitor()
  monitor.update(100, {"loss_D": 1.0})
  with pytest.raises(ValueError, match=r"step=50 is before step 100.*replay"):
    monitor.update(50, {"loss_D": 1.0})
  with pytest.raises(ValueError, match=r"D_x must be a scalar, got shape \(3,\)"):
    monitor.update(150, {"D_x": np.ones(3)})
  with pytest.raises(TypeError, match=r"loss_G='0\.5' must be a number"):
    monitor.update(150, {"loss_G": "0.5"})
  with pytest.raises(ValueError, match="no whole number as its 'step'"):
    monitor.replay([{"loss_D": 1.0}])
  for options in ({"classes": 1}, {"warmup": -1}, {"checks": health.CHECKS[:1] * 2}):
    with pytest.raises(ValueError, match=next(iter(options))):
      health.Monitor(**options)


def test_a_loss_that_is_not_of_the_outputs_is_not_judged_by_them():
  """With feature matching loss_G is 0 by construction; a saturated loss is small, and not 0."""
  for fooled in (0.002, 0.998):
    outputs = {"D_G_z2": curve(*[fooled] * 12)}
    assert not names({"loss_G": curve(*[0.0] * 12), **outputs})
    assert names({"loss_G": curve(*[-0.002] * 12), **outputs}) == [("generator_loss_zero", 500)]
  # where both fall below the least float there is nothing to tell them apart by
  both = {"loss_G": curve(*[0.0] * 12), "D_G_z2": curve(*[0.0] * 12)}
  assert names(both) == [("generator_loss_zero", 500)]
