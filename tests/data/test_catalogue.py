import functools
import shutil
import sys

import numpy as np
import pytest

from jaxgan import data
from jaxgan.data import catalogue

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def picture(number):
  return np.full([6, 8, 3], number, np.uint8)


@pytest.fixture(scope="module")
def builder_class():
  class JaxganPlain(tfds.core.GeneratorBasedBuilder):
    """Twelve plain pictures; made here, so that nothing is downloaded."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      features = {
        "image": tfds.features.Image(shape=(6, 8, 3)),
        "label": tfds.features.ClassLabel(names=["even", "odd"]),
        "note": tfds.features.Text(),
      }
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples(12), "test": self._generate_examples(4)}

    def _generate_examples(self, count):
      for number in range(count):
        yield number, {"image": picture(number), "label": number % 2, "note": "x"}

  return JaxganPlain


def check(dataset):
  assert dataset.name == "jaxgan_plain"
  assert (len(dataset), dataset.shape, dataset.classes) == (12, (6, 6, 3), ("even", "odd"))
  numbers = [int(dataset[index]["image"][0, 0, 0]) for index in range(12)]
  assert sorted(numbers) == list(range(12))
  assert [int(dataset[index]["label"]) for index in range(12)] == [n % 2 for n in numbers]
  return numbers


@pytest.fixture(scope="module")
def prepared(builder_class, tmp_path_factory):
  """The set in both formats; only its preparation needs TensorFlow."""
  pytest.importorskip("tensorflow")
  place = tmp_path_factory.mktemp("tfds")
  builder_class(data_dir=place / "tfrecord", file_format="tfrecord").download_and_prepare()
  data.load("jaxgan_plain", data_dir=place / "array_record", cache_limit=0)
  return place


def test_a_set_is_prepared_once_and_read_without_tensorflow(prepared, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow", None)
  arguments = {"resolution": 6, "data_dir": prepared / "array_record"}
  cached = check(data.load("jaxgan_plain", **arguments))
  streamed = data.load("jaxgan_plain", cache_limit=0, **arguments)
  assert streamed.images is None
  assert check(streamed) == cached
  part = data.load("jaxgan_plain:1.0.0", split="train[50%:]", limit=4, **arguments)
  assert [int(example[0, 0, 0]) for example in part.images] == cached[6:10]
  with pytest.raises(data.DataError, match="no split 'val', only: train, test"):
    data.load("jaxgan_plain", split="val", **arguments)
  with pytest.raises(data.DataError, match=r"6x8.*give a number"):
    data.load("jaxgan_plain", **{**arguments, "resolution": None})


def test_tfrecord_is_read_through_the_cache(prepared, monkeypatch):
  place = prepared / "tfrecord"
  load = functools.partial(data.load, "jaxgan_plain", resolution=6, data_dir=place)
  with pytest.raises(data.DataError, match=r"tfrecord.*1,296 bytes.*cache_limit=1,000.*limit="):
    load(cache_limit=1000)
  with monkeypatch.context() as without:
    without.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(data.DataError, match=r"tfrecord.*'tensorflow'.*pip install"):
      load()
  first = check(load())
  monkeypatch.setitem(sys.modules, "tensorflow", None)
  assert check(load()) == first


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("fashion_mnst", "neither an existing path nor .* mean 'fashion_mnist'"),
    ("digit", "mean .*'digits'"),
    ("./no/such", r"nothing lies at '/.*no/such'.*Check the path"),
    ("gone.npz#a", r"nothing lies at '/.*gone\.npz#a'"),
    ("no/such", r"neither .* If it is a path: nothing lies at '/.*no/such'"),
    ("mnist:9.9.9", "TFDS cannot open 'mnist:9.9.9'.*--data-dir"),
    ("mnist/none", "TFDS cannot open 'mnist/none'"),
  ],
)
def test_unknown_names(name, message, tmp_path):
  with pytest.raises(data.DataError, match=message):
    data.load(name, data_dir=tmp_path)


def test_a_failed_download_is_one_message(monkeypatch, tmp_path):
  def fail(*_, **__):
    raise ConnectionError("no route\nto host")

  monkeypatch.setattr(tfds.download.DownloadManager, "download", fail)
  monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fail)
  with pytest.raises(data.DataError) as caught:
    data.load("mnist", data_dir=tmp_path)
  assert "ConnectionError: no route." in str(caught.value)
  assert all(word in str(caught.value) for word in ("digits", "folder", "--data-dir", "mnist"))


def test_a_set_without_pictures(tmp_path):
  class JaxganText(tfds.core.GeneratorBasedBuilder):
    """No picture in it."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()})
      )

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples()}

    def _generate_examples(self):
      yield 0, {"text": "x"}

  assert JaxganText.name == "jaxgan_text"
  with pytest.raises(data.DataError, match="no picture called 'image', only text"):
    data.load("jaxgan_text", data_dir=tmp_path)


def test_damaged_files_are_named(prepared, tmp_path):
  shutil.copytree(prepared / "array_record", tmp_path / "set")
  for path in (tmp_path / "set").rglob("*train.array_record*"):
    path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(data.DataError, match=r"cannot read 'jaxgan_plain' from '.*Remove the folder"):
    data.load("jaxgan_plain", data_dir=tmp_path / "set")


def test_a_real_set_in_a_folder_that_cannot_be_written(shared_data):
  dataset = data.load("fashion_mnist", split="test[:1%]", data_dir=shared_data / "tfds")
  assert (len(dataset), dataset.shape) == (100, (32, 32, 1))
  assert dataset.classes[0] == "T-shirt/top"
  source = catalogue.open_name("fashion_mnist", "test", shared_data / "tfds")
  image, label = source[17]
  assert image.shape == (28, 28, 1)
  assert label == dataset.labels[17]
