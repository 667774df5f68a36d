"""Many runs in one program: their logs, checkpoints and what becomes of single members."""

import dataclasses
import json
import pathlib
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import dcgan, wgan_gp
from jaxgan import run
from jaxgan.run import export, members, population
from jaxgan.types import ImageSpec

SMALL = dict(
  resolution=8,
  width=2,
  latent_dim=4,
  batch_size=8,
  limit=64,
  log_every=1,
  sample_every=4,
  checkpoint_every=2,
)


def config(workdir, **changes):
  return dcgan.Config(workdir=str(workdir), **{**SMALL, **changes})


def build(config, spec):
  """DCGAN whose figures are no numbers at a rate of 1."""
  system = dcgan.build(config, spec)

  def step(game, batch):
    game, metrics = system.step(game, batch)
    bad = jnp.where(config.learning_rate == 1.0, jnp.nan, 0.0)
    return game, {name: value + bad for name, value in metrics.items()}

  return system._replace(step=step)


build.__module__ = dcgan.__name__


def reporting(config, spec):
  """DCGAN with figures of its own."""
  system = dcgan.build(config, spec)

  def report(game):
    kernel = jax.tree.leaves(game.generator.params)[-1]
    return {"seed": float(config.seed), "kernel": float(jnp.abs(kernel).mean())}

  return system._replace(report=report)


reporting.__module__ = dcgan.__name__


def lines(folder):
  timed = {"steps_per_second", "data_wait_ms_per_step"}
  text = (pathlib.Path(folder) / "metrics.jsonl").read_text()
  rows = [json.loads(line) for line in text.splitlines()]
  return [{name: x for name, x in row.items() if name not in timed} for row in rows]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
  """A population that was stopped after two steps, one that was not, and its options."""
  options = dict(population=4, vary=("learning-rate=1e-3,1",), seed=3)
  broken, whole = (tmp_path_factory.mktemp(name) for name in ("broken", "whole"))
  for steps in (2, 4):
    assert run.train_population(build, config(broken, **options, steps=steps)) == 0
  assert run.train_population(build, config(whole, **options, steps=4)) == 0
  return broken, whole


def test_a_population_goes_on_as_if_it_had_not_stopped(many):
  broken, whole = many
  for folder in (".", *(f"members/{i}" for i in range(2))):
    assert lines(broken / folder) == lines(whole / folder)
  assert (broken / "population.jsonl").read_text() == (whole / "population.jsonl").read_text()
  assert (whole / "members/0/samples/step_000004.png").exists()


def test_a_member_is_the_run_of_its_flags_and_goes_on_alone(many, tmp_path, capsys):
  _, whole = many
  exported, alone = tmp_path / "exported", tmp_path / "alone"
  said = run.export_member(str(whole), str(exported), member=1)
  assert "member 1 at step 4" in said
  assert "--learning-rate=0.001" in said
  assert "--seed=4" in said
  for folder in (exported, alone):
    single = config(folder, seed=4, learning_rate=1e-3, steps=6)
    assert run.train(dcgan.build, single) == 0
  a, b = lines(exported), lines(alone)
  assert len(a) == len(b) > 6
  for x, y in zip(a, b, strict=True):
    assert x.keys() == y.keys()
    np.testing.assert_allclose(list(x.values()), list(y.values()), rtol=2e-3, atol=2e-4)
  game = run.restore(str(exported), 4).game
  assert float(game.generator.step) == 4
  with pytest.raises(run.RunError, match=r"not empty, or no folder: choose another"):
    run.export_member(str(whole), str(exported))
  with pytest.raises(run.RunError, match=r"--member=4 must be from 0 to 3"):
    run.export_member(str(whole), str(tmp_path / "other"), member=4)
  with pytest.raises(run.RunError, match=r"holds a population; take one member out by"):
    run.restore(str(whole))
  with pytest.raises(run.RunError, match=r"holds no population"):
    run.export_member(str(exported), str(tmp_path / "other"))


