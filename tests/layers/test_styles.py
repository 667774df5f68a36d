import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.layers import (
  AdaIN,
  MappingNetwork,
  NoiseInput,
  adaptive_instance_norm,
  pixel_norm,
)
from tests.functional import over_devices


def normal(*shape, seed=0, dtype="float32"):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def test_pixel_norm():
  x = np.asarray(normal(2, 3, 4, 5))
  expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-8)
  np.testing.assert_allclose(jax.jit(pixel_norm)(x), expected, rtol=1e-5)
  slope = jax.grad(lambda x: pixel_norm(x).sum())(jnp.zeros([1, 4]))
  assert np.isfinite(slope).all()
  assert pixel_norm(x.astype("bfloat16")).dtype == jnp.bfloat16


@pytest.mark.usefixtures("x64")
def test_adain_against_torch():
  torch = pytest.importorskip("torch", reason="needs PyTorch")
  x, w = normal(2, 5, 4, 3, dtype=None), normal(2, 6, seed=1, dtype=None)
  layer, direction = AdaIN(param_dtype="float64"), normal(2, 5, 4, 3, seed=2, dtype=None)
  params = {
    "style": {"kernel": normal(6, 6, seed=3, dtype=None), "bias": normal(6, seed=4, dtype=None)}
  }

  def ours(params, x, w):
    return (direction * jnp.tanh(layer.apply({"params": params}, x, w))).sum()

  value, (of_params, of_x, of_w) = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(params, x, w)
  arrays = (x, w, params["style"]["kernel"], params["style"]["bias"])
  leaves = [torch.tensor(np.asarray(a)).requires_grad_() for a in arrays]
  style = leaves[1] @ leaves[2] / 6**0.5 + leaves[3]
  y = torch.nn.functional.instance_norm(leaves[0].permute(0, 3, 1, 2), eps=1e-8)
  y = (style[:, :3, None, None] + 1.0) * y + style[:, 3:, None, None]
  theirs = (torch.tensor(np.asarray(direction)) * y.permute(0, 2, 3, 1).tanh()).sum()
  gradients = torch.autograd.grad(theirs, leaves)
  np.testing.assert_allclose(value, theirs.item(), rtol=1e-10)
  found = (of_x, of_w, of_params["style"]["kernel"], of_params["style"]["bias"])
  for a, b in zip(found, gradients, strict=True):
    np.testing.assert_allclose(a, b.numpy(), rtol=1e-8, atol=1e-10)


def test_adain_starts_near_instance_norm():
  x, w = 3.0 + 2.0 * normal(2, 8, 8, 4), jnp.zeros([2, 6])
  layer = AdaIN()
  y = layer.apply(layer.init(jax.random.key(0), x, w), x, w)
  np.testing.assert_allclose(y.mean((1, 2)), 0.0, atol=1e-5)
  np.testing.assert_allclose(y.std((1, 2)), 1.0, rtol=1e-4)
  constant = jax.grad(lambda x: layer.apply(layer.init(jax.random.key(0), x, w), x, w).sum())
  assert np.isfinite(constant(jnp.ones([2, 2, 2, 1]))).all()
  with pytest.raises(ValueError, match=r"scale \(2, 3\).*\(2, 8, 8, 4\)"):
    adaptive_instance_norm(x, jnp.ones([2, 3]), jnp.ones([2, 3]))


def noise_of(layer, x, strength=1.0, train=True, key=1):
  variables = layer.init(jax.random.key(0), x, train=False)
  assert not variables["params"]["strength"].any()
  variables = {
    **variables,
    "params": {"strength": strength + jnp.zeros_like(variables["params"]["strength"])},
  }
  rngs = {"dropout": jax.random.key(key)} if train else None
  return layer.apply(variables, x, train=train, rngs=rngs) - x


