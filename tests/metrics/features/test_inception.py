"""Inception-v3 with random weights in the layout of pytorch-fid's file, against PyTorch."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.metrics import features
from jaxgan.metrics.features import download, inception, preprocessing, weights

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")


@pytest.fixture(scope="module")
def state():
  """Weights by pytorch-fid's names, of sizes that keep features near 1."""
  rng = np.random.default_rng(0)
  named = {}
  for path, (height, width, inputs, outputs) in inception._convolutions().items():
    name, taps = ".".join(path), height * width * inputs
    kernel = rng.normal(size=(outputs, inputs, height, width)) * np.sqrt(2 / taps)
    named[f"{name}.conv.weight"] = kernel
    named[f"{name}.bn.weight"] = rng.normal(1, 0.2, outputs)
    named[f"{name}.bn.bias"] = rng.normal(0, 0.1, outputs)
    named[f"{name}.bn.running_mean"] = rng.normal(0, 0.1, outputs)
    named[f"{name}.bn.running_var"] = rng.uniform(0.7, 1.3, outputs)
  named["fc.weight"] = rng.normal(size=(1008, 2048)) * 0.03
  named["fc.bias"] = rng.normal(size=1008)
  return {name: torch.tensor(array, dtype=torch.float32) for name, array in named.items()}


@pytest.fixture(scope="module")
def path(state, tmp_path_factory):
  file = tmp_path_factory.mktemp("weights") / "random.pth"
  counts = {
    f"{name.removesuffix('running_mean')}num_batches_tracked": torch.tensor(3)
    for name in state
    if "_mean" in name
  }
  torch.save({**state, **counts}, file, _use_new_zipfile_serialization=False)
  return file


