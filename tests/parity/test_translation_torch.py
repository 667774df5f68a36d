"""Networks of pix2pix, CycleGAN and UNIT in PyTorch and here: same weights, values, gradients.

In float64, where nothing but the order of sums tells them apart.
"""

import itertools

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.models import cyclegan, pix2pix, unit
from tests.models.networks import randomized

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
nn = torch.nn


class Skip(nn.Module):
  """A level of a U-Net: what is within it, beside its input."""

  def __init__(self, *within):
    super().__init__()
    self.within = nn.Sequential(*within)

  def forward(self, x):
    return torch.cat([self.within(x), x], 1)


def unet(channels, outputs, widths):
  """From the inside: the level of one pixel first."""

  def up(i, o):
    return [nn.ReLU(), nn.ConvTranspose2d(i, o, 4, 2, 1, bias=False), nn.BatchNorm2d(o)]

  within = None
  for outer, inner in zip(widths[-2::-1], widths[:0:-1], strict=True):
    innermost = within is None
    down = [nn.LeakyReLU(0.2), nn.Conv2d(outer, inner, 4, 2, 1, bias=innermost)]
    if innermost:
      within = Skip(*down, *up(inner, outer))
    else:
      within = Skip(*down, nn.BatchNorm2d(inner), within, *up(2 * inner, outer))
  return nn.Sequential(
    nn.Conv2d(channels, widths[0], 4, 2, 1),
    within,
    nn.ReLU(),
    nn.ConvTranspose2d(2 * widths[0], outputs, 4, 2, 1),
    nn.Tanh(),
  )


def patchgan(channels, widths, norm):
  def layer(i, o, stride):
    return [nn.Conv2d(i, o, 4, stride, 1, bias=False), norm(o), nn.LeakyReLU(0.2)]

  parts = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
  for i, o in itertools.pairwise(widths[:-1]):
    parts += layer(i, o, 2)
  parts += [*layer(widths[-2], widths[-1], 1), nn.Conv2d(widths[-1], 1, 4, 1, 1)]
  return nn.Sequential(*parts)


class Residual(nn.Module):
  def __init__(self, c):
    super().__init__()

    def half():
      return [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=False), nn.InstanceNorm2d(c)]

    self.body = nn.Sequential(*half(), nn.ReLU(), *half())

  def forward(self, x):
    return x + self.body(x)


def resnet(channels, outputs, w, blocks):
  def norm(c):
    return [nn.InstanceNorm2d(c), nn.ReLU()]

  return nn.Sequential(
    nn.ReflectionPad2d(3),
    nn.Conv2d(channels, w, 7, bias=False),
    *norm(w),
    nn.Conv2d(w, 2 * w, 3, 2, 1, bias=False),
    *norm(2 * w),
    nn.Conv2d(2 * w, 4 * w, 3, 2, 1, bias=False),
    *norm(4 * w),
    *[Residual(4 * w) for _ in range(blocks)],
    nn.ConvTranspose2d(4 * w, 2 * w, 3, 2, 1, output_padding=1, bias=False),
    *norm(2 * w),
    nn.ConvTranspose2d(2 * w, w, 3, 2, 1, output_padding=1, bias=False),
    *norm(w),
    nn.ReflectionPad2d(3),
    nn.Conv2d(w, outputs, 7),
    nn.Tanh(),
  )


class Scaled(nn.Module):
  """Gain and bias a channel after a norm over everything."""

  def __init__(self, c):
    super().__init__()
    self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

  def forward(self, x):
    y = nn.functional.layer_norm(x, x.shape[1:])
    return y * self.weight[:, None, None] + self.bias[:, None, None]


