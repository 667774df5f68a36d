import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import layers
from jaxgan.models import resnet
from tests.models.networks import close, conv, count, dense, randomized, shapes


def test_the_cifar_networks_have_their_parameters():
  """3x3 convolutions, 1x1 shortcuts, two numbers a feature and batch norm."""
  variables, images = shapes(resnet.Generator(), (2, 128))
  block = 2 * conv(3, 128, 128) + conv(1, 128, 128) + 2 * 2 * 128
  assert count(variables) == dense(128, 4 * 4 * 128) + 3 * block + 2 * 128 + conv(3, 128, 3)
  assert images.shape == (2, 32, 32, 3)
  variables, logits = shapes(resnet.Critic(), images.shape)
  first = conv(3, 3, 128) + conv(3, 128, 128) + conv(1, 3, 128)
  rest = 3 * 2 * conv(3, 128, 128) + conv(1, 128, 128)
  assert count(variables) == first + rest + dense(128, 1)
  assert logits.shape == (2,)
  assert set(variables) == {"params"}


def test_the_networks_of_64_pixels_have_their_parameters():
  widths = (512, 512, 256, 128, 64)
  variables, images = shapes(
    resnet.Generator(resolution=64, widths=widths, use_bias=False), (2, 128)
  )
  expected = dense(128, 4 * 4 * 512) + 2 * 64 + conv(3, 64, 3)
  for a, b in itertools.pairwise(widths):
    expected += conv(3, a, b, False) + conv(3, b, b, False) + conv(1, a, b) + 2 * (a + b)
  assert count(variables) == expected
  assert images.shape == (2, 64, 64, 3)
  widths = (64, 128, 256, 512, 512)
  critic = resnet.Critic(resolution=64, widths=widths, norm=layers.LayerNorm, use_bias=False)
  variables, logits = shapes(critic, images.shape)
  expected = conv(3, 3, 64) + dense(4 * 4 * 512, 1)
  for a, b in itertools.pairwise(widths):
    expected += conv(3, a, a, False) + conv(3, a, b, False) + conv(1, a, b) + 2 * 2 * a
  assert count(variables) == expected
  assert logits.shape == (2,)


def test_sizes_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match="resolution=28 must be 8, 16, 32"):
    shapes(resnet.Generator(28), (2, 8))
  with pytest.raises(ValueError, match=r"widths=\(8, 8\): resolution=16 needs 3"):
    shapes(resnet.Generator(16, widths=(8, 8)), (2, 8))
  with pytest.raises(ValueError, match="resolution=8 must be 16, 32"):
    shapes(resnet.Critic(8), (2, 8, 8, 3))
  with pytest.raises(ValueError, match="do not match resolution=32"):
    shapes(resnet.Critic(32), (2, 16, 16, 3))


def test_weights_start_as_published():
  """Uniform, of variance 2 / fan in for the blocks' 3x3 kernels and 1 / fan in else."""
  critic = resnet.Critic(16, width=32)
  params = jax.jit(
    lambda: critic.init(jax.random.key(0), jnp.zeros([1, 16, 16, 32]), train=False)
  )()
  params = params["params"]
  block = params["ResBlock_0"]["Conv_1"]["kernel"]
  limit = np.sqrt(6.0 / (9 * 32))
  assert 0.98 * limit < np.abs(block).max() <= limit
  shortcut = params["FirstBlock_0"]["Conv_2"]["kernel"]
  limit = np.sqrt(3.0 / 32)
  assert 0.95 * limit < np.abs(shortcut).max() <= limit


def torch_tree(tree, torch):
  """Leaves in double precision, convolution kernels in torch's order."""

  def leaf(x):
    x = torch.tensor(np.asarray(x))
    if x.ndim == 4:
      x = x.permute(3, 2, 0, 1)
    return x.contiguous().requires_grad_()

  return jax.tree.map(leaf, tree)


def gradients(params):
  """Those of torch leaves, in Flax's order."""

  def leaf(x):
    g = x.grad
    return (g.permute(2, 3, 1, 0) if g.ndim == 4 else g).numpy()

  return jax.tree.map(leaf, params)


