import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import losses, penalties
from jaxgan.latents import example_keys
from tests.functional import over_devices

KEY = jax.random.key(3)
WEIGHT = np.random.default_rng(0).normal(size=(2, 2, 3))  # of images 2x2x3
NORM = np.linalg.norm(WEIGHT)


def linear(x, scale=1.0):
  """A critic with the same gradient everywhere, `scale * WEIGHT`."""
  return scale * jnp.einsum("bhwc,hwc->b", x, WEIGHT.astype(x.dtype))


def quadratic(x, scale=1.0):
  """A critic whose gradient at x is `scale * x`."""
  return scale * (x**2).sum((1, 2, 3)) / 2


def images(n=8, seed=0, dtype=float):
  return np.random.default_rng(seed).normal(size=(n, 2, 2, 3)).astype(dtype)


def norms(x):
  return np.linalg.norm(np.asarray(x, float).reshape(len(x), -1), axis=1)


def between(real, fake):
  """The points of the gradient penalty, from its documented keys."""
  epsilon = jnp.stack([jax.random.uniform(k) for k in example_keys(KEY, len(real))])
  assert len(set(np.asarray(epsilon).tolist())) == len(real)
  return fake + epsilon[:, None, None, None] * (real - fake)


REAL, FAKE = images(), images(seed=1)
# Of critic closure to values, and the closed form over `scale * linear` and `scale * quadratic`.
CASES = {
  "gradient_penalty": (
    lambda critic, r, f, **o: penalties.gradient_penalty(critic, r, f, KEY, **o),
    lambda n: (n - 1) ** 2,
    lambda: norms(between(REAL, FAKE)),
  ),
  "target": (
    lambda critic, r, f, **o: penalties.gradient_penalty(critic, r, f, KEY, target=0.5, **o),
    lambda n: (n - 0.5) ** 2,
    lambda: norms(between(REAL, FAKE)),
  ),
  "one_sided": (
    lambda critic, r, f, **o: penalties.gradient_penalty(
      critic, r, f, KEY, one_sided=True, target=2.0, **o
    ),
    lambda n: np.maximum(n - 2, 0) ** 2,
    lambda: norms(between(REAL, FAKE)),
  ),
  "dragan": (
    lambda critic, r, f, **o: penalties.dragan(critic, r, KEY, scale=1e-12, **o),
    lambda n: (n - 1) ** 2,
    lambda: norms(REAL),
  ),
  "r1": (
    lambda critic, r, f, axis_name=None: penalties.r1(critic, r),
    lambda n: n**2,
    lambda: norms(REAL),
  ),
  "r2": (
    lambda critic, r, f, axis_name=None: penalties.r2(critic, f),
    lambda n: n**2,
    lambda: norms(FAKE),
  ),
}


@pytest.mark.parametrize("name", CASES)
def test_closed_forms_and_transformations(name, x64):
  penalty, of_norm, norm_at_points = CASES[name]
  scales = np.array([0.1, 0.6, 1.7])

  def value(scale, critic):
    return penalty(functools.partial(critic, scale=scale), REAL, FAKE)

  @jax.jit
  def run(scales):
    def each(scale):
      def total(scale):
        return value(scale, linear).sum()

      values = value(scale, linear), value(scale, quadratic)
      return *values, jax.grad(total)(scale), jax.grad(jax.grad(total))(scale)

    scanned = jax.lax.scan(lambda carry, s: (carry, value(s, linear)), None, scales)[1]
    return scanned, jax.vmap(each)(scales)

  scanned, (on_linear, on_quadratic, slope, curvature) = run(scales)
  np.testing.assert_allclose(scanned, on_linear, rtol=1e-10)
  np.testing.assert_allclose(on_linear, np.tile(of_norm(scales * NORM)[:, None], (1, 8)), rtol=1e-9)
  np.testing.assert_allclose(on_quadratic, of_norm(scales[:, None] * norm_at_points()), rtol=1e-6)

  def expected(s):
    return 8 * of_norm(s * NORM)

  h = 1e-4
  np.testing.assert_allclose(slope, (expected(scales + h) - expected(scales - h)) / (2 * h), 1e-6)
  second = (expected(scales + h) - 2 * expected(scales) + expected(scales - h)) / h**2
  np.testing.assert_allclose(curvature, second, atol=1e-4)


