"""R3GAN's networks: published sizes, torch, what they start as."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.models import r3gan
from tests.models.networks import close, conv, count, randomized, shapes

SMALL = (2, 32, 32, 3)
FOUR = (768,) * 4


def block(width, group=16):
  wide = 2 * width
  return conv(1, width, wide) + conv(3, group, wide) + conv(1, wide, width, False)


def stages_of(widths, group=16):
  """Both players' residual blocks and the 1x1 convolutions where the width changes."""
  changes = sum(a * b for a, b in itertools.pairwise(widths) if a != b)
  return sum(2 * block(width, group) for width in widths) + changes


def generator(widths, inputs=64, group=16):
  return inputs * widths[0] + 16 * widths[0] + stages_of(widths, group) + 3 * widths[-1]


def discriminator(widths, outputs=1, group=16):
  return 3 * widths[-1] + stages_of(widths, group) + 16 * widths[0] + outputs * widths[0]


# The networks of CIFAR-10 are conditional; the paper has 20.8 and 21.3 million of them.
LABELS = (2, 10)
WIDE = {"width": 1536, "group_size": 32}
FACES = (*FOUR, 384, 192, 96)
PUBLISHED = {
  "cifar10 G": (
    r3gan.Generator(10),
    [(2, 74)],
    generator(FOUR, 128) + 10 * 64,
  ),
  "cifar10 D": (r3gan.Discriminator(10), [SMALL, LABELS], discriminator(FOUR, 768) + 7680),
  "stacked MNIST G": (r3gan.Generator(), [(2, 64)], generator(FOUR)),
  "stacked MNIST D": (r3gan.Discriminator(), [SMALL], discriminator(FOUR)),
  "ffhq64 G": (
    r3gan.Generator(resolution=64, widths=(*FOUR, 384)),
    [(2, 64)],
    generator((*FOUR, 384)),
  ),
  "ffhq256 G": (r3gan.Generator(resolution=256, widths=FACES), [(2, 64)], generator(FACES)),
  "ffhq256 D": (
    r3gan.Discriminator(resolution=256, widths=FACES),
    [(2, 256, 256, 3)],
    discriminator(FACES),
  ),
  "imagenet32 G": (
    r3gan.Generator(1000, **WIDE),
    [(2, 1064)],
    generator((1536,) * 4, 128, 32) + 1000 * 64,
  ),
  "imagenet64 D": (
    r3gan.Discriminator(1000, 64, **WIDE),
    [(2, 64, 64, 3), (2, 1000)],
    discriminator((1536,) * 5, 1536, 32) + 1000 * 1536,
  ),
}


@pytest.mark.parametrize(("network", "inputs", "parameters"), PUBLISHED.values(), ids=PUBLISHED)
def test_the_published_networks(network, inputs, parameters):
  """Shapes and parameters; half precision inside only, and not at 4 pixels."""
  variables, result = shapes(network.clone(dtype=jnp.bfloat16), *inputs)
  sides = 2 * (network.resolution,)
  assert result.shape == ((2,) if "Disc" in type(network).__name__ else (2, *sides, 3))
  assert count(variables) == parameters
  assert {x.dtype for x in jax.tree.leaves((variables, result))} == {np.dtype("float32")}


def test_millions_of_parameters():
  generator, discriminator = (
    count(shapes(*PUBLISHED[name][:1], *PUBLISHED[name][1])[0])
    for name in ("cifar10 G", "cifar10 D")
  )
  assert round(generator / 1e6, 1) == 20.8
  assert round(discriminator / 1e6, 1) == 21.3


def test_half_precision_from_eight_pixels_on():
  dtypes = {}

  def note(next_function, args, kwargs, context):
    y = next_function(*args, **kwargs)
    if isinstance(context.module, r3gan.ResidualBlock):
      dtypes.setdefault(y.shape[1], set()).add(y.dtype)
    return y

  from flax import linen as nn

  for network, shape in (
    (r3gan.Generator(width=8, resolution=16), (1, 5)),
    (r3gan.Discriminator(widths=(8, 16, 8), resolution=16), (1, 16, 16, 3)),
  ):
    with nn.intercept_methods(note):
      shapes(network.clone(dtype=jnp.bfloat16), shape)
  half = {jnp.dtype("bfloat16")}
  assert dtypes == {4: {jnp.dtype("float32")}, 8: half, 16: half}


