"""The study of losses: what is drawn, what is trained, how it goes on, and its arithmetic."""

import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import study, study_cells, study_table
from experiments.study_cells import Cell, Result, Sizes
from experiments.study_table import Row
from jaxgan import data, models, run, training
from jaxgan.metrics import features
from jaxgan.types import ImageSpec

pytestmark = pytest.mark.usefixtures("compiled_once")

TINY = {
  "dataset": "digits",
  "limit": 40,
  "resolution": 8,
  "width": 2,
  "batch_size": 8,
  "configs": 2,
  "steps": 4,
  "checkpoint_every": 2,
  "samples": 16,
  "cells": "non_saturating/none,wasserstein/clipping",
}


def test_draws_are_those_of_the_paper():
  wide = study_cells.settings(4000, 1)
  rates = np.log10([each.learning_rate for each in wide])
  weights = np.log10([each.weight for each in wide])
  clips = np.log10([each.clip for each in wide])
  b1 = np.array([each.adam_b1 for each in wide])
  # A uniform's mean is known to its width / sqrt(12 * 4000), its extremes to width / 4000.
  for values, low, high in ((rates, -5, -2), (b1, 0, 1), (weights, -1, 2), (clips, -3, 0)):
    width = high - low
    assert abs(values.mean() - (low + high) / 2) < 4 * width / math.sqrt(12 * 4000)
    assert low <= values.min() < low + 0.01 * width
    assert high - 0.01 * width < values.max() <= high
  assert abs(np.corrcoef([rates, b1, weights])[np.triu_indices(3, 1)]).max() < 4 / math.sqrt(4000)
  narrow = study_cells.settings(4000, 1, search="narrow")
  rates = np.log10([each.learning_rate for each in narrow])
  assert (-4 <= rates.min() < -3.99, -3.01 < rates.max() <= -3) == (True, True)
  assert {each.adam_b1 for each in narrow} == {0.5}


def test_draws_depend_on_nothing_but_the_seed():
  few, many = study_cells.settings(3, 2), study_cells.settings(5, 2)
  assert few == many[:6]
  assert len({each.seed for each in many}) == 10
  assert few[0]._replace(seed=1) == few[1]
  assert study_cells.settings(3, 2, seed=1)[0].learning_rate != few[0].learning_rate


def options(**flags):
  return study.Options(**{"out": "unused", **TINY, **flags})


def test_the_cells_that_flags_ask_for():
  assert study.cells_of(study.Options("unused")) == list(study.PAPER)
  assert study.cells_of(options(cells="", losses="hinge,minimax", penalties="r1,none")) == [
    Cell(*pair) for pair in itertools.product(("hinge", "minimax"), ("r1", "none"))
  ]
  assert study.cells_of(options(cells="", penalties="r1"))[3] == Cell("wasserstein", "r1")
  for flags, message in [
    ({"cells": "hinge"}, "--cells=hinge must be of the form LOSS/PENALTY"),
    ({"cells": "hing/none"}, "--losses=hing must be one of"),
    ({"cells": "hinge/clip"}, "--penalties=clip must be one of"),
    ({"cells": "hinge/r1,hinge/r1"}, "named twice"),
    ({"losses": "hinge"}, "leave out --losses"),
    ({"resolution": 10}, "--resolution=10 must be a multiple of 4"),
    ({"hours": 0.0}, "--hours=0.0 must"),
  ]:
    with pytest.raises(run.RunError, match=message):
      options(**flags)


def test_the_common_networks():
  """Their sizes at the paper's width, and each layer's gain at another."""
  shapes = {}
  for width in (64, 16):
    d, x = models.lucic.Discriminator(width), jnp.zeros([1, 28, 28, 1])
    shapes[width] = jax.jit(lambda d=d, x=x: d.init(jax.random.key(0), x, train=False))()["params"]
  wide, narrow = shapes[64], shapes[16]
  assert wide["Conv_0"]["kernel"].shape == (4, 4, 1, 64)
  assert wide["Conv_1"]["kernel"].shape == (4, 4, 64, 128)
  assert wide["Dense_0"]["kernel"].shape == (7 * 7 * 128, 1024)
  assert wide["Dense_1"]["kernel"].shape == (1024, 1)
  for name in wide:
    kernel = np.asarray(narrow[name]["kernel"])
    deviation = 0.02 if name == "Conv_0" else 0.04
    assert abs(kernel.std() / deviation - 1.0) < 4 / math.sqrt(2 * kernel.size), name
  spec = jax.eval_shape(
    lambda: models.lucic.Generator(28, 1, 64).init(
      jax.random.key(0), jnp.zeros([2, 64]), train=False
    )
  )["params"]
  assert [spec[f"Dense_{i}"]["kernel"].shape for i in (0, 1)] == [(64, 1024), (1024, 7 * 7 * 128)]
  assert [spec[f"ConvTranspose_{i}"]["kernel"].shape[2:] for i in (0, 1)] == [(128, 64), (64, 1)]