@pytest.mark.parametrize("check_vma", [True, False])
def test_eight_devices(check_vma, x64):
  real, fake = images(16), images(16, 1)

  def run(scale, r, f, axis_name="data"):
    critic = functools.partial(quadratic, scale=scale)
    o = {"axis_name": axis_name}
    averages = penalties.lecam_update(penalties.lecam_averages(), r, f, decay=0.5, **o)
    lazy = penalties.lazily(penalties.r1, every=2)
    return jnp.stack(
      [
        penalties.gradient_penalty(critic, r, f, KEY, **o),
        penalties.dragan(critic, r, KEY, **o),
        penalties.r1_estimate(critic, r, KEY, **o),
        lazy(jnp.array(4), critic, r),
        lazy(jnp.array(5), critic, r),
        penalties.lecam(critic(r), critic(f), averages),
        penalties.consistency(critic, r, f),
      ],
      axis=-1,
    )

  values, gradient = over_devices(run, jnp.array(0.7), real, fake, check_vma=check_vma)

  @jax.jit
  @functools.partial(jax.grad, has_aux=True)
  def alone(scale):
    values = run(scale, real, fake, axis_name=None)
    return values.mean(), values

  expected, expected_values = alone(0.7)
  np.testing.assert_allclose(values, expected_values, rtol=1e-10, atol=1e-12)
  np.testing.assert_allclose(gradient, expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_finite_at_a_zero_gradient(dtype):
  real, fake = (jnp.asarray(x, dtype) for x in (REAL, FAKE))

  @jax.jit
  def run(scale):
    def total(scale, penalty):
      values = penalty(functools.partial(linear, scale=scale.astype(dtype)), real, fake)
      return values.sum(), values

    return {n: jax.grad(total, has_aux=True)(scale, case[0]) for n, case in CASES.items()}

  for scale in (0.0, 1e4):
    for name, (gradient, values) in run(jnp.float32(scale)).items():
      assert np.isfinite(gradient), name
      assert np.isfinite(values).all(), name
      assert values.dtype == jnp.float32, name


def test_any_norm():
  def largest(gradient):
    return jnp.abs(gradient).max((1, 2, 3))

  got = penalties.gradient_penalty(linear, REAL, FAKE, KEY, norm=largest)
  np.testing.assert_allclose(got, (abs(WEIGHT).max() - 1) ** 2, rtol=1e-5)


def test_interpolation_is_uniform():
  real, fake = jnp.ones([5_000, 1]), jnp.zeros([5_000, 1])
  # The gradient of x^2 / 2 is epsilon itself; its penalty towards 0 is epsilon^2.
  squares = penalties.gradient_penalty(lambda x: x[:, 0] ** 2 / 2, real, fake, KEY, target=0.0)
  epsilon = np.sort(np.sqrt(squares))
  assert abs(epsilon - np.linspace(0, 1, len(epsilon))).max() < 1.7 / np.sqrt(len(epsilon))


def test_dragan_perturbs_forwards_by_half_a_deviation():
  real = jnp.asarray(np.random.default_rng(0).choice([-3.0, 3.0], (5_000, 1)))  # deviation 3

  def moves(**options):
    values = penalties.dragan(lambda x: (x[:, 0] ** 2) / 2, real, KEY, target=-9.0, **options)
    return np.sqrt(values) - 9.0 - 3.0  # |x| - 3 of the perturbed points

  outwards, inwards = moves()[real[:, 0] > 0], moves()[real[:, 0] < 0]
  # a u of two uniforms has mean 1/4 and mean square 1/9.
  assert outwards.min() > -1e-5
  assert outwards.max() < 1.5
  np.testing.assert_allclose(outwards.mean(), 1.5 / 4, atol=0.02)
  np.testing.assert_allclose((outwards**2).mean(), 1.5**2 / 9, atol=0.02)
  assert inwards.max() < 1e-5
  centred = moves(noise=lambda k, s: jax.random.uniform(k, s, minval=-0.5, maxval=0.5))
  np.testing.assert_allclose(centred.mean(), 0.0, atol=0.02)


def test_r1_of_a_quadratic_is_the_dimension():
  x = jax.random.normal(KEY, [5_000, 12])
  np.testing.assert_allclose(penalties.r1(lambda x: (x**2).sum(-1) / 2, x).mean(), 12, rtol=0.02)


def test_estimates_bias_and_variance(x64):
  n = 20_000
  x = np.tile([0.3, -0.5, 0.8], (n, 1))

  def quadratic(x):
    return 3 * x[:, 0] - x[:, 1] * x[:, 2] + x[:, 2] ** 2

  def wave(x):
    return jnp.sin(3 * x).sum(-1)

  @jax.jit
  def run():
    waves = [penalties.r1_estimate(wave, x, KEY, step=h).mean() for h in (0.02, 0.01, 1e-5)]
    return (
      penalties.r1(quadratic, x[:1])[0],
      [f(quadratic, x, KEY) for f in (penalties.r1_estimate, penalties.r2_estimate)],
      penalties.r1(wave, x[:1])[0],
      waves,
    )

  exact, estimates, exact_wave, waves = run()
  for values in estimates:
    # The variance is 2 |grad|^4, so that of the mean, relative, is 2 / n.
    np.testing.assert_allclose(values.mean(), exact, rtol=4 * np.sqrt(2 / n))
    np.testing.assert_allclose(values.var(), 2 * exact**2, rtol=0.08)
  # Beyond the second order the bias falls as the square of the step; same key, so no noise.
  wide, narrow = waves[0] - waves[2], waves[1] - waves[2]
  np.testing.assert_allclose(wide / narrow, 4.0, rtol=0.02)
  assert abs(narrow) < 0.01 * exact_wave


def test_reverse_mode_only_and_no_nested_gradient_in_the_estimate():
  @jax.custom_vjp
  def f(x):
    return x**2

  f.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))  # has no forward mode
  x = jnp.arange(6.0).reshape(3, 2)

  def critic(x):
    return f(x).sum(-1)

  np.testing.assert_allclose(penalties.r1(critic, x), 4 * (x**2).sum(-1))
  penalties.check_per_example(critic, x)
  calls = []

  @jax.custom_vjp
  def once(x):
    return x.sum(-1)

  once.defvjp(lambda x: (calls.append(1), (x.sum(-1), x))[1], lambda x, g: (g[:, None] + 0 * x,))
  penalties.r1_estimate(once, x, KEY)
  assert not calls  # the forward rule of a VJP never ran


