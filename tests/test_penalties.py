import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import losses, penalties
from jaxgan.latents import example_keys
from tests.functional import over_devices

KEY = jax.random.key(3)
WEIGHT = np.random.default_rng(0).normal(size=(2, 2, 3))  # of images 2x2x3


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


def directions():
  """The directions of the estimates, from their documented keys."""
  return np.stack([jax.random.normal(k, [2, 2, 3]) for k in example_keys(KEY, len(REAL))])


def along(gradient):
  """What a central difference gives for critics of the second order: exactly `(v . grad D)^2`."""
  return (gradient * directions()).sum((1, 2, 3)) ** 2


# Of critic closure to values; these from the critic's gradients; the points where it takes them.
CASES = {
  "gradient_penalty": (
    lambda critic, r, f, **o: penalties.gradient_penalty(critic, r, f, KEY, **o),
    lambda g: (norms(g) - 1) ** 2,
    lambda: between(REAL, FAKE),
  ),
  "target": (
    lambda critic, r, f, **o: penalties.gradient_penalty(critic, r, f, KEY, target=0.5, **o),
    lambda g: (norms(g) - 0.5) ** 2,
    lambda: between(REAL, FAKE),
  ),
  "one_sided": (
    lambda critic, r, f, **o: penalties.gradient_penalty(
      critic, r, f, KEY, one_sided=True, target=2.0, **o
    ),
    lambda g: np.maximum(norms(g) - 2, 0) ** 2,
    lambda: between(REAL, FAKE),
  ),
  "dragan": (
    lambda critic, r, f, **o: penalties.dragan(critic, r, KEY, scale=1e-12, **o),
    lambda g: (norms(g) - 1) ** 2,
    lambda: REAL,
  ),
  "r1": (
    lambda critic, r, f, axis_name=None: penalties.r1(critic, r),
    lambda g: norms(g) ** 2,
    lambda: REAL,
  ),
  "r2": (
    lambda critic, r, f, axis_name=None: penalties.r2(critic, f),
    lambda g: norms(g) ** 2,
    lambda: FAKE,
  ),
  "r1_estimate": (
    lambda critic, r, f, **o: penalties.r1_estimate(critic, r, KEY, **o),
    along,
    lambda: REAL,
  ),
  "r2_estimate": (
    lambda critic, r, f, **o: penalties.r2_estimate(critic, f, KEY, **o),
    along,
    lambda: FAKE,
  ),
}


@pytest.mark.parametrize("name", CASES)
def test_closed_forms_and_transformations(name, x64):
  penalty, of_gradient, points = CASES[name]
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
  everywhere = np.tile(WEIGHT, (len(REAL), 1, 1, 1))
  np.testing.assert_allclose(scanned, on_linear, rtol=1e-10)
  expected = [of_gradient(s * everywhere) for s in scales]
  np.testing.assert_allclose(on_linear, expected, rtol=1e-9)
  expected = [of_gradient(s * np.asarray(points())) for s in scales]
  np.testing.assert_allclose(on_quadratic, expected, rtol=1e-6)

  def totals(scales):
    return np.array([of_gradient(s * everywhere).sum() for s in scales])

  h = 1e-4
  np.testing.assert_allclose(slope, (totals(scales + h) - totals(scales - h)) / (2 * h), 1e-6)
  second = (totals(scales + h) - 2 * totals(scales) + totals(scales - h)) / h**2
  np.testing.assert_allclose(curvature, second, atol=1e-4)


@pytest.mark.parametrize("check_vma", [True, False])
def test_eight_devices(check_vma, x64):
  real, fake = images(16), images(16, 1)

  def run(scale, r, f, axis_name="data"):
    critic = functools.partial(quadratic, scale=scale)
    lazy = penalties.lazily(penalties.r1, every=2)
    return jnp.stack(
      [
        *[penalty(critic, r, f, axis_name=axis_name) for penalty, *_ in CASES.values()],
        penalties.dragan(critic, r, KEY, axis_name=axis_name),  # at a scale that shows
        lazy(jnp.array(4), critic, r),
        lazy(jnp.array(5), critic, r),
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
