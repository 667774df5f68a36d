"""Ways of playing on games whose next step is known: bilinear and quadratic."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from jaxgan import losses, training
from jaxgan.training import games

ETA = 0.1
NOTHING = {"image": np.zeros([1, 1])}


def player(params, optimizer):
  return training.Player.create(
    apply_fn=None, params={"w": jnp.asarray(params)}, tx=optimizer, collections={}
  )


def duel(d, g, d_optimizer, g_optimizer=None):
  """A game whose players are two vectors."""
  return training.Game.new(
    jax.random.key(0), player(d, d_optimizer), player(g, g_optimizer or d_optimizer)
  )


def weights(game):
  """Both players in one vector, the discriminator first."""
  parts = (game.discriminator.params["w"], game.generator.params["w"])
  return np.concatenate([np.atleast_1d(np.asarray(w)) for w in parts])


def objective(own, other, value):
  """An objective of two vectors, without data: `value(own, other)`."""

  def evaluate(params, game, batch, key):
    del batch, key
    return value(params["w"], getattr(game, other).params["w"]), training.Aux(
      metrics={f"loss_{own}": value(params["w"], getattr(game, other).params["w"])}
    )

  return evaluate


def stepper(d_loss, g_loss, play, **options):
  step = training.make_train_step(
    objective("D", "generator", d_loss),
    objective("G", "discriminator", g_loss),
    play=play,
    **options,
  )
  return jax.jit(step)


# min over x, the generator, and max over y, the discriminator, of x y
bilinear = functools.partial(stepper, lambda y, x: -x * y, lambda x, y: x * y)


def modulus_of_matrix(play, optimizer):
  """Largest modulus of the eigenvalues of a step, which is linear in the two scalars."""
  step = bilinear(play)
  columns = [weights(step(duel(*at, optimizer), NOTHING)[0]) for at in ([1.0, 0.0], [0.0, 1.0])]
  return abs(np.linalg.eigvals(np.stack(columns, 1))).max()


def modulus_in_the_long_run(play, optimizer):
  """Growth per step late in a run, for games with a memory."""
  step = bilinear(play)
  game = games.begin(play, duel(1.0, 0.5, optimizer))
  norms = []
  for _ in range(60):
    game, _ = step(game, NOTHING)
    norms.append(np.linalg.norm(weights(game)))
  return (norms[-1] / norms[-31]) ** (1 / 30)


OPTIMISTIC = max(abs(np.roots([1.0, -(1 - 2j * ETA), -1j * ETA])))


@pytest.mark.parametrize(
  ("play", "eta", "expected"),
  [
    (games.simultaneous, ETA, np.hypot(1, ETA)),
    (games.alternating, ETA, 1.0),
    (games.extragradient, ETA, np.hypot(1 - ETA**2, ETA)),
    (games.consensus(gamma=10.0), 0.01, np.hypot(1 - 0.01 * 10, 0.01)),
    (games.symplectic(), ETA, np.hypot(1 - ETA, ETA)),
    (games.competitive(ETA, tolerance=1e-12), 1.0, 1 / np.hypot(1, ETA)),
    # x sees y at y + k eta x, so that k eta is a proximal term of x alone: eigenvalues of
    # [[1, eta], [-eta, 1 - k eta^2]].
    (
      games.unrolled(k=3),
      ETA,
      max(abs(np.linalg.eigvals([[1, ETA], [-ETA, 1 - 2 * 3 * ETA**2]]))),
    ),
  ],
  ids=[
    "simultaneous",
    "alternating",
    "extra",
    "consensus",
    "symplectic",
    "competitive",
    "unrolled",
  ],
)
def test_modulus_of_a_step_on_the_bilinear_game(x64, play, eta, expected):
  np.testing.assert_allclose(modulus_of_matrix(play, optax.sgd(eta)), expected, rtol=1e-9)


@pytest.mark.parametrize(
  ("play", "optimizer"),
  [
    (games.past_extragradient, optax.sgd(ETA)),
    (games.simultaneous, optax.optimistic_gradient_descent(ETA)),
  ],
  ids=["past", "optimistic"],
)
def test_modulus_of_games_with_a_memory(x64, play, optimizer):
  np.testing.assert_allclose(OPTIMISTIC, 0.994936, atol=1e-6)
  np.testing.assert_allclose(modulus_in_the_long_run(play, optimizer), OPTIMISTIC, rtol=1e-9)


def modulus_of_rounds(play, optimizer, steps):
  """As `modulus_of_matrix`, a step, where the map is linear only over `steps` of them."""
  step = bilinear(play)

  def end(at):
    game = games.begin(play, duel(*at, optimizer))
    for _ in range(steps):
      game, _ = step(game, NOTHING)
    return weights(game)

  columns = [end(at) for at in ([1.0, 0.0], [0.0, 1.0])]
  return abs(np.linalg.eigvals(np.stack(columns, 1))).max() ** (1 / steps)


# One step of the inner game on (y, x); eigenvalues 1 +- i eta, e^(+-i theta) with
# cos theta = 1 - eta^2 / 2, and 1 - eta^2 +- i eta.
INNER = {
  "simultaneous": (games.simultaneous, [[1, ETA], [-ETA, 1]]),
  "alternating": (games.alternating, [[1, ETA], [-ETA, 1 - ETA**2]]),
  "extragradient": (games.extragradient, [[1 - ETA**2, ETA], [-ETA, 1 - ETA**2]]),
}


@pytest.mark.parametrize(
  ("inner", "k", "alpha"),
  [
    ("simultaneous", 5, 0.5),
    ("simultaneous", 1, 0.5),
    ("simultaneous", 12, 0.3),
    ("simultaneous", 3, 1.0),
    ("alternating", 5, 0.5),
    ("alternating", 8, 0.2),
    ("extragradient", 5, 0.5),
  ],
)
def test_rate_of_lookahead_on_the_bilinear_game(x64, inner, k, alpha):
  """Over k steps its map is (1 - alpha) I + alpha M^k, so each eigenvalue m of M becomes
  (1 - alpha) + alpha m^k."""
  play, matrix = INNER[inner]
  eigenvalues = np.linalg.eigvals(np.array(matrix))
  rate = abs((1 - alpha) + alpha * eigenvalues**k).max() ** (1 / k)
  got = modulus_of_rounds(games.lookahead(play, k=k, alpha=alpha), optax.sgd(ETA), k)
  np.testing.assert_allclose(got, rate, rtol=1e-12)
  # It converges even where its inner game spirals outwards, if it turns far enough and draws back.
  assert (rate < 1 - 1e-4) == ((inner, k) not in {("simultaneous", 1), ("simultaneous", 3)})


def test_rate_of_lookahead_over_a_game_with_a_memory(x64):
  """As y + i x the players are one number w, with F(w) = i w; the past F is not drawn back."""
  k, alpha, rounds = 4, 0.5, 15
  step = np.array([[1 - 1j * ETA, 1j * ETA**2], [1j, -1j * ETA]])  # of (w, past gradient)
  k_steps = np.linalg.matrix_power(step, k)
  a_round = np.stack([(1 - alpha) * np.array([1, 0]) + alpha * k_steps[0], k_steps[1]])
  rate = abs(np.linalg.eigvals(a_round)).max() ** (1 / k)

  play = games.lookahead(games.past_extragradient, k=k, alpha=alpha)
  advance = bilinear(play)
  game, norms = games.begin(play, duel(1.0, 0.5, optax.sgd(ETA))), []
  for _ in range(rounds):
    for _ in range(k):
      game, _ = advance(game, NOTHING)
    norms.append(np.linalg.norm(weights(game)))
  got = (norms[-1] / norms[-6]) ** (1 / (5 * k))
  np.testing.assert_allclose(got, rate, rtol=1e-9)


def test_lookahead_is_its_loop(x64):
  play = games.lookahead(games.simultaneous, k=3, alpha=0.4)
  step = bilinear(play)
  game = games.begin(play, duel(1.0, 0.5, optax.sgd(ETA)))
  slow = fast = np.array([1.0, 0.5])
  rotation = np.array([[1.0, ETA], [-ETA, 1.0]])
  for t in range(1, 8):
    game, _ = step(game, NOTHING)
    fast = rotation @ fast
    if t % 3 == 0:
      slow = fast = slow + 0.4 * (fast - slow)
    np.testing.assert_allclose(weights(game), fast, rtol=1e-12)
    kept = game.extra["slow_weights"]
    np.testing.assert_allclose([kept[role]["w"] for role in sorted(kept)], slow, rtol=1e-12)


def test_discriminator_steps_before_a_joint_move(x64):
  step = bilinear(games.simultaneous, d_steps=3)
  game, metrics = step(duel(1.0, 0.5, optax.sgd(ETA)), {"image": np.zeros([3, 1])})
  y = 1.0 + 2 * ETA * 0.5
  np.testing.assert_allclose(weights(game), [y + ETA * 0.5, 0.5 - ETA * y], rtol=1e-12)
  np.testing.assert_allclose([metrics["loss_D"], metrics["loss_G"]], [-0.5 * y, 0.5 * y])
  assert int(game.discriminator.step) == 3
  assert int(game.generator.step) == int(game.step) == 1


class Quadratic:
  """Two unrelated quadratic losses: `F(w) = J w + c` with any blocks."""

  def __init__(self, seed):
    rng = np.random.default_rng(seed)
    self.P, self.B, self.C, self.Q = rng.normal(size=(4, 3, 3))
    self.P, self.Q = self.P + self.P.T, self.Q + self.Q.T
    self.c = rng.normal(size=6)
    self.w = rng.normal(size=6)
    self.J = np.block([[self.P, self.B], [self.C, self.Q]])
    self.F = self.J @ self.w + self.c

  def d_loss(self, d, g):
    return d @ (0.5 * self.P @ d + self.B @ g + self.c[:3])

  def g_loss(self, g, d):
    return g @ (0.5 * self.Q @ g + self.C @ d + self.c[3:])

  def moved(self, play, optimizer):
    step = stepper(self.d_loss, self.g_loss, play)
    game, _ = step(duel(self.w[:3], self.w[3:], optimizer), NOTHING)
    return weights(game) - self.w


@pytest.mark.parametrize(("seed", "expected_sign"), [(0, -1), (1, 1)])
def test_second_order_games_of_two_losses_against_linear_algebra(x64, seed, expected_sign):
  game = Quadratic(seed)
  J, F = game.J, game.F
  np.testing.assert_allclose(
    game.moved(games.consensus(gamma=3.0), optax.sgd(1.0)), -(F + 3.0 * J.T @ F), rtol=1e-9
  )
  adjustment, h = 0.5 * (J - J.T).T @ F, J.T @ F
  sign = np.sign((F @ h) * (adjustment @ h) / 6 + 0.1)
  assert sign == expected_sign
  np.testing.assert_allclose(
    game.moved(games.symplectic(), optax.sgd(1.0)), -(F + sign * adjustment), rtol=1e-9
  )
  off = J.copy()
  off[:3, :3] = off[3:, 3:] = 0.0
  np.testing.assert_allclose(
    game.moved(games.competitive(0.2, tolerance=1e-12), optax.sgd(7.0)),
    np.linalg.solve(np.eye(6) + 0.2 * off, -0.2 * F),
    rtol=1e-9,
  )


def test_extra_adam_moves_its_moments_twice_and_starts_from_the_saved_weights(x64):
  game = Quadratic(0)
  adam = optax.adam(0.1, b1=0.5)
  state = adam.init(jnp.asarray(game.w))
  w = game.w
  step = stepper(game.d_loss, game.g_loss, games.extragradient)
  played = duel(w[:3], w[3:], adam)
  for _ in range(3):
    played, _ = step(played, NOTHING)
    update, state = adam.update(game.J @ w + game.c, state)
    update, state = adam.update(game.J @ (w + update) + game.c, state)
    w = w + update
  np.testing.assert_allclose(weights(played), w, rtol=1e-9)
  assert int(played.discriminator.step) == 3


def test_unrolled_differentiates_through_the_inner_optimiser_and_its_state(x64):
  game = Quadratic(0)
  adam = optax.adam(0.05, b1=0.5, eps_root=1e-8)
  d, g = game.w[:3], game.w[3:]
  state = adam.init(jnp.asarray(d))
  for _ in range(2):  # moments that are not those of the start
    update, state = adam.update(game.P @ d + game.B @ g + game.c[:3], state)
    d = np.asarray(d + update)

  def foreseen(g):
    inner, inner_state = d, state
    for _ in range(3):
      update, inner_state = adam.update(game.P @ inner + game.B @ g + game.c[:3], inner_state)
      inner = inner + update
    return game.g_loss(g, np.asarray(inner))

  h = 1e-5
  gradient = [(foreseen(g + h * e) - foreseen(g - h * e)) / (2 * h) for e in np.eye(3)]
  start = duel(d, g, adam, optax.sgd(1.0))
  # The same moments, in the structure of the player's parameters.
  structure = jax.tree.structure(start.discriminator.opt_state)
  moments = jax.tree.unflatten(structure, jax.tree.leaves(state))
  start = start.replace(discriminator=start.discriminator.replace(opt_state=moments))
  after, _ = stepper(game.d_loss, game.g_loss, games.unrolled(k=3))(start, NOTHING)
  np.testing.assert_allclose(weights(after)[3:], g - gradient, rtol=1e-6)
  update, _ = adam.update(game.P @ d + game.B @ g + game.c[:3], state)
  np.testing.assert_allclose(weights(after)[:3], d + update, rtol=1e-9)  # one ordinary step


SCORES = np.array([0.3, -1.0, 2.0, 2.0, 0.9, -0.2, 1.1, 0.0])


@pytest.mark.parametrize("k", [1, 3, 8])
def test_top_k_averages_over_the_best_fakes_only(k):
  loss = games.top_k(losses.non_saturating(), k)
  value, gradient = jax.value_and_grad(lambda x: loss.generator(None, x).mean())(jnp.array(SCORES))
  best = np.argsort(-SCORES, kind="stable")[:k]
  np.testing.assert_allclose(value, np.log1p(np.exp(-SCORES[best])).mean(), rtol=1e-6)
  expected = np.zeros(8)
  expected[best] = -1 / (1 + np.exp(SCORES[best])) / k
  np.testing.assert_allclose(gradient, expected, rtol=1e-6)
  d = losses.non_saturating().discriminator
  np.testing.assert_array_equal(loss.discriminator(SCORES, SCORES), d(SCORES, SCORES))


def test_top_k_ranks_over_all_devices_and_takes_a_changing_k():
  mesh = training.data_mesh()

  def mean(scores, k):
    loss = games.top_k(losses.wasserstein(), k, axis_name=training.AXIS)
    return jax.lax.pmean(loss.generator(None, scores).mean(), training.AXIS)

  spec = PartitionSpec(training.AXIS), PartitionSpec()
  mapped = jax.jit(jax.shard_map(mean, mesh=mesh, in_specs=spec, out_specs=PartitionSpec()))
  scores = jax.random.normal(jax.random.key(0), [16])
  for k in (3, 11):
    np.testing.assert_allclose(mapped(scores, k), -np.sort(scores)[-k:].mean(), rtol=1e-5)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: games.consensus(-1.0), "gamma=-1.0"),
    (lambda: games.competitive(0.0), "learning_rate=0.0"),
    (lambda: games.competitive(0.1, iterations=0), "iterations=0"),
    (lambda: games.unrolled(0), "k=0"),
    (lambda: games.lookahead(games.simultaneous, k=0), "k=0"),
    (lambda: games.lookahead(games.simultaneous, alpha=1.5), "alpha=1.5"),
    (lambda: games.top_k(losses.hinge(), 0), "k=0"),
    (lambda: games.top_k(losses.hinge(), 5).generator(None, jnp.zeros(4)), "k=5 .* 4 fakes"),
    (lambda: games.top_k(losses.hinge(), 1).generator(None, jnp.zeros([4, 1])), r"\[4, 1\]"),
    (
      lambda: bilinear(games.simultaneous, g_steps=2)(duel(1.0, 1.0, optax.sgd(0.1)), NOTHING),
      "g_steps=2",
    ),
    (
      lambda: bilinear(games.past_extragradient)(duel(1.0, 1.0, optax.sgd(0.1)), NOTHING),
      "games.begin",
    ),
    (
      lambda: games.begin(
        games.lookahead(games.lookahead(games.simultaneous)), duel(1.0, 1.0, optax.sgd(0.1))
      ),
      "cannot hold another",
    ),
  ],
)
def test_what_cannot_be_played_is_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()
