"""The spectrally normalised networks: SNGAN, its projection form, SAGAN and BigGAN."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan import layers
from jaxgan.models import biggan, sagan, sngan
from tests.models.networks import close, conv, count, dense, randomized

SMALL, FACES, LARGE = (2, 32, 32, 3), (2, 64, 64, 3), (2, 128, 128, 3)
orthogonal = jax.nn.initializers.orthogonal()


def block(inputs, features, hidden, shortcut=True):
  """Two 3x3 convolutions and a 1x1 one."""
  return conv(3, inputs, hidden) + conv(3, hidden, features) + shortcut * conv(1, inputs, features)


def up(inputs, features, gains):
  """A generator's block, with `gains` numbers for gain and as many for bias a feature."""
  return block(inputs, features, features) + 2 * gains * (inputs + features)


def attention(features):
  return features * features * (1 + 1 + 4 + 4) // 8 + 1


def deep(inputs, hidden, features):
  return conv(1, inputs, hidden) + 2 * conv(3, hidden, hidden) + conv(1, hidden, features)


def pairs(widths):
  return list(itertools.pairwise(widths))


SAGAN_G = [64 * k for k in (16, 16, 8, 4, 2, 1)]
BIGGAN_G = [96 * k for k in (16, 16, 8, 4, 2, 1)]
BIGGAN_D = BIGGAN_G[:0:-1] + BIGGAN_G[:1]
DEEP_G = [128 * k for k in (16, 16, 8, 4, 2, 1)]
DEEP_D = DEEP_G[:0:-1] + DEEP_G[:1]