def test_members_that_diverge_leave_the_others_alone(many, tmp_path):
  _, whole = many
  last = lines(whole)[-1]
  assert last["diverged"] == 2
  assert np.isfinite(list(last.values())).all()
  found = [x for x in lines(whole) if "loss_D" in x][-1]
  good = [
    [x for x in lines(whole / f"members/{i}") if "loss_D" in x][-1]["loss_D"] for i in range(2)
  ]
  np.testing.assert_allclose(found["loss_D"], np.mean(good), rtol=1e-6)
  np.testing.assert_allclose(found["loss_D_std"], np.std(good), rtol=1e-4)
  said = run.export_member(str(whole), str(tmp_path / "best"))
  assert int(said.split()[1]) < 2
  with pytest.raises(run.RunError, match="all 2 members have diverged by step 1"):
    run.train_population(build, config(tmp_path / "all", population=2, learning_rate=1.0, steps=4))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (dict(population=-1), "--population=-1 must be from 0"),
    (dict(vary=("learning-rate=0.1,0.2",)), "--vary=learning-rate=0.1,0.2 needs --population"),
    (dict(population=3, vary=("learning-rate=0.1,0.2",)), "must be a multiple of 2"),
    (dict(population=2, vary=("width=1,2",)), "--vary=width=1,2: what can vary is --adam-b1, "),
    (dict(population=2, vary=("learning-rate=1,x",)), "must be of the form learning-rate=1,2"),
    (dict(population=2, vary=("learning-rate=1,1",)), "must be finite, each once"),
    (dict(population=2, vary=("learning-rate=1,-1",)), "--learning-rate=-1.0 must be positive"),
    (dict(population=2, vary=("ema-decay=0.5", "ema-decay=0.9")), "names a flag twice"),
  ],
)
def test_populations_that_cannot_be_are_refused(changes, message, tmp_path):
  with pytest.raises(run.RunError, match=message.replace("(", r"\(")):
    members.members_of(config(tmp_path, **changes))


def test_combinations_come_with_all_seeds():
  found = members.members_of(
    config("", population=8, seed=4, vary=("--learning-rate=1e-4,1e-3", "adam-b1=0,0.5"))
  )
  assert [each.seed for each in found] == [4, 5] * 4
  assert found[2].values == {"learning_rate": 1e-4, "adam_b1": 0.5}
  assert str(found[-1]) == "--learning-rate=0.001 --adam-b1=0.5 --seed=5"


def test_a_flag_that_decides_what_is_built_is_refused_before_anything_is_written(tmp_path):
  class Deciding:
    def __call__(self, config, spec):
      if config.penalty_weight > 1.0:
        return wgan_gp.build(config, spec)
      return wgan_gp.build(config, spec)

  deciding = Deciding()
  deciding.__module__ = wgan_gp.__name__
  small = {name: x for name, x in SMALL.items() if name != "resolution"}
  told = wgan_gp.Config(
    workdir=str(tmp_path / "run"),
    resolution=28,
    population=2,
    vary=("penalty-weight=1,10",),
    **small,
  )
  with pytest.raises(run.RunError, match="the experiment decides by such a value what it builds"):
    run.train_population(deciding, told)
  assert not (tmp_path / "run").exists()


def test_a_record_of_a_population_is_read_back_equal(tmp_path):
  told = config(tmp_path, population=2, vary=("learning-rate=0.1,0.2",))
  record = run.Record("experiments.dcgan", dataclasses.asdict(told), ImageSpec((8, 8, 1), ()), 1)
  record.save(tmp_path)
  assert run.Record.load(tmp_path) == record


def test_a_population_stopped_between_lines_goes_on_as_if_it_had_not(tmp_path, monkeypatch):
  """At a step that would be scored and reported, and in the middle of a line of the log."""

  class Stopping(population.Interruption):
    def __init__(self):
      super().__init__()
      self.asked = 0

    @property
    def signal(self):
      self.asked += 1
      return signal.SIGTERM if self.asked == 2 else None

    @signal.setter
    def signal(self, value):
      pass

  evaluated = dict(eval_every=2, eval_metrics="swd", eval_samples=16)
  options = dict(population=2, seed=3, steps=6, log_every=3, checkpoint_every=2, **evaluated)
  struck, whole = tmp_path / "struck", tmp_path / "whole"
  with monkeypatch.context() as patch:
    patch.setattr(population, "Interruption", Stopping)
    stopped = run.train_population(reporting, config(struck, **options))
    assert stopped == 128 + signal.SIGTERM
  assert run.train_population(reporting, config(struck, **options)) == 0
  assert run.train_population(reporting, config(whole, **options)) == 0
  for folder in (".", "members/0", "members/1"):
    assert lines(struck / folder) == lines(whole / folder)
  for index in range(2):
    own = [x for x in lines(whole / f"members/{index}") if "kernel" in x]
    assert [(x["step"], x["seed"]) for x in own] == [(step, 3.0 + index) for step in (2, 4, 6)]
    assert len({x["kernel"] for x in own}) == 3
  assert (struck / "population.jsonl").read_text() == (whole / "population.jsonl").read_text()


def test_the_command_of_an_exported_member_names_what_its_preset_does_not():
  base = dcgan.Config(preset="measured", **dcgan.PRESETS["measured"])
  told = dataclasses.replace(base, workdir="x", seed=4, batch_size=16)
  assert export._flags(told, base, "quick") == "--preset=measured --batch-size=16 --seed=4"


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (dict(coordinator="auto"), "takes one process: leave out --coordinator"),
    (dict(model_parallel=2), "leave out --model-parallel"),
    (dict(on_nan="rollback"), "leave out --on-nan=rollback"),
  ],
)
def test_what_populations_do_not_go_with_is_refused(flags, message):
  with pytest.raises(run.RunError, match=message):
    config("", population=2, **flags)
