import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan import latents, losses, models, training
from jaxgan.training import games, objectives
from jaxgan.types import ImageSpec

SPEC = ImageSpec((16, 16, 1))


class Painter(nn.Module):
  """A generator with batch norm that compiles in no time."""

  width: int = 4
  axis_name: str | None = training.AXIS

  @nn.compact
  def __call__(self, z, *, train):
    x = nn.Dense(8 * self.width)(z)
    x = nn.BatchNorm(not train, axis_name=self.axis_name, momentum=0.9)(x)
    x = nn.Dense(16 * 16)(nn.relu(x))
    return jnp.tanh(x).reshape(-1, 16, 16, 1)


class Judge(nn.Module):
  """A discriminator of the same kind."""

  width: int = 4
  axis_name: str | None = training.AXIS

  @nn.compact
  def __call__(self, x, *, train):
    x = nn.Dense(8 * self.width)(x.reshape(x.shape[0], -1))
    x = nn.BatchNorm(not train, axis_name=self.axis_name, momentum=0.9)(x)
    return nn.Dense(1)(nn.relu(x))[:, 0]


def system(optimizer, generator, discriminator, **options):
  z = latents.normal(8)
  return training.system(
    generator,
    discriminator,
    optimizer,
    optimizer,
    objectives.adversarial(losses.non_saturating(), z, axis_name=training.AXIS),
    latents=z,
    spec=SPEC,
    **options,
  )


def small(optimizer, **options):
  return system(optimizer, Painter(), Judge(), **options)


def dcgan(optimizer, **options):
  networks = dict(width=4, axis_name=training.AXIS)
  return system(
    optimizer,
    models.dcgan.Generator(16, 1, **networks),
    models.dcgan.Discriminator(16, **networks),
    **options,
  )


def pictures(step, batch=16, groups=1, dtype=jnp.float32):
  key = jax.random.fold_in(jax.random.key(7), step)
  return {"image": jax.random.uniform(key, (groups, batch, *SPEC.shape), dtype, -1.0, 1.0)}


def as_dtype(tree, dtype):
  return jax.tree.map(
    lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
  )


def start(gan, mesh, dtype=jnp.float32):
  game = as_dtype(jax.jit(gan.init)(jax.random.key(0)), dtype)
  return jax.device_put(game, training.replicated(mesh))


def leaves(game):
  named = jax.tree_util.tree_leaves_with_path(game.replace(key=jax.random.key_data(game.key)))
  return {jax.tree_util.keystr(path): np.asarray(x, np.float64) for path, x in named}


def relative(a, b):
  return np.linalg.norm(a - b) / max(np.linalg.norm(a), np.finfo(np.float64).tiny)


def test_eight_devices_play_the_game_of_one_in_float64(x64):
  gan = dcgan(optax.adam(2e-4, b1=0.5), d_steps=2)
  ends = []
  for n in (1, 8):
    mesh = training.data_mesh(jax.devices()[:n])
    game = start(gan, mesh, jnp.float64)
    step = training.data_parallel(gan.step, mesh)
    for t in range(10):
      batch = pictures(t, groups=2, dtype=jnp.float64)
      game, metrics = step(game, jax.device_put(batch, training.batch_sharding(mesh)))
    ends.append(leaves(game) | {name: np.asarray(x) for name, x in metrics.items()})
  for name in ends[0]:
    assert relative(ends[0][name], ends[1][name]) < 1e-10, name


