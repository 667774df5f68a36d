import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan import latents, losses, penalties, training
from jaxgan.training import games, objectives


class Shift(nn.Module):
  @nn.compact
  def __call__(self, z, *, train):
    return z + self.param("shift", nn.initializers.ones, (1, 3))


class Line(nn.Module):
  """A linear critic, whose penalties are known in closed form; with or without batch norm."""

  norm: bool = False

  @nn.compact
  def __call__(self, x, *, train):
    w = self.param("w", nn.initializers.normal(1.0), (3, 1))
    x = x @ w
    if self.norm:
      x = nn.BatchNorm(not train)(x)
    return x[:, 0]


def start(norm=False):
  x = jnp.zeros([1, 3])
  keys = jax.random.split(jax.random.key(0))
  return training.Game.new(
    jax.random.key(1),
    training.new_player(Line(norm), optax.sgd(0.1), keys[0], x),
    training.new_player(Shift(), optax.sgd(0.1), keys[1], x),
  )


BATCH = {"image": jax.random.normal(jax.random.key(2), (16, 3))}
KEY = jax.random.key(3)


def gradient_penalty(critic, batch, key, game):
  return 10.0 * penalties.gradient_penalty(critic, batch["image"], batch["fake"], key)


def r1(critic, batch, key, game):
  return 0.5 * penalties.r1(critic, batch["image"])


def value(parts, game, role="discriminator", batch=BATCH):
  params = getattr(game, role).params
  loss, aux = getattr(parts, role)(params, game, batch, KEY)
  return float(loss), training.Aux(*aux)


def test_loss_penalties_and_regularizers_add_up():
  game = start()
  parts = objectives.adversarial(
    losses.wasserstein(),
    latents.normal(3),
    penalties=[gradient_penalty, r1],
    d_regularizers=[lambda params: 7.0 * (params["w"] ** 2).sum()],
    g_regularizers=[lambda params: 3.0 * params["shift"].sum()],
    score=lambda logits: logits,
  )
  w = np.asarray(game.discriminator.params["w"])[:, 0]
  z = latents.normal(3)(jax.random.fold_in(KEY, 0), 16)
  real, fake = np.asarray(BATCH["image"]) @ w, np.asarray(z + 1.0) @ w
  square = (w**2).sum()
  loss, aux = value(parts, game)
  penalty = 10.0 * (np.sqrt(square) - 1.0) ** 2 + 0.5 * square
  np.testing.assert_allclose(aux.metrics["loss_D"], fake.mean() - real.mean(), rtol=1e-5)
  np.testing.assert_allclose(aux.metrics["penalty"], penalty, rtol=1e-5)
  np.testing.assert_allclose(loss, fake.mean() - real.mean() + penalty + 7.0 * square, rtol=1e-5)
  np.testing.assert_allclose(aux.metrics["D_x"], real.mean(), rtol=1e-5)
  loss, aux = value(parts, game, "generator")
  np.testing.assert_allclose(aux.metrics["loss_G"], -fake.mean(), rtol=1e-5)
  np.testing.assert_allclose(loss, 9.0 - fake.mean(), rtol=1e-5)


def test_a_generator_may_draw_fakes_of_its_own():
  """Twice as many, from its own key, which D of the same step has not seen."""
  seen = {}

  def loss_of(kind):
    def loss(real, fake):
      jax.debug.callback(lambda fake: seen.update({kind: np.asarray(fake)}), fake)
      return losses.wasserstein().discriminator(real, fake) if kind == "D" else -fake

    return loss

  loss = losses.wasserstein()._replace(discriminator=loss_of("D"), generator=loss_of("G"))
  z = latents.normal(3)
  parts = objectives.adversarial(loss, z, g_multiple=2, score=lambda x: x)
  game = start()
  step = training.make_train_step(*parts[:2], forward=parts.forward)
  jax.block_until_ready(step(game, jax.tree.map(lambda x: x[None], BATCH)))
  jax.effects_barrier()
  key = jax.random.fold_in(game.key, 0)
  w = np.asarray(game.discriminator.params["w"])[:, 0]
  own = z(jax.random.fold_in(jax.random.fold_in(key, 0), 0), 16)
  np.testing.assert_allclose(seen["D"], np.asarray(own + 1.0) @ w, rtol=1e-5, atol=1e-6)
  fresh = np.asarray(z(jax.random.fold_in(jax.random.fold_in(key, 1), 0), 32) + 1.0)
  # D has moved by then; its first 16 fakes are others too.
  moved = np.linalg.lstsq(fresh, seen["G"], rcond=None)
  assert seen["G"].shape == (32,)
  assert moved[1].sum() < 1e-8
  assert not np.allclose(fresh[:16], own + 1.0)
  with pytest.raises(ValueError, match="g_multiple=0 must be at least 1"):
    objectives.adversarial(loss, z, g_multiple=0)