class Reference:
  """pytorch-fid's forward pass, written from its layers' names and options."""

  def __init__(self, state):
    self.state, self.functional = state, torch.nn.functional

  def conv(self, x, name, stride=1, padding=(0, 0)):
    x = self.functional.conv2d(x, self.state[f"{name}.conv.weight"], None, stride, padding)
    norm = [self.state[f"{name}.bn.{p}"] for p in ("running_mean", "running_var", "weight", "bias")]
    return self.functional.relu(self.functional.batch_norm(x, *norm, eps=1e-3))

  def same(self, x, *names):
    """Convolutions that keep the size, one after the other."""
    for name in names:
      height, width = self.state[f"{name}.conv.weight"].shape[2:]
      x = self.conv(x, name, 1, (height // 2, width // 2))
    return x

  def chain(self, x, block, branch, count):
    return self.same(x, *[f"{block}.{branch}_{i + 1}" for i in range(count)])

  def mean(self, x):
    return self.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

  def a(self, x, block):
    return torch.cat(
      [
        self.same(x, f"{block}.branch1x1"),
        self.chain(x, block, "branch5x5", 2),
        self.chain(x, block, "branch3x3dbl", 3),
        self.same(self.mean(x), f"{block}.branch_pool"),
      ],
      1,
    )

  def b(self, x, block):
    double = self.chain(x, block, "branch3x3dbl", 2)
    return torch.cat(
      [
        self.conv(x, f"{block}.branch3x3", 2),
        self.conv(double, f"{block}.branch3x3dbl_3", 2),
        self.functional.max_pool2d(x, 3, 2),
      ],
      1,
    )

  def c(self, x, block):
    return torch.cat(
      [
        self.same(x, f"{block}.branch1x1"),
        self.chain(x, block, "branch7x7", 3),
        self.chain(x, block, "branch7x7dbl", 5),
        self.same(self.mean(x), f"{block}.branch_pool"),
      ],
      1,
    )

  def d(self, x, block):
    return torch.cat(
      [
        self.conv(self.chain(x, block, "branch3x3", 1), f"{block}.branch3x3_2", 2),
        self.conv(self.chain(x, block, "branch7x7x3", 3), f"{block}.branch7x7x3_4", 2),
        self.functional.max_pool2d(x, 3, 2),
      ],
      1,
    )

  def e(self, x, block, pooled):
    three = self.chain(x, block, "branch3x3", 1)
    double = self.chain(x, block, "branch3x3dbl", 2)
    return torch.cat(
      [
        self.same(x, f"{block}.branch1x1"),
        self.same(three, f"{block}.branch3x3_2a"),
        self.same(three, f"{block}.branch3x3_2b"),
        self.same(double, f"{block}.branch3x3dbl_3a"),
        self.same(double, f"{block}.branch3x3dbl_3b"),
        self.same(pooled, f"{block}.branch_pool"),
      ],
      1,
    )

  def __call__(self, images):
    """All stages of uint8 pictures `[n, h, w, 3]`."""
    x = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
    x = self.functional.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
    x = self.conv(2 * x - 1, "Conv2d_1a_3x3", 2)
    x = self.same(self.conv(x, "Conv2d_2a_3x3"), "Conv2d_2b_3x3")
    x = first = self.functional.max_pool2d(x, 3, 2)
    x = self.conv(self.conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3")
    x = second = self.functional.max_pool2d(x, 3, 2)
    for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
      x = self.a(x, block)
    x = self.b(x, "Mixed_6a")
    for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
      x = self.c(x, block)
    third = x
    x = self.d(x, "Mixed_7a")
    x = self.e(x, "Mixed_7b", self.mean(x))
    x = self.e(x, "Mixed_7c", self.functional.max_pool2d(x, 3, 1, 1))
    return [stage.mean((2, 3)).numpy() for stage in (first, second, third, x)]


def photographs():
  """Sixteen pieces of the photographs that come with scikit-learn."""
  from sklearn.datasets import load_sample_images

  return np.stack(
    [
      picture[row : row + 80, column : column + 80]
      for picture in load_sample_images().images
      for row in (100, 240)
      for column in (0, 180, 320, 500)
    ]
  )


@pytest.mark.parametrize("count", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_all_stages_are_those_of_torch(state, path, count):
  """To 1e-4 of features of size 1; batch norm is folded here, so float32 rounds elsewhere.

  Against pytorch-fid's own modules the same weights gave 6e-6 at most.
  """
  pictures = photographs()[:: 16 // count]
  with torch.no_grad():
    wanted = Reference(state)(pictures)
  everything = features.inception_v3(path, stage=lambda stages: jnp.concatenate(stages, 1))
  outputs = everything.apply(pictures)
  *stages, got_logits = np.split(outputs.features, np.cumsum([64, 192, 768, 2048]), 1)
  for got, stage in zip(stages, wanted, strict=True):
    assert 0.3 < stage.max() < 30
    np.testing.assert_allclose(got, stage, atol=1e-4)
  logits = wanted[-1] @ state["fc.weight"].numpy().T
  np.testing.assert_allclose(got_logits, logits + state["fc.bias"].numpy(), atol=1e-4)

  unbiased = np.exp(logits - logits.max(1, keepdims=True))
  probabilities = unbiased / unbiased.sum(1, keepdims=True)
  np.testing.assert_allclose(outputs.probabilities, probabilities, rtol=1e-3)


def test_only_the_genuine_file_with_the_published_protocol_is_published(path, monkeypatch):
  other = features.inception_v3(path)
  assert (other.name, other.published) == ("Inception-v3 of other weights", False)
  assert (other.dimension, other.classes, other.resize) == (2048, 1008, "bilinear to 299")
  digest = download.sha256(path)
  assert other.weights_hash == digest[:16]
  monkeypatch.setattr(inception, "HASH", digest[:8])
  genuine = features.inception_v3(path)
  assert (genuine.name, genuine.published) == ("Inception-v3 2015-12-05", True)
  clean = features.inception_v3(path, resize=preprocessing.antialiased_bicubic)
  assert (clean.resize, clean.published) == ("antialiased bicubic to 299", False)
  early = features.inception_v3(path, stage=lambda stages: stages.third)
  assert (early.name, early.dimension) == ("Inception-v3 2015-12-05 768", 768)
  assert early.published is False


def test_the_file_is_downloaded_to_the_cache_and_its_hash_checked(path, monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  monkeypatch.setattr(inception, "URL", path.as_uri())
  with pytest.raises(features.WeightsError, match=r"does not begin with 6726825d.*put it there as"):
    features.inception_v3()
  monkeypatch.setattr(inception, "HASH", download.sha256(path)[:8])
  assert features.inception_v3().published
  assert (tmp_path / "jaxgan" / "weights" / "random.pth").exists()


def test_weights_of_another_network_are_refused_by_name(state):
  file = {name: tensor.numpy() for name, tensor in state.items()}
  file["AuxLogits.fc.weight"] = file.pop("Mixed_5b.branch1x1.conv.weight")
  file["fc.weight"] = np.zeros([1000, 2048])
  with pytest.raises(
    weights.WeightsError,
    match=r"missing Mixed_5b\.branch1x1\.conv\.weight; unknown AuxLogits\.fc\.weight; of another "
    r"shape fc\.weight \[1000, 2048\] and not \[1008, 2048\]",
  ):
    inception.variables_of(file)
