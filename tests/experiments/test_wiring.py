"""What each experiment hands to the library: losses, terms, schedules and rules, by hand.

The parts are caught on their way, so that nothing is compiled but numbers.
"""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import (
  acgan,
  began,
  biggan,
  cgan,
  dcgan,
  dragan,
  ebgan,
  fgan,
  gan,
  improved_gan,
  infogan,
  lsgan,
  pacgan,
  progan,
  r3gan,
  sagan,
  sngan,
  sngan_projection,
  stylegan,
  stylegan2,
  wgan,
  wgan_gp,
)
from jaxgan import training
from jaxgan.training import games, objectives
from jaxgan.types import ImageSpec

SPEC = ImageSpec((16, 16, 1), ("ant", "bee", "cat"))
REAL, FAKE = jnp.array([2.0, -1.0, 0.5]), jnp.array([-0.5, 3.0, 1.0])


@pytest.fixture
def parts(monkeypatch):
  """Builds an experiment and gives what it handed over, by name."""

  def call(module, **flags):
    found = {}
    adversarial, system = objectives.adversarial, training.system

    def caught_objectives(loss, latents, **options):
      found.update(options, loss=loss, latents=latents)
      return adversarial(loss, latents, **options)

    def caught_system(generator, discriminator, g_optimizer, d_optimizer, parts, **options):
      found.update(options, g=generator, d=discriminator, g_opt=g_optimizer, d_opt=d_optimizer)
      found["system"] = system(generator, discriminator, g_optimizer, d_optimizer, parts, **options)
      return found["system"]

    monkeypatch.setattr(objectives, "adversarial", caught_objectives)
    monkeypatch.setattr(training, "system", caught_system)
    config = module.Config(workdir="", resolution=16, width=6, batch_size=12, **flags)
    module.build(config, SPEC)
    return SimpleNamespace(config=config, **found)

  return call


def under_devices(function, *args):
  """Evaluates a term that speaks of the devices' axis, on one device."""
  one = jax.vmap(function, in_axes=[None] * len(args), axis_name=training.AXIS, axis_size=1)
  return jax.tree.map(lambda x: x[0], one(*args))


def shapes(system):
  return jax.eval_shape(system.init, jax.random.key(0))


def first_update(optimizer, gradient=1.0):
  params = {"x": jnp.ones(1)}
  updates, _ = optimizer.update({"x": jnp.array([gradient])}, optimizer.init(params), params)
  return float(updates["x"][0])


def softplus(x):
  return np.log1p(np.exp(x))


def entropy(logits, labels):
  logits = np.asarray(logits)
  return np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]


@pytest.mark.parametrize(
  ("module", "flags", "of_d", "of_g"),
  [
    (dcgan, {}, softplus(-REAL) + softplus(FAKE), softplus(-FAKE)),
    # The code's mean of the two halves.
    (gan, {}, 0.5 * (softplus(-REAL) + softplus(FAKE)), softplus(-FAKE)),
    (gan, {"loss": "minimax"}, 0.5 * (softplus(-REAL) + softplus(FAKE)), -softplus(FAKE)),
    (cgan, {}, softplus(-REAL) + softplus(FAKE), softplus(-FAKE)),
    (acgan, {}, softplus(-REAL) + softplus(FAKE), softplus(-FAKE)),
    (infogan, {}, softplus(-REAL) + softplus(FAKE), softplus(-FAKE)),
    (dragan, {}, softplus(-REAL) + softplus(FAKE), softplus(-FAKE)),
    (pacgan, {}, softplus(-REAL) + softplus(FAKE), softplus(-FAKE)),
    (
      improved_gan,
      {"label_smoothing": 0.1},
      0.9 * softplus(-REAL) + 0.1 * softplus(REAL) + softplus(FAKE),
      softplus(-FAKE),
    ),
    # Feature matching takes the place of G's loss.
    (improved_gan, {"feature_matching": True}, softplus(-REAL) + softplus(FAKE), 0.0 * FAKE),
    (lsgan, {}, 0.5 * ((REAL - 1.0) ** 2 + FAKE**2), 0.5 * (FAKE - 1.0) ** 2),
    # Pearson: T = v, f*(t) = t^2 / 4 + t.
    (fgan, {"divergence": "pearson"}, -REAL + FAKE**2 / 4 + FAKE, None),
    (wgan, {}, FAKE - REAL, -FAKE),
    (wgan_gp, {}, FAKE - REAL, -FAKE),
    (ebgan, {"margin": 2.0}, REAL + np.maximum(2.0 - FAKE, 0.0), FAKE),
    (sngan, {}, np.maximum(1.0 - REAL, 0.0) + np.maximum(1.0 + FAKE, 0.0), -FAKE),
    (sngan_projection, {}, np.maximum(1.0 - REAL, 0.0) + np.maximum(1.0 + FAKE, 0.0), -FAKE),
    (sagan, {}, np.maximum(1.0 - REAL, 0.0) + np.maximum(1.0 + FAKE, 0.0), -FAKE),
    (biggan, {}, np.maximum(1.0 - REAL, 0.0) + np.maximum(1.0 + FAKE, 0.0), -FAKE),
    (progan, {}, FAKE - REAL, -FAKE),
    (stylegan, {}, softplus(-REAL) + softplus(FAKE), softplus(-FAKE)),
    (stylegan2, {}, softplus(-REAL) + softplus(FAKE), softplus(-FAKE)),
    (r3gan, {"group_size": 4}, softplus(FAKE - REAL), softplus(REAL - FAKE)),
  ],
)
def test_losses(parts, module, flags, of_d, of_g):
  loss = parts(module, **flags).loss
  np.testing.assert_allclose(loss.discriminator(REAL, FAKE), of_d, rtol=1e-5, atol=1e-6)
  if of_g is not None:
    np.testing.assert_allclose(loss.generator(REAL, FAKE), of_g, rtol=1e-5, atol=1e-6)


