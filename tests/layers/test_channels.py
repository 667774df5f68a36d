import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from jaxgan.layers._channels import add_bias, example_sums, scale, sums
from tests.layers.test_convolution import close, normal


@pytest.mark.parametrize("shape", [(5,), (4, 5), (4, 3, 5), (4, 3, 2, 5), (1, 1, 1, 5), (2, 0, 3)])
def test_sums(shape):
  """Tolerance: sums of up to 24 numbers in another order (float32)."""
  x = normal(*shape)
  np.testing.assert_allclose(sums(x), x.sum(tuple(range(x.ndim - 1))), atol=1e-6)
  if x.ndim > 1:
    np.testing.assert_allclose(example_sums(x), x.sum(tuple(range(1, x.ndim - 1))), atol=1e-6)


def plain(x, bias, factors):
  return (x + bias) * factors[:, None, None]


def ours(x, bias, factors):
  return scale(add_bias(x, bias), factors)


def derivatives(function):
  def loss(*args):
    return (function(*args) ** 3).sum()

  def penalty(*args):
    return sum((g**2).sum() for g in jax.grad(loss, (0, 1, 2))(*args))

  return lambda *args: [jax.grad(f, (0, 1, 2))(*args) for f in (loss, penalty)]


@pytest.mark.usefixtures("x64")
def test_first_and_second_derivatives():
  args = normal(4, 3, 3, 5), normal(5, seed=1), normal(4, 5, seed=2)
  with jax.numpy_rank_promotion("allow"):
    expected = jax.jit(derivatives(plain))(*args)
  close(jax.jit(derivatives(ours))(*args), expected)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.usefixtures("x64")
def test_eight_devices(check_vma):
  args = normal(8, 3, 3, 5), normal(5, seed=1), normal(8, 5, seed=2)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  data, replicated = PartitionSpec("data"), PartitionSpec()

  def gradient(x, bias, factors):
    if check_vma:
      bias = lax.pcast(bias, "data", to="varying")
    found = jax.grad(lambda b: (ours(x, b, factors) ** 2).sum())(bias)
    return lax.psum(found, "data")

  sharded = jax.shard_map(
    gradient,
    mesh=mesh,
    in_specs=(data, replicated, data),
    out_specs=replicated,
    check_vma=check_vma,
  )
  expected = jax.grad(lambda b: (ours(args[0], b, args[2]) ** 2).sum())(args[1])
  close(jax.jit(sharded)(*args), expected)


def test_vmap_and_jit():
  x, bias = normal(3, 4, 2, 2, 5), normal(3, 5, seed=1)
  found = jax.jit(jax.vmap(add_bias))(x, bias)
  np.testing.assert_array_equal(found, x + bias[:, None, None, None])
  np.testing.assert_allclose(jax.vmap(sums)(x), jnp.sum(x, (1, 2, 3)), atol=1e-5)
