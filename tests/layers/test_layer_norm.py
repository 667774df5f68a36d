import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import penalties
from jaxgan.layers.layer_norm import LayerNorm


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


RANDOM = {name: nn.initializers.normal(1.0) for name in ("scale_init", "bias_init")}


@pytest.mark.parametrize("shape", [(4, 3, 2, 5), (4, 5)], ids=["images", "points"])
@pytest.mark.usefixtures("x64")
def test_against_torch(shape):
  """Values, gradients, and gradients of a gradient penalty."""
  torch = pytest.importorskip("torch")
  x, direction = 1.0 + 2.0 * normal(*shape), normal(*shape, seed=1)
  layer = LayerNorm(param_dtype="float64", **RANDOM)
  params = jax.jit(layer.init)(jax.random.key(0), x)["params"]

  def loss(params, x):
    y = layer.apply({"params": params}, x)
    return (jnp.tanh(y) * direction).sum(), y

  def penalty(params, x):
    return (jax.grad(loss, 1, has_aux=True)(params, x)[0] ** 2).sum()

  (_, y), (d_params, dx) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, x)
  d2_params, d2x = jax.jit(jax.grad(penalty, (0, 1)))(params, x)

  z = torch.tensor(x, requires_grad=True)
  scale, bias = (
    torch.tensor(np.asarray(params[name]), requires_grad=True) for name in ("scale", "bias")
  )
  expected = torch.nn.functional.layer_norm(z, shape[1:]) * scale + bias
  value = (torch.tanh(expected) * torch.tensor(direction)).sum()
  slopes = torch.autograd.grad(value, (scale, bias, z), create_graph=True)
  curves = torch.autograd.grad((slopes[2] ** 2).sum(), (scale, bias, z))
  np.testing.assert_allclose(y, expected.detach(), atol=1e-11)
  ours = (d_params["scale"], d_params["bias"], dx, d2_params["scale"], d2_params["bias"], d2x)
  for a, b in zip(ours, (*slopes, *curves), strict=True):
    np.testing.assert_allclose(a, b.detach(), rtol=1e-9, atol=1e-9)


def test_examples_do_not_mix():
  x = jnp.asarray(normal(3, 4, 4, 2), "float32")
  layer = LayerNorm(**RANDOM)
  variables = jax.jit(layer.init)(jax.random.key(0), x[:1])
  penalties.check_per_example(lambda x: jnp.tanh(layer.apply(variables, x)).sum((1, 2, 3)), x)
  one_by_one = jax.jit(jax.vmap(lambda one: layer.apply(variables, one[None])[0]))(x)
  np.testing.assert_allclose(one_by_one, jax.jit(layer.apply)(variables, x), atol=1e-5)


@pytest.mark.usefixtures("x64")
def test_derivatives_of_constant_examples():
  """With no variance the layer is linear in small deviations: `gain / sqrt(epsilon)` times them."""
  x = jnp.full([2, 4, 4, 3], 7.0)
  layer = LayerNorm(param_dtype="float64", **RANDOM)
  variables = jax.jit(layer.init)(jax.random.key(0), x)
  direction = jnp.asarray(normal(*x.shape))

  def slopes(x):
    return jax.grad(lambda x: (layer.apply(variables, x) * direction).sum())(x)

  weighted = direction * variables["params"]["scale"][None, None, None]
  expected = (weighted - weighted.mean((1, 2, 3), keepdims=True)) / np.sqrt(1e-5)
  np.testing.assert_allclose(jax.jit(slopes)(x), expected, atol=1e-9)
  # The second derivative is odd in the deviations, so 0 here.
  curves = jax.jit(jax.grad(lambda x: (slopes(x) ** 2).sum()))(x)
  np.testing.assert_allclose(curves, np.zeros(x.shape), atol=1e-6)


def test_types_and_large_means():
  x = jnp.asarray(1e4 + normal(3, 8, 8, 4), "float32")
  layer = LayerNorm()
  variables = layer.init(jax.random.key(0), x)
  assert jax.tree.map(jnp.shape, variables) == {"params": {"scale": (4,), "bias": (4,)}}
  wide = np.asarray(x, "float64")
  mean, std = wide.mean((1, 2, 3), keepdims=True), wide.std((1, 2, 3), keepdims=True)
  # What remains is the rounding of the mean, a number of size 1e4.
  np.testing.assert_allclose(layer.apply(variables, x), (wide - mean) / std, atol=5e-3)
  half = LayerNorm(dtype="bfloat16").apply(variables, x - 1e4)
  assert half.dtype == jnp.bfloat16
  with pytest.raises(ValueError, match=r"inputs have shape \(3,\)"):
    layer.init(jax.random.key(0), jnp.ones(3))