# A network as published, its inputs' shapes, its output's and its parameters, layer by layer.
PUBLISHED = {
  "sngan G": (
    sngan.Generator(),
    [(2, 128)],
    SMALL,
    dense(128, 16 * 512)
    + sum(conv(4, 2 * n, n, False) + 2 * n for n in (256, 128, 64))
    + conv(3, 64, 3),
  ),
  "sngan D": (
    sngan.Discriminator(),
    [SMALL],
    (2,),
    conv(3, 3, 64)
    + conv(4, 64, 64)
    + sum(conv(3, n, 2 * n) + conv(4, 2 * n, 2 * n) for n in (64, 128))
    + conv(3, 256, 512)
    + dense(16 * 512, 1),
  ),
  "sngan residual G": (
    sngan.ResNetGenerator(),
    [(2, 128)],
    SMALL,
    dense(128, 16 * 256) + 3 * up(256, 256, 1) + 2 * 256 + conv(3, 256, 3),
  ),
  "sngan residual D": (
    sngan.ResNetDiscriminator(),
    [SMALL],
    (2,),
    block(3, 128, 128) + block(128, 128, 128) + 2 * block(128, 128, 128, False) + 128,
  ),
  "projection G of 64 pixels": (
    sngan.ResNetGenerator(10, 64, widths=(1024, 512, 256, 128, 64)),
    [(2, 138)],
    FACES,
    dense(128, 16 * 1024)
    + sum(up(2 * n, n, 10) for n in (512, 256, 128, 64))
    + 2 * 64
    + conv(3, 64, 3),
  ),
  "projection D of 64 pixels": (
    sngan.ResNetDiscriminator(10, 64, widths=(64, 128, 256, 512, 1024)),
    [FACES, (2, 10)],
    (2,),
    block(3, 64, 64)
    + sum(block(n, 2 * n, n) for n in (64, 128, 256, 512))
    + dense(1024, 1)
    + 10 * 1024,
  ),
  "sagan G": (
    sagan.Generator(10),
    [(2, 138)],
    LARGE,
    dense(128, 16 * 1024)
    + sum(up(a, b, 10) for a, b in pairs(SAGAN_G))
    + attention(256)
    + 2 * 64
    + conv(3, 64, 3),
  ),
  "sagan D": (
    sagan.Discriminator(10),
    [LARGE, (2, 10)],
    (2,),
    block(3, 64, 64)
    + sum(block(n, 2 * n, 2 * n) for n in (64, 128, 256, 512))
    + block(1024, 1024, 1024, False)
    + attention(128)
    + dense(1024, 1)
    + 10 * 1024,
  ),
  "biggan G": (
    biggan.Generator(10),
    [(2, 138)],
    SMALL,
    dense(128, 16 * 256) + 3 * up(256, 256, 10) + 2 * 256 + conv(3, 256, 3),
  ),
  "biggan D": (
    biggan.Discriminator(10),
    [SMALL, (2, 10)],
    (2,),
    block(3, 256, 256)
    + block(256, 256, 256)
    + 2 * block(256, 256, 256, False)
    + dense(256, 1)
    + 10 * 256,
  ),
  "biggan G of 128 pixels": (
    biggan.Generator(1000, 128, widths=BIGGAN_G, shared=128, hierarchical=True, attention=64),
    [(2, 1120)],
    LARGE,
    dense(20, 16 * 1536)
    + 1000 * 128
    + sum(up(a, b, 148) for a, b in pairs(BIGGAN_G))
    + attention(192)
    + 2 * 96
    + conv(3, 96, 3),
  ),
  "biggan D of 128 pixels": (
    biggan.Discriminator(1000, 128, widths=BIGGAN_D, attention=64, kernel_init=orthogonal),
    [LARGE, (2, 1000)],
    (2,),
    block(3, 96, 96)
    + sum(block(a, b, b, a != b) for a, b in pairs(BIGGAN_D))
    + attention(96)
    + dense(1536, 1)
    + 1000 * 1536,
  ),
  "biggan-deep G": (
    biggan.Generator(1000, 128, widths=DEEP_G, shared=128, deep=True, attention=64),
    [(2, 1128)],
    LARGE,
    dense(256, 16 * 2048)
    + 1000 * 128
    + sum(
      deep(a, a // 4, a) + deep(a, a // 4, b) + 2 * 2 * 256 * (a + 3 * a // 4)
      for a, b in pairs(DEEP_G)
    )
    + attention(256)
    + 2 * 128
    + conv(3, 128, 3),
  ),
  "biggan-deep D": (
    biggan.Discriminator(1000, 128, widths=DEEP_D, deep=True, attention=64),
    [LARGE, (2, 1000)],
    (2,),
    conv(3, 3, 128)
    + sum(
      deep(a, b // 4, b) + (a != b) * conv(1, a, b - a) + deep(b, b // 4, b)
      for a, b in pairs(DEEP_D)
    )
    + attention(256)
    + dense(2048, 1)
    + 1000 * 2048,
  ),
  "biggan-deep D of 32 pixels": (
    biggan.Discriminator(10, deep=True),
    [SMALL, (2, 10)],
    (2,),
    conv(3, 3, 256) + 6 * deep(256, 64, 256) + dense(256, 1) + 10 * 256,
  ),
}


@pytest.mark.parametrize(
  ("network", "inputs", "output", "parameters"), PUBLISHED.values(), ids=PUBLISHED
)
def test_networks_have_their_published_parameters(network, inputs, output, parameters):
  inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
  run = functools.partial(network.init_with_output, train=False)
  y, variables = jax.eval_shape(run, jax.random.key(0), *inputs)
  assert (y.shape, y.dtype) == (output, jnp.float32)
  assert count(variables) == parameters
  # One vector for each kernel of a discriminator, its table included.
  if "Discriminator" in type(network).__name__:
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    kernels = sum(path[-1].key in ("kernel", "embedding") for path, _ in leaves)
    assert len(jax.tree.leaves(variables["spectral"])) == kernels


class Twin:
  """Layers in torch on Flax's variables, with the power iteration written out."""

  def __init__(self, torch, variables):
    self.torch, self.f = torch, torch.nn.functional
    as_tensor = lambda x: torch.tensor(np.asarray(x))  # noqa: E731
    self.params = jax.tree.map(lambda x: as_tensor(x).requires_grad_(), variables["params"])
    self.spectral = jax.tree.map(as_tensor, variables["spectral"])

  @staticmethod
  def at(tree, path):
    return functools.reduce(lambda t, name: t.get(name, {}), path.split("/"), tree)

  def weights(self, path, name="kernel", axis=-1):
    w, u = self.at(self.params, path)[name], self.at(self.spectral, path).get("u")
    if u is None:
      return w
    matrix = w.movedim(axis, 0).reshape(w.shape[axis], -1)
    with self.torch.no_grad():
      v = self.f.normalize(u @ matrix, dim=0)
      u = self.f.normalize(matrix @ v, dim=0)
    return w / (u @ matrix @ v)

  def conv(self, x, path, stride=1):
    w = self.weights(path).permute(3, 2, 0, 1)
    bias = self.at(self.params, path).get("bias")
    return self.f.conv2d(x, w, bias, stride=stride, padding=(w.shape[-1] - 1) // 2)

  def dense(self, x, path):
    bias = self.at(self.params, path).get("bias")
    y = x @ self.weights(path)
    return y if bias is None else y + bias

  def norm(self, x):
    return self.f.batch_norm(x, None, None, training=True, eps=1e-5)

  def conditional(self, x, path, condition):
    gain, bias = (self.dense(condition, f"{path}/{n}")[:, :, None, None] for n in ("gain", "bias"))
    return (1.0 + gain) * self.norm(x) + bias

  def first(self, x, path):
    """The shortcut's convolution before its pooling, as the papers draw it."""
    y = self.conv(self.torch.relu(self.conv(x, f"{path}/SNConv_0")), f"{path}/SNConv_1")
    return self.f.avg_pool2d(y + self.conv(x, f"{path}/SNConv_2"), 2)

  def down(self, x, path, pool=True):
    y = self.conv(self.torch.relu(x), f"{path}/SNConv_0")
    y = self.conv(self.torch.relu(y), f"{path}/SNConv_1")
    if "SNConv_2" in self.at(self.params, path):
      x = self.conv(x, f"{path}/SNConv_2")
    return self.f.avg_pool2d(x + y, 2) if pool else x + y

  def attend(self, x, path):
    n, _, h, w = x.shape
    q, k, v = (self.conv(x, f"{path}/{name}") for name in ("query", "key", "value"))
    k, v = self.f.max_pool2d(k, 2).flatten(2), self.f.max_pool2d(v, 2).flatten(2)
    weights = self.torch.softmax(q.flatten(2).transpose(1, 2) @ k, -1)
    y = (v @ weights.transpose(1, 2)).reshape(n, -1, h, w)
    return x + self.at(self.params, path)["gamma"] * self.conv(y, f"{path}/output")

  def head(self, x, condition):
    x = self.torch.relu(x).sum((2, 3))
    table = self.weights("head/embed", "embedding", 0)
    return self.dense(x, "head/psi")[:, 0] + ((condition @ table) * x).sum(1)


def sngan_plain(t, x):
  leaky = functools.partial(t.f.leaky_relu, negative_slope=0.1)
  for i in range(3):
    x = leaky(t.conv(x, f"SNConv_{i}", stride=1 + i % 2))
  x = x.permute(0, 2, 3, 1).flatten(1)
  return t.dense(x, "SNDense_0")[:, 0]


def sngan_residual(t, x, condition):
  return t.head(t.down(t.first(x, "FirstBlock_0"), "DownBlock_0"), condition)


def sagan_discriminator(t, x, condition):
  x = t.attend(t.first(x, "FirstBlock_0"), "SelfAttention_0")
  x = t.down(t.down(x, "DownBlock_0"), "ResBlock_0", False)
  return t.head(x, condition)


def biggan_generator(t, z):
  """Of 8 pixels: two parts of two numbers, an embedding of three classes."""
  embedding = t.dense(z[:, 4:], "shared")
  condition = t.torch.cat([embedding, z[:, 2:4]], 1)
  x = t.dense(z[:, :2], "SNDense_0").reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
  enlarge = functools.partial(t.f.interpolate, scale_factor=2, mode="nearest")
  y = t.torch.relu(t.conditional(x, "UpBlock_0/ConditionalBatchNorm_0", condition))
  y = t.conv(enlarge(y), "UpBlock_0/SNConv_0")
  y = t.torch.relu(t.conditional(y, "UpBlock_0/ConditionalBatchNorm_1", condition))
  y = t.conv(y, "UpBlock_0/SNConv_1")
  x = y + t.conv(enlarge(x), "UpBlock_0/SNConv_2")
  p = t.params["norm"]
  x = t.norm(x) * p["scale"][:, None, None] + p["bias"][:, None, None]
  return t.torch.tanh(t.conv(t.torch.relu(x), "output"))


def deep_discriminator_block(t, x):
  y = x
  for i in range(3):
    y = t.conv(t.torch.relu(y), f"SNConv_{i}")
  y = t.conv(t.f.avg_pool2d(t.torch.relu(y), 2), "SNConv_3")
  x = t.f.avg_pool2d(x, 2)
  return y + t.torch.cat([x, t.conv(x, "SNConv_4")], 1)


def deep_generator_block(t, x, condition):
  y = x
  for i in range(4):
    y = t.torch.relu(t.conditional(y, f"ConditionalBatchNorm_{i}", condition))
    y = t.conv(t.f.interpolate(y, scale_factor=2) if i == 1 else y, f"SNConv_{i}")
  return y + t.f.interpolate(x[:, :4], scale_factor=2)


class Training:
  """Gives a block, which has no `train`, the interface of a network."""

  def __init__(self, module):
    self.module = module

  def init(self, *args, train):
    return self.module.init(*args)

  def apply(self, *args, train, mutable):
    return self.module.apply(*args, mutable=mutable)


conditional = functools.partial(
  layers.ConditionalBatchNorm, use_running_average=False, linear=layers.SNDense
)
CASES = {
  "sngan D": (sngan.Discriminator(8, width=4), sngan_plain, [(2, 8, 8, 3)]),
  "projection D": (
    sngan.ResNetDiscriminator(3, 8, widths=(4, 6)),
    sngan_residual,
    [(2, 8, 8, 3), (2, 3)],
  ),
  "sagan D": (
    sagan.Discriminator(3, 16, width=8, attention=8),
    sagan_discriminator,
    [(2, 16, 16, 3), (2, 3)],
  ),
  "biggan G": (
    biggan.Generator(3, 8, widths=(6, 4), shared=5, hierarchical=True),
    biggan_generator,
    [(3, 4 + 3)],
  ),
  "deep G": (
    Training(biggan.DeepGeneratorBlock(4, upsample=True, norm=conditional)),
    deep_generator_block,
    [(2, 4, 4, 8), (2, 3)],
  ),
  "deep D": (
    Training(biggan.DeepDiscriminatorBlock(8, downsample=True)),
    deep_discriminator_block,
    [(2, 4, 4, 5)],
  ),
}


@pytest.mark.parametrize(("network", "twin", "inputs"), CASES.values(), ids=CASES)
@pytest.mark.usefixtures("x64")
def test_agrees_with_torch(network, twin, inputs):
  """Value and gradients in training, where each layer makes its power iteration."""
  torch = pytest.importorskip("torch")
  rng = np.random.default_rng(1)
  inputs = [jnp.asarray(rng.normal(size=shape)) for shape in inputs]
  variables = jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs, train=False))
  variables = jax.tree.map(lambda v: v.astype("float64"), randomized(variables))

  @jax.jit
  def ours(params, x):
    def loss(params, x):
      y, _ = network.apply(
        {**variables, "params": params},
        x,
        *inputs[1:],
        train=True,
        mutable=["batch_stats", "spectral"],
      )
      return (jnp.cos(jnp.arange(y.size)).reshape(y.shape) * y).sum(), y

    return jax.grad(loss, (0, 1), has_aux=True)(params, x)

  (d_params, d_x), y = ours(variables["params"], inputs[0])
  t = Twin(torch, variables)
  images = inputs[0].ndim == 4
  theirs = [torch.tensor(np.asarray(x)) for x in inputs]
  x = theirs[0].requires_grad_()
  expected = twin(t, x.permute(0, 3, 1, 2) if images else x, *theirs[1:])
  if expected.ndim == 4:
    expected = expected.permute(0, 2, 3, 1)
  direction = torch.cos(torch.arange(expected.numel(), dtype=torch.float64))
  (direction.reshape(expected.shape) * expected).sum().backward()
  close(y, expected.detach().numpy(), 1e-10)
  close(d_x, x.grad.numpy(), 1e-8)
  # A bias that batch norm takes away has a gradient of rounding errors only.
  for (path, a), b in zip(
    jax.tree_util.tree_leaves_with_path(d_params), jax.tree.leaves(t.params), strict=True
  ):
    b = b.grad.numpy()
    scale = max(float(np.abs(b).max()), 1e-3)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-8 * scale, err_msg=str(path))


