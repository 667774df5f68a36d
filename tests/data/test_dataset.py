"""`load` for every kind of path; long, because each kind and each error is one short test."""

import functools
import gzip
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxgan import data
from jaxgan.data import pictures

image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, [6, 8, 8, 3], np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def save(path, array):
  path.parent.mkdir(parents=True, exist_ok=True)
  image.fromarray(array).save(path)


def idx(array):
  head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
  return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
  for number, picture in enumerate(COLOUR):
    save(tmp_path / "photos" / f"{number}.png", picture)
  return tmp_path / "photos"


# Digits


def test_digits_are_framed_as_in_mnist():
  digits = data.load("digits", resolution=32)
  assert (digits.name, digits.shape, len(digits)) == ("digits", (32, 32, 1), 1797)
  assert digits.classes == tuple("0123456789")
  stored = pytest.importorskip("sklearn.datasets").load_digits()
  np.testing.assert_array_equal(digits.labels, stored.target)
  ink = (digits.images[..., 0] > 127).any(0)
  rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
  assert rows.min() >= 2
  assert rows.max() <= 29
  assert columns.min() >= 2
  assert columns.max() <= 29
  boxes = digits.images[:, 2:30, 2:30, 0].reshape(1797, 4, 7, 4, 7).mean((2, 4))
  coarse = stored.images.reshape(1797, 4, 2, 4, 2).mean((2, 4)) * 255 / 16
  assert np.corrcoef(boxes.ravel(), coarse.ravel())[0, 1] > 0.99
  example = digits[3]
  assert example["image"].dtype == np.uint8
  assert example["label"].dtype == np.int32
  assert example["label"].shape == ()


def test_digits_without_a_resolution_are_the_stored_ones():
  digits = data.load("digits", resolution=None)
  stored = pytest.importorskip("sklearn.datasets").load_digits()
  np.testing.assert_array_equal(digits.images[..., 0], np.rint(stored.images * 255 / 16))


def test_splits_limits_and_channels_of_digits():
  everything = data.load("digits", resolution=8)
  last = data.load("digits", resolution=8, split="train[80%:]", limit=100, channels=3)
  assert last.shape == (8, 8, 3)
  np.testing.assert_array_equal(last.images[..., 1], everything.images[1438:1538, ..., 0])
  np.testing.assert_array_equal(last.labels, everything.labels[1438:1538])
  assert len(data.load("digits", limit=10_000)) == 1797


# Folders


def test_a_folder_is_read_in_the_order_of_its_names(folder):
  dataset = data.load(folder, resolution=8)
  assert (dataset.name, dataset.shape, dataset.classes) == ("photos", (8, 8, 3), ())
  assert dataset.labels is None
  assert isinstance(dataset.images, np.memmap)
  np.testing.assert_array_equal(dataset.images, COLOUR)
  assert "label" not in dataset[0]


def test_subfolders_are_classes(tmp_path):
  for label, picture in zip(LABELS, COLOUR, strict=True):
    save(tmp_path / "set" / "abc"[label] / "deep" / f"{picture[0, 0, 0]}.bmp", picture)
  (tmp_path / "set" / "a" / ".hidden.png").write_bytes(b"")
  dataset = data.load(tmp_path / "set", resolution=8)
  assert dataset.classes == ("a", "b", "c")
  np.testing.assert_array_equal(dataset.labels, [0, 0, 1, 1, 2, 2])
  for example, label in zip(dataset.images, dataset.labels, strict=True):
    assert any((example == picture).all() for picture in COLOUR[label == LABELS])


def test_pictures_beside_subfolders_or_one_subfolder_mean_no_classes(folder, tmp_path):
  save(folder / "more" / "9.png", COLOUR[0])
  assert data.load(folder).classes == ()
  assert data.load(tmp_path / "photos" / "more").classes == ()