def test_lecam():
  real, fake = np.array([1.0, 3.0]), np.array([-2.0, 0.0])
  averages = penalties.lecam_averages()
  batches = [(real + i, fake - i) for i in range(4)]
  update = jax.jit(functools.partial(penalties.lecam_update, decay=0.9))
  for pair in batches:
    averages = update(averages, *pair)
  weights = 0.9 ** np.arange(3, -1, -1)
  expected = [np.average([b[i].mean() for b in batches], weights=weights) for i in (0, 1)]
  np.testing.assert_allclose([averages.real, averages.fake], expected, rtol=1e-5)
  a_real, a_fake = expected
  got = penalties.lecam(real, fake, averages)
  np.testing.assert_allclose(got, (real - a_fake) ** 2 + (fake - a_real) ** 2, rtol=1e-5)
  low, high = real - 9, fake + 9  # each on its free side for one of the two
  got = penalties.lecam(np.append(real, low), np.append(high, fake), averages, one_sided=True)
  a = np.maximum(np.append(real, low) - a_fake, 0) ** 2
  b = np.maximum(a_real - np.append(high, fake), 0) ** 2
  np.testing.assert_allclose(got, a + b, rtol=1e-5)
  gradient = jax.grad(
    lambda r: penalties.lecam(r, fake, penalties.lecam_update(averages, r, fake)).sum()
  )(jnp.asarray(real))
  after = penalties.lecam_update(averages, real, fake)
  np.testing.assert_allclose(gradient, 2 * (real - after.fake), rtol=1e-5)  # none through a_R


