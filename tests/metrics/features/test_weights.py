"""Files written by PyTorch itself, in both of its forms, and files that lie."""

import collections
import io
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from jaxgan.metrics.features import weights

FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@pytest.fixture
def torch():
  return pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")


def save(torch, content, path, zipped):
  torch.save(content, path, _use_new_zipfile_serialization=zipped)
  return path


@FORMS
def test_every_type_and_layout_is_read_as_torch_reads_it(torch, tmp_path, zipped):
  base = torch.arange(60.0).reshape(3, 4, 5)
  tensors = collections.OrderedDict(
    float32=base / 7,
    float64=base.double() / 7,
    float16=base.half() / 7,
    bfloat16=base.bfloat16() / 7,
    int64=base.long() - 30,
    int32=base.int() - 30,
    int16=base.short() - 30,
    int8=base.to(torch.int8) - 30,
    uint8=base.to(torch.uint8),
    bool=base > 20,
    scalar=torch.tensor(3),
    empty=torch.zeros(0, 4),
    transposed=base.permute(2, 0, 1),
    channels_last=base[None].contiguous(memory_format=torch.channels_last),
    strided=base[1:, ::2, 1::3],
    expanded=base[:1, :1].expand(3, 4, 5),
    parameter=torch.nn.Parameter(base[2]),
  )
  got = weights.read_torch(save(torch, tensors, tmp_path / "a.pth", zipped))
  assert list(got) == list(tensors)
  for name, tensor in tensors.items():
    assert got[name].flags.c_contiguous, name
    if name == "bfloat16":
      assert got[name].dtype == ml_dtypes.bfloat16
      np.testing.assert_array_equal(got[name].astype(np.float32), tensor.float().numpy())
    else:
      assert got[name].dtype == tensor.detach().numpy().dtype, name
      np.testing.assert_array_equal(got[name], tensor.detach().numpy(), err_msg=name)


@FORMS
def test_a_module_with_shared_weights_is_read(torch, tmp_path, zipped):
  nn = torch.nn
  network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(4, 4), nn.Linear(4, 4))
  network[3].weight = network[2].weight
  state = network.state_dict()
  got = weights.read_torch(save(torch, state, tmp_path / "a.pth", zipped))
  assert set(got) == set(state)
  for name, tensor in state.items():
    np.testing.assert_array_equal(got[name], tensor.numpy())
  got["2.weight"][:] = 0.0  # copies: what is shared in the file is not shared here
  assert got["3.weight"].any()


class Evil:
  def __init__(self, function, *args):
    self.call = function, args

  def __reduce__(self):
    return self.call


@FORMS
@pytest.mark.parametrize(
  ("function", "name"),
  [(os.system, "system"), (eval, "eval"), (getattr, "getattr"), (__import__, "__import__")],
)
def test_a_pickle_that_calls_something_is_refused_by_name(torch, tmp_path, zipped, function, name):
  evidence = tmp_path / "executed"
  arguments = {
    "system": (f"touch {evidence}",),
    "eval": (f"open({str(evidence)!r}, 'w')",),
    "getattr": ("", "join"),
    "__import__": ("os",),
  }[name]
  content = {"weight": torch.zeros(2), "evil": Evil(function, *arguments)}
  path = save(torch, content, tmp_path / "a.pth", zipped)
  with pytest.raises(weights.WeightsError, match=rf"\.{name}, which .* is not run"):
    weights.read_torch(path)
  assert not evidence.exists()


def pickled(path, data):
  """The zip form around a pickle."""
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("a/data.pkl", data)
    archive.writestr("a/data/0", bytes(16))
  return path


def tensor_pickle(offset=b"K\x00", shape=b"K\x02K\x02\x86", strides=b"K\x02K\x01\x86", after=b""):
  """`{"w": tensor}` over four floats, opcode by opcode."""
  storage = (
    b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
  )
  rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n" + after
  arguments = storage + b"K\x04tQ" + offset + shape + strides + b"\x89Nt"
  return b"\x80\x02}X\x01\x00\x00\x00w" + rebuild + arguments + b"Rs."


def test_the_opcodes_are_those_of_a_tensor(tmp_path):
  got = weights.read_torch(pickled(tmp_path / "a.pth", tensor_pickle()))
  np.testing.assert_array_equal(got["w"], np.zeros([2, 2], np.float32))