def convolve(functional, x, p):
  return functional.conv2d(x, p["kernel"], p["bias"], padding=p["kernel"].shape[-1] // 2)


def torch_generator(torch, p, z):
  """The network as the code of the paper writes it, shortcuts after upsampling."""
  f = torch.nn.functional

  def norm(x, p):
    return f.batch_norm(x, None, None, p["scale"], p["bias"], training=True, eps=1e-5)

  def up(x):
    return f.interpolate(x, scale_factor=2, mode="nearest")

  x = (z @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"]).reshape(len(z), 4, 4, -1)
  x = x.permute(0, 3, 1, 2)
  for name in sorted(name for name in p if name.startswith("UpBlock")):
    q = p[name]
    y = convolve(f, up(torch.relu(norm(x, q["BatchNorm_0"]))), q["Conv_0"])
    y = convolve(f, torch.relu(norm(y, q["BatchNorm_1"])), q["Conv_1"])
    x = y + convolve(f, up(x), q["Conv_2"])
  x = convolve(f, torch.relu(norm(x, p["BatchNorm_0"])), p["Conv_0"])
  return torch.tanh(x).permute(0, 2, 3, 1)


def torch_critic(torch, p, images):
  """The network of 32 pixels, with pooling after the down-block's 1x1 convolution."""
  f = torch.nn.functional
  x = images.permute(0, 3, 1, 2)
  q = p["FirstBlock_0"]
  y = f.avg_pool2d(convolve(f, torch.relu(convolve(f, x, q["Conv_0"])), q["Conv_1"]), 2)
  x = y + convolve(f, f.avg_pool2d(x, 2), q["Conv_2"])
  for name in ("DownBlock_0", "ResBlock_0", "ResBlock_1"):
    q = p[name]
    y = convolve(f, torch.relu(convolve(f, torch.relu(x), q["Conv_0"])), q["Conv_1"])
    if name == "DownBlock_0":
      y, x = f.avg_pool2d(y, 2), f.avg_pool2d(convolve(f, x, q["Conv_2"]), 2)
    x = x + y
  x = torch.relu(x).mean((2, 3))
  return (x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"])[:, 0]


CASES = {
  "generator": (resnet.Generator(8, width=8), torch_generator, (3, 5)),
  "critic": (resnet.Critic(32, width=8), torch_critic, (2, 32, 32, 3)),
}


@pytest.mark.parametrize(("network", "twin", "shape"), CASES.values(), ids=CASES)
@pytest.mark.usefixtures("x64")
def test_agrees_with_torch(network, twin, shape):
  torch = pytest.importorskip("torch")
  x = jnp.asarray(np.random.default_rng(1).normal(size=shape))
  variables = randomized(
    jax.eval_shape(lambda: network.init(jax.random.key(0), x, train=False)), scale=1.5
  )
  variables = jax.tree.map(lambda v: v.astype("float64"), variables)
  params = variables["params"]

  @jax.jit
  def ours(params, x):
    def loss(params, x):
      y, _ = network.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
      direction = jnp.cos(jnp.arange(y.size)).reshape(y.shape)
      return (direction * y).sum(), y

    return jax.grad(loss, (0, 1), has_aux=True)(params, x)

  (d_params, d_x), y = ours(params, x)
  p, t = torch_tree(params, torch), torch.tensor(np.asarray(x), requires_grad=True)
  expected = twin(torch, p, t)
  direction = torch.cos(torch.arange(expected.numel(), dtype=torch.float64))
  (direction.reshape(expected.shape) * expected).sum().backward()
  close(y, expected.detach().numpy(), 1e-10)
  close(d_x, t.grad.numpy(), 1e-8)
  assert np.abs(d_x).max() > 1e-3
  # A bias that batch norm takes away has a gradient of rounding errors only.
  for (path, a), b in zip(
    jax.tree_util.tree_leaves_with_path(d_params), jax.tree.leaves(gradients(p)), strict=True
  ):
    scale = max(float(np.abs(b).max()), 1e-3)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-8 * scale, err_msg=str(path))