def test_given_fakes_are_used_as_they_are():
  parts = objectives.adversarial(losses.wasserstein(), latents.normal(3))
  game = start()
  fake = jnp.full([16, 3], 5.0)
  w = np.asarray(game.discriminator.params["w"])
  loss, _ = value(parts, game, "generator", {**BATCH, "fake": fake})
  np.testing.assert_allclose(loss, -5.0 * w.sum(), rtol=1e-5)


def estimate(critic, batch, key, game):
  return penalties.r2_estimate(critic, batch["fake"], key)


def of_their_own(critic, batch, key, game):
  return jax.grad(lambda x: critic(x).sum())(batch["image"]) ** 2


@pytest.mark.parametrize("term", [gradient_penalty, r1, estimate, of_their_own])
@pytest.mark.parametrize("jit", [False, True])
def test_an_input_gradient_beside_batch_norm_is_refused(term, jit):
  parts = objectives.adversarial(losses.wasserstein(), latents.normal(3), penalties=[term])
  game = start(norm=True)

  def gradient(params):
    return jax.grad(lambda p: parts.discriminator(p, game, BATCH, KEY)[0])(params)

  with pytest.raises(ValueError, match="mixes examples: take layer"):
    (jax.jit(gradient) if jit else gradient)(game.discriminator.params)


def near(critic, batch, key, game):
  """Consistency at fakes, through which some games differentiate D's gradient."""
  return penalties.consistency(critic, batch["fake"], 1.1 * batch["fake"])


PLAYS = {
  "alternating": games.alternating,
  "simultaneous": games.simultaneous,
  "extragradient": games.extragradient,
  "past_extragradient": games.past_extragradient,
  "consensus": games.consensus(gamma=0.1),
  "symplectic": games.symplectic(),
  "competitive": games.competitive(0.1, iterations=2),
  "unrolled": games.unrolled(k=2),
  "lookahead": games.lookahead(games.alternating),
}


@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS)
def test_consistency_may_stand_beside_batch_norm_in_every_game(play):
  parts = objectives.adversarial(losses.non_saturating(), latents.normal(3), penalties=[near])
  step = training.make_train_step(
    parts.discriminator, parts.generator, forward=parts.forward, play=play
  )
  game = games.begin(play, start(norm=True))
  game, metrics = jax.jit(step)(game, {"image": BATCH["image"][None]})
  assert float(metrics["penalty"]) > 0.0
  assert all(np.isfinite(x).all() for x in jax.tree.leaves((game.generator.params, metrics)))


def test_what_a_penalty_carries_from_step_to_step():
  """LeCam's averages, against the same sums by hand."""

  def moved(batch, game):
    logits = batch["real_logits"], batch["fake_logits"]
    return penalties.lecam_update(game.extra["lecam"], *logits, decay=0.5)

  def lecam(critic, batch, key, game):
    return penalties.lecam(batch["real_logits"], batch["fake_logits"], moved(batch, game))

  parts = objectives.adversarial(
    losses.wasserstein(),
    latents.normal(3),
    penalties=[lecam],
    remember=lambda batch, game: {"lecam": moved(batch, game)},
    score=lambda logits: logits,
  )
  step = jax.jit(training.make_train_step(*parts[:2], forward=parts.forward))
  game = start().replace(extra={"lecam": penalties.lecam_averages()})
  seen = []
  for _ in range(3):
    game, metrics = step(game, {"image": BATCH["image"][None]})
    seen.append((float(metrics["D_x"]), float(metrics["D_G_z1"])))
  weights = np.array([0.25, 0.5, 1.0]) / 1.75
  expected = weights @ np.array(seen)
  averages = game.extra["lecam"]
  np.testing.assert_allclose([averages.real, averages.fake], expected, rtol=1e-5)
  assert int(averages.updates) == 3