@pytest.mark.parametrize(
  "lie",
  [
    dict(offset=b"K\x01"),
    dict(offset=b"J\xff\xff\xff\xff"),
    dict(shape=b"K\x02K\x03\x86"),
    dict(strides=b"K\x03K\x01\x86"),
    dict(strides=b"J\xfe\xff\xff\xffK\x01\x86"),
    dict(shape=b"K\x04\x85"),
    dict(shape=b"G\x40\x00\x00\x00\x00\x00\x00\x00K\x02\x86"),
  ],
  ids=["offset", "before", "shape", "strides", "backwards", "dimensions", "float"],
)
def test_a_tensor_that_reaches_out_of_its_storage_is_refused(tmp_path, lie):
  with pytest.raises(weights.WeightsError, match=r"damaged .* a tensor"):
    weights.read_torch(pickled(tmp_path / "a.pth", tensor_pickle(**lie)))


def test_a_pickle_cannot_change_what_it_calls(tmp_path):
  """BUILD sets attributes of the object below: here the defaults of the rebuilding function."""
  build = b"N}X\x0c\x00\x00\x00__defaults__)s\x86b"
  with pytest.raises(weights.WeightsError, match="AttributeError"):
    weights.read_torch(pickled(tmp_path / "a.pth", tensor_pickle(after=build)))
  assert weights.read_torch(pickled(tmp_path / "a.pth", tensor_pickle()))


@FORMS
def test_every_truncation_is_an_error(torch, tmp_path, zipped):
  whole = io.BytesIO()
  torch.save({"a": torch.ones(5)}, whole, _use_new_zipfile_serialization=zipped)
  whole = whole.getvalue()
  path = tmp_path / "a.pth"
  for length in range(0, len(whole) - 1, max(len(whole) // 50, 1)):
    path.write_bytes(whole[:length])
    with pytest.raises(weights.WeightsError, match=r"a\.pth' are damaged.*fetch the file again"):
      weights.read_torch(path)


@pytest.mark.parametrize(
  "content",
  [b"", b"not weights at all\n", pickle.dumps({"w": 1}), b"PK\x03\x04" + bytes(50), bytes(100)],
  ids=["empty", "text", "pickle", "zip", "zeros"],
)
def test_other_files_are_refused(tmp_path, content):
  (tmp_path / "a.pth").write_bytes(content)
  with pytest.raises(weights.WeightsError, match="damaged or not of PyTorch"):
    weights.read_torch(tmp_path / "a.pth")


@FORMS
def test_what_is_no_flat_mapping_of_tensors_is_refused(torch, tmp_path, zipped):
  for content in (
    {"state_dict": {"w": torch.ones(2)}},
    {"epoch": 3},
    torch.ones(2),
    {1: torch.ones(1)},
  ):
    path = save(torch, content, tmp_path / "a.pth", zipped)
    with pytest.raises(weights.WeightsError, match="save a state_dict"):
      weights.read_torch(path)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(weights.WeightsError, match=r"none\.pth'.*check the path"):
    weights.read_torch(tmp_path / "none.pth")


def test_folding_is_convolution_and_batch_norm():
  rng = np.random.default_rng(0)
  kernel = rng.normal(size=(5, 3, 1, 1)).astype(np.float32)
  norm = {
    "n.weight": rng.normal(size=5),
    "n.bias": rng.normal(size=5),
    "n.running_mean": rng.normal(size=5),
    "n.running_var": rng.uniform(0.1, 2, 5),
  }
  folded = weights.fold_batch_norm({"c.weight": kernel, **norm}, "c", "n", epsilon=0.01)
  x = rng.normal(size=(7, 3))
  plain = (x @ kernel[:, :, 0, 0].T - norm["n.running_mean"]) / np.sqrt(
    norm["n.running_var"] + 0.01
  )
  plain = plain * norm["n.weight"] + norm["n.bias"]
  np.testing.assert_allclose(x @ folded["kernel"][0, 0] + folded["bias"], plain, atol=2e-6)


def test_a_long_list_of_faults_is_cut():
  shapes = {f"layer{i}": (1,) for i in range(20)}
  with pytest.raises(
    weights.WeightsError, match=r"missing layer0, .*, layer7 and 12 more; unknown z"
  ):
    weights.match({"z": np.zeros(1), "n.num_batches_tracked": np.zeros(())}, shapes, "a network")
