import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.models import improved
from tests.functional import over_devices
from tests.models.networks import close, randomized, shapes


def double(variables, seed=0):
  return jax.tree.map(lambda x: x.astype("float64"), randomized(variables, seed))


@pytest.mark.usefixtures("x64")
def test_one_and_eight_devices_discriminate_alike():
  """Closeness and batch statistics reach over all devices, and the noise is that of the example."""
  network = improved.Discriminator(16, width=2, kernels=4, noise=0.2)
  x = np.random.default_rng(1).normal(size=(16, 16, 16, 2))
  direction = np.random.default_rng(2).normal(size=(16, 4))
  variables = double(shapes(network, (16, 16, 16, 2))[0])

  def values(network, params, x, direction):
    (logit, features), _ = network.apply(
      {**variables, "params": params},
      x,
      train=True,
      rngs={"dropout": jax.random.key(3)},
      mutable=["batch_stats"],
    )
    return jnp.tanh(logit) + (features * direction).sum(1)

  whole = functools.partial(values, network)

  def mean(params):
    y = whole(params, x, direction)
    return y.mean(), y

  gradient, expected = jax.jit(jax.grad(mean, has_aux=True))(variables["params"])
  parted = functools.partial(values, network.clone(axis_name="data"))
  actual = over_devices(parted, variables["params"], x, direction, check_vma=False)
  close(actual, (expected, gradient), 1e-10)
  # The test would see shards that do not know of each other.
  alone = over_devices(whole, variables["params"], x, direction, check_vma=False)
  assert np.abs(alone[0] - expected).max() > 1e-3


@pytest.mark.usefixtures("x64")
def test_pictures_of_virtual_batch_norm_depend_on_their_own_latents_only():
  network = improved.Generator(8, width=2, reference_size=3)
  z = jnp.asarray(np.random.default_rng(1).normal(size=(4, 5)))
  variables = double(shapes(network, (4, 5))[0])
  apply = jax.jit(functools.partial(network.apply, train=True))
  together = apply(variables, z)
  apart = jnp.concatenate([apply(variables, z[i : i + 1]) for i in range(4)])
  close(apart, together, 1e-12)
  other = {**variables, "reference": jax.tree.map(lambda x: -x, variables["reference"])}
  assert np.abs(apply(other, z) - together).max() > 1e-3


def test_the_reference_is_drawn_at_the_start_and_stays():
  network = improved.Generator(8, width=2, reference_size=200)
  z = jnp.zeros([2, 50])
  start = jax.jit(functools.partial(network.init, train=False))
  latents = start(jax.random.key(0), z)["reference"]["latents"]
  assert latents.shape == (200, 50)
  np.testing.assert_allclose([latents.mean(), latents.std()], [0.0, 1.0], atol=0.03)
  variables, _ = shapes(improved.Generator(8, width=2), (2, 50))
  assert set(variables) == {"params", "batch_stats"}


def test_the_classifier_agrees_with_torch():
  """Weight norm from its definition, `g v / |v|` a column; value and gradient."""
  torch = pytest.importorskip("torch")
  network = improved.DenseClassifier(3, (7, 5))
  x = np.random.default_rng(1).normal(size=(4, 4, 4, 1)).astype("float32")
  variables = randomized(shapes(network, x.shape)[0])
  params = variables["params"]

  @jax.jit
  def ours(params):
    def loss(params):
      out = network.apply({"params": params}, x, train=False)
      return jnp.sin(out.class_logits).sum() + jnp.sin(out.features).sum(), out

    return jax.grad(loss, has_aux=True)(params)

  gradients, out = ours(params)
  leaves = jax.tree.map(lambda v: torch.tensor(np.asarray(v), requires_grad=True), params)
  y = (torch.tensor(x).reshape(4, -1) + 1) / 2
  for i in range(3):
    layer = leaves[f"_WeightNormDense_{i}"]
    v, b = layer["kernel"], layer["bias"]
    g = layer["scale"] if i == 2 else 2.0**0.5  # those of hidden layers are fixed
    features, y = y, torch.addmm(b, y, v * (g / v.norm(dim=0)))
    y = y if i == 2 else torch.relu(y)
  (torch.sin(y).sum() + torch.sin(features).sum()).backward()
  close(out, improved.DenseOutputs(y.detach().numpy(), features.detach().numpy()), 1e-5)
  close(gradients, jax.tree.map(lambda v: v.grad.numpy(), leaves), 1e-5)


def test_features_keep_their_size_at_the_start():
  """Norms of the root of 2: the mean square after each ReLU is about that before the layer."""
  network = improved.DenseClassifier(10, (400, 400, 400))
  x = 2.0 * jax.random.normal(jax.random.key(1), [16, 20, 20, 1]) - 1.0
  start = jax.jit(functools.partial(network.init_with_output, train=False))
  (_, features), _ = start(jax.random.key(0), x)
  assert 0.5 < float((features**2).mean()) < 2.0
