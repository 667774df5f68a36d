import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.layers.maxout import Maxout


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("shape", [(7, 4), (2, 3, 4)])
@pytest.mark.usefixtures("x64")
def test_against_torch(shape):
  torch = pytest.importorskip("torch")
  x, kernel, bias = normal(*shape), normal(4, 15, seed=1), normal(15, seed=2)
  direction = normal(*shape[:-1], 3, seed=3)
  layer = Maxout(3, param_dtype="float64")

  def loss(kernel, bias, x):
    y = layer.apply({"params": {"dense": {"kernel": kernel, "bias": bias}}}, x)
    return (jnp.tanh(y) * direction).sum(), y

  (_, y), gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(kernel, bias, x)
  theirs = [torch.tensor(a, requires_grad=True) for a in (kernel, bias, x)]
  pieces = [theirs[2] @ theirs[0][:, i : i + 3] + theirs[1][i : i + 3] for i in range(0, 15, 3)]
  expected = torch.stack(pieces).max(0).values
  (torch.tanh(expected) * torch.tensor(direction)).sum().backward()
  np.testing.assert_allclose(y, expected.detach(), atol=1e-12)
  for ours, variable in zip(gradients, theirs, strict=True):
    np.testing.assert_allclose(ours, variable.grad, atol=1e-12)


def test_shapes_and_types():
  layer = Maxout(3, pieces=2, dtype="bfloat16")
  y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), jnp.ones([5, 4]))
  assert (y.shape, y.dtype) == ((5, 3), jnp.bfloat16)
  shapes = jax.tree.map(lambda a: (a.shape, str(a.dtype)), variables["params"]["dense"])
  assert shapes == {"kernel": ((4, 6), "float32"), "bias": ((6,), "float32")}
  x = jnp.asarray(normal(2, 5, 4), "float32")
  mapped = jax.jit(jax.vmap(lambda x: layer.apply(variables, x)))(x)
  np.testing.assert_array_equal(mapped, layer.apply(variables, x))


@pytest.mark.parametrize(("features", "pieces"), [(0, 5), (3, 0)])
def test_bad_arguments(features, pieces):
  with pytest.raises(ValueError, match=f"features={features} and pieces={pieces}"):
    Maxout(features, pieces).init(jax.random.key(0), jnp.ones([2, 4]))