def test_noise_is_one_image_for_all_channels():
  x = normal(6, 20, 20, 3)
  drawn = np.asarray(noise_of(NoiseInput(), x, 0.5))
  np.testing.assert_allclose(drawn[..., 0], drawn[..., 2], atol=1e-6)
  assert abs(drawn[..., 0].std() - 0.5) < 0.02
  assert np.abs(np.corrcoef(drawn[..., 0].reshape(6, -1)) - np.eye(6)).max() < 0.2
  np.testing.assert_allclose(noise_of(NoiseInput(), x[:2], 0.5), drawn[:2], atol=1e-6)
  assert np.abs(np.asarray(noise_of(NoiseInput(), x, 0.5, key=2)) - drawn).max() > 0.1
  each = noise_of(NoiseInput(per_channel=True), x, jnp.array([0.0, 1.0, 2.0]))
  np.testing.assert_allclose(each, 2.0 * drawn * np.array([0.0, 1.0, 2.0]), atol=1e-5)


def test_noise_is_fixed_where_nothing_is_trained():
  x = normal(3, 4, 4, 2)
  fixed = np.asarray(noise_of(NoiseInput(), x, train=False))
  np.testing.assert_allclose(fixed[0], fixed[2], atol=1e-6)
  assert fixed[0, :, :, 0].std() > 0.3
  layer = NoiseInput()
  maps = normal(3, 4, 4, seed=9)
  given = {"params": {"strength": jnp.asarray(2.0)}, "noise": {"fixed": maps}}
  y = layer.apply(given, x, train=False)  # one for each example
  np.testing.assert_allclose(y - x, 2.0 * jnp.stack([maps] * 2, -1), atol=1e-5)


@pytest.mark.parametrize("check_vma", [True, False])
def test_noise_on_eight_devices(check_vma):
  x, strength = normal(16, 3, 3, 2), jnp.asarray(0.7)

  def f(strength, x, axis_name=None):
    layer = NoiseInput(axis_name=axis_name)
    variables = {"params": {"strength": strength}, "noise": {"fixed": jnp.zeros([3, 3])}}
    y = layer.apply(variables, x, train=True, rngs={"dropout": jax.random.key(3)})
    return (y**2).sum((1, 2, 3))

  values, gradient = over_devices(
    lambda strength, x: f(strength, x, "data"), strength, x, check_vma=check_vma
  )
  expected, slope = jax.jit(lambda w: (f(w, x), jax.grad(lambda w: f(w, x).mean())(w)))(strength)
  np.testing.assert_allclose(values, expected, rtol=1e-5)
  np.testing.assert_allclose(gradient, slope, rtol=1e-5)


def test_mapping_by_hand():
  layer, z, labels = MappingNetwork(4, depth=2), normal(3, 5), jnp.eye(3)
  variables = layer.init(jax.random.key(0), z, labels)
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
  assert abs(p["fc1"]["kernel"].std() - 100.0) < 40.0  # stored at 1 / 0.01

  def unit(x):
    return x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)

  embedded = p["embed"]["kernel"] / 3**0.5 + p["embed"]["bias"]
  x = np.concatenate([unit(np.asarray(z, np.float64)), unit(embedded)], 1)
  for name, fan in (("fc0", 9), ("fc1", 4)):
    x = x @ p[name]["kernel"] * 0.01 / fan**0.5 + 0.01 * p[name]["bias"]
    x = np.where(x > 0, x, 0.2 * x) * 2**0.5
  np.testing.assert_allclose(layer.apply(variables, z, labels), x, rtol=1e-4, atol=1e-6)
  longer = layer.apply(variables, 7.0 * z, labels)  # on the sphere lengths are gone
  np.testing.assert_allclose(longer, x, rtol=1e-4, atol=1e-6)


def test_mapping_refuses_nothing_to_map():
  with pytest.raises(ValueError, match="z and condition are both None"):
    MappingNetwork(4).init(jax.random.key(0), None)
  with pytest.raises(ValueError, match="depth=0"):
    MappingNetwork(4, depth=0).init(jax.random.key(0), jnp.ones([1, 2]))