class Twin:
  """The networks in torch, from the paper's description, on Flax's parameters."""

  def __init__(self, torch, params):
    self.torch, self.f = torch, torch.nn.functional
    self.params = jax.tree.map(lambda x: torch.tensor(np.asarray(x)).requires_grad_(), params)

  def conv(self, x, params, groups=1):
    kernel = params["kernel"].permute(3, 2, 0, 1)
    padding = kernel.shape[-1] // 2
    return self.f.conv2d(x, kernel, params.get("bias"), padding=padding, groups=groups)

  def block(self, x, name):
    p = self.params[name]
    leaky = functools.partial(self.f.leaky_relu, negative_slope=0.2)
    y = leaky(self.conv(x, p["Conv_0"]))
    y = leaky(self.conv(y, p["Conv_1"], y.shape[1] // 8))
    return x + self.conv(y, p["Conv_2"])

  def resample(self, x, up):
    """A depthwise (transposed) 4x4 convolution of stride 2 with padding 1."""
    c = x.shape[1]
    taps = self.torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8.0
    kernel = (taps[:, None] * taps[None, :]).expand(c, 1, 4, 4)
    if up:
      return self.f.conv_transpose2d(x, 4.0 * kernel, stride=2, padding=1, groups=c)
    return self.f.conv2d(x, kernel, stride=2, padding=1, groups=c)

  def generator(self, z, classes):
    p = self.params
    z = self.torch.cat([z[:, :-classes], z[:, -classes:] @ p["embed"]["kernel"]], 1)
    x = (z @ p["scales"]["kernel"])[:, :, None, None] * p["basis"].permute(2, 0, 1)
    x = self.block(self.block(x, "ResidualBlock_0"), "ResidualBlock_1")
    x = self.resample(self.conv(x, p["Conv_0"]), up=True)
    x = self.block(self.block(x, "ResidualBlock_2"), "ResidualBlock_3")
    return self.conv(x, p["output"])

  def discriminator(self, x, condition):
    p = self.params
    x = self.conv(x, p["input"])
    x = self.block(self.block(x, "ResidualBlock_0"), "ResidualBlock_1")
    x = self.conv(self.resample(x, up=False), p["Conv_0"])
    x = self.block(self.block(x, "ResidualBlock_2"), "ResidualBlock_3")
    x = self.f.conv2d(x, p["basis"].permute(2, 0, 1)[:, None], groups=x.shape[1]).flatten(1)
    return ((x @ p["head"]["kernel"]) * (condition @ p["embed"]["kernel"])).sum(1)


OPTIONS = {"resolution": 8, "widths": (8, 4), "group_size": 8}


def start(network, *inputs):
  variables = jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs, train=False))
  return jax.tree.map(lambda v: v.astype("float64"), randomized(variables))["params"]


@pytest.mark.usefixtures("x64")
def test_the_generator_agrees_with_torch():
  torch = pytest.importorskip("torch")
  z = jnp.asarray(np.random.default_rng(1).normal(size=(3, 5 + 2)))
  network = r3gan.Generator(2, **OPTIONS)
  params = start(network, z)

  def loss(params):
    x = network.apply({"params": params}, z, train=True)
    return (jnp.cos(jnp.arange(x.size)).reshape(x.shape) * x).sum(), x

  gradient, x = jax.jit(jax.grad(loss, has_aux=True))(params)
  t = Twin(torch, params)
  expected = t.generator(torch.tensor(np.asarray(z)), 2).permute(0, 2, 3, 1)
  direction = torch.cos(torch.arange(expected.numel(), dtype=torch.float64))
  (direction.reshape(expected.shape) * expected).sum().backward()
  close(x, expected.detach().numpy(), 1e-12)
  close(gradient, jax.tree.map(lambda p: p.grad.numpy(), t.params), 1e-10)


