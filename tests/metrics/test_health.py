"""Each verdict on a run that is built to deserve it, and silence on runs that are well."""

import functools
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
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
condition_effect = jax.jit(diversity.condition_effect)


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


def curve(*values, every=50):
  return [(every * (i + 1), value) for i, value in enumerate(values)]


def names(curves, **options):
  return [(v.name, v.step) for v in health.diagnose(curves, **{"warmup": 0, **options})]


def test_conditions_without_an_effect_and_labels_by_chance():
  assert names({"condition_effect": curve(0.02, 0.0, 0.04)}) == [("conditions_ignored", 150)]
  assert not names({"condition_effect": curve(0.02, 0.0, 0.06)})
  # twice chance, and for few classes a tenth of the way from chance to 1
  for classes, ignored, follows in ((1000, 0.0019, 0.0021), (10, 0.189, 0.191), (2, 0.549, 0.551)):
    assert names({"label_accuracy": curve(*[ignored] * 3)}, classes=classes)
    assert not names({"label_accuracy": curve(*[follows] * 3)}, classes=classes)
    assert not names({"label_accuracy": curve(*[ignored] * 3)})


def test_a_bilinear_game_of_scores_swings_ever_wider():
  """Simultaneous steps on min max x y; the critic's scores have no scale to compare with."""
  x = y = 1.0
  line, values = [], []
  for step in range(1, 501):
    x, y = x - 0.05 * y, y + 0.05 * x
    line.append(x * y)
    if step % LINE == 0:
      values.append(float(np.mean(line)))
      line = []
  zeros = [0.0] * len(values)
  curves = {"D_x": curve(*zeros, every=LINE), "D_G_z1": curve(*values, every=LINE)}
  (found,) = health.diagnose(curves, probabilities=False, warmup=0)
  assert found.name == "oscillation"
  assert abs(period(found) - np.pi / 0.05) < 0.5 * LINE  # the product, twice as fast as the angle
  assert "D_x - D_G_z1 swings" in found.evidence


def test_noise_that_wanders_does_not_oscillate():
  """Of 90,000 windows of such noise none passed; here are the 1,000 of a test's time."""
  rng = np.random.default_rng(0)
  for memory in (0.0, 0.5, 0.8, 0.9, 1.0):
    noise = np.zeros(264)
    walks = []
    for _ in range(20):
      for i in range(1, 264):
        noise[i] = memory * noise[i - 1] + rng.normal()
      walks.append(noise[200:].copy())
    for walk in walks:
      values = 0.5 + 0.2 * walk / np.abs(walk).max()
      assert not names({"D_x": curve(*values), "loss_G": curve(*10 * values)})


@pytest.mark.parametrize("lines", [5.5, 8.2, 12.7, 15.8])
def test_a_noisy_cycle_is_found_with_its_period(lines):
  t = np.arange(64)
  rng = np.random.default_rng(0)
  values = 0.5 + 0.2 * np.sin(2 * np.pi * t / lines) + 0.03 * rng.normal(size=64)
  (found,) = health.diagnose({"D_x": curve(*values)}, warmup=0)
  assert abs(period(found) / 50 - lines) < 0.25  # a parabola is not quite a cosine
  assert not names({"D_x": curve(*(0.5 + 0.04 * np.sin(t)))})  # too small to matter
  assert not names({"D_x": curve(*(0.5 + 0.4 * np.sin(t) * np.exp(-t / 40)))})  # dies out


def test_a_cycle_is_seen_through_lines_at_uneven_steps():
  steps = np.delete(np.arange(50, 50 * 80, 50), [7, 8, 30, 51])[-70:]
  points = [(int(s), 0.5 + 0.3 * float(np.sin(2 * np.pi * s / 500))) for s in steps]
  (found,) = health.diagnose({"D_G_z2": points}, warmup=0)
  assert found.name == "oscillation"


WON = {"D_accuracy": 1.0, "D_x": 0.999, "D_G_z1": 0.001}
LEVEL = {"D_accuracy": 0.7, "D_x": 0.6, "D_G_z1": 0.4}


def test_a_discriminator_wins_by_what_is_logged_of_it():
  def found(**values):
    return names({name: curve(*[value] * 10) for name, value in values.items()})

  won = [("discriminator_wins", 500)]
  assert found(**WON) == found(D_accuracy=0.99) == found(D_x=0.999, D_G_z1=0.001) == won
  assert not found(D_accuracy=1.0, D_x=0.6, D_G_z1=0.4)  # right by a little, as under R1
  assert not found(D_accuracy=0.98)
  assert not found(D_x=0.98, D_G_z1=0.001)
  assert not found(D_x=0.999)
  assert not names({name: curve(*[value] * 9) for name, value in WON.items()})
  assert not names({name: curve(*[x] * 10) for name, x in WON.items()}, probabilities=False)
  assert names({name: curve(*[x] * 14) for name, x in WON.items()}, warmup=201) == [
    ("discriminator_wins", 700)
  ]