def test_scanned_steps_are_the_steps_in_float64(x64):
  gan = dcgan(optax.adam(2e-4, b1=0.5))
  mesh = training.data_mesh(jax.devices()[:2])
  batches = [pictures(t, dtype=jnp.float64) for t in range(3)]
  game = start(gan, mesh, jnp.float64)
  step = training.data_parallel(gan.step, mesh)
  losses = []
  for batch in batches:
    game, metrics = step(game, jax.device_put(batch, training.batch_sharding(mesh)))
    losses.append(float(metrics["loss_D"]))
  stack = jax.tree.map(lambda *xs: jnp.stack(xs), *batches)
  other, rows = training.scanned(gan.step, mesh)(start(gan, mesh, jnp.float64), None, stack)
  np.testing.assert_allclose(rows["loss_D"], losses, rtol=1e-10)
  a, b = leaves(game), leaves(other)
  for name in a:
    assert relative(a[name], b[name]) < 1e-10, name


def test_first_gradients_on_eight_devices_in_float32():
  # Keeps the gradients and moves nothing, so that G's too is taken against the initial weights.
  gan = dcgan(optax.chain(optax.trace(0.0), optax.scale(0.0)))
  gradients = []
  for n in (1, 8):
    mesh = training.data_mesh(jax.devices()[:n])
    batch = jax.device_put(pictures(0), training.batch_sharding(mesh))
    game, _ = training.data_parallel(gan.step, mesh)(start(gan, mesh), batch)
    players = {"discriminator": game.discriminator, "generator": game.generator}
    kept = {role: player.opt_state[0].trace for role, player in players.items()}
    named = jax.tree_util.tree_leaves_with_path(jax.device_get(kept))
    gradients.append({jax.tree_util.keystr(path): x for path, x in named})
  for name in gradients[0]:
    assert np.linalg.norm(gradients[0][name]) > 0.0, name
    assert relative(gradients[0][name], gradients[1][name]) < 1e-5, name


@functools.cache
def compiled(gan):
  return training.data_parallel(gan.step, training.data_mesh(jax.devices()[:1]), donate=False)


def plain_step(gan, game, batch):
  """A step on one device that leaves its input alone."""
  return compiled(gan)(game, batch)


def test_collections_are_written_by_their_own_player_once():
  gan = small(optax.sgd(0.0))  # weights stay, so that every pass can be repeated
  game = start(gan, training.data_mesh(jax.devices()[:1]))
  batch = pictures(0)
  after, _ = plain_step(gan, game, batch)

  def written(player, module, x):
    return module.apply(player.variables, x, train=True, mutable=["batch_stats"])[1]["batch_stats"]

  d = Judge(axis_name=None)
  g = Painter(axis_name=None)
  key = game.key
  for number in (0, 0, 0):  # the step, the update in the step, the use: latents
    key = jax.random.fold_in(key, number)
  expected_d = written(game.discriminator, d, batch["image"][0])
  expected_g = written(game.generator, g, latents.normal(8)(key, 16))
  for player, expected in ((after.discriminator, expected_d), (after.generator, expected_g)):
    got = player.collections["batch_stats"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, expected)
    assert not np.allclose(jax.tree.leaves(got)[0], 0.0)


def test_the_average_follows_its_recurrence_and_shares_no_buffer():
  gan = small(optax.sgd(0.1), ema_decay=0.15)
  game = start(gan, training.data_mesh(jax.devices()[:1]))
  average = jax.device_get(game.generator.average)
  for t in range(3):
    game, _ = plain_step(gan, game, pictures(t))
    # (1 + t) / (10 + t) passes 0.15 at the second update.
    weight = min(0.15, (2 + t) / (11 + t))
    new = jax.device_get(game.generator.variables)
    average = jax.tree.map(lambda a, b, w=weight: w * a + (1 - w) * b, average, new)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    average,
    jax.device_get(game.generator.average),
  )
  assert game.discriminator.average is None
  pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(game.generator)]
  assert len(set(pointers)) == len(pointers)


def test_batch_statistics_are_averaged_with_the_weights():
  gan = small(optax.sgd(0.1))
  game, _ = plain_step(gan, start(gan, training.data_mesh(jax.devices()[:1])), pictures(0))
  averaged = game.generator.evaluated()["batch_stats"]
  raw = game.generator.evaluated(average=False)["batch_stats"]
  assert not np.allclose(jax.tree.leaves(averaged)[0], jax.tree.leaves(raw)[0], atol=1e-7)