@pytest.fixture(scope="module")
def pictures():
  return data.load("digits", resolution=8, limit=40)


def test_each_member_has_its_own_hyperparameters(pictures):
  """Adam's first step is as long as the rate; clipped weights stay within their bound."""
  members = study_cells.settings(2, 1)
  sizes = Sizes(steps=1, width=2, batch_size=8, checkpoint_every=1)

  def games(cell):
    """D's parameters before and after a step."""
    runs = study_cells.population(cell, members, sizes, pictures)
    before = runs.start()
    start = jax.device_get(before.discriminator.params)
    rows = runs.order(0)
    assert rows.shape == (1, 2, 1, 8)
    assert (rows[0, 0] != rows[0, 1]).any()
    after, _ = runs.play(before, jnp.asarray(pictures.images), rows)
    return start, jax.device_get(after.discriminator.params)

  before, after = games(Cell("non_saturating", "none"))
  clipped = games(Cell("wasserstein", "clipping"))
  for index, member in enumerate(members):
    moved = [
      np.abs(b[index] - a[index]).max()
      for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    ]
    np.testing.assert_allclose(max(moved), member.learning_rate, rtol=0.01)  # eps, float32
    for leaf in jax.tree.leaves(clipped):
      assert np.abs(leaf[index]).max() <= member.clip * (1 + 1e-6)
  largest = [np.abs(x).max() for x in clipped[0]["Dense_0"]["kernel"]]
  assert min(largest) < 0.9 * max(largest)


@pytest.mark.parametrize(
  "cell",
  [
    Cell("wasserstein", "gradient_penalty"),
    pytest.param(Cell("non_saturating", "dragan"), marks=pytest.mark.slow),
    pytest.param(Cell("non_saturating", "gradient_penalty"), marks=pytest.mark.slow),
  ],
)
def test_penalties_weigh_as_drawn(cell, pictures):
  spec = ImageSpec(pictures.shape, pictures.classes)
  image = jnp.asarray(pictures.images[None, :4], jnp.float32) / 127.5 - 1.0
  logged = []
  for weight in (1.0, 10.0):
    values = {"learning_rate": 1e-3, "adam_b1": 0.5, "weight": weight, "clip": 1.0}
    system = study_cells.build(cell, 2, spec)(values)
    game = jax.eval_shape(system.init, jax.random.key(0))
    assert "batch_stats" not in game.discriminator.collections
    step = jax.vmap(system.step, (None, 1), axis_name=training.AXIS)
    game = jax.jit(system.init)(jax.random.key(0))
    # One device's part of a batch, on an axis of one.
    _, metrics = jax.jit(step)(game, {"image": image[:, None]})
    logged.append(float(metrics["penalty"][0]))
  np.testing.assert_allclose(logged[1], 10.0 * logged[0], rtol=1e-5)
  assert logged[0] > 0


