import os
import pathlib
import threading

import numpy as np
import pytest

from jaxgan import data
from jaxgan.data import cache

IMAGES = np.random.default_rng(0).integers(0, 256, [5, 4, 4, 3], np.uint8)
LABELS = np.arange(5, dtype=np.int32)


def write(folder, images=IMAGES, labels=LABELS):
  cache.write(folder, zip(images, labels.tolist(), strict=True), images.shape, True)


def test_what_is_written_is_read_back(tmp_path):
  write(tmp_path / "deep" / "set")
  images, labels = cache.opened(tmp_path / "deep" / "set", 5, True)
  assert isinstance(images, np.memmap)
  np.testing.assert_array_equal(images, IMAGES)
  np.testing.assert_array_equal(labels, LABELS)
  assert os.listdir(tmp_path / "deep") == ["set"]


def cut(path):
  path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
  "damage",
  [
    lambda folder: cut(folder / "images.npy"),
    lambda folder: cut(folder / "labels.npy"),
    lambda folder: (folder / "images.npy").write_bytes(b""),
    lambda folder: (folder / "labels.npy").unlink(),
    lambda folder: np.save(folder / "images.npy", IMAGES[:4]),
    lambda folder: np.save(folder / "images.npy", IMAGES.astype(np.int16)),
    lambda folder: np.save(folder / "labels.npy", LABELS.astype(object), allow_pickle=True),
  ],
  ids=["short", "short labels", "empty", "no labels", "fewer", "type", "pickle"],
)
def test_a_damaged_cache_is_none_and_is_replaced(tmp_path, damage):
  folder = tmp_path / "set"
  write(folder)
  damage(folder)
  assert cache.opened(folder, 5, True) is None
  write(folder)
  np.testing.assert_array_equal(cache.opened(folder, 5, True)[0], IMAGES)
  assert os.listdir(tmp_path) == ["set"]


def test_a_failure_leaves_nothing_behind(tmp_path):
  def failing():
    yield IMAGES[0], 0
    raise data.DataError("no more")

  with pytest.raises(data.DataError, match="no more"):
    cache.write(tmp_path / "set", failing(), IMAGES.shape, True)
  assert os.listdir(tmp_path) == []


def test_several_writers_do_not_disturb_each_other(tmp_path):
  failures = []

  def work():
    try:
      for _ in range(10):
        write(tmp_path / "set")
        found = cache.opened(tmp_path / "set", 5, True)
        if found is not None:
          np.testing.assert_array_equal(found[0], IMAGES)
    except BaseException as error:
      failures.append(error)

  threads = [threading.Thread(target=work) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert failures == []
  assert os.listdir(tmp_path) == ["set"]
  assert cache.opened(tmp_path / "set", 5, True) is not None


def test_a_place_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(data.DataError, match=r"cannot write.*cache_dir=.*cache_limit=0"):
    write(tmp_path / "file" / "set")


def test_keys_tell_contents_apart():
  keys = {cache.key("a/b", *content) for content in [(1, 2), (1, "2"), ((1, 2),), (12,)]}
  assert len(keys) == 4
  assert all(key.startswith("a_b-") for key in keys)


def test_the_default_folder_follows_xdg(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert cache.default_folder() == tmp_path / "jaxgan" / "data"
  monkeypatch.delenv("XDG_CACHE_HOME")
  assert cache.default_folder() == pathlib.Path.home() / ".cache" / "jaxgan" / "data"
