"""Objectives with conditions, terms and any output of D, against sums written out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan import latents, layers, losses, penalties, regularizers, training
from jaxgan.training import objectives
from jaxgan.types import AdversarialLoss, ImageSpec

CLASSES = 3
Z = latents.mixed(noise=latents.normal(4), label=latents.categorical(CLASSES))
CONDITIONS = objectives.class_conditions(Z, CLASSES)
KEY = jax.random.key(3)
LABELS = jnp.arange(8) % CLASSES
BATCH = {"image": jax.random.normal(jax.random.key(2), (8, 2, 2, 1)), "label": LABELS}


class Output(NamedTuple):
  logit: jax.Array
  features: jax.Array


class Painter(nn.Module):
  @nn.compact
  def __call__(self, z, *, train):
    return nn.Dense(4)(z).reshape(-1, 2, 2, 1)


class Judge(nn.Module):
  """Tells a logit and features, of a picture and its condition."""

  @nn.compact
  def __call__(self, x, condition, *, train):
    features = nn.Dense(5)(x.reshape(len(x), -1))
    features = layers.append_condition(features, condition)
    return Output(nn.Dense(1)(jnp.tanh(features))[:, 0], features)


def gan(loss=None, **options):
  loss = losses.non_saturating() if loss is None else loss
  kept = {k: options.pop(k) for k in ("extra", "d_constraint", "d_average") if k in options}
  parts = objectives.adversarial(
    loss, Z, conditions=CONDITIONS, logits=lambda output: output.logit, **options
  )
  system = training.system(
    Painter(),
    Judge(),
    optax.sgd(0.1),
    optax.sgd(0.1),
    parts,
    latents=Z,
    conditions=CONDITIONS,
    spec=ImageSpec((2, 2, 1), ("a", "b", "c")),
    **kept,
  )
  return parts, system, system.init(jax.random.key(0))


def judged(game, images, condition):
  return Judge().apply({"params": game.discriminator.params}, images, condition, train=True)


def both(game):
  """D's outputs on the real pictures and on the fakes of the step's key, by hand."""
  z = Z(jax.random.fold_in(KEY, 0), 8)
  fake = Painter().apply({"params": game.generator.params}, z, train=True)
  real = judged(game, BATCH["image"], jax.nn.one_hot(LABELS, CLASSES))
  return real, judged(game, fake, Z.split(z)["label"]), z


def test_the_discriminator_is_told_the_labels_of_data_and_of_fakes():
  parts, _, game = gan()
  real, fake, _ = both(game)
  expected = losses.non_saturating().discriminator(real.logit, fake.logit).mean()
  value, _ = parts.discriminator(game.discriminator.params, game, BATCH, KEY)
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  wrong = judged(game, BATCH["image"], jnp.roll(jax.nn.one_hot(LABELS, CLASSES), 1, 1))
  assert abs(wrong.logit - real.logit).max() > 1e-3
  value, _ = parts.generator(game.generator.params, game, BATCH, KEY)
  np.testing.assert_allclose(value, jax.nn.softplus(-fake.logit).mean(), rtol=1e-6)


def test_terms_are_added_and_logged_and_measures_only_logged():
  parts, _, game = gan(
    d_terms={"gap": lambda batch, game: 2.0 * batch["real_output"].features.sum(-1)},
    g_terms={"pull": lambda batch, game: batch["latents"].mean() * batch["fake_logits"]},
    measures={"seen": lambda batch, game: batch["fake"].max()},
  )
  plain, _, _ = gan()
  real, fake, z = both(game)
  params = game.discriminator.params
  base, _ = plain.discriminator(params, game, BATCH, KEY)
  value, aux = parts.discriminator(params, game, BATCH, KEY)
  metrics = training.Aux(*aux).metrics
  np.testing.assert_allclose(metrics["gap"], 2.0 * real.features.sum(-1).mean(), rtol=1e-5)
  np.testing.assert_allclose(value - base, metrics["gap"], rtol=1e-4)
  np.testing.assert_allclose(metrics["loss_D"], base, rtol=1e-6)
  assert metrics["seen"].shape == ()
  params = game.generator.params
  base, _ = plain.generator(params, game, BATCH, KEY)
  value, aux = parts.generator(params, game, BATCH, KEY)
  pull = z.mean() * fake.logit.mean()
  np.testing.assert_allclose(training.Aux(*aux).metrics["pull"], pull, rtol=1e-4, atol=1e-7)
  np.testing.assert_allclose(value - base, pull, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("role", ["discriminator", "generator"])
def test_terms_see_the_parameters_that_are_differentiated(role):
  def history(batch, game):
    return regularizers.historical_averaging(getattr(game, role).params, game.extra["past"])

  terms = {f"{role[0]}_terms": {"history": history}}
  parts, _, game = gan(
    extra=lambda game: {"past": jax.tree.map(lambda p: p - 1.0, getattr(game, role).params)},
    **terms,
  )
  plain, _, _ = gan()
  params = getattr(game, role).params

  def gradient(objective):
    return jax.grad(lambda p: objective(p, game, BATCH, KEY)[0])(params)

  with_term, without = gradient(getattr(parts, role)), gradient(getattr(plain, role))
  for a, b in zip(jax.tree.leaves(with_term), jax.tree.leaves(without), strict=True):
    np.testing.assert_allclose(a - b, np.full(a.shape, 2.0), atol=1e-4)  # d (p - (p0 - 1))^2


def test_a_loss_may_depend_on_the_game():
  def weighted(game):
    return AdversarialLoss(
      lambda real, fake: real - game.extra["k"] * fake, lambda real, fake: fake
    )

  parts, _, game = gan(weighted, extra={"k": jnp.asarray(0.25)})
  real, fake, _ = both(game)
  value, _ = parts.discriminator(game.discriminator.params, game, BATCH, KEY)
  np.testing.assert_allclose(value, real.logit.mean() - 0.25 * fake.logit.mean(), rtol=1e-4)


def test_a_constraint_holds_at_the_start_and_after_every_update():
  bound = 0.05
  _, system, game = gan(
    d_constraint=lambda params: penalties.clip_weights(params, bound), d_average=True
  )

  def largest(tree):
    return max(float(abs(x).max()) for x in jax.tree.leaves(tree))

  assert largest(game.discriminator.params) <= bound + 1e-7
  assert largest(game.discriminator.average["params"]) <= bound + 1e-7
  mesh = training.data_mesh(jax.devices()[:1])
  step = training.data_parallel(system.step, mesh)
  game = jax.device_put(game, training.replicated(mesh))
  for _ in range(3):
    game, _ = step(game, jax.tree.map(lambda x: x[None], BATCH))
    assert largest(game.discriminator.params) <= bound + 1e-7
  assert largest(game.generator.params) > bound


def test_a_step_takes_as_many_updates_of_the_discriminator_as_it_has_batches():
  z = latents.normal(4)
  parts = objectives.adversarial(losses.non_saturating(), z)

  class Plain(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
      return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]

  keys = jax.random.split(jax.random.key(0))
  game = training.Game.new(
    jax.random.key(1),
    training.new_player(Plain(), optax.sgd(0.1), keys[0], BATCH["image"]),
    training.new_player(Painter(), optax.sgd(0.1), keys[1], jnp.zeros([1, 4])),
  )
  free = training.make_train_step(parts.discriminator, parts.generator, d_steps=None)
  for count in (1, 3):
    fixed = training.make_train_step(parts.discriminator, parts.generator, d_steps=count)
    batch = {"image": jnp.stack([BATCH["image"] + i for i in range(count)])}
    (a, _), (b, _) = jax.jit(free)(game, batch), jax.jit(fixed)(game, batch)
    assert int(a.discriminator.step) == count
    for x, y in zip(
      jax.tree.leaves(a.generator.params), jax.tree.leaves(b.generator.params), strict=True
    ):
      np.testing.assert_array_equal(x, y)
  with pytest.raises(ValueError, match="first axis must be d_steps=2"):
    free(game, {"image": jnp.zeros([2, 8, 2, 2, 1]), "label": jnp.zeros([3, 8], jnp.int32)})


def test_data_without_classes_have_no_conditions():
  with pytest.raises(ValueError, match="classes=0: the pictures have no labels"):
    objectives.class_conditions(Z, 0)


def test_fakes_take_over_what_match_says():
  """Their class is that of the real picture beside them, for G, for D and in D's later look."""
  seen = {}

  def loss(real_logits, fake_logits):
    return fake_logits - real_logits

  def match(z, batch):
    return jnp.concatenate([z[:, :4], CONDITIONS.real(batch)], 1)

  def penalty(critic, batch, key, game):
    seen["latents"] = batch["latents"]
    return critic(batch["fake"]) * 0.0

  parts, _, game = gan(AdversarialLoss(loss, loss), match=match, penalties=[penalty])
  entries, _ = parts.forward(game.generator.params, game, BATCH, KEY)
  np.testing.assert_array_equal(CONDITIONS.fake(entries["latents"]), np.eye(CLASSES)[LABELS])
  noise = Z(jax.random.fold_in(KEY, 0), 8)[:, :4]
  np.testing.assert_array_equal(entries["latents"][:, :4], noise)
  parts.discriminator(game.discriminator.params, game, BATCH, KEY)
  np.testing.assert_array_equal(seen["latents"], entries["latents"])
  with pytest.raises(ValueError, match="g_multiple=2: match has one real picture for each fake"):
    gan(match=match, g_multiple=2)