def test_subfolders_named_as_splits_are_splits(tmp_path):
  for number, picture in enumerate(COLOUR):
    save(tmp_path / "set" / ("train", "test")[number % 2] / f"{number}.png", picture)
  load = functools.partial(data.load, tmp_path / "set", resolution=8)
  np.testing.assert_array_equal(load().images, COLOUR[::2])
  np.testing.assert_array_equal(load(split="test").images, COLOUR[1::2])
  np.testing.assert_array_equal(load(split="train[1:]").images, COLOUR[2::2])
  with pytest.raises(data.DataError, match="no split 'val', only: test, train"):
    load(split="val")


def test_a_class_may_be_called_train(tmp_path):
  for number, name in enumerate(["bus", "car", "train"]):
    save(tmp_path / "set" / name / "0.png", COLOUR[number])
  assert data.load(tmp_path / "set").classes == ("bus", "car", "train")


def test_grey_and_colour_do_not_mix_unasked(folder):
  save(folder / "grey.png", COLOUR[0, ..., 0])
  with pytest.raises(
    data.DataError, match=r"grey\.png.*colour ones.*\.png.*channels=1.*channels=3"
  ):
    data.load(folder)
  assert data.load(folder, channels=1).shape == (32, 32, 1)
  assert data.load(folder, channels=3, resolution=None).shape == (8, 8, 3)


def test_no_resolution_needs_one_square_size(folder):
  assert data.load(folder, resolution=None).shape == (8, 8, 3)
  save(folder / "9.png", COLOUR[0, :4, :4])
  with pytest.raises(data.DataError, match=r"different sizes.*give a number"):
    data.load(folder, resolution=None)
  save(folder / "wide" / "0.png", COLOUR[0, :4])
  with pytest.raises(data.DataError, match=r"4x8.*give a number"):
    data.load(folder / "wide", resolution=None)


def test_a_damaged_picture_is_named(folder):
  (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:70])
  with pytest.raises(data.DataError, match=r"3\.png"):
    data.load(folder)


# Arrays


def test_an_archive_with_labels(tmp_path):
  np.savez_compressed(tmp_path / "a.npz", images=COLOUR, labels=LABELS[:, None])
  dataset = data.load(tmp_path / "a.npz", resolution=8)
  np.testing.assert_array_equal(dataset.images, COLOUR)
  np.testing.assert_array_equal(dataset.labels, LABELS)
  assert dataset.classes == ("0", "1", "2")


def test_archives_with_splits_in_their_names(tmp_path):
  np.savez(tmp_path / "a.npz", x_train=COLOUR, y_train=LABELS, x_test=COLOUR[:2], y_test=LABELS[:2])
  np.savez(tmp_path / "b.npz", train_images=COLOUR[..., 0], train_labels=LABELS)
  test = data.load(tmp_path / "a.npz", resolution=8, split="test")
  np.testing.assert_array_equal(test.images, COLOUR[:2])
  np.testing.assert_array_equal(test.labels, LABELS[:2])
  train = data.load(tmp_path / "b.npz", resolution=8)
  np.testing.assert_array_equal(train.images, COLOUR[..., :1])
  with pytest.raises(data.DataError, match="no split 'test'"):
    data.load(tmp_path / "b.npz", split="test")


def test_an_archive_with_several_arrays_needs_a_name(tmp_path):
  np.savez(tmp_path / "a.npz", a=COLOUR[..., 0], b=COLOUR)
  with pytest.raises(data.DataError, match=r"'a' uint8\[6, 8, 8\], 'b' .*a\.npz#a'"):
    data.load(tmp_path / "a.npz")
  np.testing.assert_array_equal(data.load(f"{tmp_path}/a.npz#b", resolution=8).images, COLOUR)
  with pytest.raises(data.DataError, match="no array 'c', only 'a'"):
    data.load(f"{tmp_path}/a.npz#c")


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({"images": COLOUR / 255}, "float64: convert it to uint8"),
    ({"images": np.moveaxis(COLOUR, -1, 1)}, r"shape \[6, 3, 8, 8\]: give pictures as"),
    ({"z": LABELS}, "no array that could be the pictures"),
    ({"images": COLOUR, "labels": LABELS[:5]}, "6 pictures and labels int64"),
    ({"images": COLOUR, "labels": LABELS - 1}, "at least 0 for each"),
    ({"images": np.array([{}])}, "shape"),
  ],
)
def test_unfit_archives(tmp_path, arrays, message):
  np.savez(tmp_path / "a.npz", **arrays)
  with pytest.raises(data.DataError, match=message):
    data.load(tmp_path / "a.npz")


