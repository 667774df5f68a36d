import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.layers.projection import ProjectionHead


def normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def close(actual, expected, tolerance=1e-10):
  np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("spectral", [True, False])
@pytest.mark.usefixtures("x64")
def test_agrees_with_torch(spectral):
  torch = pytest.importorskip("torch")
  labels = np.array([4, 0, 4, 1])
  layer = ProjectionHead(5, spectral, param_dtype=jnp.float64)
  x, condition = normal(4, 7), jax.nn.one_hot(labels, 5, dtype=jnp.float64)
  variables = jax.jit(layer.init)(jax.random.key(0), x, condition)
  params = variables["params"]
  params["psi"]["bias"] += 0.3

  @jax.jit
  def ours(params, x):
    def loss(params, x):
      y, _ = layer.apply({**variables, "params": params}, x, condition, mutable=["spectral"])
      return jnp.sin(y).sum(), y

    return jax.grad(loss, (0, 1), has_aux=True)(params, x)

  (d_params, dx), y = ours(params, x)
  psi, embed = torch.nn.Linear(7, 1).double(), torch.nn.Embedding(5, 7).double()
  with torch.no_grad():
    psi.weight.copy_(torch.tensor(np.asarray(params["psi"]["kernel"].T)))
    psi.bias.copy_(torch.tensor(np.asarray(params["psi"]["bias"])))
    embed.weight.copy_(torch.tensor(np.asarray(params["embed"]["embedding"])))
  if spectral:
    psi, embed = (torch.nn.utils.spectral_norm(m, eps=1e-12) for m in (psi, embed))
    for module, name in ((psi, "psi"), (embed, "embed")):
      module.weight_u.copy_(torch.tensor(np.asarray(variables["spectral"][name]["u"])))
  t = torch.tensor(np.asarray(x), requires_grad=True)
  expected = psi(t)[:, 0] + (embed(torch.tensor(labels)) * t).sum(1)
  torch.sin(expected).sum().backward()
  close(y, expected.detach().numpy())
  close(dx, t.grad.numpy())
  gradients = [getattr(m, "weight_orig" if spectral else "weight").grad for m in (psi, embed)]
  close(d_params["psi"]["kernel"].T, gradients[0].numpy())
  close(d_params["psi"]["bias"], psi.bias.grad.numpy())
  close(d_params["embed"]["embedding"], gradients[1].numpy())


def test_without_classes_and_in_half_precision():
  layer = ProjectionHead(None, dtype="bfloat16")
  y, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), jnp.ones([3, 4]))
  assert (y.shape, y.dtype) == ((3,), jnp.float32)
  assert set(variables["params"]) == {"psi"}
  layer = ProjectionHead(2, use_bias=False, update_stats=False, dtype="bfloat16")
  x, condition = jnp.ones([3, 4]), jax.nn.one_hot(jnp.arange(3) % 2, 2)

  @jax.jit
  def run(key):
    variables = layer.init(key, x, condition)
    return variables, *layer.apply(variables, x, condition, mutable=["spectral"])

  variables, y, written = run(jax.random.key(0))
  assert (y.shape, y.dtype) == ((3,), jnp.float32)
  assert set(variables["params"]["psi"]) == {"kernel"}
  jax.tree.map(np.testing.assert_array_equal, written["spectral"], variables["spectral"])


@pytest.mark.parametrize(
  ("classes", "features", "condition", "message"),
  [
    (3, (2, 4), None, "classes=3"),
    (None, (2, 4), (2, 3), "classes=None"),
    (3, (2, 4, 4), (2, 3), "features are needed"),
    (3, (2, 4), (2, 5), r"condition \(2, 5\) is not \[n, classes\] = \(2, 3\)"),
    (3, (2, 4), (1, 3), "is not"),
  ],
)
def test_bad_shapes(classes, features, condition, message):
  rows = None if condition is None else jnp.ones(condition)
  with pytest.raises(ValueError, match=message):
    ProjectionHead(classes).init(jax.random.key(0), jnp.ones(features), rows)