def autoencoder(channels, outputs, w, blocks):
  """UNIT's encoder and decoder one after the other."""

  def down(i, o):
    convolution = nn.Conv2d(i, o, 4, 2, bias=False)
    return [nn.ReflectionPad2d(1), convolution, nn.InstanceNorm2d(o), nn.ReLU()]

  def up(i, o):
    pad = nn.ReflectionPad2d(2)
    return [nn.Upsample(scale_factor=2), pad, nn.Conv2d(i, o, 5), Scaled(o), nn.ReLU()]

  return nn.Sequential(
    nn.ReflectionPad2d(3),
    nn.Conv2d(channels, w, 7, bias=False),
    nn.InstanceNorm2d(w),
    nn.ReLU(),
    *down(w, 2 * w),
    *down(2 * w, 4 * w),
    *[Residual(4 * w) for _ in range(2 * blocks)],
    *up(4 * w, 2 * w),
    *up(2 * w, w),
    nn.ReflectionPad2d(3),
    nn.Conv2d(w, outputs, 7),
    nn.Tanh(),
  )


class MultiScale(nn.Module):
  def __init__(self, channels, w, layers, scales):
    super().__init__()
    self.networks = nn.ModuleList()
    for _ in range(scales):
      parts, i = [], channels
      for layer in range(layers):
        o = w * 2**layer
        parts += [nn.ReflectionPad2d(1), nn.Conv2d(i, o, 4, 2), nn.LeakyReLU(0.2)]
        i = o
      self.networks.append(nn.Sequential(*parts, nn.Conv2d(i, 1, 1)))
    self.smaller = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

  def forward(self, x):
    found = []
    for network in self.networks:
      found.append(network(x))
      x = self.smaller(x)
    return found


class Autoencoder(unit.Generator):
  """The way of a picture from a to b, without a draw, called as other networks are."""

  def __call__(self, a, *, train):
    return self.forward(a, train=False)


# Ours, theirs, the shape of the inputs, and the module path of ours by the kind of theirs, where
# order alone does not tell.
WIDTHS = [4, 8, 16, 32, 32]
NETWORKS = {
  "unet": (
    lambda: pix2pix.UNet(32, 2, width=4),
    lambda: unet(3, 2, WIDTHS),
    (3, 32, 32, 3),
  ),
  "unet, instance norm": (
    lambda: pix2pix.UNet(16, 2, width=4, norm=pix2pix.instance_norm()),
    lambda: unet(3, 2, WIDTHS[:4]),
    (1, 16, 16, 3),
  ),
  "patchgan": (
    lambda: pix2pix.PatchDiscriminator(2, width=4),
    lambda: patchgan(3, WIDTHS[:3], nn.BatchNorm2d),
    (2, 32, 32, 3),
  ),
  "patchgan, instance norm": (
    lambda: pix2pix.PatchDiscriminator(3, width=4, norm=pix2pix.instance_norm(affine=False)),
    lambda: patchgan(3, WIDTHS[:4], nn.InstanceNorm2d),
    (2, 32, 32, 3),
  ),
  "resnet": (
    lambda: cyclegan.ResNet(2, width=4, blocks=2),
    lambda: resnet(3, 2, 4, 2),
    (2, 16, 20, 3),
  ),
  "unit": (
    lambda: Autoencoder((3, 2), width=2, blocks=2),
    lambda: autoencoder(3, 2, 2, 2),
    (2, 16, 16, 3),
  ),
  "multi-scale": (
    lambda: unit.MultiScaleDiscriminator(2, 2, width=4),
    lambda: MultiScale(3, 4, 2, 2),
    (2, 16, 24, 3),
  ),
}
KINDS = {
  nn.Conv2d: "Conv",
  nn.ConvTranspose2d: "ConvTranspose",
  nn.BatchNorm2d: "Norm",
  Scaled: "Norm",
}


def in_call_order(network, x):
  """Their layers with parameters, in the order in which they are called."""
  called, hooks = [], []
  for module in network.modules():
    if type(module) in KINDS:
      hooks.append(module.register_forward_hook(lambda module, *_: called.append(module)))
  network(x)
  for hook in hooks:
    hook.remove()
  return called


