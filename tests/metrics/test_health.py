"""Each verdict on a run that is built to deserve it, and silence on runs that are well.

Past 300 lines, because the runs share one small trainer, and its compilations.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from sklearn import datasets

from jaxgan import latents, losses, models, penalties, training
from jaxgan.metrics import diversity, health, neighbours
from jaxgan.training import games, objectives

LINE, CHUNK = 5, 50  # steps in a line of the log, as means; steps between two scores
CENTRES = 2.0 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], 1)


HALF_ADAM = functools.partial(optax.adam, b1=0.5)


class Norm(NamedTuple):
  value: Any


def watched(optimizer):
  """The optimiser, whose state begins with the norm of the gradient that it was given."""
  watch = optax.GradientTransformation(
    lambda params: Norm(jnp.zeros([])),
    lambda updates, state, params=None: (updates, Norm(optax.tree.norm(updates))),
  )
  return optax.chain(watch, optimizer)


def at_rates(game, **rates):
  """The game with other learning rates; no rate is compiled in."""
  for role, rate in rates.items():
    player = getattr(game, role)
    state = optax.tree.set(player.opt_state, learning_rate=jnp.asarray(rate))
    game = game.replace(**{role: player.replace(opt_state=state)})
  return game


class Toy(NamedTuple):
  """A small GAN; its data and the weight of its penalty are parts of the game."""

  init: Any  # (points, penalty, discriminator=rate, generator=rate) -> game
  advance: Any  # game -> game after CHUNK steps, metrics [lines], 200 samples


def toy(
  generator,
  discriminator,
  z,
  loss,
  *,
  term=penalties.r1,
  optimizer=HALF_ADAM,
  score=jax.nn.sigmoid,
  play=games.alternating,
):
  def penalty(critic, batch, key, game):
    args = (batch["fake"], key) if term is penalties.gradient_penalty else ()
    return game.hyperparameters["penalty"] * term(critic, batch["image"], *args)

  def remember(batch, game):
    right = (batch["real_logits"] > 0).mean() + (batch["fake_logits"] < 0).mean()
    return {"accuracy": right / 2}

  terms = [penalty] if term else []
  parts = objectives.adversarial(loss, z, penalties=terms, score=score, remember=remember)
  step = training.make_train_step(
    parts.discriminator, parts.generator, forward=parts.forward, play=play
  )
  tx = watched(optax.inject_hyperparams(optimizer)(0.0))

  @jax.jit
  def start(key, hyperparameters):
    run_key, d_key, g_key, z_key = jax.random.split(key, 4)
    return training.Game.new(
      run_key,
      training.new_player(discriminator, tx, d_key, hyperparameters["points"][:1]),
      training.new_player(generator, tx, g_key, z(z_key, 1)),
      hyperparameters=hyperparameters,
      extra={"accuracy": jnp.zeros([])},
    )

  def init(points, penalty, seed=0, **rates):
    points = jnp.asarray(points, jnp.float32)
    hyperparameters = {"points": points, "penalty": jnp.float32(penalty)}
    return at_rates(games.begin(play, start(jax.random.key(seed), hyperparameters)), **rates)

  def one(game, _):
    points = game.hyperparameters["points"]
    key = jax.random.fold_in(jax.random.fold_in(game.key, game.step), 1 << 20)
    chosen = jax.random.randint(key, [1, 64], 0, len(points))
    game, metrics = step(game, {"image": points[chosen]})
    norms = [role.opt_state[0].value for role in (game.discriminator, game.generator)]
    named = dict(grad_norm_D=norms[0], grad_norm_G=norms[1], D_accuracy=game.extra["accuracy"])
    return game, metrics | named

  @jax.jit
  def advance(game):
    game, metrics = jax.lax.scan(one, game, None, length=CHUNK)
    fake = generator.apply(game.generator.variables, z(jax.random.key(7), 200), train=False)
    return game, jax.tree.map(lambda x: x.reshape(-1, LINE).mean(1), metrics), fake

  return Toy(init, advance)


def play_on(toy, game, steps, scores):
  """Lines of the log `(step, values)`, and the game after them."""
  lines = []
  for _ in range(steps // CHUNK):
    start = int(game.step)
    game, metrics, fake = toy.advance(game)
    metrics = jax.device_get(metrics)
    for i in range(CHUNK // LINE):
      lines.append((start + LINE * (i + 1), {k: float(x[i]) for k, x in metrics.items()}))
    lines.append((start + CHUNK, {k: float(x) for k, x in scores(fake).items()}))
  return lines, game


def verdicts(lines, **options):
  """Name to verdict; a verdict that starts twice is an error of the monitor's memory."""
  monitor = health.Monitor(**{"warmup": 100, **options})
  found = [verdict for step, values in lines for verdict in monitor.update(step, values)]
  assert len({v.name for v in found}) == len(found)
  return {v.name: v for v in found}