def test_a_pickle_in_an_archive_is_not_run(tmp_path):
  class Trap:
    def __reduce__(self):
      return (pytest.fail, ("a pickle was run",))

  labels = np.array([Trap()] * 6, object)
  np.savez(tmp_path / "a.npz", images=COLOUR, labels=labels)
  with pytest.raises(data.DataError, match="cannot read"):
    data.load(tmp_path / "a.npz")


def test_an_unreadable_archive(tmp_path):
  (tmp_path / "a.npz").write_bytes(b"PK no archive")
  with pytest.raises(data.DataError, match=r"a\.npz' as a NumPy archive.*numpy\.savez"):
    data.load(tmp_path / "a.npz")


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files(tmp_path, zipped):
  for split, count in (("train", 6), ("t10k", 2)):
    for kind, array in (("images-idx3", COLOUR[..., 0]), ("labels-idx1", LABELS)):
      content = idx(array[:count])
      path = tmp_path / f"{split}-{kind}-ubyte{'.gz' if zipped else ''}"
      path.write_bytes(gzip.compress(content) if zipped else content)
  train = data.load(tmp_path, resolution=8)
  np.testing.assert_array_equal(train.images[..., 0], COLOUR[..., 0])
  np.testing.assert_array_equal(train.labels, LABELS)
  assert len(data.load(tmp_path, split="test")) == len(data.load(tmp_path, split="t10k")) == 2
  assert len(data.load(tmp_path / path.name.replace("labels-idx1", "images-idx3"))) == 2
  with pytest.raises(data.DataError, match="no split 'val', only: t10k, train"):
    data.load(tmp_path, split="val")


@pytest.mark.parametrize(
  "content", [b"", b"\0\0\x08\x01\0\0\0\x01", idx(COLOUR[..., 0])[:-1]], ids=["empty", "1", "short"]
)
def test_an_unreadable_idx_file(tmp_path, content):
  path = tmp_path / "train-images-idx3-ubyte"
  path.write_bytes(content)
  with pytest.raises(data.DataError, match=r"as an IDX file.*Fetch it again"):
    data.load(path)


# The rule, the cache and the arguments


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"resolution": 3}, "resolution=3 is too small: give at least 4"),
    ({"limit": 0}, "limit=0 leaves no pictures"),
    ({"channels": 4}, "channels=4: give 1"),
    ({"split": "test"}, "'digits' has no split 'test', only: train"),
    ({"split": "train[:x]"}, r"split='train\[:x\]' is not understood"),
    ({"split": "train[5:5]"}, r"split='train\[5:5\]' of 'digits' is empty"),
  ],
)
def test_arguments_out_of_range(arguments, message):
  with pytest.raises(data.DataError, match=message):
    data.load("digits", **arguments)


def test_paths_without_pictures(tmp_path):
  with pytest.raises(data.DataError, match=r"no pictures below.*\.png"):
    data.load(tmp_path)
  (tmp_path / "a.txt").touch()
  with pytest.raises(data.DataError, match=r"a\.txt' is a file of an unknown kind"):
    data.load(tmp_path / "a.txt")


