import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxgan.layers.batch_norm import BatchNorm


def normal(*shape, seed=0, dtype=None):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def close(actual, expected, tolerance):
  """Relative to the largest entry, leaf by leaf."""
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max()),
    actual,
    expected,
  )


OPTIONS = {
  "default": {},
  "dcgan": {"momentum": 0.9, "epsilon": 1e-3, "scale_init": nn.initializers.normal(0.5)},
  "no scale": {"use_scale": False, "bias_init": nn.initializers.normal(0.5)},
  "neither": {"use_scale": False, "use_bias": False},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.usefixtures("x64")
def test_exchanges_with_flax(options):
  """Variables, values, statistics, and gradients of first and second order."""
  ours, theirs = (cls(param_dtype="float64", **options) for cls in (BatchNorm, nn.BatchNorm))
  shape = (4, 3, 2, 5) if options else (6, 3)
  x, direction = 3.0 + 2.0 * normal(*shape), normal(*shape, seed=1)
  variables = theirs.init(jax.random.key(0), x, use_running_average=False)
  params, stats = variables.get("params", {}), {"batch_stats": variables["batch_stats"]}

  def everything(layer):
    def apply(x, params, running):
      return layer.apply(
        {"params": params, **stats}, x, use_running_average=running, mutable=["batch_stats"]
      )

    def loss(x, params, running=False):
      return (direction * jnp.tanh(apply(x, params, running)[0])).sum()

    def penalty(x, params):
      slopes = jax.grad(loss, (0, 1))(x, params)
      return sum((slope**2).sum() for slope in jax.tree.leaves(slopes))

    return jax.jit(
      lambda x, params: (
        apply(x, params, False),
        apply(x, params, True),
        jax.grad(loss, (0, 1))(x, params),
        jax.grad(functools.partial(loss, running=True), (0, 1))(x, params),
        jax.grad(penalty, (0, 1))(x, params),
      )
    )(x, params)

  mine = ours.init(jax.random.key(0), x, use_running_average=False)
  close(mine, variables, 0.0)
  close(everything(ours), everything(theirs), 1e-11)


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float32"])
@pytest.mark.parametrize("inputs", ["bfloat16", "float32"])
def test_dtypes_are_those_of_flax(dtype, inputs):
  """In half precision the two round alike but for the last bit."""
  x = normal(16, 4, dtype=inputs)
  ours, theirs = (cls(use_running_average=False, dtype=dtype) for cls in (BatchNorm, nn.BatchNorm))
  variables = jax.jit(theirs.init)(jax.random.key(0), x)

  def run(layer):
    def loss(x):
      y, updates = layer.apply(variables, x, mutable=["batch_stats"])
      return (y.astype("float32") ** 3).sum(), (y, updates)

    gradient, aux = jax.grad(loss, has_aux=True)(x)
    return gradient, aux

  actual, expected = (jax.jit(functools.partial(run, layer))() for layer in (ours, theirs))
  assert [a.dtype for a in jax.tree.leaves(actual)] == [a.dtype for a in jax.tree.leaves(expected)]
  wide = functools.partial(jax.tree.map, lambda a: np.asarray(a, "float64"))
  # Flax rounds the gradient at several places, ours once.
  tolerance = 1e-6 if inputs == "float32" and dtype != "bfloat16" else 2e-2
  close(wide(actual), wide(expected), tolerance)


@pytest.mark.parametrize("running", [0.0, 1e4])
def test_variance_far_from_zero(running):
  """Deviation 1 around a mean of 10,000, which `E[x^2] - E[x]^2` loses in float32."""
  x = np.random.default_rng(0).normal(1e4, 1.0, [256, 3]).astype("float32")
  layer = BatchNorm(use_running_average=False, use_scale=False, use_bias=False)
  variables = {"batch_stats": {"mean": jnp.full([3], running), "var": jnp.ones([3])}}
  y, _ = jax.jit(functools.partial(layer.apply, mutable=["batch_stats"]))(variables, x)
  wide = x.astype("float64")
  expected = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-5)
  # What remains is the rounding of the mean, a sum of 256 numbers of size 1e4.
  np.testing.assert_allclose(y, expected, atol=2e-2)
  plain = nn.BatchNorm(use_running_average=False, use_scale=False, use_bias=False)
  assert np.abs(plain.apply(variables, x, mutable=["batch_stats"])[0] - expected).max() > 0.1