def ring_points(seed, n=2000):
  rng = np.random.default_rng(seed)
  return CENTRES[rng.integers(0, 8, n)] + 0.02 * rng.normal(size=(n, 2))


sample_diversity = jax.jit(diversity.sample_diversity)


def spread(fake, real):
  return {"diversity": sample_diversity(fake, jnp.asarray(real, jnp.float32))}


def of_ring(fake):
  return spread(fake, ring_points(1, 200))


@functools.cache
def ring():
  return toy(
    models.mlp.Generator(2, width=32),
    models.mlp.Discriminator(width=32),
    latents.normal(8),
    losses.non_saturating(),
  )


@functools.cache
def digits():
  x = (datasets.load_digits().data / 8 - 1).astype(np.float32)
  return x[:1200], x[1200:]


def of_digits(fake, train=None):
  held_out = digits()[1][:200]
  train = digits()[0] if train is None else train
  share = neighbours.memorisation(np.asarray(fake), train, held_out).share
  return spread(fake, held_out) | {"memorisation": share}


@functools.cache
def digit_gan(loss, term):
  return toy(
    models.mlp.Generator(64, width=64),
    models.mlp.Discriminator(width=64),
    latents.normal(16),
    loss(),
    term=term,
  )


HEALTHY = {"discriminator": 2e-3, "generator": 2e-3}


@functools.cache
def healthy_ring():
  return play_on(ring(), ring().init(ring_points(0), 0.1, **HEALTHY), 600, of_ring)


def test_a_ring_with_r1_is_well():
  assert not verdicts(healthy_ring()[0], warmup=0)


def test_digits_with_r1_are_well():
  small = digit_gan(losses.non_saturating, penalties.r1)
  game = small.init(digits()[0], 1.0, discriminator=1e-3, generator=1e-3)
  lines = play_on(small, game, 600, of_digits)[0]
  assert not verdicts(lines, warmup=0)


def test_scores_of_a_critic_are_not_taken_for_probabilities():
  critic = toy(
    models.mlp.Generator(2, width=32),
    models.mlp.Discriminator(width=32),
    latents.normal(8),
    losses.wasserstein(),
    term=penalties.gradient_penalty,
    optimizer=functools.partial(optax.adam, b1=0.0, b2=0.9),
    score=lambda logits: logits,
  )
  game = critic.init(ring_points(0), 1.0, discriminator=4e-3, generator=4e-4)
  assert not verdicts(play_on(critic, game, 600, of_ring)[0], probabilities=False, warmup=0)


def test_a_discriminator_that_learns_too_fast():
  saturating = digit_gan(losses.minimax, None)
  game = saturating.init(digits()[0], 0.0, discriminator=1e-4, generator=1e-4)
  lines, game = play_on(saturating, game, 50, of_digits)
  game = at_rates(game, discriminator=5e-2)
  lines += play_on(saturating, game, 200, of_digits)[0]
  found = verdicts(lines)
  assert set(found) == {"discriminator_wins", "generator_loss_zero", "vanishing_gradients"}
  assert {v.step for v in found.values()} == {145}  # the tenth line from step 100 on
  assert "log(1 - D) is flat" in found["generator_loss_zero"].evidence
  assert "non-saturating" in found["generator_loss_zero"].advice


def test_a_discriminator_that_stops():
  """G leaves the data for where this D is sure of data."""
  lines, game = play_on(ring(), ring().init(ring_points(0), 0.1, **HEALTHY), 300, of_ring)
  game = at_rates(game, discriminator=0.0, generator=5e-3)
  found = verdicts(lines + play_on(ring(), game, 300, of_ring)[0])
  assert set(found) == {"generator_loss_zero"}
  assert "takes every fake for real" in found["generator_loss_zero"].evidence


def test_a_generator_that_runs_ahead_collapses():
  lines, game = healthy_ring()
  game = at_rates(game, discriminator=0.0, generator=1e-2)
  found = verdicts(lines + play_on(ring(), game, 400, of_ring)[0])
  assert set(found) == {"mode_collapse"}
  assert found["mode_collapse"].step > 600
  assert "of the data's (median of 5 scores), after" in found["mode_collapse"].evidence


