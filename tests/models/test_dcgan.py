import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.models import dcgan


def shapes(network, *inputs):
  variables = jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs, train=False))
  output = jax.eval_shape(lambda v: network.apply(v, *inputs, train=False), variables)
  return variables["params"], output


def count(params):
  return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


def test_the_standard_example_has_its_parameters():
  """3,576,704 and 2,765,568: what the PyTorch example's networks count."""
  g, images = shapes(dcgan.Generator(64, 3, width=64), jnp.zeros([2, 100]))
  d, logits = shapes(dcgan.Discriminator(64, width=64), jnp.zeros([2, 64, 64, 3]))
  assert (count(g), count(d)) == (3_576_704, 2_765_568)
  assert images.shape == (2, 64, 64, 3)
  assert logits.shape == (2,)


@pytest.mark.parametrize("resolution", [8, 32, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_and_channels(resolution, channels):
  _, images = shapes(dcgan.Generator(resolution, channels, width=2), jnp.zeros([3, 7]))
  assert images.shape == (3, resolution, resolution, channels)
  params, logits = shapes(dcgan.Discriminator(resolution, width=2), jnp.zeros(images.shape))
  assert logits.shape == (3,)
  # Features double down to 4x4 pixels, where one kernel sees all.
  assert params["Conv_0"]["kernel"].shape == (4, 4, channels, 2)
  head = max(params, key=lambda name: name.startswith("Conv") and int(name.split("_")[1]))
  assert params[head]["kernel"].shape == (4, 4, resolution // 4, 1)


def test_bfloat16_computes_in_it_and_keeps_parameters_and_results_in_float32():
  generator = dcgan.Generator(8, 1, width=16, dtype=jnp.bfloat16)
  discriminator = dcgan.Discriminator(8, width=16, dtype=jnp.bfloat16)
  z = jax.random.normal(jax.random.key(1), (4, 10))
  outputs = []
  for dtype in (jnp.bfloat16, None):
    g, d = generator.clone(dtype=dtype), discriminator.clone(dtype=dtype)
    g_variables = g.init(jax.random.key(0), z, train=False)
    images, _ = g.apply(g_variables, z, train=True, mutable=["batch_stats"])
    d_variables = d.init(jax.random.key(0), images, train=False)
    logits, _ = d.apply(d_variables, images, train=True, mutable=["batch_stats"])
    assert images.dtype == logits.dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves((g_variables, d_variables))} == {np.dtype("float32")}
    outputs.append(np.asarray(images))
  low, full = outputs
  assert 0.0 < np.abs(low - full).max() < 0.05 * np.abs(full).max()


def test_weights_start_as_published():
  params = dcgan.Generator(16, 3, width=32).init(
    jax.random.key(0), jnp.zeros([1, 100]), train=False
  )["params"]
  kernel = params["ConvTranspose_1"]["kernel"]
  np.testing.assert_allclose([kernel.mean(), kernel.std()], [0.0, 0.02], atol=5e-4)
  gain = params["BatchNorm_0"]["scale"]
  np.testing.assert_allclose([gain.mean(), gain.std()], [1.0, 0.02], atol=8e-3)
  assert not any("bias" in params[name] for name in params if name.startswith("Conv"))


@pytest.mark.parametrize("resolution", [4, 12, 48, 100])
def test_other_sizes_are_refused(resolution):
  with pytest.raises(ValueError, match=f"resolution={resolution} must be 8, 16, 32"):
    shapes(dcgan.Generator(resolution), jnp.zeros([1, 100]))


def test_pictures_of_another_size_are_refused():
  with pytest.raises(ValueError, match="do not match resolution=64"):
    shapes(dcgan.Discriminator(64), jnp.zeros([1, 32, 32, 3]))
