import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import penalties
from jaxgan.layers.virtual_batch_norm import VirtualBatchNorm
from tests.functional import over_devices

REFERENCE = 4


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def initialised(x, **options):
  layer = VirtualBatchNorm(
    REFERENCE,
    param_dtype="float64",
    scale_init=nn.initializers.normal(1.0),
    bias_init=nn.initializers.normal(1.0),
    **options,
  )
  return layer, jax.jit(layer.init)(jax.random.key(0), x)


@pytest.mark.parametrize("shape", [(9, 3, 2, 5), (9, 5)], ids=["images", "points"])
@pytest.mark.usefixtures("x64")
def test_against_torch(shape):
  """The paper's sums, an example at a time: values and gradients."""
  torch = pytest.importorskip("torch")
  x, direction = 1.0 + 2.0 * normal(*shape), normal(*shape, seed=1)
  layer, variables = initialised(jnp.asarray(x), epsilon=1e-3)

  def loss(variables, x):
    y = layer.apply(variables, x)
    return (jnp.tanh(y) * direction).sum(), y

  (_, y), (d_params, dx) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(variables, x)

  theirs = torch.tensor(x, requires_grad=True)
  scale, bias = (
    torch.tensor(np.asarray(variables["params"][name]), requires_grad=True)
    for name in ("scale", "bias")
  )

  def normalised(example, mean, square):
    return (example - mean) / torch.sqrt(square - mean**2 + 1e-3) * scale + bias

  reference = theirs[:REFERENCE].reshape(-1, shape[-1])
  mean, square = reference.mean(0), (reference**2).mean(0)
  rows = [normalised(example, mean, square) for example in theirs[:REFERENCE]]
  weight = 1 / (REFERENCE + 1)
  for example in theirs[REFERENCE:]:
    own = example.reshape(-1, shape[-1])
    own_mean, own_square = own.mean(0), (own**2).mean(0)
    rows.append(
      normalised(
        example,
        weight * own_mean + (1 - weight) * mean,
        weight * own_square + (1 - weight) * square,
      )
    )
  expected = torch.stack(rows)
  (torch.tanh(expected) * torch.tensor(direction)).sum().backward()
  np.testing.assert_allclose(y, expected.detach(), atol=1e-10)
  np.testing.assert_allclose(dx, theirs.grad, atol=1e-10)
  np.testing.assert_allclose(d_params["params"]["scale"], scale.grad, atol=1e-10)
  np.testing.assert_allclose(d_params["params"]["bias"], bias.grad, atol=1e-10)


@pytest.mark.usefixtures("x64")
def test_examples_do_not_mix():
  reference, x = jnp.asarray(normal(REFERENCE, 3, 3, 2)), jnp.asarray(normal(5, 3, 3, 2, seed=1))
  layer, variables = initialised(reference)

  def critic(x):
    y = layer.apply(variables, jnp.concatenate([reference, x]))[REFERENCE:]
    return jnp.tanh(y).sum((1, 2, 3))

  penalties.check_per_example(critic, x)
  one_by_one = jax.jit(jax.vmap(lambda one: critic(one[None])[0]))(x)
  np.testing.assert_allclose(one_by_one, jax.jit(critic)(x), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_eight_devices():
  """Each holds the reference, which a learned layer has made, and two examples."""
  x = jnp.asarray(normal(16, 2, 2, 3))
  layer, variables = initialised(x)
  parameters = {"before": jnp.asarray(normal(REFERENCE, 2, 2, 3, seed=1)), "layer": variables}

  def f(parameters, x):
    y = layer.apply(parameters["layer"], jnp.concatenate([parameters["before"], x]))
    return (jnp.tanh(y[REFERENCE:]) ** 3).sum((1, 2, 3))

  values, gradient = over_devices(f, parameters, x, check_vma=True)
  expected = jax.jit(lambda p: (f(p, x), jax.grad(lambda p: f(p, x).mean())(p)))(parameters)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), (values, gradient), expected
  )


def test_limits():
  """A reference alone is normalised as a batch; beside an enormous one an example counts little."""
  x = jnp.asarray(normal(64, 3), "float32")
  layer = VirtualBatchNorm(64)
  y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
  np.testing.assert_allclose(y, (x - x.mean(0, keepdims=True)) / x.std(0, keepdims=True), atol=1e-4)
  twins = jax.jit(layer.apply)(variables, jnp.concatenate([x, x[:1]]))
  np.testing.assert_allclose(twins[64], y[0], atol=0.05)
  alone = VirtualBatchNorm(1, epsilon=0.0).apply(variables, jnp.array([[1.0] * 3, [3.0] * 3]))
  np.testing.assert_allclose(alone[1], 1.0, rtol=1e-6)  # mean 2, deviation 1


def test_types_and_large_means():
  x = jnp.asarray(1e4 + normal(12, 4, 4, 2), "float32")
  layer = VirtualBatchNorm(REFERENCE, dtype="bfloat16")
  y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
  assert y.dtype == jnp.bfloat16
  assert variables["params"]["scale"].dtype == jnp.float32
  np.testing.assert_allclose(y.astype("float32").std((0, 1, 2)), 1.0, atol=0.15)


@pytest.mark.parametrize(("shape", "size"), [((3, 2), 4), ((3, 2), 0), ((3,), 2)])
def test_bad_arguments(shape, size):
  with pytest.raises(ValueError, match=rf"inputs have shape .*reference_size={size}"):
    VirtualBatchNorm(size).init(jax.random.key(0), jnp.ones(shape))