def test_gradients_that_are_small_because_the_game_is_solved():
  norms = curve(*[1.0] * 5, *[5e-4] * 10)

  def gap(real, fake):
    return {"D_x": curve(*[real] * 15), "D_G_z1": curve(*[fake] * 15)}

  vanished = [("vanishing_gradients", 750)]
  assert names({"grad_norm_G": norms}) == vanished
  assert names({"grad_norm_G": norms, **gap(0.9, 0.1)}) == vanished
  assert not names({"grad_norm_G": norms, **gap(0.52, 0.48)})
  # scores are compared with what they were
  scores = {"D_x": curve(*[30.0] * 5, *[22.0] * 10), "D_G_z1": curve(*[20.0] * 15)}
  assert names({"grad_norm_G": norms, **scores}, probabilities=False) == vanished
  scores["D_x"] = curve(*[30.0] * 5, *[20.5] * 10)
  assert not names({"grad_norm_G": norms, **scores}, probabilities=False)
  # one wild step at the start is no height to fall from
  assert not names({"grad_norm_G": curve(1e4, *[1.0] * 20)})
  assert names({"grad_norm_G": curve(*[1e-9] * 10)}) == [("vanishing_gradients", 500)]


def test_a_verdict_is_given_once_until_it_has_ended():
  monitor = health.Monitor(warmup=0)
  started = []
  for step in range(1, 100):
    values = LEVEL if 30 <= step < 45 or step >= 60 else WON
    started += [(v.name, v.step) for v in monitor.update(step, values)]
    if step == 34:  # the windows that end in lines 30 to 34 hold a line that is level
      assert monitor.active == ("discriminator_wins",)
    if step in (40, 70, 99):
      assert monitor.active == ()
  assert started == [("discriminator_wins", 10), ("discriminator_wins", 54)]


def test_scores_of_their_own_do_not_end_a_verdict_that_they_do_not_touch():
  monitor = health.Monitor(warmup=0)
  for step, value in curve(1.0, 1.0, 1.0, 0.1, 0.1, 0.1):
    monitor.update(step, {"diversity": value})
  assert monitor.active == ("mode_collapse",)
  for step in range(400, 700):
    assert not monitor.update(step, LEVEL)
  assert monitor.active == ("mode_collapse",)


def test_a_resumed_run_goes_on_as_if_there_had_been_no_break(tmp_path):
  lines = [(10 * i, {**(WON if i % 40 < 25 else LEVEL), "loss_D": 1 / i}) for i in range(1, 121)]
  lines += [(1200 + 10 * i, {"D_x": float("nan")}) for i in range(1, 3)]
  whole = health.Monitor(warmup=0)
  expected = [whole.update(*line) for line in lines]
  assert sum(map(len, expected)) == 4
  for cut in range(0, len(lines), 25):
    path = tmp_path / "metrics.jsonl"
    with path.open("w") as file:
      for (step, values), found in zip(lines[:cut], expected, strict=False):
        for row in (values, *(v._asdict() for v in found)):  # verdicts are kept in the log
          file.write(json.dumps({"step": step, **row}) + "\n")
    resumed = health.Monitor(warmup=0)
    resumed.replay(map(json.loads, path.read_text().splitlines()))
    assert [resumed.update(*line) for line in lines[cut:]] == expected[cut:]


def test_a_curve_keeps_its_end_and_its_peak():
  whole = health.Curve()
  for step in range(1000):
    whole = whole.append(step, 5.0 if step in (3, 4, 5) else 1.0)
  assert len(whole.values) == len(whole.steps) == 64
  assert whole.steps[-1] == 999
  assert whole.peak == 5.0
  assert health.Curve().append(1, float("nan")).append(2, 1.0).append(3, 1.0).peak == -np.inf


def test_a_check_of_ones_own():
  def slow(curves, setting):
    rate = curves["steps_per_second"].values[-1]
    return (
      health.Finding(f"{rate:.1f} steps/s", "Look at data_wait_ms_per_step") if rate < 1 else None
    )

  monitor = health.Monitor(
    checks=(*health.CHECKS, health.Check("slow", ("steps_per_second",), 1, slow))
  )
  (found,) = monitor.update(50, {"steps_per_second": jnp.float32(0.5)})
  assert str(found) == "step 50: slow: 0.5 steps/s. Look at data_wait_ms_per_step"
  assert not monitor.update(100, {"steps_per_second": 2.0})
  assert monitor.active == ()


