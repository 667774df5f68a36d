"""What labels and codes mean, by generators that are known to obey or not."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import acgan, conditions, dcgan, infogan, truncation
from jaxgan import run
from jaxgan.metrics import features
from jaxgan.metrics.features.classifier import Description, save
from jaxgan.run.state import Restored
from jaxgan.types import ImageSpec

SIDE = 8 + 2  # of a picture in a grid, with its gap
CLASSES = ("ant", "bee", "cat", "dog")


@pytest.fixture(scope="module")
def restored():
  """Runs by their experiment, all weights 0: nothing is compiled for them."""
  made = {}
  spec = ImageSpec((8, 8, 1), CLASSES)
  flags = dict(workdir="", resolution=8, width=2)
  for module, config in (
    (acgan, acgan.Config(**flags, latent_dim=3)),
    (infogan, infogan.Config(**flags, noise_dim=3, categories=4)),
    (dcgan, dcgan.Config(**flags)),
  ):
    system = module.build(config, spec)
    record = run.Record(module.__name__, dataclasses.asdict(config), spec, 40)
    shapes = jax.eval_shape(system.init, jax.random.key(0)).replace(key=None)
    game = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    made[module.__name__.rpartition(".")[2]] = Restored(record, config, system, game)
  return made


@pytest.fixture
def command(restored, tmp_path, monkeypatch, capsys):
  """Runs the command on one of the runs; gives its content and what was printed."""

  def call(name, generate=None, classes=CLASSES, **flags):
    system = restored[name].system
    system = system if generate is None else system._replace(generate=generate(system))
    monkeypatch.setattr(run, "restore", lambda *_: restored[name]._replace(system=system))
    if "classifier" not in flags:
      described = Description("animals", (8, 8, 1), classes, 0.9)
      monkeypatch.setattr(
        conditions, "classifier_of", lambda _: (described, by_brightness(len(classes)))
      )
      flags["classifier"] = "unread.npz"
    out = str(tmp_path / "a.png")
    options = conditions.Options(**{"workdir": str(tmp_path), "out": out, "num": 40, **flags})
    return conditions.main(options), capsys.readouterr().out

  return call


def by_brightness(classes=4):
  """A classifier of four brightnesses."""

  def outputs(images):
    levels = np.arange(classes) * 255 / 3
    apart = np.abs(images.mean((1, 2, 3))[:, None] - levels)
    return features.Outputs(images.mean((1, 2)), np.eye(classes)[apart.argmin(1)])

  return features.of_function(
    "brightness", outputs, dimension=1, classes=classes, weights_hash="ab12", compiled=False
  )


def shows(part, classes):
  """A generator that shows a class for each value of a part of the latent."""

  def generate(system):
    def pictures(variables, z):
      shown = jnp.asarray(classes)[system.latents.split(z)[part].argmax(1)]
      return jnp.broadcast_to((shown / 1.5 - 1.0)[:, None, None, None], (len(z), 8, 8, 1))

    return pictures

  return generate


def read(path):
  with Image.open(path) as file:
    return np.asarray(file)


def test_a_generator_that_obeys_is_told_from_one_that_mixes_two_classes(command, tmp_path):
  content, printed = command("acgan", shows("label", [0, 1, 2, 3]), num=42, seed=5, ema=False)
  assert content["accuracy"] == 1.0
  assert content["counts"] == np.diag([11, 11, 10, 10]).tolist()
  assert (content["protocol"]["seed"], content["protocol"]["ema"]) == (5, False)
  assert "| ant | 100.0% |" in printed
  grid = read(tmp_path / "a.png")
  assert grid.shape == (4 * SIDE + 2, 10 * SIDE + 2)
  np.testing.assert_array_equal(grid[5::SIDE, 5], [0, 85, 170, 255])
  assert not (tmp_path / "a_codes.png").exists()

  content, printed = command("acgan", shows("label", [0, 1, 2, 1]))
  assert content["accuracy_by_class"] == [1.0, 1.0, 1.0, 0.0]
  assert content["standard_error"] == pytest.approx(np.sqrt(0.75 * 0.25 / 40))
  assert "| dog | 0.0% |\n| mean | 75.0% (standard error 6.8%) |" in printed
  written = json.loads((tmp_path / "conditions_000000.json").read_text())
  assert written == json.loads(json.dumps(content))
  assert written["protocol"] == {
    "step": 0,
    "num": 40,
    "seed": 0,
    "ema": True,
    "truncation": None,
    "classifier": "brightness",
    "classifier_weights": "ab12",
    "classifier_accuracy": 0.9,
  }


def test_a_code_means_a_class_under_another_name(command, tmp_path):
  content, printed = command("infogan", shows("category", [2, 0, 3, 1]))
  assert (content["purity"], content["matched"]) == (1.0, 1.0)
  assert content["matching"] == [2, 0, 3, 1]
  assert "| 0 | 0% | 0% | 100% | 0% | cat |" in printed
  assert read(tmp_path / "a.png").shape == (4 * SIDE + 2, 10 * SIDE + 2)
  assert read(tmp_path / "a_codes.png").shape == (2 * SIDE + 2, 10 * SIDE + 2)


def test_two_codes_of_one_class_and_pictures_with_common_noise(command, tmp_path):
  """The classes are the classifier's: other ones than the run's, which was not told of any."""
  content, printed = command(
    "infogan", shows("category", [2, 2, 3, 3]), classes=tuple("vwxyz"), out=str(tmp_path / "a.npz")
  )
  assert (content["purity"], content["matched"]) == (1.0, 0.5)
  assert np.shape(content["counts"]) == (4, 5)
  assert sorted(content["matching"]) == [-1, -1, 2, 3]
  assert "purity 100.0%, accuracy of the best one-to-one matching 50.0%" in printed

  z = np.load(tmp_path / "a.npz")["latents"].reshape(4, 10, 9)
  np.testing.assert_array_equal(z[:, :, 3:7], np.eye(4)[:, None].repeat(10, 1))
  others = np.delete(z, range(3, 7), 2)
  np.testing.assert_array_equal(others, others[:1].repeat(4, 0))
  assert len(np.unique(others[0, :, 0])) == 10
  z = np.load(tmp_path / "a_codes.npz")["latents"].reshape(2, 10, 9)
  for row, coordinate in enumerate((7, 8)):
    np.testing.assert_allclose(z[row, :, coordinate], np.linspace(-2, 2, 10), atol=1e-6)
    rest = np.delete(z[row], coordinate, 1)
    np.testing.assert_array_equal(rest, rest[:1].repeat(10, 0))


def test_the_classifier_is_read_from_its_file(command, tmp_path, restored):
  description = Description("animals", (8, 8, 1), CLASSES, 0.8, {"width": 2})
  network = description.module()
  shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros([1, 8, 8, 1]))["params"]
  params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  params["Dense_1"]["bias"][2] = 1.0  # all are cats
  save(tmp_path / "c.npz", description, params)
  content, printed = command("acgan", classifier=str(tmp_path / "c.npz"))
  assert content["accuracy_by_class"] == [0.0, 0.0, 1.0, 0.0]
  assert len(content["protocol"]["classifier_weights"]) == 16
  assert "classifier(animals 8)" in printed
  assert "80.0%" in printed


@pytest.mark.parametrize(
  ("name", "flags", "message"),
  [
    ("acgan", {"num": 0}, "--num=0 must be positive"),
    ("acgan", {"num": 3}, "--num=3 must be at least 4, one sample for each label"),
    ("infogan", {"num": 3}, "one sample for each category"),
    ("acgan", {"seed": -1}, "--seed=-1"),
    ("acgan", {"batch_size": 0}, "--batch-size=0"),
    ("acgan", {"out": "a.jpg"}, "--out=a.jpg"),
    ("acgan", {"classes": tuple("wxyz")}, "apart (w, x, y, z), but the run's are ant, bee"),
    ("acgan", {"classifier": "lite0"}, "--classifier=lite0 must be an .npz"),
    ("acgan", {"classifier": "nowhere.npz"}, "--classifier=nowhere.npz: cannot read"),
    ("dcgan", {}, "experiments.dcgan have neither a label nor a category (no parts)"),
  ],
  ids=str,
)
def test_what_cannot_be_done_is_said_in_a_line(command, name, flags, message):
  with pytest.raises(run.RunError) as error:
    command(name, **flags)
  assert message in str(error.value)
  assert "\n" not in str(error.value)


def test_a_missing_run_is_said_in_a_line(tmp_path, monkeypatch):
  described = Description("animals", (8, 8, 1), CLASSES, 0.9)
  monkeypatch.setattr(conditions, "classifier_of", lambda _: (described, by_brightness()))
  with pytest.raises(run.RunError, match="holds no run"):
    conditions.main(conditions.Options(workdir=str(tmp_path), classifier="unread.npz"))


@pytest.fixture
def sweep(restored, tmp_path, monkeypatch, capsys):
  """Sweeps a generator that shows another class where its first normal is above 1."""

  def call(name="acgan", **flags):
    system = restored[name].system

    def generate(variables, z):
      parts = system.latents.split(z)
      noise = parts["noise"][:, :1]
      shown = parts["label"].argmax(1)
      shown = jnp.where(noise[:, 0] > 1.0, (shown + 1) % 4, shown)
      level = (shown / 1.5 - 1.0)[:, None] + 0.1 * noise
      return jnp.broadcast_to(level[:, :, None, None], (len(z), 8, 8, 1))

    monkeypatch.setattr(
      run, "restore", lambda *_: restored[name]._replace(system=system._replace(generate=generate))
    )
    described = Description("animals", (8, 8, 1), CLASSES, 0.9)
    monkeypatch.setattr(truncation, "classifier_of", lambda _: (described, by_brightness()))
    levels = np.random.default_rng(0).integers(60, 90, (80, 1, 1, 1)).astype(np.uint8)
    pictures = np.broadcast_to(levels, (80, 8, 8, 1))
    examples = [{"image": image, "label": i % 4} for i, image in enumerate(pictures)]
    monkeypatch.setattr(run, "load_data", lambda config: examples)
    given = {"workdir": str(tmp_path), "classifier": "unread.npz", "num": 400}
    options = truncation.Options(**{**given, "out": str(tmp_path / "t.png"), **flags})
    return truncation.main(options), capsys.readouterr().out

  return call


def test_truncation_buys_accuracy_with_diversity(sweep, tmp_path):
  content, printed = sweep(thresholds="1,0.5,2")
  rows = content["rows"]
  assert [row["threshold"] for row in rows] == [0.5, 1.0, 2.0, None]
  # The other class is shown where a normal, within the threshold, is above 1: never, never,
  # (Phi(2) - Phi(1)) / (2 Phi(2) - 1) = 14.2%, and 15.9%; 400 samples have a deviation of 1.8%.
  assert [row["accuracy"] for row in rows[:2]] == [1.0, 1.0]
  np.testing.assert_allclose([row["accuracy"] for row in rows[2:]], [0.858, 0.841], atol=0.06)
  diversity = [row["diversity"] for row in rows]
  assert diversity == sorted(diversity)
  # Within a class the noise alone varies: two of a uniform distribution on [-a, a] are 2 a / 3
  # apart, and so nearly are normals cut at 0.5 or 1 (1.9 times as far at 1 as at 0.5).
  assert diversity[1] / diversity[0] == pytest.approx(1.93, rel=0.1)
  assert "| none | " in printed
  assert "| 0.5 | 100.0% | " in printed
  assert json.loads((tmp_path / "truncation_000000.json").read_text()) == content
  assert read(tmp_path / "t_samples.png").shape == (4 * SIDE + 2, 10 * SIDE + 2)
  assert read(tmp_path / "t.png").ndim == 3


@pytest.mark.parametrize(
  ("name", "flags", "message"),
  [
    ("acgan", {"thresholds": "1,-2"}, "--thresholds=1,-2 must be positive numbers"),
    ("acgan", {"thresholds": "few"}, "--thresholds=few"),
    ("acgan", {"truncation": 1.0}, "give --thresholds=0.5,1"),
    ("acgan", {"num": 7}, "--num=7 must be at least 8"),
    ("acgan", {"out": "plots"}, "--out=plots must end in .png"),
    ("infogan", {}, "has codes but no labels"),
  ],
  ids=str,
)
def test_what_cannot_be_swept_is_said_in_a_line(sweep, name, flags, message):
  with pytest.raises(run.RunError) as error:
    sweep(name, **flags)
  assert message in str(error.value)