@pytest.mark.usefixtures("x64")
def test_the_discriminators_loss_agrees_with_torch():
  """The whole of it: pairs of logits, R1 and R2, and the derivative of those gradients."""
  from jaxgan import losses, penalties

  torch = pytest.importorskip("torch")
  rng = np.random.default_rng(1)
  real, fake = (jnp.asarray(rng.normal(size=(3, 8, 8, 3))) for _ in range(2))
  labels = jnp.asarray(np.eye(2)[[1, 0, 1]])
  network = r3gan.Discriminator(2, **OPTIONS)
  params = start(network, real, labels)

  def loss(params):
    def critic(x):
      return network.apply({"params": params}, x, labels, train=True)

    adversarial = losses.relativistic().discriminator(critic(real), critic(fake)).mean()
    penalty = (penalties.r1(critic, real) + penalties.r2(critic, fake)).mean()
    return adversarial + 0.05 / 2 * penalty, (adversarial, penalty)

  gradient, parts = jax.jit(jax.grad(loss, has_aux=True))(params)
  t = Twin(torch, params)
  inputs = [torch.tensor(np.asarray(x)).permute(0, 3, 1, 2).requires_grad_() for x in (real, fake)]
  logits = [t.discriminator(x, torch.tensor(np.asarray(labels))) for x in inputs]
  slopes = torch.autograd.grad(sum(x.sum() for x in logits), inputs, create_graph=True)
  penalty = sum(slope.square().sum((1, 2, 3)) for slope in slopes).mean()
  adversarial = t.f.softplus(logits[1] - logits[0]).mean()
  (adversarial + 0.025 * penalty).backward()
  close(parts, (adversarial.item(), penalty.item()), 1e-10)
  close(gradient, jax.tree.map(lambda p: p.grad.numpy(), t.params), 1e-8)


def test_what_the_networks_start_as():
  """Variances by hand; blocks that do nothing; features of unit variance throughout."""
  z = jax.random.normal(jax.random.key(1), [64, 64])
  network = r3gan.Generator(width=64, resolution=8, blocks=1)
  x, variables = jax.jit(functools.partial(network.init_with_output, train=False))(
    jax.random.key(0), z
  )
  params = variables["params"]
  depth = 2
  for name, fan_in in (("Conv_0", 64), ("Conv_1", 9 * 16)):
    kernel = params["ResidualBlock_0"][name]["kernel"]
    deviation = np.sqrt(2.0 / 1.04 / fan_in) * depth**-0.25
    np.testing.assert_allclose(kernel.std(), deviation, rtol=0.03)
    assert np.abs(kernel).max() > 2.9 * deviation  # not truncated
  for name, block in params.items():
    if name.startswith("ResidualBlock"):
      assert not block["Conv_2"]["kernel"].any()
  np.testing.assert_allclose(params["scales"]["kernel"].std(), 1 / 8, rtol=0.03)
  np.testing.assert_allclose(params["basis"].std(), 1.0, rtol=0.1)
  # All that is left is an enlarged basis, and a 1x1 convolution.
  maps = (z @ params["scales"]["kernel"])[:, None, None] * params["basis"][None]
  from jaxgan import layers

  expected = layers.blur_upsample(maps) @ params["output"]["kernel"][0, 0]
  np.testing.assert_allclose(x, expected, atol=1e-4)

  d = r3gan.Discriminator(3, width=64, resolution=8, blocks=1)
  y, variables = jax.jit(functools.partial(d.init_with_output, train=False))(
    jax.random.key(0), x, jax.nn.one_hot(jnp.arange(64) % 3, 3)
  )
  params = variables["params"]
  np.testing.assert_allclose(params["basis"].std(), 0.25, rtol=0.1)
  np.testing.assert_allclose(params["embed"]["kernel"].std(), (64 * 3) ** -0.5, rtol=0.15)
  np.testing.assert_allclose(params["head"]["kernel"].std(), 1 / 8, rtol=0.03)
  assert np.isfinite(y).all()


@pytest.mark.parametrize(
  ("network", "inputs", "message"),
  [
    (r3gan.Generator(widths=(8, 8)), [(2, 8)], r"widths=\(8, 8\): resolution=32 needs 4"),
    (r3gan.Generator(width=12), [(2, 8)], "group_size=16 must divide 24"),
    (r3gan.Generator(10), [(2, 10)], r"z \(2, 10\) is not \[batch, noise \+ classes\]"),
    (r3gan.Discriminator(resolution=64), [SMALL], "do not match resolution=64"),
    (r3gan.Discriminator(3, width=8), [SMALL], "condition None with classes=3"),
    (r3gan.Discriminator(width=8), [SMALL, (2, 3)], r"condition \(2, 3\) with classes=None"),
    (r3gan.Discriminator(3, width=8), [SMALL, (2, 4)], r"\(2, 4\) is not \[batch, classes\]"),
  ],
)
def test_what_does_not_fit_is_refused(network, inputs, message):
  with pytest.raises(ValueError, match=message):
    shapes(network, *inputs)