def test_a_generator_that_hops_from_mode_to_mode():
  game = ring().init(ring_points(0), 0.1, discriminator=2e-4, generator=1e-2)
  found = verdicts(play_on(ring(), game, 400, of_ring)[0])
  assert set(found) == {"mode_collapse"}


def test_eight_digits_are_learned_by_heart():
  few = digits()[0][:8]
  small = digit_gan(losses.non_saturating, penalties.r1)
  game = small.init(np.tile(few, (150, 1)), 0.1, discriminator=3e-3, generator=3e-3)
  lines = play_on(small, game, 900, lambda fake: of_digits(fake, few))[0]
  found = verdicts(lines)
  assert set(found) == {"memorisation"}
  assert "Meehan et al. 2020" in found["memorisation"].advice


def test_a_huge_learning_rate():
  game = ring().init(ring_points(0), 0.1, discriminator=1e20, generator=1e20)
  found = verdicts(play_on(ring(), game, 50, lambda fake: {})[0], warmup=500)
  assert set(found) == {"not_finite"}
  assert found["not_finite"].step == LINE
  assert "loss_D = nan" in found["not_finite"].evidence


def period(verdict):
  return float(verdict.evidence.split("about ")[1].split(" steps")[0])


class Point(nn.Module):
  """Mescheder et al. 2018's Dirac GAN: a generator of one point."""

  @nn.compact
  def __call__(self, z, *, train):
    return jnp.broadcast_to(self.param("theta", nn.initializers.ones, [1, 1]), [len(z), 1])


class Slope(nn.Module):
  """And its linear discriminator."""

  @nn.compact
  def __call__(self, x, *, train):
    return (x * self.param("psi", nn.initializers.ones, [1, 1]))[:, 0]


def test_the_dirac_gan_goes_round_and_converges_with_r1():
  dirac = toy(
    Point(),
    Slope(),
    latents.normal(1),
    losses.non_saturating(),
    optimizer=optax.sgd,
    play=games.simultaneous,
  )

  def lines(penalty):
    game = dirac.init(np.zeros([4, 1]), penalty, discriminator=0.2, generator=0.2)
    return play_on(dirac, game, 500, lambda fake: {})[0]

  found = verdicts(lines(0.0))
  assert set(found) == {"oscillation"}
  # Linearised, the angle grows by 1/2 times the rate, 0.1 a step, and the product of the two
  # parameters, which D_G_z shows, turns twice as fast. To half a line.
  assert abs(period(found["oscillation"]) - np.pi / 0.1) < 0.5 * LINE
  # It converges to where D knows nothing and every gradient is 0: no verdict on that either.
  assert not verdicts(lines(0.3), warmup=0)


class Conditional(nn.Module):
  """A point and the label that it was made for, which ends the latent."""

  @nn.compact
  def __call__(self, z, *, train):
    return jnp.concatenate([models.mlp.Generator(2, width=32)(z, train=train), z[:, -8:]], 1)


def labelled_latents(key, n, *, axis_name=None):
  z_key, label_key = jax.random.split(key)
  labels = jax.nn.one_hot(jax.random.randint(label_key, [n], 0, 8), 8)
  return jnp.concatenate([jax.random.normal(z_key, [n, 8]), labels], 1)


def test_labels_that_were_shuffled_are_ignored():
  pairs = toy(
    Conditional(), models.mlp.Discriminator(width=32), labelled_latents, losses.non_saturating()
  )
  labels = np.random.default_rng(0).integers(0, 8, 2000)
  points = CENTRES[labels] + 0.02 * np.random.default_rng(1).normal(size=(2000, 2))

  def accuracy(fake):
    nearest = ((np.asarray(fake)[:, None, :2] - CENTRES) ** 2).sum(-1).argmin(1)
    return {"label_accuracy": (nearest == np.asarray(fake)[:, 2:].argmax(1)).mean()}

  def lines(labels):
    game = pairs.init(np.concatenate([points, np.eye(8)[labels]], 1), 0.1, **HEALTHY)
    return play_on(pairs, game, 400, accuracy)[0]

  assert not verdicts(lines(labels), classes=8)
  found = verdicts(lines(np.random.default_rng(2).permutation(labels)), classes=8)
  assert set(found) == {"conditions_ignored"}
  assert "by chance 0.125" in found["conditions_ignored"].evidence