def test_every_check_has_advice_with_a_paper_and_reads_what_it_says():
  assert len({check.name for check in health.CHECKS}) == len(health.CHECKS) == 8
  empty = health.Setting()
  assert all(check.find({}, empty) is None for check in health.CHECKS)


def test_what_cannot_be_a_log_is_refused():
  monitor = health.Monitor()
  monitor.update(100, {"loss_D": 1.0})
  with pytest.raises(ValueError, match=r"step=50 is before step 100.*replay"):
    monitor.update(50, {"loss_D": 1.0})
  with pytest.raises(ValueError, match=r"D_x must be a scalar, got shape \(3,\)"):
    monitor.update(150, {"D_x": np.ones(3)})
  with pytest.raises(TypeError, match=r"loss_G='0\.5' must be a number"):
    monitor.update(150, {"loss_G": "0.5"})
  with pytest.raises(ValueError, match="no whole number as its 'step'"):
    monitor.replay([{"loss_D": 1.0}])
  for options in ({"classes": 1}, {"warmup": -1}, {"checks": health.CHECKS[:1] * 2}):
    with pytest.raises(ValueError, match=next(iter(options))):
      health.Monitor(**options)


def test_diversity_against_plain_loops():
  rng = np.random.default_rng(0)
  samples, real = rng.normal(size=(7, 2, 3)), 3.0 + 2.0 * rng.normal(size=(5, 2, 3))

  def mean(x):
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i]]
    return np.mean(pairs)

  got = sample_diversity(jnp.asarray(samples), jnp.asarray(real))
  np.testing.assert_allclose(got, mean(samples) / mean(real), rtol=1e-5)
  both = jax.jit(jax.vmap(diversity.sample_diversity))(
    jnp.stack([samples, 2 * samples]), jnp.stack([real] * 2)
  )
  np.testing.assert_allclose(both, [got, 2 * got], rtol=1e-5)


def test_diversity_of_m_of_ten_equidistant_modes():
  modes = jnp.eye(10)
  for m in (1, 2, 5, 10):
    # each mode many times over: pairs within a mode are not counted as pairs of a sample and itself
    samples, real = jnp.tile(modes[:m], (600 // m, 1)), jnp.tile(modes, (60, 1))
    expected = (1 - 1 / m) / (1 - 1 / 10)
    # pairs without repetition: n / (n - 1) of the limit, on both sides of the ratio
    np.testing.assert_allclose(sample_diversity(samples, real), expected, rtol=3e-3)


def test_a_collapse_far_from_the_origin_is_none_of_rounding():
  real = jax.random.normal(jax.random.key(0), [50, 12])
  samples = 1000.0 + 1e-2 * jax.random.normal(jax.random.key(1), [50, 12])
  got = sample_diversity(samples, real)
  np.testing.assert_allclose(got, 1e-2, rtol=0.1)  # the draw's deviation; the input's is 6e-5


def test_effect_of_a_condition():
  rng = np.random.default_rng(0)
  z, shift = rng.normal(size=(1, 6, 3)), rng.normal(size=(4, 1, 3))
  x = z + 0.3 * shift
  between, both = [], []
  for c in range(4):
    for k in range(4):
      for i in range(6):
        for j in range(6):
          if c != k:
            (between if i == j else both).append(np.linalg.norm(x[c, i] - x[k, j]))
  got = condition_effect(jnp.asarray(x))
  np.testing.assert_allclose(got, np.mean(between) / np.mean(both), rtol=1e-5)
  only_condition = condition_effect(jnp.asarray(0 * z + shift))
  np.testing.assert_allclose(only_condition, 1.0, rtol=1e-5)
  assert condition_effect(jnp.ones([2, 3, 4])) == 0.0


def test_what_has_no_spread_is_refused():
  x = jnp.zeros([4, 3])
  with pytest.raises(TypeError, match=r"samples must be float, got uint8"):
    diversity.sample_diversity(x.astype(jnp.uint8), x)
  with pytest.raises(ValueError, match=r"real must be at least two examples.*\(1, 3\)"):
    diversity.sample_diversity(x, x[:1])
  with pytest.raises(ValueError, match=r"\(4, 2\).*\(4, 3\)"):
    diversity.sample_diversity(x[:, :2], x)
  with pytest.raises(ValueError, match=r"\[conditions, n, ...\].*\(4, 3\)"):
    diversity.condition_effect(x)