def test_consistency():
  got = penalties.consistency(linear, REAL, FAKE)
  one = np.einsum("bhwc,hwc->b", REAL - FAKE, WEIGHT) ** 2
  np.testing.assert_allclose(got, one, rtol=1e-4)
  both = penalties.balanced_consistency(linear, REAL, FAKE, 2 * REAL, 2 * FAKE)
  np.testing.assert_allclose(both, 5 * one, rtol=1e-4)
  got = penalties.latent_consistency(REAL, FAKE)
  np.testing.assert_allclose(got, norms(REAL - FAKE) ** 2, rtol=1e-5)


def test_lazy_penalty_is_skipped_and_scaled():
  ran = []

  def counted(x):
    jax.debug.callback(lambda: ran.append(1))
    return x**2

  lazy = penalties.lazily(counted, every=4)
  x = jnp.array([1.0, 3.0])
  steps = jnp.arange(8)
  values, slopes = jax.jit(
    lambda: jax.lax.map(lambda s: (lazy(s, x), jax.grad(lambda x: lazy(s, x).sum())(x)), steps)
  )()
  jax.effects_barrier()
  due = (steps % 4 == 0)[:, None]
  np.testing.assert_allclose(values, jnp.where(due, 4 * x**2, 0.0))
  np.testing.assert_allclose(slopes, jnp.where(due, 8 * x, 0.0))
  np.testing.assert_allclose(values.mean(0), x**2)
  assert len(ran) == 4  # the value and the gradient, at steps 0 and 4
  for step in (0, 1):  # decided in tracing: no branch in the program
    assert "cond" not in str(jax.make_jaxpr(lambda x, s=step: lazy(s, x))(x))
    np.testing.assert_allclose(lazy(step, x), values[step])


def test_lazy_adam():
  g = {"w": jnp.array([0.3, -2.0])}

  def run(optimizer):
    params, state = jax.tree.map(jnp.zeros_like, g), optimizer.init(g)
    for scale in (1.0, -0.5, 2.0):
      updates, state = optimizer.update(jax.tree.map(lambda x, s=scale: s * x, g), state, params)
      params = optax.apply_updates(params, updates)
    return params["w"]

  expected = run(optax.adam(0.00188235294, 0.0, 0.990585))
  np.testing.assert_allclose(run(penalties.lazy_adam(0.002, 0.0, 0.99, every=16)), expected, 1e-4)
  expected = run(optax.adam(0.0016, 0.5**0.8, 0.991992))
  got = run(penalties.lazy_adam(lambda count: 0.002, 0.5, 0.99, every=4))
  np.testing.assert_allclose(got, expected, rtol=1e-4)
  population = optax.inject_hyperparams(penalties.lazy_adam)(0.002, b1=0.5, b2=0.99, every=4)
  np.testing.assert_allclose(run(population), expected, rtol=1e-4)


def test_weight_clipping():
  params = penalties.clip_weights({"w": jnp.array([-5.0, 0.004, 5.0])}, 0.01)
  np.testing.assert_allclose(params["w"], [-0.01, 0.004, 0.01])
  optimizer = optax.chain(optax.sgd(1.0), penalties.weight_clipping(0.01))
  gradient = {"w": jnp.array([1.0, -0.002, 0.005])}
  updates, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
  params = optax.apply_updates(params, updates)
  np.testing.assert_allclose(params["w"], [-0.01, 0.006, 0.005], rtol=1e-5)