def test_began_holds_its_equilibrium(parts):
  found = parts(began, gamma=0.5, k_rate=0.001)
  game = SimpleNamespace(extra={"k": jnp.asarray(0.25)})
  loss = found.loss(game)
  np.testing.assert_allclose(loss.discriminator(REAL, FAKE), REAL - 0.25 * FAKE, rtol=1e-6)
  np.testing.assert_allclose(loss.generator(REAL, FAKE), FAKE)

  energies = {"real_logits": jnp.array([0.8, 1.2]), "fake_logits": jnp.array([0.1, 0.3])}
  # gamma L(x) - L(G(z)) = 0.5 - 0.2: k rises, and M is 1 + 0.3.
  kept = under_devices(lambda batch: found.remember(batch, game), energies)
  np.testing.assert_allclose(kept["k"], 0.25 + 0.001 * 0.3, rtol=1e-6)
  measure = under_devices(lambda batch: found.measures["convergence"](batch, game), energies)
  np.testing.assert_allclose(measure, 1.3, rtol=1e-6)
  low = SimpleNamespace(extra={"k": jnp.asarray(1e-5)})
  swapped = {"real_logits": energies["fake_logits"], "fake_logits": energies["real_logits"]}
  assert under_devices(lambda batch: found.remember(batch, low), swapped)["k"] == 0.0


def test_ebgan_pulls_codes_away(parts):
  found = parts(ebgan, pulling_away_weight=0.1)
  codes = jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
  term = under_devices(
    lambda codes: found.g_terms["pulling_away"]({"fake_output": SimpleNamespace(code=codes)}, None),
    codes,
  )
  # Of the six ordered pairs two are parallel.
  np.testing.assert_allclose(term.mean(), 0.1 * 2 / 6, rtol=1e-6)
  assert not hasattr(found, "d_terms")


def test_acgan_names_the_class_that_was_asked_for(parts):
  found = parts(acgan, class_weight=2.0)
  z = found.latents(jax.random.key(1), 5)
  labels = np.asarray(found.latents.split(z)["label"]).argmax(-1)
  logits = jax.random.normal(jax.random.key(2), [5, 3])
  output = SimpleNamespace(classes=logits)
  given = {"latents": z, "fake_output": output, "real_output": output, "label": 2 - labels}
  for term in (found.g_terms["class_G"], found.d_terms["class_fake"]):
    np.testing.assert_allclose(term(given, None), 2.0 * entropy(logits, labels), rtol=1e-5)
  of_real = found.d_terms["class_real"](given, None)
  np.testing.assert_allclose(of_real, 2.0 * entropy(logits, 2 - labels), rtol=1e-5)