@pytest.fixture
def mean_judge(monkeypatch):
  """A judge that needs no training: means over quarters of pictures."""

  def quarters(images):
    n, h, w, c = images.shape
    pooled = images.reshape(n, 2, h // 2, 2, w // 2, c).astype(jnp.float32).mean((2, 4))
    return pooled.reshape(n, -1)

  network = features.of_function("quarters", quarters, dimension=4)
  monkeypatch.setattr(study.classifier, "obtain", lambda *_: (network, None))


def lines(folder):
  """The study's cells without what they cost."""
  found = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
  costs = [(row.pop("training_cpu_seconds"), row.pop("scoring_cpu_seconds")) for row in found]
  assert all(cost > 0 for pair in costs for cost in pair)
  return found


def test_a_study_goes_on_where_it_was_killed(tmp_path, monkeypatch, mean_judge, capsys):
  whole, killed = tmp_path / "whole", tmp_path / "killed"
  assert study.main(options(out=str(whole))) == 0
  table = capsys.readouterr().out
  assert (whole / "table.md").read_text() == table
  assert [line.split(" | ")[:3] for line in table.splitlines() if line.startswith("| ")][1:] == [
    ["| non_saturating", "none", "0 of 2"],
    ["| wasserstein", "clipping", "0 of 2"],
  ]
  with Image.open(whole / "study.png") as picture:
    assert np.asarray(picture).std() > 20
  assert not list((whole / "cells").iterdir())

  population, calls = study_cells.population, []

  def fragile(*args):
    runs = population(*args)

    def play(*step):
      calls.append(1)
      if len(calls) == 4 + 4:  # the last step of the second cell; two of its steps are saved
        raise KeyboardInterrupt
      return runs.play(*step)

    return runs._replace(play=play)

  with monkeypatch.context() as patch:
    patch.setattr(study_cells, "population", fragile)
    with pytest.raises(KeyboardInterrupt):
      study.main(options(out=str(killed)))
  assert len(lines(killed)) == 1
  first = (killed / "results.jsonl").read_text()

  # Little time is left: one more step is taken and saved.
  assert study.main(options(out=str(killed), hours=1e-9)) == 0
  assert len(lines(killed)) == 1
  assert {each.name for each in (killed / "cells").rglob("step_*")} == {"step_2", "step_3"}

  assert study.main(options(out=str(killed))) == 0
  assert (killed / "results.jsonl").read_text().startswith(first)
  assert lines(killed) == lines(whole)
  for name in ("untrained_fd", "score", "real", "samples"):
    judged = [json.loads((each / "judge.json").read_text())[name] for each in (whole, killed)]
    assert judged[0] == judged[1], name

  # Cells may be added later, settings not be changed; nothing is trained twice.
  with monkeypatch.context() as patch:
    patch.setattr(study_cells, "population", None)
    assert study.main(options(out=str(killed))) == 0
  with pytest.raises(run.RunError, match=r"--width: was 2, now 3"):
    study.main(options(out=str(killed), width=3))
  study_table.main(study_table.Options(f"{whole},{killed}", "a,b", str(tmp_path)))
  assert (tmp_path / "table.md").read_text().count("| wasserstein | clipping |") == 2
  for flags, message in [
    ({"studies": f"{whole},{killed}", "names": "a"}, "--names=a must be 2 different names"),
    ({"studies": str(tmp_path)}, "has no finished cell"),
  ]:
    with pytest.raises(run.RunError, match=message):
      study_table.main(study_table.Options(**flags))


def test_a_member_that_diverges_is_a_failure(tmp_path, monkeypatch, mean_judge):
  drawn = study_cells.settings
  monkeypatch.setattr(
    study_cells,
    "settings",
    lambda *args, **more: [
      each._replace(learning_rate=1e38) if each.config == 1 else each
      for each in drawn(*args, **more)
    ],
  )
  study.main(options(out=str(tmp_path), cells="non_saturating/none"))
  ((row,), floor) = lines(tmp_path), study_table.floor(tmp_path)
  assert [each["failed"] for each in row["members"]] == [False, True]
  assert row["members"][1]["fd"] is None
  assert np.isfinite(row["members"][0]["fd"])
  (kept,) = study_table.read(tmp_path).values()
  np.testing.assert_array_equal(kept.scores(floor), [[row["members"][0]["fd"]], [floor]])
  assert "| 1 of 2 |" in (tmp_path / "table.md").read_text()


def cell_of(scores, loss="hinge", penalty="none", failed=()):
  """A row of given scores `[configs, seeds]`."""
  scores = np.asarray(scores, float)
  settings = study_cells.settings(*scores.shape)
  results = [
    study_cells.FAILURE if i in failed else Result(float(x), 0.5 + i / 100, 0.25, False)
    for i, x in enumerate(scores.reshape(-1))
  ]
  return Row.of(Cell(loss, penalty), settings, results, 10, 3.0, 1.0)


def test_the_best_to_be_expected_of_k_is_the_mean_over_all_choices():
  values = np.random.default_rng(0).exponential(size=6)
  values[4] = values[1]
  found = study_table.expected_minimum(values)
  for k in range(1, 7):
    wanted = np.mean([min(chosen) for chosen in itertools.combinations(values, k)])
    np.testing.assert_allclose(found[k - 1], wanted, rtol=1e-12)


def test_median_best_and_spread():
  row = cell_of([[4.0, 6.0], [1.0, 5.0], [2.0, 30.0], [9.0, 9.0]])
  found = study_table.summary(row, 50.0)
  assert found.quartiles == (3.5, 5.5, 9.0)  # of 1 2 4 5 6 9 9 30
  assert (found.best, found.best_config, found.failed, found.runs) == (3.0, 1, 0, 8)
  np.testing.assert_allclose(found.best_deviation, math.sqrt(8.0))
  np.testing.assert_allclose(found.precision, 0.5 + 2.5 / 100)
  broken = study_table.summary(cell_of([[4.0], [1.0], [2.0]], failed=[1]), 50.0)
  assert (broken.quartiles[1], broken.best, broken.failed) == (4.0, 2.0, 1)
  assert math.isnan(broken.best_deviation)


def test_wins_are_the_share_of_all_searches():
  a, b = np.array([1.0, 5.0, 3.0]), np.array([2.0, 4.0, 3.0])
  share = []
  for chosen in itertools.product(range(3), repeat=3):
    least = (min(a[i] for i in chosen), min(b[i] for i in chosen))
    share.append((least[0] < least[1]) + 0.5 * (least[0] == least[1]))
  np.testing.assert_allclose(study_table.wins(a, b), np.mean(share))
  np.testing.assert_allclose(study_table.wins(a, b) + study_table.wins(b, a), 1.0)
  # Of ten draws searches are sampled: the best is in one with 1 - 0.9^10, and else they are equal.
  base = np.arange(10.0)
  better = np.where(base == 0, -1.0, base)
  wanted = 0.5 + 0.5 * (1 - 0.9**10)
  assert abs(study_table.wins(better, base) - wanted) < 4 * 0.25 / math.sqrt(10_000)


def test_shares_of_the_variance():
  cells = np.array([0.0, 3.0])[:, None, None]
  configs = np.array([-1.0, 0.0, 1.0])[None, :, None]
  seeds = np.array([-0.5, 0.5])[None, None]
  crossed = np.sign(cells - 1.0) * np.array([1.0, -2.0, 1.0])[None, :, None]
  found = study_table.variance_shares(cells + configs + crossed + seeds)
  # Squares on average: 2.25 between cells, 2/3 between draws, 2 crossed, 1/4 of seeds.
  total = 2.25 + 2 / 3 + 2.0 + 0.25
  np.testing.assert_allclose(found, np.array([2.25, 2 / 3, 2.0, 0.25]) / total)


def test_the_conclusion_in_numbers():
  floor, base = 50.0, [[8.0, 8.0], [4.0, 4.0], [2.0, 2.0]]
  rows = [
    cell_of(base, "non_saturating"),
    cell_of(np.array(base) / 2, "hinge"),
    cell_of(np.array(base) * 2, "minimax"),
  ]
  said = study_table.conclusion(rows, floor)
  assert "best draws from 1.0 to 4.0, medians from 2.0 to 8.0" in said
  assert "hyperparameters 50%, cells 50%" in said  # of logarithms, by powers of two
  assert said.endswith("in 95% of searches or more: hinge/none; worse: minimax/none.")
  table = study_table.markdown(rows, floor).splitlines()
  assert table[2].split(" | ")[7] == ""
  # Of a half-sized score every search is lower.
  assert [line.split(" | ")[7] for line in table[3:]] == ["100", "0"]


def test_lines_that_are_none_are_named(tmp_path):
  (tmp_path / "results.jsonl").write_text('{"loss": "hinge"}\n')
  with pytest.raises(run.RunError, match="has a line that is no cell"):
    study_table.read(tmp_path)
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(run.RunError, match="is damaged"):
    study._claim(tmp_path, options())
  with pytest.raises(run.RunError, match="holds no study"):
    study_table.floor(tmp_path)


def test_settings_of_a_study_are_kept(tmp_path):
  study._claim(tmp_path, options())
  study._claim(tmp_path, options(hours=3.0, cells="hinge/none", data_dir="/elsewhere"))
  with pytest.raises(run.RunError, match="--configs: was 2, now 3"):
    study._claim(tmp_path, options(configs=3))