class Counting(Painter):
  """A generator that keeps a moving average of its own."""

  @nn.compact
  def __call__(self, z, *, train):
    mean = self.variable("averages", "z", jnp.zeros, z.shape[1:])
    if train and self.is_mutable_collection("averages"):
      mean.value = mean.value + 0.5 * (jax.lax.pmean(z.mean(0), self.axis_name) - mean.value)
    return jnp.tanh(nn.Dense(16 * 16)(z)).reshape(-1, 16, 16, 1)


def test_what_is_an_average_is_not_averaged_again():
  gan = system(optax.sgd(0.1), Counting(), Judge(), ema_decay=0.9)
  mesh = training.data_mesh(jax.devices()[:1])
  step = training.data_parallel(gan.step, mesh)
  game = start(gan, mesh)
  for t in range(3):  # donated each time
    game, _ = step(game, pictures(t))
  player = game.generator
  mean = np.asarray(player.collections["averages"]["z"])
  assert np.abs(mean).max() > 0
  np.testing.assert_array_equal(player.average["averages"]["z"], mean)
  weights = [
    variables["params"]["Dense_0"]["kernel"] for variables in (player.average, player.variables)
  ]
  assert not np.array_equal(*weights)


def test_each_discriminator_step_has_its_own_batch():
  """Three updates in a step equal three steps whose generator stands still."""
  gan = small(optax.sgd(0.1), d_steps=3)
  game = start(gan, training.data_mesh(jax.devices()[:1]))
  batch = pictures(0, groups=3)
  after, _ = plain_step(gan, game, batch)

  d_objective = objectives.adversarial(losses.non_saturating(), latents.normal(8)).discriminator
  plain = game.replace(
    discriminator=game.discriminator.replace(apply_fn=Judge(axis_name=None).apply),
    generator=game.generator.replace(apply_fn=Painter(axis_name=None).apply),
  )
  for i in range(3):
    key = jax.random.fold_in(jax.random.fold_in(game.key, 0), i)
    params = plain.discriminator.params
    real = {"image": batch["image"][i]}
    gradient, aux = jax.grad(d_objective, has_aux=True)(params, plain, real, key)
    player = plain.discriminator.apply_gradients(grads=gradient)
    plain = plain.replace(discriminator=player.replace(collections=dict(aux.variables)))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    after.discriminator.params,
    plain.discriminator.params,
  )


def test_many_discriminator_steps_are_a_loop_with_the_same_result(monkeypatch):
  gan = small(optax.sgd(0.1), d_steps=3)
  game = start(gan, training.data_mesh(jax.devices()[:1]))
  unrolled, expected = plain_step(gan, game, pictures(0, groups=3))
  monkeypatch.setattr(games.moves, "UNROLLED", 1)
  looped, metrics = plain_step(small(optax.sgd(0.1), d_steps=3), game, pictures(0, groups=3))
  a, b = leaves(unrolled), leaves(looped)
  for name in a:
    np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-6, err_msg=name)
  np.testing.assert_allclose(metrics["loss_D"], expected["loss_D"], rtol=1e-5)


