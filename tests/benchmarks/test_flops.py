"""The hand count against the reference's figures, jaxprs, XLA and torch."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from benchmarks import flops, linen_steps
from benchmarks.models import MODELS

SMALL = {
  "dcgan": flops.Size(16, 3, 4, 2),
  "wgan_gp": flops.Size(32, 1, 2, 3),
  "residual": flops.Size(8, 6, 6, 2),
  "sngan": flops.Size(32, 3, 4, 2),
  "r3gan": flops.Size(16, 3, 8, 2),
  "stylegan2": flops.Size(8, 3, 32, 4),
  "modulated": flops.Size(8, 6, 6, 2),
  "attention": flops.Size(8, 16, 16, 2),
}
PASSES = {
  "dcgan": flops.dcgan_step,
  "wgan_gp": flops.wgan_gp_step,
  "residual": flops.residual_step,
  "sngan": flops.sngan_step,
  "r3gan": flops.r3gan_step,
  "stylegan2": flops.stylegan2_step,
  "modulated": flops.modulated_step,
  "attention": flops.attention_step,
}


@pytest.mark.parametrize(
  ("name", "gigaflops"),
  [
    ("dcgan64", 145.6),
    ("dcgan32", 24.6),
    ("dcgan32grey", 6.1),
    ("residual64", 6 * 2 * 64 * 32**2 * 9 * 64**2 / 1e9),  # six passes of a layer
  ],
)
def test_known_figures(name, gigaflops):
  model = MODELS[name]
  assert sum(model.flops(model.size).values()) / 1e9 == pytest.approx(gigaflops, rel=5e-3)


@pytest.mark.parametrize("family", linen_steps.GAMES)
def test_hand_count_is_that_of_the_step_in_linen(family):
  """Exactly, but that linen's step makes the generator's pass once for each player."""
  passes = PASSES[family](SMALL[family])
  game = linen_steps.GAMES[family](SMALL[family])
  state, inputs = jax.eval_shape(game.init)
  again = passes["generator"] if family == "dcgan" else 0.0
  counted = flops.counted(game.step, state, *inputs)
  assert counted == pytest.approx(sum(passes.values()) + again, rel=1e-12)


def test_jaxpr_count_is_that_of_xla_on_a_dense_gan():
  """To 2%, for the activations and updates that XLA counts too."""
  d = nn.Sequential([nn.Dense(256), nn.relu, nn.Dense(256), nn.relu, nn.Dense(1)])
  g = nn.Sequential([nn.Dense(256), nn.relu, nn.Dense(128)])
  x = jax.ShapeDtypeStruct((256, 128), jnp.float32)
  params = [jax.eval_shape(network.init, jax.random.key(0), x) for network in (d, g)]

  def step(d_params, g_params, real, z):
    def d_loss(p):
      fake = jax.lax.stop_gradient(g.apply(g_params, z))
      return nn.softplus(-d.apply(p, real)).mean() + nn.softplus(d.apply(p, fake)).mean()

    grads = jax.grad(d_loss)(d_params)
    d_params = jax.tree.map(lambda p, grad: p - 0.1 * grad, d_params, grads)

    def g_loss(p):
      return nn.softplus(-d.apply(d_params, g.apply(p, z))).mean()

    return d_params, jax.grad(g_loss)(g_params)

  compiled = jax.jit(step).lower(*params, x, x).compile().cost_analysis()
  shared = 2 * 256 * (128 * 256 + 256 * 128)  # the generator's pass, which XLA merges
  counted = flops.counted(step, *params, x, x) - shared
  assert counted == pytest.approx(compiled["flops"], rel=0.02)


def test_loops_and_branches():
  x = jnp.ones([4, 4])
  product = 2 * 4**3

  def scanned(x):
    return jax.lax.scan(lambda c, _: (c @ x, None), x, length=5)[0]

  def branched(x):
    return jax.lax.cond(x.sum() > 0, lambda x: x @ x @ x, lambda x: x, x)

  assert flops.counted(scanned, x) == 5 * product
  assert flops.counted(branched, x) == 2 * product
  with pytest.raises(ValueError, match="how often it turns"):
    flops.counted(lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c @ x, x), x)


def test_sizes_are_checked():
  with pytest.raises(ValueError, match="batch_size=0 must be positive"):
    flops.Size(32, 3, 64, 0)
  with pytest.raises(ValueError, match="resolution=48 must be 8, 16, 32"):
    flops.dcgan_step(flops.Size(48, 3, 64))
  with pytest.raises(ValueError, match="resolution=8 must be 16, 32, 64"):
    flops.sngan_step(flops.Size(8, 3, 64))


@pytest.mark.parametrize("family", SMALL)
def test_torch_takes_the_same_step(family):
  """As many parameters, and the FLOP that torch itself counts."""
  torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
  from torch.utils import flop_counter
  from torch.utils._python_dispatch import TorchDispatchMode

  from benchmarks import jaxgan_steps, torch_steps

  class Counter(TorchDispatchMode):
    """Torch's own count by operation; its `FlopCounterMode` refuses `autograd.grad`."""

    total = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
      result = operation(*args, **(kwargs or {}))
      formula = flop_counter.flop_registry.get(operation._overloadpacket)
      if formula is not None:
        self.total += formula(*args, **(kwargs or {}), out_val=result)
      return result

  size = SMALL[family]
  passes = PASSES[family](size)
  total = sum(passes.values())
  if family == "wgan_gp":
    # Torch carries zeros from the penalty back through the critic's pass over the points between,
    # up to those, and derives the last layer's gradient in a cotangent that is constant.
    total += passes["penalty: critic between real and fake"] + passes["gradients of features"] / 2
    total -= 2 * size.batch_size * 4**2 * (size.width << 2)  # the last layer, counted twice
  threads = torch.get_num_threads()
  torch.set_num_threads(1)
  try:
    work = torch_steps.STEPS[family](size, {"channels_last": True, "fused": True})
    with Counter() as counter:
      work.step()
    # Filters are not counted, but convolutions in torch. R3GAN has one group here, because torch
    # counts the kernel gradients of grouped convolutions as if they were of all channels.
    tolerance = 0.04 if family in ("r3gan", "stylegan2") else 1e-9
    assert counter.total == pytest.approx(total, rel=tolerance)
    if family == "dcgan":  # in whose generator's step D's weights have gradients too
      official = torch_steps.dcgan(size, {"official": True})
      with Counter() as counter:
        official.step()
      total += passes["D's step: gradients of weights"] / 2
      assert counter.total == pytest.approx(total, rel=1e-9)
      assert official.parameters == work.parameters
  finally:
    torch.set_num_threads(threads)

  if family in linen_steps.GAMES:
    linen = linen_steps.GAMES[family](size)
    assert work.parameters == linen_steps.count(linen.trained(jax.eval_shape(linen.init)[0]))
  systems = {
    "dcgan": jaxgan_steps.dcgan_system,
    "sngan": jaxgan_steps.sngan_system,
    "r3gan": jaxgan_steps.r3gan_system,
    "stylegan2": jaxgan_steps.stylegan2_system,
  }
  if family in systems:
    game = jax.eval_shape(systems[family](size).init, jax.random.key(0))
    ours = game.discriminator.params, game.generator.params
  else:
    ours_game = {"wgan_gp": jaxgan_steps.wgan_gp, **jaxgan_steps.LAYERS}[family](size)
    ours = ours_game.trained(jax.eval_shape(ours_game.init)[0])
  assert work.parameters == linen_steps.count(ours)