def test_vectors_are_written_in_training_only():
  network = sngan.Discriminator(8, width=2)
  x = jnp.ones([1, 8, 8, 3])

  @jax.jit
  def run(key):
    variables = network.init(key, x, train=False)
    apply = functools.partial(network.apply, variables, x, mutable=["spectral"])
    return variables["spectral"], apply(train=True), apply(train=False)

  start, (y, moved), (still_y, still) = run(jax.random.key(0))
  np.testing.assert_allclose(y, still_y, rtol=1e-5)
  for before, a, b in zip(*map(jax.tree.leaves, (start, moved, still)), strict=True):
    np.testing.assert_array_equal(before, b)
    if before.size > 1:
      assert np.abs(a - before).max() > 1e-4


HALF = {
  "projection G": (sngan.ResNetGenerator(3, 8, width=8, dtype=jnp.bfloat16), [(2, 8)]),
  "sngan D": (sngan.Discriminator(8, width=8, dtype=jnp.bfloat16), [(2, 8, 8, 3)]),
  "sagan D": (
    sagan.Discriminator(3, 16, width=8, attention=8, dtype=jnp.bfloat16),
    [(2, 16, 16, 3), (2, 3)],
  ),
  "biggan G": (
    biggan.Generator(3, 8, width=8, shared=4, deep=True, dtype=jnp.bfloat16),
    [(2, 8)],
  ),
}