def test_infogan_guesses_the_codes_that_were_drawn(parts):
  found = parts(infogan, categories=3, continuous=2, category_weight=1.0, continuous_weight=0.1)
  z = found.latents(jax.random.key(1), 4)
  codes = {name: np.asarray(x) for name, x in found.latents.split(z).items()}
  logits = jax.random.normal(jax.random.key(2), [4, 3])
  mean = jax.random.normal(jax.random.key(3), [4, 2])
  output = SimpleNamespace(category=logits, mean=mean)
  given = {"latents": z, "fake_output": output}
  of_category = entropy(logits, codes["category"].argmax(-1))
  # Normal of variance 1, without its constant or with it: what varies is half the square.
  half_square = 0.5 * ((codes["continuous"] - np.asarray(mean)) ** 2).sum(-1)
  for name, terms in (("D", found.d_terms), ("G", found.g_terms)):
    np.testing.assert_allclose(terms[f"category_{name}"](given, None), of_category, rtol=1e-5)
    of_code = np.asarray(terms[f"continuous_{name}"](given, None))
    np.testing.assert_allclose(np.diff(of_code), 0.1 * np.diff(half_square), rtol=1e-4)
  bound = found.measures["information_bound"](given, None)
  np.testing.assert_allclose(bound, math.log(3) - of_category, rtol=1e-5)


def test_gan_descends_by_the_published_schedule(parts):
  found = parts(gan, learning_rate=0.1, momentum_steps=10)
  assert first_update(found.d_opt) == pytest.approx(-0.1)
  params = {"x": jnp.zeros(1)}
  state = found.g_opt.init(params)
  # After 125,000 updates the rate is 0.1 / 1.000004^125000.
  late = state._replace(count=jnp.asarray(125_000, jnp.int32))
  late = late._replace(
    hyperparams_states={
      name: at._replace(count=jnp.asarray(125_000, jnp.int32))
      for name, at in state.hyperparams_states.items()
    }
  )
  updates, late = found.g_opt.update({"x": jnp.ones(1)}, late, params)
  assert float(updates["x"][0]) == pytest.approx(-0.0606531, rel=1e-4)
  assert float(late.hyperparams["momentum"]) == pytest.approx(0.7)
  assert found.play is games.simultaneous
  z = np.asarray(found.latents(jax.random.key(0), 4000))
  assert z.std() == pytest.approx(1.0, abs=0.02)
  assert np.abs(z).max() <= 3**0.5


def test_which_players_move_at_once(parts):
  assert parts(fgan).play is games.simultaneous  # Algorithm 1 is a single step
  assert not hasattr(parts(wgan), "play")


def test_wgan_clips_and_measures(parts):
  found = parts(wgan, clip=0.01)
  clipped = found.d_constraint({"x": jnp.array([-1.0, 0.005, 1.0])})
  np.testing.assert_allclose(clipped["x"], [-0.01, 0.005, 0.01])
  given = {"real_logits": REAL, "fake_logits": FAKE}
  estimate = found.measures["wasserstein_estimate"](given, None)
  assert float(estimate) == pytest.approx(float(REAL.mean() - FAKE.mean()))
  # RMSProp from a mean square of 0: 0.01 g^2 after one gradient.
  assert first_update(found.d_opt, 3.0) == pytest.approx(-5e-5 * 10.0, rel=1e-4)
  assert found.g_multiple == 1


@pytest.mark.parametrize(
  ("module", "weight", "slope"),
  [(wgan_gp, 10.0, 3.0), (dragan, 10.0, 3.0), (progan, 5.0, 3.0)],
)
def test_penalties_hold_the_slope_at_one(parts, module, weight, slope):
  found = parts(module, penalty_weight=weight)
  images = jax.random.normal(jax.random.key(1), [4, 2, 2, 1])
  fakes = jax.random.normal(jax.random.key(2), [4, 2, 2, 1])

  def critic(x):  # of slope `slope` everywhere
    return slope * x.reshape(len(x), -1).sum(-1) / 2.0

  (penalty,) = found.penalties
  value = under_devices(
    lambda images, fakes: penalty(
      critic, {"image": images, "fake": fakes}, jax.random.key(0), None
    ).mean(),
    images,
    fakes,
  )
  np.testing.assert_allclose(value, weight * (slope - 1.0) ** 2, rtol=1e-5)


def test_progan_keeps_its_critic_from_drifting(parts):
  found = parts(progan, drift_weight=0.01)
  term = found.d_terms["drift"]({"real_logits": REAL}, None)
  np.testing.assert_allclose(term, 0.01 * np.square(REAL), rtol=1e-6)


