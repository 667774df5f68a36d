import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxgan import layers
from jaxgan.layers.conditional_batch_norm import ConditionalBatchNorm


def normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def close(actual, expected, tolerance=1e-10):
  np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def lively(variables):
  """Tables and statistics other than those of the start."""
  leaves, tree = jax.tree.flatten(variables)
  leaves = [x + 0.3 * jnp.abs(normal(*x.shape, seed=i)) for i, x in enumerate(leaves)]
  return jax.tree.unflatten(tree, leaves)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.usefixtures("x64")
def test_class_tables_against_torch(running):
  torch = pytest.importorskip("torch")
  f = torch.nn.functional
  labels = np.array([2, 0, 2, 1])
  layer = ConditionalBatchNorm(running, param_dtype=jnp.float64)
  x, condition = normal(4, 3, 5, 6), jax.nn.one_hot(labels, 3, dtype=jnp.float64)
  variables = lively(jax.jit(layer.init)(jax.random.key(0), x, condition))

  @jax.jit
  def ours(params, x):
    def loss(params, x):
      y, _ = layer.apply({**variables, "params": params}, x, condition, mutable=["batch_stats"])
      return jnp.sin(y).sum(), y

    return jax.grad(loss, (0, 1), has_aux=True)(params, x)

  (d_params, dx), y = ours(variables["params"], x)
  gain, bias = (
    torch.tensor(np.asarray(variables["params"][name]["kernel"]), requires_grad=True)
    for name in ("gain", "bias")
  )
  t = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2), requires_grad=True)
  statistics = [
    torch.tensor(np.asarray(variables["batch_stats"]["norm"][k], "float64"))
    for k in ("mean", "var")
  ]
  expected = f.batch_norm(t, *statistics, training=not running, eps=1e-5)
  rows = [f.embedding(torch.tensor(labels), table)[:, :, None, None] for table in (gain, bias)]
  expected = (1.0 + rows[0]) * expected + rows[1]
  torch.sin(expected).sum().backward()
  close(y, expected.detach().permute(0, 2, 3, 1).numpy())
  close(dx, t.grad.permute(0, 2, 3, 1).numpy())
  close(d_params["gain"]["kernel"], gain.grad.numpy())
  close(d_params["bias"]["kernel"], bias.grad.numpy())


def test_starts_as_plain_batch_norm():
  x, condition = normal(4, 2, 2, 3).astype("float32"), jax.nn.one_hot(jnp.arange(4) % 3, 3)
  layer, plain = ConditionalBatchNorm(False), layers.BatchNorm(False, momentum=0.9)
  y, written = jax.jit(layer.init_with_output)(jax.random.key(0), x, condition)
  expected, _ = plain.init_with_output(jax.random.key(0), x)
  np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
  assert jax.tree.map(jnp.shape, written["batch_stats"]) == {"norm": {"mean": (3,), "var": (3,)}}


def test_spectral_maps_of_an_embedding():
  layer = ConditionalBatchNorm(
    True, linear=layers.SNDense, kernel_init=jax.nn.initializers.orthogonal(), dtype="bfloat16"
  )
  x, condition = jnp.ones([4, 6]), normal(4, 8).astype("float32")
  y, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x, condition)
  assert y.dtype == jnp.bfloat16
  shapes = jax.tree.map(jnp.shape, variables["spectral"])
  assert shapes == {"bias": {"u": (6,)}, "gain": {"u": (6,)}}


@pytest.mark.usefixtures("x64")
def test_devices_share_the_statistics():
  x, condition = normal(8, 2, 2, 3), jax.nn.one_hot(jnp.arange(8) % 3, 3, dtype=jnp.float64)
  layer = ConditionalBatchNorm(False, param_dtype=jnp.float64, axis_name="data")
  variables = lively(jax.jit(layer.init)(jax.random.key(0), x, condition))

  def run(layer, x, condition):
    return layer.apply(variables, x, condition, mutable=["batch_stats"])

  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  whole, split = PartitionSpec(), PartitionSpec("data")
  sharded = jax.shard_map(
    lambda *a: run(layer, *a), mesh=mesh, in_specs=(split, split), out_specs=(split, whole)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12),
    jax.jit(sharded)(x, condition),
    jax.jit(functools.partial(run, layer.clone(axis_name=None)))(x, condition),
  )


@pytest.mark.parametrize("condition", [(3, 4), (2,), (2, 1, 4)])
def test_bad_shapes(condition):
  with pytest.raises(ValueError, match=r"do not fit.*one_hot"):
    ConditionalBatchNorm(False).init(jax.random.key(0), jnp.ones([2, 4, 4, 3]), jnp.ones(condition))
