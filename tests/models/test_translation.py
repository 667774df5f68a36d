"""pix2pix, CycleGAN and UNIT: published sizes, patches, noise, and what is refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxgan import training
from jaxgan.models import cyclegan, pix2pix, unit
from tests.models.networks import conv, count, randomized, shapes


def patchgan(inputs, norm=2):
  """Parameters of the one of 70 pixels, with so many a channel in its norms."""
  sizes = [(64, 128), (128, 256), (256, 512)]
  inner = sum(conv(4, a, b, False) + norm * b for a, b in sizes)
  return conv(4, inputs, 64) + inner + conv(4, 512, 1)


def resnet(blocks):
  ends = conv(7, 3, 64, False) + conv(7, 64, 3)
  return (
    ends
    + 2 * (conv(3, 64, 128, False) + conv(3, 128, 256, False))
    + blocks * 2 * conv(3, 256, 256, False)
  )


WIDTHS = [64, 128, 256, 512, 512, 512, 512, 512]
UNET = (
  conv(4, 3, 64)
  + sum(conv(4, a, b, False) + 2 * b for a, b in itertools.pairwise(WIDTHS[:-1]))
  + conv(4, 512, 512)
  + conv(4, 512, 512, False)
  + 2 * 512
  + sum(conv(4, 2 * b, a, False) + 2 * a for a, b in itertools.pairwise(WIDTHS[:-1]))
  + conv(4, 128, 3)
)
PICTURES, HALVES = (1, 256, 256, 3), (1, 128, 128, 3)
PUBLISHED = {
  "unet": (pix2pix.UNet(), [PICTURES], PICTURES, UNET),
  "patchgan": (pix2pix.PatchDiscriminator(), [PICTURES, PICTURES], (1, 30, 30), patchgan(6)),
  "patchgan of one": (pix2pix.PatchDiscriminator(1), [PICTURES], (1, 126, 126), None),
  "pixelgan": (pix2pix.PatchDiscriminator(0), [PICTURES], (1, 256, 256), None),
  "resnet of 6": (cyclegan.ResNet(blocks=6), [HALVES], HALVES, resnet(6)),
  "cyclegan G": (cyclegan.Generator(), [PICTURES] * 2, (PICTURES,) * 2, 2 * resnet(9)),
  "cyclegan D": (
    cyclegan.Discriminator(),
    [PICTURES] * 2,
    ((1, 30, 30),) * 2,
    2 * patchgan(3, norm=0),
  ),
  "unit G": (unit.Generator(), [PICTURES] * 2, (PICTURES,) * 2, None),
  "unit D": (
    unit.Discriminator(),
    [PICTURES] * 2,
    (((1, 16, 16), (1, 8, 8), (1, 4, 4)),) * 2,
    2 * 3 * (conv(4, 3, 64) + conv(4, 64, 128) + conv(4, 128, 256) + conv(4, 256, 512) + 512 + 1),
  ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_as_published(name):
  network, inputs, output, parameters = PUBLISHED[name]
  variables, made = shapes(network, *inputs)
  assert jax.tree.map(lambda x: x.shape, made) == output
  assert set(variables) == {"params"}
  if parameters is not None:
    assert count(variables) == parameters


def test_the_unet_and_the_patchgan_count_what_their_pytorch_versions_print():
  """54.414 M, without biases in the first layer and the innermost, and 2.769 M."""
  assert UNET - 64 - 512 == 54_413_955
  assert round(patchgan(6) / 1e6, 3) == 2.769


def test_tied_layers_are_one():
  variables, _ = shapes(unit.Generator(), PICTURES, PICTURES)
  alone, _ = shapes(unit.Generator(tied=0), PICTURES, PICTURES)
  block = 2 * conv(3, 256, 256, False)
  assert count(alone) - count(variables) == 2 * block
  assert set(variables["params"]["shared_encoder"]) == {"ResidualBlock_0"}


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_a_logit_depends_on_its_patch_alone(layers):
  field = pix2pix.receptive_field(layers)
  network = pix2pix.PatchDiscriminator(layers, width=1, norm=lambda: lambda x: x)
  x = jax.random.normal(jax.random.key(0), [1, 2 * field + 16, 24 if layers < 3 else 32, 1])
  variables = randomized(jax.eval_shape(lambda: network.init(jax.random.key(0), x, train=False)))

  def logit(x):
    logits = network.apply(variables, x, train=False)[0]
    return logits[len(logits) // 2, 0]

  rows = np.flatnonzero(np.abs(jax.jit(jax.grad(logit))(x)[0]).sum((1, 2)))
  assert rows[-1] - rows[0] + 1 == len(rows) == field


@pytest.mark.parametrize("resolution", [4, 8, 64])
def test_a_unet_has_a_level_for_each_halving(resolution):
  pictures = (2, resolution, resolution, 1)
  variables, made = shapes(pix2pix.UNet(resolution, 3, width=2), pictures)
  assert made.shape == (2, resolution, resolution, 3)
  kernels = [name for name in variables["params"] if name.startswith("Conv_")]
  assert len(kernels) == np.log2(resolution)
  assert sum("Norm" in name for name in variables["params"]) == 2 * len(kernels) - 3


def test_one_picture_does_not_vanish_at_one_pixel():
  """A norm there would make every code 0 and leave the skips alone."""
  network = pix2pix.UNet(4, 1, width=4, norm=pix2pix.batch_norm())
  x = jax.random.normal(jax.random.key(0), [1, 4, 4, 1])
  variables = randomized(jax.eval_shape(lambda: network.init(jax.random.key(0), x, train=False)))
  apply = jax.jit(lambda variables: network.apply(variables, x, train=True))
  innermost = variables["params"]["Conv_1"]
  other = jax.tree.map(lambda leaf: leaf[..., ::-1], innermost)
  changed = {"params": {**variables["params"], "Conv_1": other}}
  assert np.abs(apply(variables) - apply(changed)).max() > 1e-2


def test_weights_start_as_published():
  network = pix2pix.UNet(16, 3, width=16)
  params = jax.jit(network.init, static_argnames="train")(
    jax.random.key(0), jnp.zeros([1, 16, 16, 3]), train=False
  )["params"]
  kernel, gain = params["ConvTranspose_1"]["kernel"], params["BatchNorm_0"]["scale"]
  np.testing.assert_allclose([kernel.mean(), kernel.std()], [0.0, 0.02], atol=5e-4)
  np.testing.assert_allclose([gain.mean(), gain.std()], [1.0, 0.02], atol=1e-2)
  np.testing.assert_array_equal(params["Conv_0"]["bias"], 0.0)
  assert {name for name in params if "Conv" in name and "bias" in params[name]} == {
    "Conv_0",
    "Conv_3",
    "ConvTranspose_3",
  }


def test_dropout_is_drawn_for_each_example_wherever_it_is_and_only_where_a_stream_is_given():
  network = pix2pix.UNet(8, 1, width=2, norm=pix2pix.instance_norm(), axis_name=training.AXIS)
  x = jax.random.normal(jax.random.key(0), [8, 8, 8, 1])
  x = x.at[1].set(x[0])
  variables = randomized(jax.eval_shape(lambda: network.init(jax.random.key(0), x, train=False)))
  key = jax.random.key(3)

  def draw(network):
    return lambda variables, x: network.apply(variables, x, train=False, rngs={"dropout": key})

  alone = jax.jit(draw(network.clone(axis_name=None)))(variables, x)
  mesh = training.data_mesh()
  spec = P(training.AXIS)
  mapped = jax.jit(jax.shard_map(draw(network), mesh=mesh, in_specs=(P(), spec), out_specs=spec))
  np.testing.assert_allclose(mapped(variables, x), alone, atol=1e-5)
  assert np.abs(alone[0] - alone[1]).max() > 1e-2
  still = jax.jit(lambda x: network.apply(variables, x, train=True))(x)
  np.testing.assert_allclose(still[0], still[1], atol=1e-6)


def test_codes_are_drawn_while_training_alone():
  network = unit.Generator((1, 1), width=1, blocks=1)
  mean = jnp.zeros([2, 3, 3, 4])
  bound = network.bind({}, rngs={"dropout": jax.random.key(0)})
  np.testing.assert_array_equal(bound.sampled(mean, train=False), mean)
  drawn = bound.sampled(mean, train=True)
  assert 0.5 < drawn.std() < 1.5
  assert np.abs(drawn[0] - drawn[1]).max() > 0.1


def test_bfloat16_computes_in_it_and_keeps_parameters_and_results_in_float32():
  x = (2, 16, 16, 3)
  for network, inputs in (
    (pix2pix.UNet(16, width=2, dtype=jnp.bfloat16), [x]),
    (pix2pix.PatchDiscriminator(1, width=2, dtype=jnp.bfloat16), [x]),
    (cyclegan.Generator(width=2, blocks=1, dtype=jnp.bfloat16), [x, x]),
    (unit.Generator(width=2, blocks=1, dtype=jnp.bfloat16), [x, x]),
    (unit.Discriminator(2, 2, width=2, dtype=jnp.bfloat16), [x, x]),
  ):
    for leaf in jax.tree.leaves(shapes(network, *inputs, train=True)):
      assert leaf.dtype == jnp.float32


@pytest.mark.parametrize(
  ("network", "size", "said"),
  [
    (pix2pix.UNet(12), 12, "resolution=12 must be 4, 8, 16"),
    (pix2pix.UNet(16), 32, "do not match resolution=16"),
    (pix2pix.PatchDiscriminator(3), 16, "too small for layers=3, which want 32 pixels"),
    (pix2pix.PatchDiscriminator(-1), 16, "layers=-1 must be 0 or more"),
    (cyclegan.ResNet(), 18, "h and w 8, 12, 16"),
    (unit.MultiScaleDiscriminator(), 32, "multiples of 64 pixels for scales=3 and layers=4"),
  ],
)
def test_what_does_not_fit_is_refused(network, size, said):
  with pytest.raises(ValueError, match=said):
    shapes(network, (1, size, size, 3))


def test_pairs_must_be_of_one_size_and_ties_within_the_blocks():
  with pytest.raises(ValueError, match="differ in size"):
    shapes(pix2pix.PatchDiscriminator(1), (1, 16, 16, 3), (1, 8, 8, 3))
  with pytest.raises(ValueError, match="h and w 8, 12, 16"):
    shapes(unit.Generator(), (1, 6, 6, 3), (1, 6, 6, 3))
  with pytest.raises(ValueError, match="tied=2 must be from 0 to blocks=1"):
    shapes(unit.Generator(blocks=1, tied=2), (1, 16, 16, 3), (1, 16, 16, 3))