@pytest.mark.parametrize(
  ("module", "flags", "gamma", "every"),
  [
    (stylegan, {"r1_gamma": 0.4}, 0.4, None),
    (stylegan2, {"r1_gamma": 0.4}, 0.4, 16),
    # ADA's rule of thumb, at 16 pixels and batches of 12.
    (stylegan2, {"r1_every": 3}, 0.0002 * 256 / 12, 3),
  ],
)
def test_r1_of_the_style_family(parts, module, flags, gamma, every):
  found = parts(module, **flags)
  (penalty,) = found.penalties
  images = jnp.ones([4, 2, 2, 1])
  value = penalty(lambda x: 3.0 * x.sum((1, 2, 3)), {"image": images}, jax.random.key(0), None)
  # A slope of 3 at each of 4 pixels.
  np.testing.assert_allclose(value, gamma / 2 * 36.0 * np.ones(4), rtol=1e-6)
  assert getattr(found, "penalties_every", None) == every


def test_path_length_by_a_generator_of_known_slope(parts):
  """Of pictures that are 3 times their style, one channel a style."""
  found = parts(stylegan2, path_weight=2.0, path_every=4, latent_dim=5)

  def generator(variables, x, *, train, method, rngs):
    assert train
    if method == "styles":
      return jnp.repeat(x[:, None], 2, 1)
    return variables["params"] * x.sum(1)[:, None, None, :]

  player = SimpleNamespace(apply_fn=generator, variables={"params": jnp.asarray(3.0)})
  (penalty,) = found.g_penalties
  batch = {"image": jnp.zeros([8, 1, 1, 1])}

  game = SimpleNamespace(generator=player, extra={"path_length": jnp.asarray(1.0)})
  value, entries = under_devices(lambda: penalty(batch, jax.random.key(1), game))
  # The average moves by a hundredth of what it lacks.
  mean = 1.0 + (entries["path_length"] - 1.0) / 0.01
  assert value.shape == (4,)  # half the batch
  assert 3.0 < mean < 12.0  # about 3 sqrt(5): |3 y| of 5 channels, the same in both layers
  lengths = entries["path_length"] + np.sqrt(np.asarray(value) / 2.0)
  np.testing.assert_allclose(lengths.mean(), mean, rtol=1e-3)
  assert found.g_penalties_every == 4


def test_ada_of_stylegan2(parts, monkeypatch):
  found = parts(stylegan2, augment="ada", ada_target=0.5, ada_speed=100.0, path_weight=0.0)
  assert not found.g_penalties
  state = found.extra["ada"]
  game = SimpleNamespace(extra={"ada": state._replace(batches=jnp.asarray(3))})
  logits = jnp.array([1.0, 2.0, 3.0, 4.0, -1.0])  # r_t = 0.6
  kept = under_devices(lambda x: found.remember({"real_logits": x}, game), logits)
  np.testing.assert_allclose(kept["ada"].p, 0.05, rtol=1e-6)
  monkeypatch.setattr(stylegan2.augment, "ada", lambda p: f"by {float(p)}")
  assert found.adaptive_augment(SimpleNamespace(extra=kept)) == f"by {float(kept['ada'].p)}"
  assert float(found.measures["augment_p"](None, game)) == 0.0


def test_adam_of_stylegan2_is_corrected_for_lazy_terms(parts):
  found = parts(stylegan2, learning_rate=0.002)
  assert first_update(found.d_opt) == pytest.approx(-0.002 * 16 / 17, rel=1e-3)
  assert first_update(found.g_opt) == pytest.approx(-0.002 * 4 / 5, rel=1e-3)
  assert first_update(parts(stylegan2, path_weight=0.0).g_opt) == pytest.approx(-0.002, rel=1e-3)


def test_the_average_of_stylegan2_forgets_by_pictures(parts):
  for options in (
    dict(ema_half_life=1200.0),
    dict(ema_half_life=0.0, ema_decay=0.5**0.01),
  ):
    decay = parts(stylegan2, ema_ramp=0.05, **options).ema_decay
    np.testing.assert_allclose(decay(jnp.asarray(20.0)), 0.5, rtol=1e-6)
    np.testing.assert_allclose(decay(jnp.asarray(1e6)), 0.5**0.01, rtol=1e-6)


@pytest.mark.parametrize("module", [dcgan, gan, lsgan, fgan, wgan, pacgan])
def test_packing_widens_the_first_layer_alone(parts, module):
  def kernels(packing):
    params = shapes(parts(module, packing=packing).system).discriminator.params
    return sorted(x.shape for x in jax.tree.leaves(params) if x.ndim > 1)

  one, three = kernels(1), kernels(3)
  widened = [(a, b) for a, b in zip(one, three, strict=True) if a != b]
  assert len(widened) == 1
  (before, after) = widened[0]
  assert math.prod(after) == 3 * math.prod(before)
  assert parts(module, packing=3).system.batch_multiple == 3


