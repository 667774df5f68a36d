import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.layers.minibatch import MinibatchDiscrimination, MinibatchStdDev, minibatch_stddev
from tests.functional import over_devices


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


# The pairs of the second are more than are compared at once, in blocks that do not divide it.
@pytest.mark.parametrize(("n", "kernels", "dimensions"), [(5, 3, 2), (25, 40, 3)])
@pytest.mark.usefixtures("x64")
def test_discrimination_against_torch(n, kernels, dimensions):
  torch = pytest.importorskip("torch")
  x, direction = normal(n, 4), normal(n, 4 + kernels, seed=1)
  kernel = 0.3 * normal(4, kernels, dimensions, seed=2)
  log_scale = 0.1 * normal(kernels, dimensions, seed=3)
  bias = normal(kernels, seed=4)
  layer = MinibatchDiscrimination(kernels, dimensions)

  def loss(kernel, x):
    y = layer.apply({"params": {"kernel": kernel, "log_scale": log_scale, "bias": bias}}, x)
    return (jnp.sin(y) * direction).sum(), y

  def penalty(kernel, x):
    return (jax.grad(loss, 1, has_aux=True)(kernel, x)[0] ** 2).sum()

  (_, y), gradients = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(kernel, x)
  second = jax.jit(jax.grad(penalty, (0, 1)))(kernel, x)

  t, z = torch.tensor(kernel, requires_grad=True), torch.tensor(x, requires_grad=True)
  scaled = t * torch.tensor(log_scale).exp() / t.square().sum(0).sqrt()
  rows = (z @ scaled.reshape(4, -1)).reshape(n, kernels, dimensions)
  distances = (rows[:, None] - rows[None]).abs().sum(-1)
  distances = distances + 1e6 * torch.eye(n)[:, :, None]  # as the authors leave out j = i
  expected = torch.cat([z, torch.exp(-distances).sum(1) + torch.tensor(bias)], 1)
  value = (torch.sin(expected) * torch.tensor(direction)).sum()
  slopes = torch.autograd.grad(value, (t, z), create_graph=True)
  curves = torch.autograd.grad((slopes[1] ** 2).sum(), (t, z))
  np.testing.assert_allclose(y, expected.detach(), atol=1e-10)
  for ours, theirs in zip((*gradients, *second), (*slopes, *curves), strict=True):
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-8, atol=1e-9)


def test_identical_examples():
  """Each is as close to the others as can be; one without others is close to none. Bias: -1."""
  layer = MinibatchDiscrimination(2, 3)
  x = jnp.ones([6, 4])
  variables = jax.jit(layer.init)(jax.random.key(0), x[:1])
  apply = jax.jit(layer.apply)
  np.testing.assert_array_equal(apply(variables, x)[:, 4:], np.full([6, 2], 4.0))
  np.testing.assert_array_equal(apply(variables, x[:1])[:, 4:], np.full([1, 2], -1.0))
  gradient = jax.grad(lambda x: apply(variables, x)[:, 4:].sum())(x)
  np.testing.assert_array_equal(gradient, np.zeros([6, 4]))


@pytest.mark.parametrize(("kernels", "check_vma"), [(3, False), (400, True)])
@pytest.mark.usefixtures("x64")
def test_discrimination_on_eight_devices(kernels, check_vma):
  x = jnp.asarray(normal(24, 4))
  parameters = {
    "before": jnp.asarray(normal(4, 4, seed=1)),
    "layer": {
      "kernel": jnp.asarray(0.1 * normal(4, kernels, 5, seed=2)),
      "log_scale": jnp.asarray(0.1 * normal(kernels, 5, seed=3)),
      "bias": jnp.asarray(normal(kernels, seed=4)),
    },
  }

  def f(parameters, x, axis_name=None):
    layer = MinibatchDiscrimination(kernels, 5, axis_name=axis_name)
    y = layer.apply({"params": parameters["layer"]}, x @ parameters["before"])
    return (jnp.sin(y) ** 2).sum(1)

  mapped = functools.partial(f, axis_name="data")
  values, gradient = over_devices(mapped, parameters, x, check_vma=check_vma)
  expected, slopes = jax.jit(
    lambda p: (f(p, x), jax.grad(lambda p: f(p, x).mean())(p)),
  )(parameters)
  np.testing.assert_allclose(values, expected, rtol=1e-11)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), gradient, slopes)


@pytest.mark.parametrize("features", [10, 2000])
def test_closeness_starts_between_its_ends(features):
  """Whatever their number, features of variance 1 make rows that differ but are not alone."""
  layer = MinibatchDiscrimination(50, 5)
  x = jnp.asarray(normal(20, features), jnp.float32)
  closeness = 1 + jax.jit(layer.init_with_output)(jax.random.key(0), x)[0][:, features:]
  assert 0.01 < closeness.mean() / 19 < 0.2


