import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.layers import resampling
from jaxgan.layers.resampling import (
  average_downsample,
  bilinear_downsample,
  bilinear_upsample,
  blur,
  blur_downsample,
  blur_upsample,
  nearest_upsample,
  upfirdn,
)


def normal(*shape, seed=0, dtype=None):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def by_definition(x, filter, up=1, down=1, padding=(0, 0), gain=1.0):
  """Of one axis: insert zeros, pad, convolve, drop."""
  z = np.zeros([len(x) * up])
  z[::up] = x
  low, high = padding
  z = np.pad(z, (max(low, 0), max(high, 0)))[max(-low, 0) : len(z) + max(low, 0) + high]
  return np.sqrt(gain) * np.convolve(z, np.divide(filter, np.sum(filter)), "valid")[::down]


def matrix(size, *args, **options):
  return np.stack([by_definition(row, *args, **options) for row in np.eye(size)], 1)


CASES = {
  "blur": ((1, 3, 3, 1), {"padding": (2, 1)}),
  "asymmetric": ((1, 2, 4), {"padding": (1, 1)}),
  "cropping": ((1, 2, 4), {"padding": (-2, 1)}),
  "up 2": ((1, 3, 3, 1), {"up": 2, "padding": (2, 1), "gain": 4}),
  "up 2, odd filter": ((1, 2, 5), {"up": 2, "padding": (0, 3)}),
  "up 2, cropping": ((1, 3, 4, 1), {"up": 2, "padding": (-2, -1)}),
  "up 3, holes": ((1, 2), {"up": 3, "padding": (1, 2)}),
  "down 2": ((1, 3, 3, 2), {"down": 2, "padding": (1, 1)}),
  "down 3": ((1, 2), {"down": 3, "padding": (-1, 0)}),
  "up 3, down 2": ((1, 2, 3, 4), {"up": 3, "down": 2, "padding": (2, 3)}),
  "one weight": ((3,), {"up": 2, "padding": (0, -1)}),
}


@pytest.mark.parametrize(("filter", "options"), CASES.values(), ids=CASES)
@pytest.mark.usefixtures("x64")
def test_upfirdn_by_definition(filter, options):
  x = normal(2, 7, 4, 3)
  apply = jax.jit(lambda x: upfirdn(x, filter, **{**options, "padding": (options["padding"],) * 2}))
  rows, columns = (matrix(size, filter, **options) for size in x.shape[1:3])
  expected = np.einsum("ih,jw,nhwc->nijc", rows, columns, x)
  actual, pull = jax.vjp(apply, x)
  np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
  g = normal(*expected.shape, seed=1)
  np.testing.assert_allclose(
    pull(g)[0], np.einsum("ih,jw,nijc->nhwc", rows, columns, g), rtol=0, atol=1e-12
  )


FUNCTIONS = {
  "nearest": nearest_upsample,
  "average": average_downsample,
  "bilinear up": bilinear_upsample,
  "bilinear down": bilinear_downsample,
  "blur": blur,
  "blur up": blur_upsample,
  "blur down": blur_downsample,
}


def in_torch(torch, name, x, factor):
  """The same by PyTorch's functions, for tensors `[n, c, h, w]`."""
  f = torch.nn.functional
  if name == "nearest":
    return f.interpolate(x, scale_factor=factor, mode="nearest")
  if name == "average":
    return f.avg_pool2d(x, factor)
  if name == "bilinear up":
    return f.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
  if name == "bilinear down":
    return f.interpolate(x, scale_factor=1 / factor, mode="bilinear", antialias=True)
  taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
  kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
  if name == "blur":
    return f.conv2d(f.pad(x, (2, 1, 2, 1)), kernel, groups=x.shape[1])
  if name == "blur up":
    return f.conv_transpose2d(x, 4 * kernel, stride=2, padding=1, groups=x.shape[1])
  return f.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.usefixtures("x64")
