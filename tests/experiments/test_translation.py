"""Translators from their commands: steps, a resume bit for bit, samples, translations, scores."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import cyclegan, pix2pix, sample, translate, translation, translation_scores, unit
from jaxgan import run, training
from jaxgan.run.networks import pixels
from jaxgan.types import ImageSpec

image = pytest.importorskip("PIL.Image")

FLAGS = [
  "--resolution=8",
  "--width=2",
  "--batch-size=8",
  "--limit=64",  # as many as a grid has, so that one program makes all samples
  "--log-every=1",
  "--sample-every=4",
  "--checkpoint-every=2",
  "--no-compilation-cache",
]
LITTLE = ["--scales=1", "--patch-layers=1"]
SMALL = dict(blocks=1, patch_layers=1)
RUNS = {
  "pix2pix": (pix2pix, dict(patch_layers=1), {"l1"}),
  "cyclegan": (cyclegan, dict(SMALL, pool_size=10), {"cycle", "identity"}),
  "unit": (unit, dict(SMALL, scales=2), {"kl", "reconstruction", "cycle"}),
}

pytestmark = pytest.mark.usefixtures("compiled_once")


def main(module, workdir, *argv, **flags):
  given = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
  argv = [f"--workdir={workdir}", *FLAGS, *given, *argv]
  with pytest.raises(SystemExit) as end:
    run.main(module.build, module.Config, module.PRESETS, argv)
  return end.value.code


@pytest.mark.parametrize(
  "name", [pytest.param(n, marks=pytest.mark.slow if n == "unit" else ()) for n in RUNS]
)
def test_it_runs_resumes_bit_for_bit_samples_translates_and_is_scored(
  name, tmp_path, monkeypatch, capsys
):
  module, flags, logged = RUNS[name]
  for workdir, ends in (("halves", (2, 4)), ("whole", (4,))):
    for steps in ends:
      assert main(module, tmp_path / workdir, steps=steps, **flags) == 0
  games = [run.restore(str(tmp_path / each)).game for each in ("halves", "whole")]
  leaves = [jax.tree.leaves(game.replace(key=jax.random.key_data(game.key))) for game in games]
  for a, b in zip(*leaves, strict=True):
    np.testing.assert_array_equal(a, b)
  workdir = str(tmp_path / "halves")
  lines = [
    json.loads(line) for line in (tmp_path / "halves/metrics.jsonl").read_text().splitlines()
  ]
  lines = [line for line in lines if "loss_D" in line]
  assert [line["step"] for line in lines] == [1, 2, 3, 4]
  assert logged | {"loss_G", "D_x"} <= set(lines[-1])
  assert all(np.isfinite(value) for line in lines for value in line.values())
  with image.open(tmp_path / "halves/samples/step_000004.png") as grid:
    assert grid.size == (8 * 10 + 2, 8 * (2 * 10 + 2))  # 8 rows of inputs above translations

  sample.main(sample.Options(workdir=workdir, num=64, out=str(tmp_path / "samples.npz")))
  with np.load(tmp_path / "samples.npz") as file:
    assert file["images"].shape == file["inputs"].shape == (64, 8, 8, 1)

  folder = tmp_path / "given"
  folder.mkdir()
  for number in range(2):
    picture = np.random.default_rng(number).integers(0, 256, [20, 24, 3], np.uint8)
    image.fromarray(picture).save(folder / f"{number}.png")
  made = translate.main(translate.Options(workdir, str(folder), str(tmp_path / "made")))
  assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["0.png", "1.png"]
  alone = translate.Options(workdir, str(folder / "1.png"), str(tmp_path / "one.png"))
  # A picture becomes the same in whatever company: up to the order of sums, less than a level.
  np.testing.assert_allclose(translate.main(alone)[0].astype(int), made[1].astype(int), atol=1)
  back = dataclasses.replace(alone, backward=True)
  if module is pix2pix:
    with pytest.raises(run.RunError, match=r"--backward: a run of experiments\.pix2pix"):
      translate.main(back)
  else:
    assert (translate.main(back)[0] != made[1]).any()

  monkeypatch.setattr(translation_scores, "features_named", lambda *_: pixels((8, 8, 1)))
  content = translation_scores.main(translation_scores.Options(workdir, num=64))
  assert content["protocol"]["pairs"] == 64
  assert "| mean colour | 0." in capsys.readouterr().out
  assert (tmp_path / "halves/translation_000004.png").exists()
  saved = json.loads((tmp_path / "halves/translation_000004.json").read_text())
  assert saved["rows"] == content["rows"]


def test_scores_of_truths_and_of_baselines():
  rng = np.random.default_rng(0)
  truths = rng.integers(0, 256, [6, 4, 4, 3], np.uint8)
  features = rng.normal(size=[6, 5])
  same = translation_scores.scored(truths, truths, features, 3.0 * features)
  assert same["l1"] == 0.0
  np.testing.assert_allclose(same["feature_distance"], 0.0, atol=1e-12)
  off = translation_scores.scored(255 - truths, truths, features, -features)
  np.testing.assert_allclose(off["feature_distance"], 2.0)
  wide = truths.astype(float)
  np.testing.assert_allclose(off["l1"], np.abs(255 - 2 * wide).mean() / 255, rtol=1e-6)

  inputs = rng.integers(0, 256, [20, 4, 4, 1], np.uint8)
  targets = rng.integers(0, 256, [20, 4, 4, 3], np.uint8)
  found = translation_scores.baselines(inputs[[3, 7]], inputs, targets)
  np.testing.assert_array_equal(found["nearest training input's target"], targets[[3, 7]])
  np.testing.assert_array_equal(found["the input"][..., 1:2], inputs[[3, 7]])
  assert np.abs(found["mean colour"] - targets.mean((0, 1, 2))[None, None, None]).max() <= 0.5
  assert found["mean colour"].shape == (2, 4, 4, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_eight_devices_play_the_game_of_one_in_float64(name, x64):
  module, flags, _ = RUNS[name]
  if name == "pix2pix":
    flags = {**flags, "norm": "batch", "jitter": 2}
  config = module.Config(workdir="unused", resolution=16, width=2, batch_size=16, steps=3, **flags)
  spec = ImageSpec((16, 16, 1), (), (16, 16, 1))
  system = module.build(config, spec)
  keys = jax.random.split(jax.random.key(7))
  batch = {
    name: jax.random.uniform(key, (1, 16, *spec.shape), jnp.float64, -1.0, 1.0)
    for name, key in zip(("image", "input"), keys, strict=True)
  }

  def wide(tree):
    floating = lambda x: jnp.issubdtype(x.dtype, jnp.floating)  # noqa: E731
    return jax.tree.map(lambda x: x.astype(jnp.float64) if floating(x) else x, tree)

  ends = []
  for n in (1, 8):
    mesh = training.data_mesh(jax.devices()[:n])
    game = jax.device_put(wide(system.init(jax.random.key(0))), training.replicated(mesh))
    step = training.data_parallel(system.step, mesh)
    for _ in range(config.steps):
      game, metrics = step(game, jax.device_put(batch, training.batch_sharding(mesh)))
    players = [p.params for p in (game.discriminator, game.generator)]
    ends.append(jax.device_get((players, game.extra, metrics)))
  for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
    tolerance = 1e-6 if a.dtype == np.float32 else 1e-8  # gradient norms are logged in float32
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=1e-10)
  if name == "cyclegan":
    assert int(ends[0][1]["pool_a"].filled) == 10


def test_what_is_translated_for_samples_is_not_learnt_from():
  config = cyclegan.Config(workdir="unused", resolution=16)
  learnt = {row.tobytes() for row in config.load().beside["input"]}
  drawn = np.asarray(translation.held_out_inputs(config)(jax.random.key(0), 20))
  levels = np.rint((drawn + 1.0) * 127.5).astype(np.uint8)
  held = {row.tobytes() for row in config.pictures(config.held_out).beside["input"]}
  assert {row.tobytes() for row in levels} <= held
  assert len(held & learnt) < 0.05 * len(held)  # small outlines may be alike
  assert len(config.load()) == 1617


def test_pairs_are_cut_alike_and_sets_apart():
  pictures = jax.random.uniform(jax.random.key(0), [1, 6, 8, 8, 1], minval=-1.0)
  batch = {"image": pictures, "input": pictures}
  game = training.Game(
    step=jnp.zeros([], jnp.int32), key=jax.random.key(1), discriminator=None, generator=None
  )
  cuts = {}
  for module in (pix2pix, cyclegan):
    config = module.Config(workdir="unused", jitter=4)
    step = translation.jittered(lambda game, batch: (game, batch), config)
    alone = jax.vmap(lambda batch, step=step: step(game, batch)[1], axis_name=training.AXIS)
    cuts[module] = jax.tree.map(lambda x: x[0], alone(jax.tree.map(lambda x: x[None], batch)))
  pairs, sets = cuts[pix2pix], cuts[cyclegan]
  np.testing.assert_array_equal(pairs["image"], pairs["input"])
  np.testing.assert_array_equal(pairs["image"], sets["image"])
  assert (np.asarray(sets["image"]) != np.asarray(sets["input"])).any()
  assert pairs["image"].shape == pictures.shape
  assert (np.asarray(pairs["image"]) != np.asarray(pictures)).any()


def test_a_pictures_key_is_its_own():
  pictures = jax.random.uniform(jax.random.key(0), [3, 4, 4, 1], minval=-1.0)
  keys = [jax.random.key_data(translation.picture_key(x)) for x in pictures]
  swapped = jax.random.key_data(translation.picture_key(pictures[0][::-1]))
  rounded = jnp.rint((pictures[0] + 1.0) * 127.5) / 127.5 - 1.0
  near = jax.random.key_data(translation.picture_key(rounded + 1e-4))
  np.testing.assert_array_equal(near, jax.random.key_data(translation.picture_key(rounded)))
  assert (keys[0] != keys[1]).any()
  assert (keys[0] != swapped).any()


def test_the_rate_falls_to_nothing_in_the_second_half():
  rate = pix2pix.Config(workdir="unused", decay_steps=100, steps=100).rate()
  np.testing.assert_allclose(
    [rate(t) for t in (0, 50, 75, 100)], [2e-4, 2e-4, 1e-4, 0.0], rtol=1e-6
  )


@pytest.mark.parametrize(
  ("module", "flags", "said"),
  [
    (pix2pix, ["--no-paired"], "take experiments.cyclegan"),
    (pix2pix, ["--split=train", "--held-out=train[90%:]"], "has pictures of --split=train"),
    (unit, [*LITTLE, "--split=train[:100]"], "both in per cent, or both in pictures"),
    (cyclegan, ["--split=train[:-50]", "--held-out=train[-51:]"], "has pictures of --split"),
    (pix2pix, ["--held-out=train[:90%]"], "has pictures of --split=train[:90%]"),
    (cyclegan, ["--steps=3000"], "larger --decay-steps"),
    (cyclegan, ["--patch-layers=3"], "too small for layers=3"),
    (unit, [*LITTLE, "--tied=5"], "--tied=5 must be from 0 to --blocks=2"),
    (unit, [*LITTLE, "--held-out=test"], "--held-out=test"),
  ],
)
def test_flags_that_no_run_can_have_are_refused_before_compilation(
  module, flags, said, tmp_path, capsys
):
  assert main(module, tmp_path / "run", *flags) == 2
  assert said in capsys.readouterr().err
  assert not (tmp_path / "run" / "config.json").exists()


def test_sets_of_other_channels_have_no_identity_term(tmp_path, capsys):
  rng = np.random.default_rng(0)
  a, b = (rng.integers(0, 256, [20, 16, 16, c], np.uint8) for c in (1, 3))
  np.savez(tmp_path / "pairs.npz", a=a, b=b)
  options = [f"--dataset={tmp_path / 'pairs.npz'}", f"--cache-dir={tmp_path}"]
  assert main(cyclegan, tmp_path / "run", *options) == 2
  assert "give --channels=3, or --identity-weight=0" in capsys.readouterr().err


def test_held_out_pictures_of_other_channels_are_refused(tmp_path):
  rng = np.random.default_rng(0)
  sides = {
    f"{split}_{side}": rng.integers(0, 256, [4, 16, 16, channels], np.uint8)
    for split, channels in (("train", 3), ("test", 1))
    for side in "ab"
  }
  np.savez(tmp_path / "pairs.npz", **sides)
  config = pix2pix.Config(
    workdir="unused",
    dataset=str(tmp_path / "pairs.npz"),
    split="train",
    held_out="test",
    resolution=16,
    patch_layers=1,
    cache_dir=str(tmp_path),
  )
  spec = ImageSpec((16, 16, 3), (), (16, 16, 3))
  with pytest.raises(run.RunError, match=r"--held-out=test: its pictures are \(16, 16, 1\)"):
    pix2pix.build(config, spec).check()
  pix2pix.build(dataclasses.replace(config, channels=3), spec).check()


def test_units_rate_is_halved_by_equal_distances():
  rate = unit.Config(workdir="unused", steps=100, decay_steps=100, halvings=4).rate()
  found = [rate(t) for t in (0, 24, 25, 50, 99)]
  np.testing.assert_allclose(found, [1e-4, 1e-4, 5e-5, 2.5e-5, 1.25e-5], rtol=1e-6)
  assert unit.Config(workdir="unused").rate()(2000) == 0.0


def test_the_objectives_of_unit(monkeypatch):
  """Equation 7 at a tenth of its weights, with squares, of a discriminator that is a factor."""
  found = {}
  two_sided = translation.two_sided

  def caught(generator, discriminator, adam, parts, config, spec):
    found["parts"] = parts
    return two_sided(generator, discriminator, adam, parts, config, spec)

  monkeypatch.setattr(translation, "two_sided", caught)
  config = unit.Config(workdir="unused", resolution=16, width=2, **SMALL, gan_weight=3.0)
  unit.build(config, ImageSpec((16, 16, 3), (), (16, 16, 3)))

  def judge(variables, a, b):
    factor = variables["params"]
    return [factor * a.mean((1, 2, 3)), factor * a.mean((1, 2, 3))], [
      2.0 * factor * b.max((1, 2, 3))
    ]

  player = training.Player.create(
    apply_fn=lambda variables, a, b, **_: (judge(variables, a, b), {}),
    params=jnp.float32(0.7),
    tx=optax.identity(),
  )
  game = training.Game(
    step=jnp.zeros([], jnp.int32), key=jax.random.key(0), discriminator=player, generator=None
  )
  rng = np.random.default_rng(0)
  names = ("input", "image", "fake_a", "fake_b", "same_a", "same_b", "cycled_a", "cycled_b")
  batch = {name: rng.normal(size=[4, 2, 2, 3]).astype(np.float32) for name in names}
  batch["kl"] = np.array([1.0, 2.0, 3.0, 5.0], np.float32)

  def logits(a, b):
    return [0.7 * a.mean((1, 2, 3))] * 2 + [1.4 * b.max((1, 2, 3))]

  real, fake = (logits(batch[a], batch[b]) for a, b in (("input", "image"), ("fake_a", "fake_b")))
  d, g = found["parts"].discriminator, found["parts"].generator
  value, _ = d(player.params, game, batch, jax.random.key(0))
  expected = sum(((r - 1) ** 2).mean() + (f**2).mean() for r, f in zip(real, fake, strict=True))
  np.testing.assert_allclose(value, 3.0 * expected, rtol=1e-5)

  def away(*pairs):
    return sum(np.abs(batch[a] - batch[b]).mean() for a, b in pairs)

  value, aux = g(None, game, batch, jax.random.key(0))
  gan = sum(((f - 1) ** 2).mean() for f in fake)
  kl = 0.01 * (2 * (1 + 2) + 3 + 5)
  same = 10 * away(("input", "same_a"), ("image", "same_b"))
  cycle = 10 * away(("input", "cycled_a"), ("image", "cycled_b"))
  np.testing.assert_allclose(value, 3.0 * gan + kl + same + cycle, rtol=1e-5)
  np.testing.assert_allclose(aux.metrics["kl"], kl, rtol=1e-6)


def test_what_translate_cannot_do_is_said(tmp_path):
  for given in (tmp_path, tmp_path / "none.png"):
    with pytest.raises(run.RunError, match="is no picture, and no folder"):
      translate.main(translate.Options("unused", str(given)))
  (tmp_path / "some.png").write_bytes(b"")
  for given, out in ((tmp_path / "some.png", tmp_path), (tmp_path, tmp_path / "some.png")):
    if given == tmp_path:
      (tmp_path / "other.png").write_bytes(b"")
    with pytest.raises(run.RunError, match=r"would replace .*some\.png, which is translated"):
      translate.main(translate.Options("unused", str(given), out=str(out)))
  with pytest.raises(run.RunError, match=r"--out=x\.jpg must end in \.png"):
    translate.main(translate.Options("unused", str(tmp_path), out="x.jpg"))
