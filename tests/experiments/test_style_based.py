"""The style family from its commands: steps, a resume, samples and what styles are good for."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import progan, sample, stylegan, stylegan2
from jaxgan import run, training
from jaxgan.types import ImageSpec

FLAGS = [
  "--resolution=8",
  "--width=2",
  "--max-width=4",
  "--latent-dim=6",
  "--batch-size=16",
  "--group-size=2",
  "--log-every=1",
  "--sample-every=9",
  "--checkpoint-every=9",
  "--no-compilation-cache",
]
STYLES = ["--style-dim=6", "--depth=1"]
RUNS = {
  "progan": (progan, ["--stable-steps=1", "--fade-steps=3"]),
  "stylegan": (stylegan, STYLES),
  "stylegan2": (stylegan2, [*STYLES, "--path-weight=0", "--mixing=0", "--r1-every=2"]),
  "stylegan2 path": (stylegan2, [*STYLES, "--path-every=2", "--r1-every=2"]),
  "stylegan2 ada": (
    stylegan2,
    [*STYLES, "--augment=ada", "--ada-speed=640", "--ada-target=-1", "--seed=1", "--conditional"],
  ),
  "stylegan2 diffaugment": (
    stylegan2,
    [*STYLES, "--augment=diffaugment", "--path-weight=0", "--no-residual"],
  ),
}
SLOW = RUNS.keys() - {"stylegan2"}  # their parts are tested apart

pytestmark = pytest.mark.usefixtures("compiled_once")


def main(module, workdir, *argv):
  with pytest.raises(SystemExit) as end:
    run.main(module.build, module.Config, module.PRESETS, [f"--workdir={workdir}", *FLAGS, *argv])
  return end.value.code


def lines(workdir):
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def logged(workdir, name):
  return [line[name] for line in lines(workdir) if name in line]


@pytest.mark.parametrize(
  "name",
  [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in RUNS],
)
def test_it_runs_resumes_and_samples(name, tmp_path):
  module, flags = RUNS[name]
  parts, out = tmp_path / "parts", tmp_path / "samples.npz"
  assert main(module, parts, "--steps=3", *flags) == 0
  assert main(module, parts, "--steps=5", *flags) == 0
  assert all(np.isfinite(value) for line in lines(parts) for value in line.values())
  game = run.restore(str(parts)).game
  if name == "progan":  # as it would have been without an interruption
    whole = tmp_path / "whole"
    assert main(module, whole, "--steps=5", *flags) == 0
    players = game.generator, run.restore(str(whole)).game.generator
    jax.tree.map(np.testing.assert_array_equal, *(jax.device_get(p.average) for p in players))
  if name == "progan":
    np.testing.assert_allclose(logged(parts, "progress"), [0, 1 / 3, 2 / 3, 1, 1], rtol=1e-6)
    assert game.generator.average["growth"]["progress"] == 1.0
    assert {int(p.opt_state[0].count) for p in (game.generator, game.discriminator)} == {4}
  elif name == "stylegan2":
    assert [x > 0 for x in logged(parts, "penalty")] == [True, False, True, False, True]
  elif name == "stylegan2 path":
    # Of steps 0, 2 and 4 only; the length as each step finds it.
    lengths = logged(parts, "path_length")
    assert lengths[0] == 0.0 < lengths[1] == lengths[2] != lengths[3] == lengths[4]
    for which in ("penalty", "penalty_G"):
      assert [x > 0 for x in logged(parts, which)] == [True, False, True, False, True]
  elif name == "stylegan2 ada":
    # A target that is always met: up by 64 pictures of 640 after 4 steps.
    assert float(game.extra["ada"].p) == pytest.approx(0.1)
    assert int(game.extra["ada"].batches) == 1
  if module is not progan:
    assert np.abs(game.generator.collections["averages"]["w"]).max() > 0
  sample.main(sample.Options(workdir=str(parts), num=4, out=str(out)))
  with np.load(out) as file:
    assert file["images"].shape == (4, 8, 8, 1)
  if name == "stylegan2 path":
    styles_are_good_for_something(parts, tmp_path)
  elif name == "progan":
    with pytest.raises(run.RunError, match="has no styles"):
      sample.command(["walk", "--in-styles", f"--workdir={parts}", f"--out={out}"])


def styles_are_good_for_something(workdir, folder):
  restored = run.restore(str(workdir))
  style, variables = restored.system.style, restored.game.generator.evaluated()

  def made(*argv):
    sample.command([*argv, f"--workdir={workdir}", f"--out={folder / 'a.npz'}"])
    return dict(np.load(folder / "a.npz"))

  z = restored.system.latents(jax.random.key(0), 4)
  w, mean = np.asarray(style.mapping(variables, z)), np.asarray(style.mean(variables))
  # All truncated to the mean, they are one picture.
  images = made("--num=4", "--truncation-psi=0")["images"]
  assert (images == images[:1]).all()
  pulled = made("psi", "--num=2", "--values=1,0.5,0")["styles"].reshape(2, 3, 6)
  np.testing.assert_allclose(pulled[:, 0], w[:2], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(pulled[:, 1], (w[:2] + mean) / 2, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(pulled[:, 2], [mean, mean], rtol=1e-5, atol=1e-6)
  mixed = made("mixing", "--rows=2", "--columns=2", "--layers=1:3")
  assert len(mixed["images"]) == 9
  last = mixed["styles"][-1]  # of the second on the left and the second on top
  np.testing.assert_allclose(last, w[[1, 3, 3, 1]], rtol=1e-5, atol=1e-6)
  walk = made("walk", "--in-styles", "--paths=2", "--steps=3")["latents"].reshape(2, 3, 6)
  np.testing.assert_allclose(walk[:, 1], (w[:2] + w[2:]) / 2, rtol=1e-5, atol=1e-6)
  total = made("arithmetic", "--in-styles", "--plus=0", "--minus=1", "--plus2=2", "--num=4")
  np.testing.assert_allclose(total["latents"][-1], w[0] - w[1] + w[2], rtol=1e-5, atol=1e-5)
  for argv, said in (
    (["mixing", "--layers=3:9"], "--layers=3:9 must be like 0:4, of the generator's 4 layers"),
    (["psi", "--values=a"], "--values=a"),
    (["psi", "--truncation-psi=0.5"], "--values=1,0.7,0"),
  ):
    with pytest.raises(run.RunError, match=said):
      made(*argv)


def test_all_stages_can_be_traced():
  config = progan.Config(
    workdir="", resolution=8, width=2, max_width=4, latent_dim=6, stable_steps=2, fade_steps=2
  )
  system = progan.build(config, ImageSpec((8, 8, 1)))
  game = jax.eval_shape(system.init, jax.random.key(0))
  mesh = training.data_mesh(jax.devices()[:1])
  batch = {"image": jax.ShapeDtypeStruct((1, 4, 8, 8, 1), jnp.float32)}
  steps = [system.step_at(step) for step in range(6)]
  assert steps[0] is steps[1] is not steps[2] is steps[3] is steps[5] is system.step
  for step in (steps[0], steps[2]):
    after, metrics = jax.eval_shape(training.data_parallel(step, mesh), game, batch)
    assert jax.tree.structure(after) == jax.tree.structure(game)
    assert {"drift", "penalty", "progress"} <= metrics.keys()


@pytest.mark.parametrize(
  ("module", "flags", "said"),
  [
    (progan, ["--fade-steps=0"], "--fade-steps=0 must be positive"),
    (stylegan, ["--depth=0"], "--depth=0 must be positive"),
    (stylegan2, ["--mixing=1.5"], "--mixing=1.5 must be in [0, 1]"),
    (stylegan2, ["--ema-ramp=0"], "--ema-ramp=0.0 must be positive"),
    (stylegan2, ["--r1-every=0"], "--r1-every=0 must be positive"),
    (stylegan2, ["--group-size=3"], "--batch-size=16 must be divisible by 24"),
    (stylegan2, ["--resolution=12"], "resolution=12"),
  ],
)
def test_flags_that_no_run_can_have_are_refused(module, flags, said, tmp_path, capsys):
  assert main(module, tmp_path / "run", "--steps=1", *flags) == 2
  assert said in capsys.readouterr().err
  assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(("stable", "fade", "stages"), [(3, 2, 2), (1, 1, 3), (2, 5, 1)])
def test_growth_by_the_step(stable, fade, stages):
  """What the host knows and what is traced agree, and each resolution has its time."""
  schedule = progan.Schedule(stable, fade, stages)
  steps = np.arange((stable + fade) * (stages + 2))
  progress = np.asarray(jax.vmap(schedule.progress)(steps))
  begins = np.asarray(jax.vmap(schedule.begins)(steps))
  host = np.array([schedule.stage(int(step)) for step in steps])
  np.testing.assert_array_equal(host, np.ceil(progress - 1e-6))
  np.testing.assert_array_equal(np.flatnonzero(begins), np.flatnonzero(np.diff(host)) + 1)
  assert host[-1] == stages == progress[-1]
  for level in range(stages):
    assert (progress == level).sum() >= stable
    assert ((progress > level) & (progress <= level + 1 - 1e-6)).sum() == fade - 1
