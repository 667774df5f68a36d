"""Meshes with a data axis, a model axis and both: one game, and less memory a device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec

from experiments import dcgan, wgan_gp
from jaxgan import latents, layers, losses, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec

SPEC = ImageSpec((16, 16, 1))
LAYOUT = functools.partial(training.state_sharding, narrowest=1)


class Painter(nn.Module):
  """A generator that compiles in no time."""

  norm: bool = True

  @nn.compact
  def __call__(self, z, *, train):
    x = nn.Dense(32, use_bias=not self.norm)(z)
    if self.norm:
      x = layers.BatchNorm(not train, axis_name=training.AXIS, momentum=0.9)(x)
    return jnp.tanh(nn.Dense(16 * 16)(jnp.tanh(x))).reshape(-1, *SPEC.shape)


class Judge(nn.Module):
  """A discriminator of the same kind."""

  norm: bool = True

  @nn.compact
  def __call__(self, x, *, train):
    x = nn.Dense(32, use_bias=not self.norm)(x.reshape(len(x), -1))
    if self.norm:
      x = layers.BatchNorm(not train, axis_name=training.AXIS, momentum=0.9)(x)
    return nn.Dense(1)(jnp.tanh(x))[:, 0]


def dense(norm=True, **options):
  z = latents.normal(8)
  adam = optax.adam(2e-4, b1=0.5)
  return training.system(
    Painter(norm),
    Judge(norm),
    adam,
    adam,
    objectives.adversarial(losses.non_saturating(), z, axis_name=training.AXIS),
    latents=z,
    spec=SPEC,
    **options,
  )


def experiment(module, resolution=16, width=4):
  config = module.Config(workdir="", resolution=resolution, width=width, batch_size=16)
  return module.build(config, ImageSpec((resolution, resolution, 1)))


def mesh_of(data, model):
  return training.data_mesh(jax.devices()[: data * model], model=model)


def initial(gan):
  return jax.tree.map(
    lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
    jax.jit(gan.init)(jax.random.key(0)),
  )


def pictures(t, mesh, groups, side=16):
  images = np.random.default_rng(t).uniform(-1.0, 1.0, (groups, 16, side, side, 1))
  return {"image": jax.device_put(images, training.batch_sharding(mesh))}


def placed(game, mesh):
  """A copy, since the step donates its state."""
  return jax.device_put(jax.tree.map(jnp.copy, game), LAYOUT(game, mesh))


def play(gan, game, mesh, steps, side=16):
  """The game after some steps, and the last metrics."""
  game = placed(game, mesh)
  step = training.data_parallel(gan.step, mesh, layout=LAYOUT)
  for t in range(steps):
    game, metrics = step(game, pictures(t, mesh, gan.d_steps, side))
  return game, metrics


def leaves(game, metrics):
  whole = (game.replace(key=jax.random.key_data(game.key)), metrics)
  named = jax.tree_util.tree_leaves_with_path(whole)
  return {jax.tree_util.keystr(path): np.asarray(x) for path, x in named}


def check_equal(one, many):
  assert one.keys() == many.keys()
  for name, x in one.items():
    # The logged norms of gradients are computed in float32.
    tolerance = 1e-6 if x.dtype == np.float32 else 1e-10
    distance = np.linalg.norm(many[name] - x)
    assert distance <= tolerance * max(np.linalg.norm(x), 1e-30), name


@functools.cache
def dense_alone():
  gan = dense()
  game = initial(gan)
  return gan, game, leaves(*play(gan, game, mesh_of(1, 1), 3))


slow = pytest.mark.slow


@pytest.mark.parametrize(
  ("data", "model"),
  [(4, 2), (1, 8), *(pytest.param(*x, marks=slow) for x in [(2, 1), (8, 1), (2, 4), (1, 2)])],
)
def test_all_meshes_play_the_game_of_one_device(x64, data, model):
  mesh = mesh_of(data, model)
  gan, game, one = dense_alone()
  game, metrics = play(gan, game, mesh, 3)
  check_equal(one, leaves(game, metrics))
  # It lies as it was laid out, optimiser and averages included, and is as much smaller.
  for place in (
    game.generator.params,
    game.generator.average["params"],
    game.generator.opt_state[0].nu,
  ):
    kernel = place["Dense_1"]["kernel"]
    spec = PartitionSpec(None, training.MODEL_AXIS) if model > 1 else PartitionSpec()
    assert kernel.sharding.spec == spec
    assert kernel.addressable_data(0).shape == (32, 256 // model)
    assert place["Dense_1"]["bias"].sharding.is_fully_replicated
  kernels = [x for x in jax.tree.leaves(game) if x.ndim > 1 and x.shape[-1] > 1]
  parts = sum(x.addressable_data(0).nbytes for x in kernels)
  assert parts * model == sum(x.nbytes for x in kernels) > 100_000


def test_convolutions_on_both_axes_play_the_game_of_one_device(x64):
  gan = experiment(dcgan)
  start = initial(gan)
  game, metrics = play(gan, start, mesh_of(2, 2), 2)
  kernel = game.generator.params["ConvTranspose_0"]["kernel"]
  assert kernel.addressable_data(0).shape[-1] == kernel.shape[-1] // 2
  check_equal(leaves(*play(gan, start, mesh_of(1, 1), 2)), leaves(game, metrics))


@functools.cache
def convolutional_alone(module):
  """The smallest networks whose convolutions split into eight; WGAN-GP has five critic updates."""
  gan = experiment(module, resolution=8, width=8)
  start = initial(gan)
  return gan, start, leaves(*play(gan, start, mesh_of(1, 1), 10, side=8))


@pytest.mark.parametrize(
  ("data", "model"),
  [(4, 2), (1, 8), *(pytest.param(*x, marks=slow) for x in [(2, 1), (8, 1), (2, 4)])],
)
@pytest.mark.parametrize("module", [pytest.param(dcgan, marks=slow), wgan_gp])
def test_ten_steps_with_convolutions_on_all_meshes(x64, module, data, model):
  gan, start, one = convolutional_alone(module)
  game, metrics = play(gan, start, mesh_of(data, model), 10, side=8)
  kernel = game.discriminator.params["Conv_0"]["kernel"]
  assert kernel.addressable_data(0).shape[-1] == kernel.shape[-1] // model
  check_equal(one, leaves(game, metrics))


def test_several_steps_a_call_and_pieces_of_a_batch_on_both_axes(x64):
  gan = dense(norm=False, accumulate=2)  # pieces have batch statistics of their own
  start, ends = initial(gan), []
  for mesh in (mesh_of(1, 1), mesh_of(4, 2)):
    rows = jax.tree.map(lambda *xs: jnp.stack(xs), *(pictures(t, mesh, 1) for t in range(2)))
    several = training.scanned(gan.step, mesh, layout=LAYOUT)
    ends.append(leaves(*several(placed(start, mesh), None, rows)))
  check_equal(*ends)


@pytest.mark.parametrize(
  ("shape", "parts"),
  [
    ((3, 3, 256, 512), 4),
    ((100, 512), 4),
    ((3, 3, 512, 64), 4),
    ((3, 3, 512, 60), 1),  # parts of 15 are narrow
    ((4, 4, 512, 514), 1),  # does not divide
    ((512,), 1),
    ((), 1),
  ],
)
def test_wide_kernels_are_split_by_their_outputs(shape, parts):
  sharding = training.state_sharding(jax.ShapeDtypeStruct(shape, jnp.float32), mesh_of(2, 4))
  local = sharding.shard_shape(shape)
  assert local == ((*shape[:-1], shape[-1] // parts) if shape else ())
  assert training.state_sharding(jax.ShapeDtypeStruct(shape, jnp.float32), mesh_of(8, 1)).spec == (
    PartitionSpec()
  )


@pytest.mark.parametrize("model", [0, -2, 3, 16])
def test_a_model_axis_that_does_not_divide_is_refused(model):
  with pytest.raises(ValueError, match=f"model={model} must divide the number of devices, 8"):
    training.data_mesh(model=model)