def test_one_batch_of_fakes_serves_both_players():
  """The shared pass gives the gradients of two passes over the same latents, for one pass less."""
  mesh = training.data_mesh(jax.devices()[:2])
  optimizer, z = optax.sgd(0.1), latents.normal(8)
  game = start(system(optimizer, Painter(width=64), Judge()), mesh)
  parts = objectives.adversarial(losses.non_saturating(), z, axis_name=training.AXIS)

  def same_latents(moves, game, batch, key):
    def gradient(role, game, batch, _, fakes=None):
      return moves.gradient(role, game, batch, jax.random.fold_in(key, 0), fakes)

    return games.alternating(moves._replace(gradient=gradient), game, batch, key)

  results, flops = [], []
  for forward, play in ((parts.forward, games.alternating), (None, same_latents)):
    step = training.make_train_step(
      parts.discriminator, parts.generator, forward=forward, play=play, axis_name=training.AXIS
    )
    step = training.data_parallel(step, mesh, donate=False)
    batch = jax.device_put(pictures(0), training.batch_sharding(mesh))
    results.append(leaves(step(game, batch)[0]))
    flops.append(step.lower(game, batch).compile().cost_analysis()["flops"])
  for name in results[0]:
    np.testing.assert_allclose(
      results[0][name], results[1][name], rtol=1e-4, atol=1e-6, err_msg=name
    )
  # The compiler may find out by itself; the explicit pass must never cost more.
  assert flops[0] <= flops[1]


def test_the_shared_pass_is_traced_once():
  """With convolutions, or collectives in batch norm, compilers leave two passes where two stand."""
  passes = 0

  class Counting(Painter):
    @nn.compact
    def __call__(self, z, *, train):
      nonlocal passes
      passes += train
      return Painter.__call__(self, z, train=train)

  gan = system(optax.sgd(0.1), Counting(), Judge())
  mesh = training.data_mesh(jax.devices()[:1])
  training.data_parallel(gan.step, mesh).lower(start(gan, mesh), pictures(0))
  assert passes == 1


def test_runs_of_other_seeds_differ_and_of_the_same_seed_agree():
  gan = small(optax.adam(2e-4))
  ends = [
    leaves(plain_step(gan, jax.jit(gan.init)(jax.random.key(seed)), pictures(0))[0])
    for seed in (0, 0, 1)
  ]
  name = next(n for n in ends[0] if "generator.params" in n and "kernel" in n)
  assert all(np.array_equal(ends[0][k], ends[1][k]) for k in ends[0])
  assert not np.allclose(ends[0][name], ends[2][name])


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"d_steps": 0}, "d_steps=0"),
    ({"g_steps": 0}, "g_steps=0"),
    ({"ema_decay": 1.0}, "ema_decay=1.0"),
  ],
)
def test_options_out_of_range_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    training.make_train_step(None, None, **options)


def test_a_batch_without_its_first_axis_is_refused():
  gan = small(optax.sgd(0.1), d_steps=2)
  game = start(gan, training.data_mesh(jax.devices()[:1]))
  with pytest.raises(ValueError, match=r"first axis must be d_steps=2"):
    plain_step(gan, game, pictures(0))


class _Line(nn.Module):
  @nn.compact
  def __call__(self, x, *, train):
    return nn.Dense(1)(x)[:, 0]


def test_the_step_works_without_collections_axis_or_average():
  class Identity(nn.Module):
    @nn.compact
    def __call__(self, z, *, train):
      return z + self.param("shift", nn.initializers.zeros, (1, 2))

  parts = objectives.adversarial(losses.non_saturating(), latents.normal(2))
  step = jax.jit(
    training.make_train_step(parts.discriminator, parts.generator, forward=parts.forward)
  )
  keys = jax.random.split(jax.random.key(0))
  x = jnp.zeros([1, 2])
  game = training.Game.new(
    jax.random.key(1),
    training.new_player(_Line(), optax.sgd(0.1), keys[0], x),
    training.new_player(Identity(), optax.sgd(0.1), keys[1], x),
  )
  batch = {"image": 2.0 + jax.random.normal(jax.random.key(2), (1, 64, 2))}
  for _ in range(200):
    game, metrics = step(game, batch)
  assert int(game.step) == 200
  assert np.linalg.norm(game.generator.params["shift"]) > 0.5  # it went to look for the data
  norms = {"grad_norm_D", "grad_norm_G"}
  assert set(metrics) == {"loss_D", "loss_G", "D_x", "D_G_z1", "D_G_z2", "D_accuracy"} | norms
