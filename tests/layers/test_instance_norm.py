import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import penalties
from jaxgan.layers import BatchNorm, InstanceNorm, reflection_pad

RANDOM = {name: nn.initializers.normal(1.0) for name in ("scale_init", "bias_init")}
AFFINE = {"use_scale": True, "use_bias": True, **RANDOM}


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.usefixtures("x64")
def test_against_torch(affine):
  """Values and gradients, of inputs, gains and biases."""
  torch = pytest.importorskip("torch")
  x, direction = 1.0 + 2.0 * normal(3, 4, 5, 2), normal(3, 4, 5, 2, seed=1)
  layer = InstanceNorm(param_dtype="float64", **(AFFINE if affine else {}))
  variables = jax.jit(layer.init)(jax.random.key(0), x)

  def loss(variables, x):
    y = layer.apply(variables, x)
    return (jnp.tanh(y) * direction).sum(), y

  (_, y), (d_variables, dx) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(variables, x)

  theirs = torch.nn.InstanceNorm2d(2, affine=affine).double()
  if affine:
    with torch.no_grad():
      theirs.weight.copy_(torch.tensor(np.asarray(variables["params"]["scale"])))
      theirs.bias.copy_(torch.tensor(np.asarray(variables["params"]["bias"])))
  z = torch.tensor(x, requires_grad=True)
  expected = theirs(z.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
  (torch.tanh(expected) * torch.tensor(direction)).sum().backward()
  np.testing.assert_allclose(y, expected.detach(), atol=1e-11)
  np.testing.assert_allclose(dx, z.grad, atol=1e-11)
  if affine:
    np.testing.assert_allclose(d_variables["params"]["scale"], theirs.weight.grad, atol=1e-11)
    np.testing.assert_allclose(d_variables["params"]["bias"], theirs.bias.grad, atol=1e-11)
  else:
    assert variables == {}


def test_it_is_batch_norm_of_one_and_examples_do_not_mix():
  x = jnp.asarray(3.0 + normal(3, 4, 4, 2), "float32")
  layer = InstanceNorm(**AFFINE)
  variables = jax.jit(layer.init)(jax.random.key(0), x[:1])
  alone = BatchNorm(track_running_stats=False)
  one_by_one = jax.jit(jax.vmap(lambda one: alone.apply(variables, one[None])[0]))(x)
  np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), one_by_one, atol=1e-5)
  penalties.check_per_example(lambda x: jnp.tanh(layer.apply(variables, x)).sum((1, 2, 3)), x)


def test_constant_channels_types_and_a_single_pixel():
  x = jnp.full([2, 3, 3, 4], 7.0)
  slopes = jax.grad(lambda x: (InstanceNorm().apply({}, x) * jnp.arange(4.0)).sum())
  with jax.numpy_rank_promotion("allow"):
    np.testing.assert_allclose(slopes(x), 0.0, atol=1e-3)
  np.testing.assert_array_equal(InstanceNorm().apply({}, x), 0.0)
  half = InstanceNorm(**AFFINE, dtype="bfloat16")
  y, variables = half.init_with_output(jax.random.key(0), x)
  assert y.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
  assert InstanceNorm().apply({}, x.astype("bfloat16")).dtype == jnp.bfloat16
  for shape in ((2, 1, 1, 4), (2, 4)):
    with pytest.raises(ValueError, match=r"inputs have shape \(2, .*two pixels or more"):
      InstanceNorm().apply({}, jnp.ones(shape))


def test_reflection_against_torch():
  torch = pytest.importorskip("torch")
  x, direction = (
    normal(2, 4, 5, 3).astype("float32"),
    normal(2, 10, 11, 3, seed=1).astype("float32"),
  )
  y, pull = jax.vjp(lambda x: reflection_pad(x, 3), jnp.asarray(x))
  z = torch.tensor(x, requires_grad=True)
  expected = torch.nn.ReflectionPad2d(3)(z.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
  (expected * torch.tensor(direction)).sum().backward()
  np.testing.assert_array_equal(y, expected.detach())
  np.testing.assert_allclose(pull(jnp.asarray(direction))[0], z.grad, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 8, 1), (2, 8, 3, 1), (8, 8, 1)])
def test_reflection_wants_more_pixels_than_it_adds(shape):
  with pytest.raises(ValueError, match="width=3 pixels each way"):
    reflection_pad(jnp.zeros(shape), 3)
