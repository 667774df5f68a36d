import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.layers import Conv, ConvTranspose

PADDINGS = ["SAME", "VALID", 1, (0, 2), ((1, 2), (3, 0))]


def exchange(ours, theirs, inputs):
  """Both initialise alike, and give the same for the same parameters."""
  variables = theirs.init(jax.random.key(0), inputs)
  mine = ours.init(jax.random.key(0), inputs)
  assert jax.tree.structure(mine) == jax.tree.structure(variables)
  jax.tree.map(np.testing.assert_array_equal, mine, variables)
  expected = theirs.apply(variables, inputs)
  actual = ours.apply(variables, inputs)
  assert actual.dtype == expected.dtype
  np.testing.assert_allclose(
    actual.astype("float64"), expected.astype("float64"), rtol=0, atol=1e-12
  )


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (4, 4), (5, 2)], ids=str)
@pytest.mark.usefixtures("x64")
def test_exchanges_parameters_with_flax(kernel, padding):
  inputs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 6, 3)))
  bias = nn.initializers.normal()
  for strides in (1, 2, (3, 1)):
    options = {"strides": strides, "padding": padding, "bias_init": bias, "param_dtype": "float64"}
    exchange(Conv(4, kernel, **options), nn.Conv(4, kernel, **options), inputs)
    exchange(ConvTranspose(4, kernel, **options), nn.ConvTranspose(4, kernel, **options), inputs)


@pytest.mark.usefixtures("x64")
def test_transposed_kernel():
  inputs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)))
  options = {"strides": 2, "transpose_kernel": True, "param_dtype": "float64"}
  exchange(ConvTranspose(5, (4, 4), **options), nn.ConvTranspose(5, (4, 4), **options), inputs)


@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
@pytest.mark.parametrize("module", ["Conv", "ConvTranspose"])
@pytest.mark.usefixtures("x64")
def test_batch_axes(module, batch):
  inputs = jnp.asarray(np.random.default_rng(0).normal(size=(*batch, 4, 5, 3)))
  ours, theirs = {"Conv": (Conv, nn.Conv), "ConvTranspose": (ConvTranspose, nn.ConvTranspose)}[
    module
  ]
  options = {"strides": 2, "use_bias": False, "param_dtype": "float64"}
  exchange(ours(5, (4, 4), **options), theirs(5, (4, 4), **options), inputs)


@pytest.mark.parametrize("module", [Conv, ConvTranspose])
def test_dtypes(module):
  layer = module(4, (4, 4), strides=2, dtype="bfloat16")
  outputs, variables = layer.init_with_output(jax.random.key(0), jnp.ones([1, 8, 8, 3]))
  assert outputs.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


class Discriminator(nn.Module):
  """The same network of either library's layers."""

  conv: type[nn.Module]
  transpose: type[nn.Module]

  @nn.compact
  def __call__(self, x):
    h = nn.leaky_relu(self.conv(8, (4, 4), strides=2)(x))
    h = nn.leaky_relu(self.transpose(4, (4, 4), strides=(2, 2))(h))
    return self.conv(1, (8, 8), padding="VALID")(h)[:, 0, 0, 0]


@pytest.mark.usefixtures("x64")
def test_network_under_a_gradient_penalty():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)))

  def gradient(network, variables):
    def penalty(variables):
      slope = jax.grad(lambda x: network.apply(variables, x).sum())(x)
      return ((jnp.sqrt((slope**2).sum((1, 2, 3))) - 1) ** 2).mean()

    return jax.jit(jax.grad(penalty))(variables)

  ours, theirs = Discriminator(Conv, ConvTranspose), Discriminator(nn.Conv, nn.ConvTranspose)
  variables = theirs.init(jax.random.key(0), x)
  jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(0), x), variables)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
    gradient(ours, variables),
    gradient(theirs, variables),
  )


@pytest.mark.parametrize("module", [Conv, ConvTranspose])
def test_bad_arguments(module):
  images = jnp.ones([1, 4, 4, 2])
  for options, message in (
    ({"kernel_size": 3}, "kernel_size=3: give height and width"),
    ({"kernel_size": (3, 3), "padding": "REFLECT"}, "REFLECT"),
    ({"kernel_size": (3, 3), "strides": (1, 2, 3)}, r"strides=\(1, 2, 3\)"),
  ):
    with pytest.raises(ValueError, match=message):
      module(4, **options).init(jax.random.key(0), images)
  with pytest.raises(ValueError, match=r"inputs have shape \(4, 2\)"):
    module(4, (3, 3)).init(jax.random.key(0), images[0, 0])
  with pytest.raises(TypeError, match="mask"):
    module(4, (3, 3), mask=images)