def test_check_per_example():
  x = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)

  def closure(norm):  # fresh statistics, gain 1 and shift 0
    return lambda x: (norm.init_with_output(KEY, x)[0] ** 2 * jnp.arange(6.0)[None]).sum(-1)

  penalties.check_per_example(closure(nn.LayerNorm()), x)
  with pytest.raises(ValueError, match="mixes examples"):
    penalties.check_per_example(closure(nn.BatchNorm(use_running_average=False)), x)

  def in_strided_groups(x):  # examples 0 and 4, 1 and 5, ...: a spread within each
    spread = x.reshape(2, 4, -1).std(0).mean(-1)
    return x.sum(-1) + jnp.tile(spread, 2)

  with pytest.raises(ValueError, match=r"output (\d) depends on example"):
    penalties.check_per_example(in_strided_groups, x)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: penalties.r1(lambda x: x, jnp.ones([4, 1])), r"\[4\], got \[4, 1\]"),
    (lambda: penalties.r1_estimate(lambda x: x, jnp.ones([4, 1]), KEY), r"\[4\], got \[4, 1\]"),
    (lambda: penalties.r1_estimate(linear, REAL, KEY, step=0.0), r"step.*0\.0"),
    (lambda: penalties.gradient_penalty(linear, REAL, FAKE[:1], KEY), r"\[8, .*\[1, "),
    (lambda: penalties.consistency(linear, REAL, FAKE[:1]), r"\[8, .*\[1, "),
    (lambda: penalties.lecam(jnp.ones([8]), jnp.ones([8, 1]), None), r"\[8\].*\[8, 1\]"),
    (lambda: penalties.lazily(penalties.r1, every=0), "every.*0"),
    (lambda: penalties.lazy_adam(1e-3, 0.0, 0.9, every=0), "every.*0"),
    (lambda: penalties.weight_clipping(0.0), "bound.*0"),
    (lambda: penalties.weight_clipping().update({}, optax.EmptyState()), "params.*None"),
    (lambda: penalties.check_per_example(linear, REAL[:1]), "2 examples"),
  ],
)
def test_bad_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call()


# Dirac-GAN, Mescheder et al. 2018: D(x) = psi x, data at 0, the generator's point at theta.
def dirac_field(state, gamma):
  loss = losses.minimax()

  def discriminator_loss(psi, theta):
    real, fake = jnp.zeros([1, 1]), jnp.full([1, 1], theta)

    def critic(x):
      return psi * x[:, 0]

    adversarial = loss.discriminator(critic(real), critic(fake))
    return (adversarial + gamma / 2 * penalties.r1(critic, real)).mean()

  psi, theta = state
  return jnp.stack(
    [
      jax.grad(discriminator_loss)(psi, theta),
      jax.grad(lambda theta: loss.generator(None, psi * theta))(theta),
    ]
  )


def test_dirac_gan_r1_converges_and_plain_gan_circles(x64):
  slope = 0.5  # f'(0) of the logistic loss
  jacobian = jax.jit(jax.jacobian(dirac_field))
  for gamma in (0.0, 0.3, 2.0):
    eigenvalues = np.linalg.eigvals(-jacobian(jnp.zeros(2), gamma))
    root = np.sqrt(gamma**2 / 4 - slope**2 + 0j)
    for expected in (-gamma / 2 + root, -gamma / 2 - root):
      assert abs(eigenvalues - expected).min() < 1e-9

  @jax.jit
  def play(gamma):
    def step(state, _):
      psi, theta = state - jnp.array([0.1, 0.0]) * dirac_field(state, gamma)
      state = jnp.stack([psi, theta])
      state = state - jnp.array([0.0, 0.1]) * dirac_field(state, gamma)  # alternating
      return state, (jnp.linalg.norm(state), state[1])

    return jax.lax.scan(step, jnp.array([0.6, 0.8]), length=2000)[1]

  radius, theta = play(0.0)
  assert radius.min() > 0.95
  assert radius.max() < 1.05
  turns = (np.diff(np.sign(theta)) != 0).sum() / 2
  assert turns > 10
  radius, _ = play(1.0)
  assert radius[-1] < 1e-6


def test_the_estimate_takes_the_step_it_means_in_bfloat16():
  """For D(x) = |x|^2 / 2 the central difference is exact: v . x, whose square has mean |x|^2."""
  x = jnp.ones([20_000, 4], jnp.bfloat16)
  estimate = penalties.r1_estimate(
    lambda x: 0.5 * (x.astype(jnp.float32) ** 2).sum(-1), x, jax.random.key(0)
  )
  # The variance is 2 |x|^4 = 32: a standard error of 0.04, four of which are allowed.
  np.testing.assert_allclose(estimate.mean(), 4.0, atol=0.16)