@pytest.mark.usefixtures("x64")
def test_discrimination_under_vmap():
  options = {"param_dtype": "float64"}
  layer = MinibatchDiscrimination(3, 2, axis_name="shards", **options)
  x = jnp.asarray(normal(4, 3, 5))
  variables = jax.jit(layer.init)(jax.random.key(0), x[0])  # which knows no axis
  apply = functools.partial(layer.apply, variables)
  mapped = jax.jit(jax.vmap(apply, axis_name="shards"))(x)
  whole = MinibatchDiscrimination(3, 2, **options).apply(variables, x.reshape(12, 5))
  np.testing.assert_allclose(mapped.reshape(12, 8), whole, atol=1e-12)


def test_discrimination_types():
  layer = MinibatchDiscrimination(3, 2, dtype="bfloat16")
  y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), jnp.ones([4, 2]))
  assert (y.dtype, variables["params"]["kernel"].dtype) == (jnp.bfloat16, jnp.float32)
  with pytest.raises(ValueError, match=r"features have shape \(2, 3, 3, 4\).*flatten"):
    layer.init(jax.random.key(0), jnp.ones([2, 3, 3, 4]))
  with pytest.raises(ValueError, match="kernels=0"):
    MinibatchDiscrimination(0).init(jax.random.key(0), jnp.ones([4, 2]))


@pytest.mark.parametrize(("group", "maps"), [(2, 3), (16, 1)])
@pytest.mark.usefixtures("x64")
def test_stddev_against_torch(group, maps):
  torch = pytest.importorskip("torch")
  x, direction = normal(8, 2, 3, 6), normal(8, 2, 3, 6 + maps, seed=1)
  layer = MinibatchStdDev(group, maps)

  def loss(x):
    y = layer.apply({}, x)
    return (jnp.sin(y) * direction).sum(), y

  (_, y), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(x)
  second = jax.jit(jax.grad(lambda x: (jax.grad(loss, has_aux=True)(x)[0] ** 2).sum()))(x)

  z = torch.tensor(x, requires_grad=True)
  rows = []
  for part in z.split(group):  # successive examples
    deviation = torch.sqrt(part.var(0, unbiased=False) + 1e-8)
    means = [share.mean() for share in deviation.split(6 // maps, 2)]
    planes = [mean.expand(len(part), 2, 3, 1) for mean in means]
    rows.append(torch.cat([part, *planes], 3))
  expected = torch.cat(rows)
  slope = torch.autograd.grad(
    (torch.sin(expected) * torch.tensor(direction)).sum(), z, create_graph=True
  )[0]
  curve = torch.autograd.grad((slope**2).sum(), z)[0]
  np.testing.assert_allclose(y, expected.detach(), atol=1e-11)
  np.testing.assert_allclose(gradient, slope.detach(), atol=1e-10)
  np.testing.assert_allclose(second, curve, atol=1e-9)


def test_stddev_of_identical_examples_has_two_derivatives():
  x = jnp.ones([4, 2, 2, 3])

  def slopes(x):
    return jax.grad(lambda x: minibatch_stddev(x)[..., 3:].sum())(x)

  stddev, slope = jax.jit(lambda x: (minibatch_stddev(x)[..., 3], slopes(x)))(x)
  np.testing.assert_allclose(stddev, 1e-4, rtol=1e-5)
  np.testing.assert_array_equal(slope, np.zeros(x.shape))
  curve = jax.jit(jax.grad(lambda x: (slopes(x) * jnp.arange(48.0).reshape(x.shape)).sum()))(x)
  assert np.isfinite(curve).all()
  assert np.abs(curve).max() > 1.0


@pytest.mark.usefixtures("x64")
def test_stddev_on_eight_devices():
  x, weights = jnp.asarray(normal(32, 2, 2, 3)), jnp.asarray(normal(3, 3, seed=1))

  def f(weights, x):
    return (jnp.sin(minibatch_stddev(x @ weights)) ** 2).sum((1, 2, 3))

  values, gradient = over_devices(f, weights, x, check_vma=True)
  expected, slope = jax.jit(lambda w: (f(w, x), jax.grad(lambda w: f(w, x).mean())(w)))(weights)
  np.testing.assert_allclose(values, expected, atol=1e-12)
  np.testing.assert_allclose(gradient, slope, atol=1e-12)


def test_stddev_under_vmap_and_in_half_precision():
  x = jnp.asarray(normal(3, 4, 2, 2, 2), "float32")
  np.testing.assert_allclose(
    jax.jit(jax.vmap(minibatch_stddev))(x), [minibatch_stddev(one) for one in x], atol=1e-6
  )
  half = minibatch_stddev(x[0].astype("bfloat16"))
  assert half.dtype == jnp.bfloat16
  np.testing.assert_allclose(half.astype("float32"), minibatch_stddev(x[0]), atol=2e-2)


@pytest.mark.parametrize(
  ("shape", "options", "message"),
  [
    ((6, 2, 2, 3), {}, r"group_size=4 must divide .* 6 examples"),
    ((4, 2, 2, 3), {"group_size": 0}, "group_size=0"),
    ((4, 2, 2, 3), {"num_channels": 2}, "num_channels=2 must divide the 3 features"),
    ((4, 3), {}, r"x has shape \(4, 3\)"),
  ],
)
def test_stddev_bad_arguments(shape, options, message):
  with pytest.raises(ValueError, match=message):
    minibatch_stddev(jnp.ones(shape), **options)