def ours_in_call_order(network, variables, x):
  """Paths of our modules with parameters, by kind, in the order in which they are called."""
  calls = []

  def record(next_call, args, kwargs, context):
    path, name = context.module.path, type(context.module).__name__
    call = ("Norm" if "Norm" in name else name, path)
    # Of our layer norm there is one of flax within.
    if (call[0] == "Norm" or name in ("Conv", "ConvTranspose")) and call not in calls:
      calls.append(call)
    return next_call(*args, **kwargs)

  def run(variables):
    with linen.intercept_methods(record):
      return network.apply(variables, x, train=False)

  jax.eval_shape(run, variables)
  return calls


@pytest.mark.parametrize(
  "name", [pytest.param(n, marks=pytest.mark.slow if n == "unit" else ()) for n in NETWORKS]
)
def test_values_and_gradients_are_those_of_torch(name, x64):
  make, theirs, shape = NETWORKS[name]
  ours, theirs = make(), theirs().double()
  x = np.random.default_rng(0).uniform(-1.0, 1.0, shape)
  if isinstance(ours, Autoencoder):
    both = unit.Generator(ours.channels, width=ours.width, blocks=ours.blocks)
    b = jnp.zeros([*shape[:3], 2])
    shapes = jax.eval_shape(lambda: both.init(jax.random.key(0), x, b, train=False))
  else:
    shapes = jax.eval_shape(lambda: ours.init(jax.random.key(0), x, train=False))
  wide = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float64), shapes)
  variables = randomized(wide, seed=1)

  z = torch.tensor(x, requires_grad=True)
  inputs = z.permute(0, 3, 1, 2)
  params = variables.get("params", {})
  called = []
  for kind, path in ours_in_call_order(ours, variables, x):
    found = params
    for part in path:
      found = found.get(part, {})
    if found:
      called.append((kind, path, found))
  layers = in_call_order(theirs, inputs)
  assert [kind for kind, _, _ in called] == [KINDS[type(layer)] for layer in layers]
  with torch.no_grad():
    for (kind, _, found), layer in zip(called, layers, strict=True):
      layer.weight.copy_(torch.tensor(np.array(to_torch(kind, found))))
      assert ("bias" in found) == (layer.bias is not None)
      if layer.bias is not None:
        layer.bias.copy_(torch.tensor(np.array(found["bias"])))

  def loss(variables, x):
    outputs = jax.tree.leaves(ours.apply(variables, x, train=True))
    return sum((jnp.sin(3.0 * y) * (i + 1)).sum() for i, y in enumerate(outputs)), outputs

  graded = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, outputs), (slopes, dx) = graded(variables, jnp.asarray(x))
  expected = theirs(inputs)
  expected = expected if isinstance(expected, list) else [expected]
  sum((torch.sin(3.0 * y) * (i + 1)).sum() for i, y in enumerate(expected)).backward()

  for y, other in zip(outputs, expected, strict=True):
    other = other.detach().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(y.reshape(other.shape), other, atol=1e-9)
  assert_close(dx, z.grad.numpy(), "inputs")
  for (kind, path, _), layer in zip(called, layers, strict=True):
    found = slopes["params"]
    for part in path:
      found = found[part]
    assert_close(to_torch(kind, found), layer.weight.grad.numpy(), path)
    if layer.bias is not None:
      assert_close(found["bias"], layer.bias.grad.numpy(), path)


def to_torch(kind, found):
  """A kernel `[kh, kw, in, out]`, or a gain, in torch's layout; transposed ones are mirrored."""
  if kind == "Norm":
    return found["scale"]
  kernel = np.asarray(found["kernel"])
  if kind == "ConvTranspose":
    return np.flip(kernel, (0, 1)).transpose(2, 3, 0, 1).copy()
  return kernel.transpose(3, 2, 0, 1).copy()


def assert_close(ours, theirs, what):
  error = np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs)
  assert error < 1e-9, (what, error)