def test_a_second_start_decodes_nothing_until_something_changes(folder, monkeypatch):
  first = data.load(folder, resolution=8)
  read = pictures.read
  monkeypatch.setattr(pictures, "read", lambda path: pytest.fail("decoded again"))
  monkeypatch.setattr(pictures, "survey", lambda path: pytest.fail("looked at again"))
  np.testing.assert_array_equal(data.load(folder, resolution=8).images, first.images)
  monkeypatch.undo()
  monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
  decoded = []
  monkeypatch.setattr(pictures, "read", lambda path: decoded.append(path) or read(path))
  data.load(folder, resolution=4)
  data.load(folder, resolution=8, channels=1)
  data.load(folder, resolution=8, limit=2)
  assert len(decoded) == 14
  save(folder / "5.png", COLOUR[0])
  os.utime(folder / "5.png", ns=(1, time.time_ns() + 10**9))
  np.testing.assert_array_equal(data.load(folder, resolution=8).images[5], COLOUR[0])


def test_a_damaged_cache_is_made_again(folder):
  path = data.load(folder, resolution=8).images.filename
  with open(path, "r+b") as file:
    file.truncate(300)
  np.testing.assert_array_equal(data.load(folder, resolution=8).images, COLOUR)


@pytest.mark.parametrize("limit", [0, 6 * 8 * 8 * 3 - 1])
def test_past_the_limit_pictures_are_streamed(folder, tmp_path, limit):
  dataset = data.load(folder, resolution=8, cache_limit=limit)
  assert dataset.images is None
  assert (len(dataset), dataset.shape) == (6, (8, 8, 3))
  np.testing.assert_array_equal(dataset[4]["image"], COLOUR[4])
  assert not (tmp_path / "cache").exists()
  assert data.load(folder, resolution=8, cache_limit=6 * 8 * 8 * 3).images is not None


def test_a_reader_of_arrays_leaves_them_behind_when_pickled(tmp_path):
  np.savez(tmp_path / "a.npz", images=np.repeat(COLOUR, 100, 0))
  reader = data.load(tmp_path / "a.npz", resolution=8, cache_limit=0).reader
  np.testing.assert_array_equal(reader.read([1])[0][0], COLOUR[0])
  sent = pickle.dumps(reader)
  assert len(sent) < 2000
  np.testing.assert_array_equal(pickle.loads(sent).read([599])[0][0], COLOUR[5])


def test_a_data_set_of_ones_own_is_checked():
  with pytest.raises(data.DataError, match=r"float64.*give uint8"):
    data.Dataset("mine", images=COLOUR / 255)
  with pytest.raises(data.DataError, match=r"\[5\] beside 6 images"):
    data.Dataset("mine", images=COLOUR, labels=LABELS[:5])
  with pytest.raises(data.DataError, match="either images= or a reader="):
    data.Dataset("mine")


def test_importing_and_failing_needs_no_optional_package(tmp_path):
  program = """
import sys
for name in ("PIL", "sklearn", "tensorflow", "tensorflow_datasets", "grain", "tqdm"):
  sys.modules[name] = None
from jaxgan import data
for name in ("digits", "mnist", "."):
  try:
    data.load(name)
  except data.DataError as error:
    print(error)
"""
  save(tmp_path / "0.png", COLOUR[0])
  done = subprocess.run(
    [sys.executable, "-c", program],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
    check=False,
  )
  messages = done.stdout.splitlines()
  assert len(messages) == 3, done.stderr
  assert all("pip install 'jaxgan[experiments]'" in message for message in messages)


# Real sets


def test_real_folders_and_arrays(shared_data, tmp_path):
  emoji = data.load(shared_data / "emoji64", resolution=32, split="test")
  assert (len(emoji), emoji.shape, emoji.classes) == (310, (32, 32, 3), ())
  assert emoji.images[:, 0, 0].mean() > 240  # on white
  mnist = data.load(shared_data / "mnist10k", resolution=None, split="test")
  assert (len(mnist), mnist.shape, len(mnist.classes)) == (1500, (28, 28, 1), 10)
  with pytest.raises(data.DataError, match=r"'a' uint8.*'b' uint8"):
    data.load(shared_data / "openmoji_pairs64.npz")
  pairs = data.load(f"{shared_data}/openmoji_pairs64.npz#b", resolution=None, limit=50)
  assert (len(pairs), pairs.shape) == (50, (64, 64, 3))
