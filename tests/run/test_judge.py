"""What health reads of samples, as the judge and the loop log it."""

import functools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cgan
from jaxgan import data, latents, metrics, run
from jaxgan.metrics import features, health
from jaxgan.run import loop
from jaxgan.run.conditioning import condition_of
from jaxgan.run.judge import Judge
from jaxgan.run.logs import Log
from jaxgan.training import System

SHAPE = (8, 8, 1)


def game_at(step):
  evaluated = types.SimpleNamespace(evaluated=lambda average=True: None)
  return types.SimpleNamespace(step=step, generator=evaluated)


def shows(effect, classes, name="label"):
  """A generator of noise, of which so much follows the label; and its latents."""
  z = latents.mixed(**{name: latents.categorical(classes)}, noise=latents.normal(64))

  def generate(variables, x):
    parts = z.split(x)
    shift = effect * parts[name] @ jnp.linspace(-1.0, 1.0, classes)
    return (0.2 * parts["noise"] + shift[:, None]).reshape(-1, *SHAPE)

  return System(None, None, z, generate, 1)


def watched(folder, system, values=(), **options):
  """The log's lines and the verdicts after three scores."""
  pictures = np.random.default_rng(0).integers(0, 256, [70, *SHAPE]).astype(np.uint8)
  config = run.Config(workdir=str(folder), dataset="noise")
  monitor = health.Monitor(warmup=0, **options)
  folder.mkdir(exist_ok=True)
  with Log(folder, 0, monitor, lambda text: None) as log:
    judge = Judge(system, config, data.Dataset("noise", pictures), log)
    for step in (1, 2, 3):
      judge.watch(game_at(step), dict(values))
  lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  found = folder / "health.jsonl"
  verdicts = [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []
  return lines, {verdict["name"]: verdict for verdict in verdicts}


@pytest.mark.parametrize(("name", "classes"), [("label", 10), ("category", 3)])
def test_a_label_without_an_effect_is_found(tmp_path, name, classes):
  lines, found = watched(tmp_path / "ignored", shows(0.005, classes, name))
  assert [line["step"] for line in lines] == [1, 2, 3]
  assert lines[0]["condition_effect"] < 0.05
  assert "conditions_ignored" in found
  lines, found = watched(tmp_path / "followed", shows(0.5, classes, name))
  assert lines[0]["condition_effect"] > 0.5
  assert "conditions_ignored" not in found
  assert "diversity" in lines[0]


def test_the_effect_is_that_of_the_grids_noise_under_several_labels(tmp_path):
  system = shows(0.5, 10)
  lines, _ = watched(tmp_path, system)
  key = jax.random.split(jax.random.fold_in(jax.random.key(0), 0x5A3), 3)[0]
  z = np.tile(np.asarray(system.latents(key, 64))[:8], (8, 1, 1))
  z[:, :, :10] = np.eye(10)[[0, 1, 3, 4, 5, 6, 8, 9]][:, None]
  images = system.generate(None, jnp.asarray(z.reshape(64, -1))).reshape(8, 8, -1)
  wanted = float(metrics.condition_effect(images))
  assert lines[0]["condition_effect"] == pytest.approx(wanted, rel=1e-4)


def test_latents_without_a_label_have_no_effect(tmp_path):
  z = latents.normal(64)
  system = System(None, None, z, lambda variables, x: 0.2 * x.reshape(-1, *SHAPE), 1)
  lines, found = watched(tmp_path, system, {"memorisation": 0.95})
  assert set(lines[0]) == {"step", "diversity", "memorisation"}
  assert "memorisation" in found
  assert condition_of(latents.mixed(noise=z, tilt=latents.uniform(2))) is None


def test_the_loop_tells_of_labels_that_are_ignored(tmp_path, monkeypatch):
  """A generator that has hardly begun, judged by a classifier that knows nothing."""
  names = tuple("0123456789")
  description = features.classifier.Description("digits", (8, 8, 1), names, 0.1, {"width": 2})
  params = description.module().init(jax.random.key(0), jnp.zeros([1, 8, 8, 1]))["params"]
  features.classifier.save(tmp_path / "c.npz", description, params)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  monkeypatch.setattr(loop, "Monitor", functools.partial(health.Monitor, warmup=0))
  flags = [
    f"--workdir={tmp_path / 'run'}",
    "--resolution=8",
    "--width=4",
    "--batch-size=8",
    "--steps=3",
    "--split=train[:200]",
    "--eval-every=1",
    "--eval-held-out=train[200:260]",
    f"--eval-features={tmp_path / 'c.npz'}",
    "--eval-metrics=labels,memorisation",
    "--eval-samples=100",
    "--no-compilation-cache",
  ]
  with pytest.raises(SystemExit) as end:
    run.main(cgan.build, cgan.Config, cgan.PRESETS, flags)
  assert end.value.code == 0
  lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
  for step in (1, 2, 3):
    values = {k: v for line in lines if line["step"] == step for k, v in line.items()}
    assert {"diversity", "condition_effect"} <= set(values)
    assert values["label_accuracy"] == values["label accuracy (classifier(digits 8))"]
    assert values["memorisation"] == values["memorisation (classifier(digits 8))"]
  health_lines = (tmp_path / "run/health.jsonl").read_text().splitlines()
  verdicts = {verdict["name"]: verdict for verdict in map(json.loads, health_lines)}
  assert "label_accuracy was at most" in verdicts["conditions_ignored"]["evidence"]
  assert "by chance 0.1" in verdicts["conditions_ignored"]["evidence"]


def test_an_evaluation_that_cannot_be_is_refused_before_the_run_begins(tmp_path, capsys):
  flags = [f"--workdir={tmp_path}", "--resolution=8", "--eval-every=5", "--batch-size=8"]
  for more, message in (
    (["--eval-metrics=parzen"], "by --eval-held-out=test"),
    (["--eval-metrics=parzen", "--eval-held-out=test"], "--eval-held-out=test: 'digits' has no sp"),
    (["--eval-metrics=parzen", "--eval-held-out=train"], "is what the run learns from"),
  ):
    with pytest.raises(SystemExit) as end:
      run.main(cgan.build, cgan.Config, cgan.PRESETS, [*flags, *more])
    assert end.value.code == 2
    assert message in capsys.readouterr().err
  assert not (tmp_path / "config.json").exists()


def test_translated_pictures_stand_below_what_they_come_from(tmp_path):
  table = np.full([5, *SHAPE], -1.0, np.float32)
  z = latents.rows(table)

  def generate(variables, x):
    return jnp.repeat(-x, 3, axis=-1)  # black becomes white, in colour

  system = System(None, None, z, generate, 1, inputs=lambda x: x)
  config = run.Config(workdir=str(tmp_path), dataset="noise")
  monitor = health.Monitor(warmup=0)
  with Log(tmp_path, 0, monitor, lambda text: None) as log:
    judge = Judge(system, config, data.Dataset("noise", np.zeros([9, 8, 8, 3], np.uint8)), log)
    judge.draw(game_at(3))
  image = pytest.importorskip("PIL.Image")
  drawn = np.asarray(image.open(tmp_path / "samples" / "step_000003.png"))
  assert drawn.shape[-1] == 3
  assert (drawn[2:10, 2:10] == 0).all()
  assert (drawn[12:20, 2:10] == 255).all()