def test_historical_averaging_remembers_the_mean(parts):
  found = parts(improved_gan, historical_averaging=0.5)
  now = {"x": jnp.array([4.0, 0.0])}
  game = SimpleNamespace(
    step=jnp.asarray(3),
    discriminator=SimpleNamespace(params=now),
    generator=SimpleNamespace(params=now),
    extra={"history": {role: {"x": jnp.zeros(2)} for role in ("discriminator", "generator")}},
  )
  for name, terms in (("history_D", found.d_terms), ("history_G", found.g_terms)):
    np.testing.assert_allclose(terms[name]({}, game), 0.5 * 16.0, rtol=1e-6)
  kept = under_devices(lambda _: found.remember({}, game), 0.0)["history"]
  np.testing.assert_allclose(kept["generator"]["x"], [1.0, 0.0])  # the fourth of four


def test_feature_matching_compares_means(parts):
  found = parts(improved_gan, feature_matching=True)
  real, fake = jnp.array([[0.0, 1.0], [2.0, 3.0]]), jnp.array([[1.0, 5.0], [1.0, 5.0]])
  term = under_devices(
    lambda real, fake: found.g_terms["feature_matching"](
      {
        "real_output": SimpleNamespace(features=real),
        "fake_output": SimpleNamespace(features=fake),
      },
      None,
    ),
    real,
    fake,
  )
  np.testing.assert_allclose(jnp.sum(term), 9.0, rtol=1e-6)  # |(1, 2) - (1, 5)|^2


def test_semi_supervised_logit_of_real_is_that_of_all_classes(parts):
  found = parts(improved_gan, labels=9)
  logits = jnp.array([[1.0, 2.0, 3.0]])
  total = found.logits(SimpleNamespace(class_logits=logits))
  np.testing.assert_allclose(total, np.log(np.exp([1.0, 2.0, 3.0]).sum()), rtol=1e-6)
  halves = 0.5 * (softplus(-REAL) + softplus(FAKE))
  np.testing.assert_allclose(found.loss.discriminator(REAL, FAKE), halves, rtol=1e-5)
  assert "labelled" in found.d_terms
  assert not found.loss.generator(REAL, FAKE).any()


@pytest.mark.parametrize("module", [sngan, sngan_projection])
def test_sngan_rates_fall_to_zero_by_the_players_own_updates(parts, module):
  found = parts(module, learning_rate=2e-4, steps=100, decay_steps=100, n_dis=5)

  def rate_after(optimizer, updates):
    # The step of Adam at a constant gradient is the rate.
    params = {"x": jnp.ones(1)}
    state = optimizer.init(params)
    count = jnp.asarray(updates, jnp.int32)
    state = jax.tree.map(lambda x: count if x.dtype == jnp.int32 else x, state)
    moved, _ = optimizer.update({"x": jnp.ones(1)}, state, params)
    return abs(float(moved["x"][0]))

  whole = rate_after(found.g_opt, 0)
  assert whole == pytest.approx(2e-4, rel=1e-3)
  assert rate_after(found.g_opt, 100) == 0.0
  assert rate_after(found.d_opt, 500) == 0.0
  assert rate_after(found.d_opt, 100) > 0.0  # a fifth of its fall
  assert (found.d_steps, found.g_multiple) == (5, 2)


def test_two_time_scales_of_sagan(parts):
  found = parts(sagan)
  assert first_update(found.g_opt) == pytest.approx(-1e-4, rel=1e-3)
  assert first_update(found.d_opt) == pytest.approx(-4e-4, rel=1e-3)


@pytest.mark.parametrize(
  ("module", "flags"),
  [
    (cgan, {}),
    (sngan_projection, {}),
    (sagan, {}),
    (biggan, {}),
    (stylegan, {"conditional": True}),
    (stylegan2, {"conditional": True}),
  ],
)
def test_discriminators_are_told_the_class_of_the_latent(parts, module, flags):
  found = parts(module, **flags)
  z = found.latents(jax.random.key(3), 6)
  labels = np.asarray(found.latents.split(z)["label"])
  np.testing.assert_array_equal(labels.sum(-1), 1.0)
  np.testing.assert_array_equal(found.conditions.fake(z), labels)
  told = found.conditions.real({"label": jnp.array([2, 0])})
  np.testing.assert_array_equal(told, np.eye(3)[[2, 0]])