def test_against_torch(name):
  torch = pytest.importorskip("torch", reason="needs PyTorch")
  x = normal(2, 6, 7, 3)
  for factor in (2,) if "blur" in name else (2, 3):
    options = {} if name == "blur" else {"factor": factor}
    actual, pull = jax.vjp(functools.partial(FUNCTIONS[name], **options), x)
    theirs = torch.tensor(np.asarray(x)).permute(0, 3, 1, 2).requires_grad_()
    expected = in_torch(torch, name, theirs, factor)
    g = normal(*actual.shape, seed=1)
    gradient = torch.autograd.grad(expected, theirs, torch.tensor(np.asarray(g)).movedim(3, 1))[0]
    pairs = (actual, expected), (pull(g)[0], gradient)
    for ours, reference in pairs:
      reference = reference.detach().permute(0, 2, 3, 1).numpy()
      np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.usefixtures("x64")
def test_second_order_and_vmap(name):
  """Against the matrix of the map, which is linear."""
  x = normal(2, 5, 4, 1)
  function = FUNCTIONS[name]
  linear = jax.jit(jax.vmap(lambda x: function(x[None, :, :, None]).ravel()))
  dense = linear(np.eye(20).reshape(20, 5, 4))

  def penalty(apply, x):
    return (jax.grad(lambda x: (apply(x) ** 3).sum())(x) ** 2).sum()

  actual = jax.jit(jax.grad(functools.partial(penalty, function)))(x)
  expected = jax.grad(functools.partial(penalty, lambda x: x.reshape(2, 20) @ dense))(x)
  np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_half_precision_is_rounded_once(name):
  x = normal(1, 6, 6, 2, dtype="bfloat16")
  actual, pull = jax.vjp(jax.jit(FUNCTIONS[name]), x)
  assert actual.dtype == pull(actual)[0].dtype == jnp.bfloat16
  expected = FUNCTIONS[name](x.astype("float32"))
  # Half a unit in the last place of bfloat16, or two such roundings where weights are renormalised.
  np.testing.assert_allclose(actual.astype("float32"), expected, rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize("check_vma", [True, False])
def test_eight_devices(check_vma):
  x = normal(8, 4, 4, 2)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec("data")

  def slope(x):  # sums of 16 and 4 products of order 1, so 1e-6 is a few units in the last place
    return jax.grad(lambda x: (blur_downsample(blur_upsample(x)) ** 2).sum())(x)

  sharded = jax.shard_map(slope, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=check_vma)
  np.testing.assert_allclose(jax.jit(sharded)(x), jax.jit(slope)(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda x: blur(x[0]), r"float32 of shape \(4, 4, 1\): floating-point images"),
    (lambda x: nearest_upsample(x.astype(int)), "x is int32"),
    (lambda x: nearest_upsample(x, factor=0), "factor=0"),
    (lambda x: average_downsample(x, factor=1.5), r"factor=1\.5"),
    (lambda x: average_downsample(x, factor=5), r"factor=5 exceeds .* \(1, 4, 4, 1\)"),
    (lambda x: bilinear_downsample(x, factor=5), "factor=5 exceeds"),
    (lambda x: blur_downsample(x, factor=5), "factor=5 exceeds"),
    (lambda x: blur_upsample(x, (1, 1), factor=3), r"filter=\(1, 1\) is shorter than factor=3"),
    (lambda x: blur(x, (1, -1)), r"filter=\(1, -1\).*sum is not 0"),
    (lambda x: blur(x, ()), r"filter=\(\)"),
    (lambda x: upfirdn(x, (1,), up=0), "up=0"),
    (lambda x: upfirdn(x, (1,), down=True + 0.5), r"down=1\.5"),
    (lambda x: upfirdn(x, (1,) * 5), r"exceeds the image of shape \(1, 4, 4, 1\)"),
    (lambda x: upfirdn(x, (1,), gain=-1), "gain=-1"),
    (lambda x: upfirdn(x, (1,), padding="REFLECT"), "padding='REFLECT'"),
  ],
)
def test_bad_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call(jnp.ones([1, 4, 4, 1]))


def test_public_names_are_documented():
  for name in set(resampling.__all__) - {"BINOMIAL"}:
    assert ">>>" in getattr(resampling, name).__doc__