def over_devices(layer, variables, x, check_vma):
  """Output, statistics and the gradients of the sum of all shards' losses, on eight devices."""
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  params, stats = variables["params"], {"batch_stats": variables["batch_stats"]}

  def local(params, stats, x):
    if check_vma:
      params = lax.pcast(params, "data", to="varying")

    def loss(params, x):
      y, updates = layer.apply({"params": params, **stats}, x, mutable=["batch_stats"])
      return (jnp.tanh(y) ** 3).sum(), (y, updates)

    (dparams, dx), (y, updates) = jax.grad(loss, (0, 1), has_aux=True)(params, x)
    return lax.psum(dparams, "data"), dx, y, updates

  specs = (P(), P("data"), P("data"), P())
  return jax.jit(
    jax.shard_map(
      local, mesh=mesh, in_specs=(P(), P(), P("data")), out_specs=specs, check_vma=check_vma
    )
  ).lower(params, stats, x)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.usefixtures("x64")
def test_eight_devices(check_vma):
  x = 3.0 + normal(16, 2, 2, 3)
  layer = BatchNorm(use_running_average=False, param_dtype="float64", axis_name="data")
  variables = jax.jit(layer.init)(jax.random.key(0), x)
  variables["batch_stats"]["mean"] += 2.0
  lowered = over_devices(layer, variables, x, check_vma)
  actual = lowered.compile()(variables["params"], {"batch_stats": variables["batch_stats"]}, x)

  def loss(params, x):
    whole = nn.BatchNorm(use_running_average=False, param_dtype="float64")
    y, updates = whole.apply({**variables, "params": params}, x, mutable=["batch_stats"])
    return (jnp.tanh(y) ** 3).sum(), (y, updates)

  gradients, aux = jax.grad(loss, (0, 1), has_aux=True)(variables["params"], x)
  close(actual, (*gradients, *aux), 1e-10)


@pytest.mark.parametrize("check_vma", [True, False])
def test_collectives(check_vma):
  """One forward, one backward, and one for each parameter's gradient; Flax has no fewer."""
  x = normal(16, 4)
  counts = []
  for cls in (BatchNorm, nn.BatchNorm):
    layer = cls(use_running_average=False, axis_name="data")
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    counts.append(over_devices(layer, variables, x, check_vma).as_text().count("all_reduce"))
  assert counts[0] == 1 + 1 + 2
  assert counts[0] <= counts[1]


@pytest.mark.usefixtures("x64")
def test_vmap_with_an_axis_name():
  x = normal(4, 5, 3)
  layer = BatchNorm(use_running_average=False, param_dtype="float64", axis_name="shards")
  variables = layer.init(jax.random.key(0), x[0])

  def apply(layer, x):
    return layer.apply(variables, x, mutable=["batch_stats"])

  mapped = jax.vmap(functools.partial(apply, layer), axis_name="shards", out_axes=(0, None))
  y, updates = jax.jit(mapped)(x)
  whole = functools.partial(apply, BatchNorm(use_running_average=False))
  expected = jax.jit(whole)(x.reshape(20, 3))
  close((y.reshape(20, 3), updates), expected, 1e-12)


def test_bad_arguments():
  layer = BatchNorm(use_running_average=False)
  for shape in ((3,), (0, 3)):
    with pytest.raises(
      ValueError, match=rf"inputs have shape \({shape[0]},.*\[batch, \.\.\., chan"
    ):
      layer.init(jax.random.key(0), jnp.ones(shape))
  with pytest.raises(TypeError, match="mask"):
    BatchNorm(use_running_average=False, mask=jnp.ones([2, 3]))


def test_without_running_statistics_the_batch_counts_always_and_over_devices():
  x = normal(8, 3, 2, 4, dtype="float32") + 2.0
  layer = BatchNorm(track_running_stats=False, axis_name="data")
  variables = layer.init(jax.random.key(0), x)
  assert set(variables) == {"params"}
  alone = layer.clone(axis_name=None)
  y = jax.jit(alone.apply)(variables, x)
  expected = (x - x.mean((0, 1, 2), keepdims=True)) / jnp.sqrt(
    x.var((0, 1, 2), keepdims=True) + 1e-5
  )
  np.testing.assert_allclose(y, expected, atol=1e-5)
  later = alone.apply(variables, x, use_running_average=True)
  np.testing.assert_allclose(later, y, atol=1e-6)
  mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
  mapped = jax.shard_map(layer.apply, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"))
  np.testing.assert_allclose(jax.jit(mapped)(variables, x), expected, atol=1e-5)