@pytest.mark.parametrize(("network", "inputs"), HALF.values(), ids=HALF)
def test_half_precision_within_and_float32_outside(network, inputs):
  inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
  dtypes = set()

  def note(next_function, args, kwargs, context):
    y = next_function(*args, **kwargs)
    if (
      isinstance(context.module, (layers.Conv, layers.SNConv)) and context.method_name == "__call__"
    ):
      dtypes.add(y.dtype)
    return y

  def run(*inputs):
    with nn.intercept_methods(note):
      return network.init_with_output(jax.random.key(0), *inputs, train=False)

  y, variables = jax.eval_shape(run, *inputs)
  assert y.dtype == jnp.float32
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
  assert dtypes == {jnp.dtype("bfloat16")}


def test_weights_start_as_published():
  """Glorot's uniform, of variance 2 / fan in for the blocks' 3x3 kernels and 1 / fan in else."""
  network = sngan.ResNetDiscriminator(16, 16, width=16)
  x = jnp.zeros([1, 16, 16, 16])
  params = jax.jit(lambda: network.init(jax.random.key(0), x, jnp.zeros([1, 16]), train=False))()
  params = params["params"]
  for kernel, limit in (
    (params["ResBlock_1"]["SNConv_1"]["kernel"], np.sqrt(6.0 / (9 * 16))),
    (params["FirstBlock_0"]["SNConv_2"]["kernel"], np.sqrt(3.0 / 16)),
    (params["head"]["embed"]["embedding"], np.sqrt(3.0 / 16)),
  ):
    assert 0.95 * limit < np.abs(kernel).max() <= limit


