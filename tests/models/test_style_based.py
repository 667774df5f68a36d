"""StyleGAN2 and its names against torch, StyleGAN against its equations, ProGAN's growth."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import training
from jaxgan.models import progan, stylegan, stylegan2
from jaxgan.models.stylegan2_names import from_torch_names
from tests.models.networks import close, conv, count, dense, shapes

RESOLUTION, CHANNELS, CLASSES, LATENT, STYLE = 8, 2, 3, 5, 6
GENERATOR = stylegan2.Generator(
  CLASSES, RESOLUTION, CHANNELS, width=3, max_width=6, style_dim=STYLE, depth=2
)
DISCRIMINATOR = stylegan2.Discriminator(
  CLASSES, RESOLUTION, width=3, max_width=6, depth=2, group_size=2
)
SIZES = {4: 6, 8: 3}
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64.0


def drawn(shapes, seed=0):
  rng = np.random.default_rng(seed)
  return {
    name: FILTER if name.endswith("resample_filter") else rng.normal(size=shape)
    for name, shape in shapes.items()
  }


def mapping_state(inputs, features, classes, depth):
  state = {"mapping.embed.weight": (features, classes), "mapping.embed.bias": (features,)}
  for i in range(depth):
    state[f"mapping.fc{i}.weight"] = (features, inputs + features if i == 0 else features)
    state[f"mapping.fc{i}.bias"] = (features,)
  return state


@functools.cache
def generator_state():
  state = mapping_state(LATENT, STYLE, CLASSES, 2) | {"mapping.w_avg": (STYLE,)}
  state["synthesis.b4.const"] = (6, 4, 4)
  for size, features in SIZES.items():
    block = f"synthesis.b{size}"
    state[f"{block}.resample_filter"] = (4, 4)
    before = SIZES.get(size // 2)
    for layer, inputs in (("conv0", before), ("conv1", features)):
      if inputs is not None:
        state |= {
          f"{block}.{layer}.weight": (features, inputs, 3, 3),
          f"{block}.{layer}.bias": (features,),
          f"{block}.{layer}.affine.weight": (inputs, STYLE),
          f"{block}.{layer}.affine.bias": (inputs,),
          f"{block}.{layer}.noise_strength": (),
          f"{block}.{layer}.noise_const": (size, size),
          f"{block}.{layer}.resample_filter": (4, 4),
        }
    state |= {
      f"{block}.torgb.weight": (CHANNELS, features, 1, 1),
      f"{block}.torgb.bias": (CHANNELS,),
      f"{block}.torgb.affine.weight": (features, STYLE),
      f"{block}.torgb.affine.bias": (features,),
    }
  return drawn(state)


@functools.cache
def discriminator_state():
  state = mapping_state(0, 6, CLASSES, 2)
  state |= {"b8.fromrgb.weight": (3, CHANNELS, 1, 1), "b8.fromrgb.bias": (3,)}
  state |= {"b8.fromrgb.resample_filter": (4, 4), "b8.resample_filter": (4, 4)}
  state |= {"b8.conv0.weight": (3, 3, 3, 3), "b8.conv0.bias": (3,)}
  state |= {"b8.conv1.weight": (6, 3, 3, 3), "b8.conv1.bias": (6,), "b8.skip.weight": (6, 3, 1, 1)}
  state |= {"b4.conv.weight": (6, 7, 3, 3), "b4.conv.bias": (6,)}
  state |= {"b4.fc.weight": (6, 96), "b4.fc.bias": (6,), "b4.out.weight": (6, 6)}
  return drawn(state | {"b4.out.bias": (6,)}, seed=1)


class Torch:
  """The equations on a state dict, images in torch's layout."""

  def __init__(self, torch, state):
    self.torch, self.f = torch, torch.nn.functional
    self.state = {k: torch.tensor(v).requires_grad_() for k, v in state.items()}

  def weight(self, name, multiplier=1.0):
    w = self.state[f"{name}.weight"]
    return w * multiplier / w[0].numel() ** 0.5

  def activated(self, x):
    return self.f.leaky_relu(x, 0.2) * 2**0.5

  def dense(self, x, name, multiplier=1.0):
    return x @ self.weight(name, multiplier).T + multiplier * self.state[f"{name}.bias"]

  def filtered(self, x, pad, gain=1.0):
    kernel = gain * self.torch.tensor(FILTER).expand(x.shape[1], 1, 4, 4)
    return self.f.conv2d(self.f.pad(x, pad), kernel, groups=x.shape[1])

  def enlarged(self, x):
    n, c, h, w = x.shape
    zeros = x.new_zeros(n, c, 2 * h, 2 * w)
    zeros[:, :, ::2, ::2] = x
    return self.filtered(zeros, (2, 1, 2, 1), 4.0)

  def normalized(self, x):
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()

  def mapping(self, z, label):
    parts = [] if z is None else [self.normalized(z)]
    x = self.torch.cat([*parts, self.normalized(self.dense(label, "mapping.embed"))], 1)
    for i in range(2):
      x = self.activated(self.dense(x, f"mapping.fc{i}", 0.01))
    return x

  def modulated(self, x, w, name, up=False, demodulate=True):
    """Each example with a kernel of its own, in a loop."""
    styles = self.dense(w, f"{name}.affine")
    kernel = self.state[f"{name}.weight"]
    out = []
    for image, style in zip(x, styles, strict=True):
      k = kernel * style[None, :, None, None]
      if demodulate:
        k = k / (k.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
      else:
        k = k / kernel[0].numel() ** 0.5
      if up:
        y = self.f.conv_transpose2d(image[None], k.transpose(0, 1), stride=2)
        out.append(self.filtered(y, (1, 1, 1, 1), 4.0))
      else:
        out.append(self.f.conv2d(image[None], k, padding=k.shape[-1] // 2))
    return self.torch.cat(out) + self.state[f"{name}.bias"][None, :, None, None]

  def synthesis(self, ws):
    x = self.state["synthesis.b4.const"][None].repeat(len(ws), 1, 1, 1)
    image, index = None, 0
    for size in SIZES:
      block = f"synthesis.b{size}"
      for layer in ("conv0", "conv1") if size > 4 else ("conv1",):
        name = f"{block}.{layer}"
        x = self.modulated(x, ws[:, index], name, up=layer == "conv0")
        noise = self.state[f"{name}.noise_const"] * self.state[f"{name}.noise_strength"]
        x, index = self.activated(x + noise[None, None]), index + 1
      added = self.modulated(x, ws[:, index], f"{block}.torgb", demodulate=False)
      image = added if image is None else self.enlarged(image) + added
    return image

  def conv(self, x, name, down=False, bias=True):
    w = self.weight(name)
    reach = w.shape[-1] // 2
    if down:
      pad = 1 + reach  # of the filter and the kernel together
      y = self.filtered(x, (pad,) * 4)
      y = self.f.conv2d(y, w, stride=2)
    else:
      y = self.f.conv2d(x, w, padding=reach)
    return y + self.state[f"{name}.bias"][None, :, None, None] if bias else y

  def discriminator(self, x, label):
    x = self.activated(self.conv(x, "b8.fromrgb"))
    y = self.activated(self.conv(x, "b8.conv0"))
    y = self.activated(self.conv(y, "b8.conv1", down=True))
    x = (y + self.conv(x, "b8.skip", down=True, bias=False)) / 2**0.5
    maps = []
    for pair in x.split(2):
      deviation = (pair.var(0, unbiased=False) + 1e-8).sqrt().mean()
      maps.append(deviation.expand(2, 1, 4, 4))
    x = self.activated(self.conv(self.torch.cat([x, self.torch.cat(maps)], 1), "b4.conv"))
    x = self.activated(self.dense(x.flatten(1), "b4.fc"))
    x = self.dense(x, "b4.out")
    return (x * self.mapping(None, label)).sum(1) / 6**0.5


@pytest.fixture
def torch():
  return pytest.importorskip("torch", reason="needs PyTorch")


def labels(n):
  return np.eye(CLASSES)[np.arange(n) % CLASSES]


def check(network, ours, theirs, state, value):
  """Values and gradients of a function of the variables against torch's of the state."""
  variables = from_torch_names(state, network, latent_dim=LATENT)
  actual, gradient = jax.jit(jax.value_and_grad(ours))(variables)
  np.testing.assert_allclose(actual, value.detach().numpy(), rtol=1e-6)
  value.backward()
  slopes = {
    name: np.zeros(x.shape) if x.grad is None else x.grad.numpy()
    for name, x in theirs.state.items()
  }
  slopes |= {name: FILTER for name in slopes if name.endswith("resample_filter")}
  close(gradient, from_torch_names(slopes, network, latent_dim=LATENT), 1e-6)


@pytest.mark.usefixtures("x64")
def test_generator_against_torch(torch):
  state = generator_state()
  rng = np.random.default_rng(2)
  z, direction = (
    rng.normal(size=[2, LATENT]),
    rng.normal(size=[2, RESOLUTION, RESOLUTION, CHANNELS]),
  )
  psi = np.linspace(0.5, 1.0, 4)  # so that each layer has a style of its own

  def ours(variables):
    given = jnp.concatenate([jnp.asarray(z), jnp.asarray(labels(2))], 1)
    style = training.style_of(GENERATOR)
    ws = style.mapping(variables, given)[:, None] * psi[None, :, None]
    # The mean style has a part, so that its place is seen.
    ws = ws + style.mean(variables)[None, None]
    return (style.synthesis(variables, ws) * direction).sum()

  theirs = Torch(torch, state)
  w = theirs.mapping(torch.tensor(z), torch.tensor(labels(2)))
  ws = w[:, None] * torch.tensor(psi)[None, :, None] + theirs.state["mapping.w_avg"]
  value = (theirs.synthesis(ws).permute(0, 2, 3, 1) * torch.tensor(direction)).sum()
  check(GENERATOR, ours, theirs, state, value)


@pytest.mark.usefixtures("x64")
def test_discriminator_against_torch(torch):
  """And R1, whose gradient is one of second order."""
  state = discriminator_state()
  images = np.random.default_rng(3).normal(size=[4, RESOLUTION, RESOLUTION, CHANNELS])
  weights = np.array([1.0, -2.0, 0.5, 3.0])

  def ours(variables):
    def logits(x):
      return DISCRIMINATOR.apply(variables, x, jnp.asarray(labels(4)), train=True)

    value, slope = jax.value_and_grad(lambda x: (logits(x) * weights).sum())(jnp.asarray(images))
    return value + (slope**2).sum()

  theirs = Torch(torch, state)
  x = torch.tensor(images.transpose(0, 3, 1, 2)).requires_grad_()
  value = (theirs.discriminator(x, torch.tensor(labels(4))) * torch.tensor(weights)).sum()
  (slope,) = torch.autograd.grad(value, x, create_graph=True)
  check(DISCRIMINATOR, ours, theirs, state, value + slope.square().sum())


def changed(state, **entries):
  return {k: v for k, v in (state | entries).items() if v is not None}


@pytest.mark.parametrize(
  ("entries", "said"),
  [
    ({"mapping.fc1.bias": None}, "missing mapping.fc1.bias; unknown none"),
    ({"synthesis.b16.const": np.ones(2)}, "missing none; unknown synthesis.b16.const"),
    ({"synthesis.b8.conv0.weight": np.ones([3, 5, 3, 3])}, r"b8.conv0.weight'\] of shape \[3, 5"),
    ({"synthesis.b4.const": np.ones([6, 4])}, r"b4.const'\] of shape \[6, 4\]"),
    ({"synthesis.b8.resample_filter": np.ones([4, 4]) / 16}, "not the filter of"),
  ],
)
def test_a_state_that_does_not_fit(entries, said):
  with pytest.raises(ValueError, match=said):
    from_torch_names(changed(generator_state(), **entries), GENERATOR, latent_dim=LATENT)


def test_a_state_of_another_discriminator():
  state = discriminator_state()
  with pytest.raises(ValueError, match=r"b16.fromrgb.weight.*resolution=16"):
    from_torch_names(state, DISCRIMINATOR.clone(resolution=16))
  flat = changed(state, **{"b4.fc.weight": np.ones([6, 90])})
  with pytest.raises(ValueError, match=r"b4.fc.weight'\] of shape \[6, 90\]"):
    from_torch_names(flat, DISCRIMINATOR)


def modulated(size, inputs, outputs, style=512):
  """Parameters of a modulated convolution and its affine function."""
  return conv(size, inputs, outputs) + dense(style, inputs)


@pytest.mark.parametrize(
  ("resolution", "width", "features"),
  [
    (1024, 32, [512] * 5 + [256, 128, 64, 32]),
    (1024, 16, [512] * 4 + [256, 128, 64, 32, 16]),
    (32, 512, [512] * 4),
  ],
)
def test_published_sizes(resolution, width, features):
  pairs = list(itertools.pairwise(features))
  style2 = 8 * dense(512, 512) + 16 * features[0]
  style2 += modulated(3, features[0], features[0]) + 1 + modulated(1, features[0], 3)
  for a, b in pairs:
    style2 += modulated(3, a, b) + 1 + modulated(3, b, b) + 1 + modulated(1, b, 3)
  g = stylegan2.Generator(resolution=resolution, width=width)
  variables, images = shapes(g, (2, 512))
  assert (count(variables), images.shape) == (style2, (2, resolution, resolution, 3))
  residual = sum(conv(3, b, b) + conv(3, b, a) + conv(1, b, a, bias=False) for a, b in pairs)
  rest = conv(1, 3, features[-1]) + conv(3, features[0] + 1, features[0])
  rest += dense(16 * features[0], features[0]) + dense(features[0], 1)
  d = stylegan2.Discriminator(resolution=resolution, width=width)
  assert count(shapes(d, images.shape)[0]) == residual + rest
  # ProGAN's critic of the same widths has the same layers, but for the skips, and enters anywhere.
  critic = progan.Discriminator(resolution, width=width)
  entries = sum(conv(1, 3, b) for b in features[:-1])
  skips = sum(conv(1, b, a, bias=False) for a, b in pairs)
  assert count(shapes(critic, images.shape)[0]) == residual + rest + entries - skips
  progressive = dense(512, 16 * features[0], bias=False) + features[0]
  progressive += conv(3, features[0], features[0]) + sum(conv(1, b, 3) for b in features)
  progressive += sum(conv(3, a, b) + conv(3, b, b) for a, b in pairs)
  assert count(shapes(progan.Generator(resolution, width=width), (2, 512))[0]) == progressive
  style1 = 8 * dense(512, 512) + 17 * features[0] + conv(3, features[0], features[0])
  style1 += sum(conv(3, a, b) + conv(3, b, b) for a, b in pairs) + conv(1, features[-1], 3)
  style1 += sum(2 * (dense(512, 2 * b) + b) for b in features)  # AdaIN, and strengths of noise
  assert (
    count(shapes(stylegan.Generator(resolution=resolution, width=width), (2, 512))[0]) == style1
  )


SMALL = dict(resolution=8, channels=1, width=2, max_width=4, style_dim=6, depth=1)
Z = np.random.default_rng(5).normal(size=[4, 5]).astype(np.float32)


@functools.cache
def small(module, **options):
  generator = module.Generator(**SMALL, **options)
  variables = jax.jit(lambda: generator.init(jax.random.key(0), jnp.asarray(Z), train=False))()
  # Strengths of noise, so that it is seen.
  strong = jax.tree_util.tree_map_with_path(
    lambda path, x: x + 1.0 if path[-1].key == "strength" else x, variables
  )
  return generator, strong


def test_styles_mix_and_are_counted():
  generator, variables = small(stylegan2, mixing=0.9)

  @jax.jit
  def styles(z, key):
    found, written = generator.apply(
      variables, z, train=True, method="styles", rngs={"dropout": key}, mutable=["averages"]
    )
    return found, generator.apply(variables, z, method="map"), written["averages"]["w"]

  z = jnp.asarray(np.random.default_rng(6).normal(size=[400, 5]), jnp.float32)
  ws, w, mean = styles(z, jax.random.key(1))
  assert ws.shape == (400, 4, 6)
  own = np.isclose(ws, w[:, None], atol=1e-6).all(-1)
  assert own[:, 0].all()  # the first layer is never another's
  assert (np.diff(own.astype(int), axis=1) <= 0).all()  # one crossover
  assert abs(own.all(1).mean() - 0.1) < 0.06
  np.testing.assert_allclose(mean, 0.005 * w.mean(0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("module", [stylegan, stylegan2], ids=["stylegan", "stylegan2"])
def test_layers_take_their_styles_in_order(module):
  """A style from layer i on leaves the picture alone only in what earlier layers have made."""
  generator, variables = small(module)
  style = training.style_of(generator)

  @jax.jit
  def slopes(ws):
    return jax.jacobian(lambda ws: style.synthesis(variables, ws)[0])(ws)

  ws = jnp.repeat(style.mapping(variables, jnp.asarray(Z[:1]))[:, None], style.layers, 1)
  found = np.abs(np.asarray(slopes(ws))).sum((0, 1, 2, 3, 5))
  assert found.shape == (4,)
  assert (found > 0).all()
  with pytest.raises(ValueError, match=r"styles \(1, 3, 6\)"):
    style.synthesis(variables, ws[:, :3])


@pytest.mark.parametrize("module", [stylegan, stylegan2], ids=["stylegan", "stylegan2"])
def test_noise_is_fixed_but_for_training(module):
  generator, variables = small(module, mixing=0.0)

  @jax.jit
  def images(key):
    z = jnp.asarray(Z)
    drawn = generator.apply(variables, z, train=True, rngs={"dropout": key})
    return generator.apply(variables, z, train=False), drawn

  (fixed, first), (again, second) = images(jax.random.key(1)), images(jax.random.key(2))
  np.testing.assert_array_equal(fixed, again)
  assert np.abs(first - second).max() > 1e-3
  assert np.abs(first - fixed).max() > 1e-3


def test_what_is_ahead_has_no_influence():
  """Whole networks at a progress are those of the stage, enlarged."""
  g = progan.Generator(16, 1, width=2, max_width=4)
  d = progan.Discriminator(16, 1, width=2, max_width=4, group_size=2)
  rng = np.random.default_rng(7)
  x, z = jnp.asarray(rng.normal(size=[4, 16, 16, 1]), jnp.float32), jnp.asarray(Z)
  g_variables, d_variables = jax.jit(
    lambda: (g.init(jax.random.key(0), z, train=False), d.init(jax.random.key(1), x, train=False))
  )()
  assert float(g_variables["growth"]["progress"]) == 2.0

  @functools.partial(jax.jit, static_argnums=1)
  def both(progress, stage):
    growth = {"growth": {"progress": progress}}
    seen = x if stage is None else progan.faded(x, progress, stage=stage)
    given = {**g_variables, **growth}, {**d_variables, **growth}
    return (
      g.clone(stage=stage).apply(given[0], z, train=False),
      d.clone(stage=stage).apply(given[1], seen, train=False),
    )

  pictures = []
  for progress, stage in ((0.0, 0), (0.25, 1), (1.0, 1), (2.0, 2)):
    p = jnp.asarray(progress)
    (whole, logits), (part, part_logits) = both(p, None), both(p, stage)
    factor = 16 // part.shape[1]
    np.testing.assert_allclose(
      whole, part.repeat(factor, 1).repeat(factor, 2), rtol=1e-5, atol=1e-6
    )
    if progress == stage:  # where pictures are whole, they are not blended
      np.testing.assert_allclose(logits, part_logits, rtol=1e-4, atol=1e-5)
    pictures.append(np.asarray(part))
  coarse = pictures[0].repeat(2, 1).repeat(2, 2)
  np.testing.assert_allclose(pictures[1], 0.75 * coarse + 0.25 * pictures[2], rtol=1e-4, atol=1e-5)
  with pytest.raises(ValueError, match="stage=3 must be from 0 to 2"):
    g.clone(stage=3).apply(g_variables, z, train=False)
  with pytest.raises(ValueError, match=r"cannot be reduced to 32 pixels"):
    progan.faded(x, jnp.asarray(3.0), stage=3)
