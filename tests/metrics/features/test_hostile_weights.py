"""Weights and classifiers that lie: nothing is run, and no memory is taken on their word."""

import io
import json
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from jaxgan import _archives
from jaxgan.metrics.features import WeightsError, classifier, weights


@pytest.fixture
def sparing():
  """Fails where more than 64 MB are taken at a time."""
  tracemalloc.start()
  yield
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 64e6


def torch_file(path, data, storage=bytes(16)):
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("a/data.pkl", data)
    archive.writestr("a/data/0", storage)
  return path


def text(value):
  return b"X" + struct.pack("<I", len(value)) + value


def number(value):
  return b"\x8a\x08" + struct.pack("<q", value)


STORAGE = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"0") + text(b"cpu")
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def tensor(shape=b"K\x04\x85", strides=b"K\x01\x85", count=4):
  return REBUILD + b"(" + STORAGE + number(count) + b"tQK\x00" + shape + strides + b"\x89NtR"


def mapping(*items):
  return b"\x80\x02}(" + b"".join(text(name) + value for name, value in items) + b"u."


def test_the_opcodes_are_those_of_tensors(tmp_path):
  path = torch_file(tmp_path / "a.pth", mapping((b"a", tensor()), (b"b", tensor())))
  assert {name: x.tolist() for name, x in weights.read_torch(path).items()} == {
    "a": [0.0] * 4,
    "b": [0.0] * 4,
  }


LAUGHS = b"(K\x01K\x01tq\x00" + b"".join(b"h%c" % i * 2 + b"\x86q%c" % (i + 1) for i in range(60))


@pytest.mark.usefixtures("sparing")
@pytest.mark.parametrize(
  "data",
  [
    mapping((b"w", tensor(b"(" + number(2**40) + b"t", b"(K\x00t"))),
    mapping((b"w", tensor(b"(" + b"K\x02" * 30 + b"t", b"(" + b"K\x00" * 30 + b"t"))),
    mapping((b"w", tensor(b"(" + b"K\x01" * 99 + b"t", b"(" + b"K\x00" * 99 + b"t"))),
    mapping((b"w", tensor(count=2**60))),
    b"\x80\x02" + b"N" * 2**16 + b".",
    b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
    b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b".",
    b"\x80\x02" + LAUGHS + b"Q.",
    b"\x80\x02(" + text(b"storage") + b"ctorch\nFloatStorage\n" + LAUGHS + b"NK\x04tQ.",
    b"\x80\x02ccollections\nOrderedDict\n" + LAUGHS + b"R.",
    b"\x80\x02ccollections\nOrderedDict\n](]](K\x01K\x02eetR.",
    b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    b"\x80\x02cos\nsystem\n" + text(b"false") + b"\x85R.",
    b"\x80\x02c" + b"x" * 2**20 + b"\ny\n.",
  ],
  ids=[
    "huge", "doubled", "dimensions", "count", "long", "bytes", "frame", "laughs", "key",
    "arguments", "copies", "new", "system", "name",
  ],
)  # fmt: skip
def test_pickles_that_lie(tmp_path, monkeypatch, data):
  monkeypatch.setattr(weights, "_MOST_PICKLE", 1 << 14)
  with pytest.raises(WeightsError, match=r"a\.pth'") as caught:
    weights.read_torch(torch_file(tmp_path / "a.pth", data))
  assert len(str(caught.value)) < 1000
  (tmp_path / "old.pth").write_bytes(data)
  with pytest.raises(WeightsError, match=r"old\.pth'"):
    weights.read_torch(tmp_path / "old.pth")


@pytest.mark.usefixtures("sparing")
def test_a_number_of_a_memo_takes_no_memory(tmp_path):
  """The unpickler in C fills a table up to it."""
  path = torch_file(tmp_path / "a.pth", b"\x80\x02}r\xff\xff\xff\x0f.")
  assert weights.read_torch(path) == {}