@pytest.mark.parametrize(
  ("network", "inputs", "message"),
  [
    (sngan.ResNetGenerator(widths=(8, 8)), [(2, 8)], r"widths=\(8, 8\): resolution=32 needs 4"),
    (sngan.ResNetDiscriminator(3), [SMALL], "condition None with classes=3"),
    (sngan.ResNetDiscriminator(), [SMALL, (2, 3)], "classes=None"),
    (sngan.ResNetDiscriminator(resolution=64), [SMALL], "do not match resolution=64"),
    (sagan.Generator(resolution=32, attention=32), [(2, 8)], r"attention=32.*one of \[8, 16\]"),
    (sagan.Discriminator(resolution=32, attention=4), [SMALL], "attention=4: resolution=32"),
    (biggan.Generator(3, hierarchical=True), [(2, 11)], "needs a shared embedding"),
    (biggan.Generator(3, shared=4, hierarchical=True, deep=True), [(2, 11)], "one of them"),
    (biggan.Generator(3, shared=4, hierarchical=True), [(2, 12)], "into 4 equal parts"),
    (biggan.DeepGeneratorBlock(8), [(2, 4, 4, 4)], "features=8"),
    (biggan.DeepDiscriminatorBlock(4), [(2, 4, 4, 8)], "features=4"),
  ],
)
def test_what_does_not_fit_is_refused(network, inputs, message):
  options = {} if "Block" in type(network).__name__ else {"train": False}
  inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(lambda *x: network.init(jax.random.key(0), *x, **options), *inputs)
