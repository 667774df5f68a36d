"""The classifier from end to end, tiny."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import classifier
from jaxgan import data, run
from jaxgan.metrics.features.classifier import Description, load

TRAINING = classifier.Training(steps=80, width=8, batch_size=64)
OPTIONS = classifier.Options(resolution=12, limit=500, training=TRAINING)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
  """No test leaves anything in the user's cache."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  return tmp_path / "jaxgan" / "classifiers"


def test_a_classifier_is_trained_once_and_kept(cache, capsys, monkeypatch):
  classifier.main(OPTIONS)
  first = capsys.readouterr().out
  assert first.startswith("classifier(digits 12): ")
  assert "of 100 held-out pictures right" in first
  assert float(first.split()[2].rstrip("%")) > 50  # chance is 10
  (path,) = cache.iterdir()
  assert str(path) in first

  with monkeypatch.context() as without:
    without.setattr(classifier, "train", None)
    classifier.main(OPTIONS)
    assert capsys.readouterr().out == first

  kept = load(path)
  path.write_bytes(path.read_bytes()[:1000])
  monkeypatch.setattr(classifier, "train", lambda *_: kept)
  classifier.main(OPTIONS)
  printed = capsys.readouterr()
  assert "damaged" in printed.err
  assert printed.out == first
  assert list(cache.iterdir()) == [path]


def test_a_cache_that_cannot_be_written_costs_only_the_cache(cache, capsys, monkeypatch):
  digits = data.load("digits", resolution=12)
  description = Description("digits", digits.shape, digits.classes, 0.9, {"width": 4})
  params = description.module().init(jax.random.key(0), jnp.zeros([1, 12, 12, 1]))["params"]
  monkeypatch.setattr(classifier, "train", lambda *_: (description, params))
  cache.parent.mkdir()
  cache.touch()
  network, _ = classifier.obtain(digits, TRAINING)
  assert network.name == "classifier(digits 12)"
  assert "cannot be kept" in capsys.readouterr().err


def test_what_decides_the_weights_decides_the_file():
  digits = data.load("digits", resolution=12)
  others = [
    (data.load("digits", resolution=12, limit=500), TRAINING),
    (data.load("digits", resolution=16), TRAINING),
    (data.Dataset("digits", digits.images[::-1], digits.labels, digits.classes), TRAINING),
    (digits, dataclasses.replace(TRAINING, seed=1)),
    (digits, dataclasses.replace(TRAINING, width=16)),
  ]
  paths = {classifier._path(*arguments) for arguments in [(digits, TRAINING), *others]}
  assert len(paths) == len(others) + 1
  assert classifier._path(data.load("digits", resolution=12), TRAINING) in paths


def test_pictures_move_by_whole_pixels_and_keep_their_border():
  images = jnp.arange(2 * 6 * 6, dtype=jnp.float32).reshape(2, 6, 6, 1)
  seen = set()
  for seed in range(20):
    moved = np.asarray(classifier.shifted(images, jax.random.key(seed), 1))
    for before, after in zip(np.asarray(images), moved, strict=True):
      down, right = np.argwhere(after == before[2, 2])[0][:2] - 2
      padded = np.pad(before, ((1, 1), (1, 1), (0, 0)), mode="edge")
      np.testing.assert_array_equal(after, padded[1 - down : 7 - down, 1 - right : 7 - right])
      seen.add((down, right))
  assert len(seen) == 9
  np.testing.assert_array_equal(classifier.shifted(images, jax.random.key(0), 0), images)


def test_streamed_pictures_are_read_whole():
  digits = data.load("digits", resolution=12, limit=20)

  class Streamed:
    name, shape, classes, images, labels = "s", digits.shape, digits.classes, None, None

    def __len__(self):
      return len(digits)

    def __getitem__(self, index):
      return digits[index]

  images, labels = classifier.arrays(Streamed())
  np.testing.assert_array_equal(images, digits.images)
  np.testing.assert_array_equal(labels, digits.labels)


def test_sets_and_flags_without_a_classifier_are_refused(monkeypatch):
  digits = data.load("digits", resolution=12)
  with pytest.raises(run.RunError, match="bare has no labels"):
    classifier.obtain(data.Dataset("bare", digits.images), TRAINING)
  for flag, value in {"steps": 0, "shift": -1, "width": 0}.items():
    with pytest.raises(run.RunError, match=f"--{flag}={value}"):
      classifier.Training(**{flag: value})