def test_an_augmentation_that_follows_the_game():
  def scaled(game):
    return lambda images, key, *, axis_name=None: game.extra["scale"] * images

  parts = objectives.adversarial(
    losses.wasserstein(),
    latents.normal(3),
    adaptive_augment=scaled,
    remember=lambda batch, game: {"scale": game.extra["scale"] + 1.0},
    score=lambda logits: logits,
  )
  step = jax.jit(training.make_train_step(*parts[:2], forward=parts.forward))
  game = start().replace(extra={"scale": jnp.ones([])})
  for scale in (1.0, 2.0):
    w = np.asarray(game.discriminator.params["w"])[:, 0]
    game, metrics = step(game, {"image": BATCH["image"][None]})
    expected = scale * (np.asarray(BATCH["image"]) @ w).mean()
    np.testing.assert_allclose(metrics["D_x"], expected, rtol=1e-4)
  assert float(game.extra["scale"]) == 3.0


def test_two_augmentations_are_refused():
  with pytest.raises(ValueError, match="augment and adaptive_augment are both given"):
    objectives.adversarial(
      losses.hinge(), latents.normal(3), augment=lambda x, k: x, adaptive_augment=lambda g: None
    )


def test_a_penalty_without_input_gradient_may_stand_beside_batch_norm():
  def square(critic, batch, key, game):
    return critic(batch["image"]) ** 2

  parts = objectives.adversarial(losses.wasserstein(), latents.normal(3), penalties=[square])
  game = start(norm=True)
  gradient = jax.grad(lambda p: parts.discriminator(p, game, BATCH, KEY)[0])
  assert np.isfinite(gradient(game.discriminator.params)["w"]).all()
  _, aux = value(parts, game)
  np.testing.assert_allclose(aux.metrics["penalty"], 1.0, rtol=1e-3)  # batch norm's output


def test_augmentation_stands_before_every_look_of_the_discriminator():
  """Doubling the pictures doubles a linear critic's logits and its gradient in its input."""

  def double(images, key, *, axis_name=None):
    return 2.0 * images

  options = dict(penalties=[r1], score=lambda logits: logits)
  plain = objectives.adversarial(losses.wasserstein(), latents.normal(3), **options)
  doubled = objectives.adversarial(
    losses.wasserstein(), latents.normal(3), augment=double, **options
  )
  game = start()
  for role, factors in (
    ("discriminator", {"loss_D": 2, "D_x": 2, "D_G_z1": 2, "penalty": 4}),
    ("generator", {"loss_G": 2, "D_G_z2": 2}),
  ):
    a, b = (value(parts, game, role)[1].metrics for parts in (plain, doubled))
    for name, factor in factors.items():
      np.testing.assert_allclose(factor * a[name], b[name], rtol=1e-5, err_msg=name)


def test_every_look_has_a_key_of_its_own():
  keys = []

  def remember(images, key, *, axis_name=None):
    keys.append(tuple(np.asarray(jax.random.key_data(key))))
    return images

  def noise(critic, batch, key, game):
    keys.append(tuple(np.asarray(jax.random.key_data(key))))
    return critic(batch["image"])

  parts = objectives.adversarial(
    losses.wasserstein(), latents.normal(3), augment=remember, penalties=[noise, noise]
  )
  value(parts, start())
  value(parts, start(), "generator")
  assert len(keys) == 8
  # The penalties' critics share one augmentation, which both keep fixed between their looks.
  assert len(set(keys)) == 7