@pytest.mark.usefixtures("sparing")
def test_a_tensor_may_not_be_repeated_without_end(tmp_path, monkeypatch):
  monkeypatch.setattr(_archives, "_ALWAYS", 1000)
  monkeypatch.setattr(_archives, "_RATIO", 10)
  storage = np.random.default_rng(0).bytes(400)
  whole = tensor(b"K\x64\x85", count=100)
  names = [b"%d" % i for i in range(300)]
  path = torch_file(tmp_path / "a.pth", mapping((b"w", whole)), storage)
  assert weights.read_torch(path)["w"].shape == (100,)
  again = b"\x80\x02}(" + text(b"w") + whole + b"q\x01"
  again += b"".join(text(name) + b"h\x01" for name in names) + b"u."
  with pytest.raises(WeightsError, match="would unpack to"):
    weights.read_torch(torch_file(tmp_path / "a.pth", again, storage))


@pytest.mark.usefixtures("sparing")
def test_a_storage_that_unpacks_to_far_more(tmp_path, monkeypatch):
  monkeypatch.setattr(_archives, "_ALWAYS", 1000)
  data = mapping((b"w", tensor(b"(" + number(10**6) + b"t", count=10**6)))
  with pytest.raises(WeightsError, match="would unpack to"):
    weights.read_torch(torch_file(tmp_path / "a.pth", data, bytes(4 * 10**6)))


# Classifiers


def described(**changes):
  content = {
    "form": 1, "dataset": "dots", "shape": [8, 8, 1], "classes": ["a", "b"], "accuracy": 0.5,
    "network": {"width": 1, "dimension": 2},
  }  # fmt: skip
  return json.dumps({**content, **changes})


class Trap:
  def __reduce__(self):
    return pytest.fail, ("a pickle was run",)


@pytest.mark.usefixtures("sparing")
@pytest.mark.parametrize(
  "arrays",
  [
    {"description": np.array([Trap()], object)},
    {"description": np.array(described()), "w": np.array([Trap()], object)},
    {"description": np.array(described()), "w": np.array(["text"])},
    {"description": np.array(described(shape=[10**9, 10**9, 1]))},
    {"description": np.array(described(shape=[8, 8]))},
    {"description": np.array(described(shape=["8", 8, 1]))},
    {"description": np.array(described(shape=8))},
    {"description": np.array(described(classes=[1, 2]))},
    {"description": np.array(described(accuracy="all"))},
    {"description": np.array(described(network={"width": "a"}))},
    {"description": np.array(described(network={"width": -1}))},
    {"description": np.array(described(network={"classes": 3}))},
    {"description": np.array(described(network={"__class__": 3}))},
    {"description": np.array(described(network=[1]))},
    {"description": np.array(described(network={"width": 10**9}))},
    {"description": np.array(described(more=1))},
    {"description": np.array("[" * 10_000)},
    {"description": np.array("[]")},
    {"description": np.array(b"\xff")},
    {"w": np.zeros(1, np.float32)},
  ],
  ids=[str(number) for number in range(20)],
)
def test_classifiers_that_lie(tmp_path, arrays):
  np.savez(tmp_path / "a.npz", **arrays)
  with pytest.raises(WeightsError):
    classifier.load(tmp_path / "a.npz")


@pytest.mark.parametrize("size", [0, 10, 100, 300])
def test_classifiers_cut_short(tmp_path, size):
  whole = io.BytesIO()
  np.savez(whole, description=np.array(described()))
  (tmp_path / "a.npz").write_bytes(whole.getvalue()[:size])
  with pytest.raises(WeightsError, match=r"a\.npz' is damaged"):
    classifier.load(tmp_path / "a.npz")


def test_a_pickle_named_as_a_classifier_is_not_run(tmp_path):
  (tmp_path / "a.npz").write_bytes(pickle.dumps(Trap()))
  with pytest.raises(WeightsError, match=r"a\.npz' is damaged"):
    classifier.load(tmp_path / "a.npz")