def test_orthogonality_spares_the_shared_embedding(parts):
  found = parts(biggan, orthogonal_weight=1e-4)
  (term,) = found.g_regularizers
  kernel = jnp.array([[1.0, 1.0], [0.0, 0.0]])  # the columns' product off the diagonal is 1, twice
  params = {"Dense_0": {"kernel": kernel}}
  assert float(term(params)) == pytest.approx(1e-4 * 2.0)
  shared = {"shared": {"embedding": 5.0 * kernel, "kernel": 5.0 * kernel}}
  assert float(term({**params, **shared})) == pytest.approx(1e-4 * 2.0)


def test_optimisers_are_those_of_the_papers(parts):
  """Beta 1 of Adam: what it makes of the second of two opposite gradients."""

  def second(optimizer):
    params = {"x": jnp.ones(1)}
    state = optimizer.init(params)
    _, state = optimizer.update({"x": jnp.ones(1)}, state, params)
    first = first_update(optimizer)
    moved, _ = optimizer.update({"x": -jnp.ones(1)}, state, params)
    return float(moved["x"][0]) / -abs(first)

  for module, b1 in ((dcgan, 0.5), (wgan_gp, 0.5), (sagan, 0.0), (biggan, 0.0), (acgan, 0.5)):
    found = parts(module)
    expected = ((1 - b1) * b1 - (1 - b1)) / (1 - b1**2)
    assert second(found.d_opt) == pytest.approx(expected, rel=1e-3), module.__name__


def test_r3gan_changes_along_a_half_cosine(parts):
  found = parts(
    r3gan, group_size=4, burn_in=1200, gamma=2.0, last_gamma=0.2, ema_half_life=600.0, augment_p=0.4
  )  # 100 steps of 12 pictures

  def critic(x):  # of slope 1/2 in each of 4 pixels
    return x.reshape(len(x), -1).sum(-1) / 2.0

  images = jnp.ones([2, 2, 2, 1])
  (penalty,) = found.penalties
  for step, left in ((0, 1.0), (50, 0.5), (100, 0.0), (5000, 0.0)):
    game = SimpleNamespace(step=jnp.asarray(step))
    value = penalty(critic, {"image": images, "fake": 3.0 * images}, None, game)
    np.testing.assert_allclose(value, (0.2 + 1.8 * left) / 2.0 * (1.0 + 1.0), rtol=1e-5)
    half_life = 600.0 * (1.0 - left)
    expected = 0.5 ** (12.0 / half_life) if half_life else 0.0
    assert float(found.ema_decay(jnp.asarray(step + 1))) == pytest.approx(expected, abs=1e-6)

    # Adam whose two moments know the last gradient and one before it, of 0: the step is
    # rate g / (sqrt(g^2 (1 - b2) / (1 - b2^2))).
    params = {"x": jnp.zeros(1)}
    state = found.g_opt.init(params)
    count = jnp.asarray(step, jnp.int32)
    state = jax.tree.map(lambda x, count=count: count if x.dtype == jnp.int32 else x, state)
    inner = jax.tree.map(
      lambda x: jnp.ones_like(x) if x.dtype == jnp.int32 else x, state.inner_state
    )
    updates, _ = found.g_opt.update({"x": jnp.ones(1)}, state._replace(inner_state=inner), params)
    rate, b2 = 5e-5 + 1.5e-4 * left, 0.99 - 0.09 * left
    assert float(updates["x"][0]) == pytest.approx(-rate * (1.0 + b2) ** 0.5, rel=1e-4)
  still = parts(r3gan, group_size=4, burn_in=0, ema_half_life=0.0)
  assert still.ema_decay == still.config.ema_decay
  game = SimpleNamespace(step=jnp.asarray(0))
  value = still.penalties[0](critic, {"image": images, "fake": images}, None, game)
  np.testing.assert_allclose(value, 0.1, rtol=1e-6)


def test_r3gan_compares_pictures_of_a_class(parts):
  found = parts(r3gan, group_size=4, conditional=True)
  z = found.latents(jax.random.key(3), 2)
  labels = jnp.array([2, 0])
  taken = found.match(z, {"label": labels})
  np.testing.assert_array_equal(taken[:, :64], z[:, :64])
  np.testing.assert_array_equal(found.conditions.fake(taken), np.eye(3)[[2, 0]])
