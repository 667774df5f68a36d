from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jaxgan import losses
from tests.functional import numerical_gradient, over_devices

AXIS = -1  # that of the batch, in the tests below


def softplus(t):
  return np.logaddexp(0.0, t)


def relu(t):
  return np.maximum(t, 0.0)


def mean(t):
  return t.mean(AXIS, keepdims=True)


class Case(NamedTuple):
  """A loss and its NumPy forms of `(real, fake)`, the batch last."""

  loss: Any
  discriminator: Any
  generator: Any
  classes: tuple[int, ...] = ()


def alpha_conjugate(alpha):
  # Where the base is negative, for alpha > 1 alone, the supremum over u > 0 lies at u = 0.
  return lambda t: (relu(t * (alpha - 1) + 1) ** (alpha / (alpha - 1)) - 1) / alpha


def member(divergence, activation, conjugate, **options):
  """A row of the f-GAN paper's tables 2 and 6, composed literally."""
  score = (lambda v: conjugate(activation(v))) if options else activation
  return Case(
    losses.f_divergence(divergence, **options),
    lambda r, f: conjugate(activation(f)) - activation(r),
    lambda r, f: -score(f),
  )


def ra(f_real, f_fake):
  """A relativistic average pair from the two halves of a discriminator's loss."""
  return (
    lambda r, f: (f_real(r - mean(f)) + f_fake(f - mean(r))) / 2,
    lambda r, f: (f_real(f - mean(r)) + f_fake(r - mean(f))) / 2,
  )


CASES = {
  "minimax": Case(
    losses.minimax(), lambda r, f: softplus(-r) + softplus(f), lambda r, f: -softplus(f)
  ),
  "non_saturating": Case(
    losses.non_saturating(), lambda r, f: softplus(-r) + softplus(f), lambda r, f: softplus(-f)
  ),
  "label_smoothing": Case(
    losses.non_saturating(label_smoothing=0.125),
    lambda r, f: 0.875 * softplus(-r) + 0.125 * softplus(r) + softplus(f),
    lambda r, f: softplus(-f),
  ),
  "least_squares": Case(
    losses.least_squares(),
    lambda r, f: (r - 1) ** 2 / 2 + f**2 / 2,
    lambda r, f: (f - 1) ** 2 / 2,
  ),
  "least_squares_abc": Case(
    losses.least_squares(-1.0, 1.0, 0.0),
    lambda r, f: (r - 1) ** 2 / 2 + (f + 1) ** 2 / 2,
    lambda r, f: f**2 / 2,
  ),
  "wasserstein": Case(losses.wasserstein(), lambda r, f: f - r, lambda r, f: -f),
  "hinge": Case(losses.hinge(), lambda r, f: relu(1 - r) + relu(1 + f), lambda r, f: -f),
  "energy_based": Case(losses.energy_based(0.7), lambda r, f: r + relu(0.7 - f), lambda r, f: f),
  "relativistic": Case(
    losses.relativistic(), lambda r, f: softplus(f - r), lambda r, f: softplus(r - f)
  ),
  "relativistic_hinge": Case(
    losses.relativistic(losses.hinge()),
    lambda r, f: relu(1 - (r - f)),
    lambda r, f: relu(1 - (f - r)),
  ),
  "relativistic_average": Case(
    losses.relativistic_average(), *ra(lambda t: softplus(-t), softplus)
  ),
  "relativistic_average_hinge": Case(
    losses.relativistic_average(losses.hinge()),
    *ra(lambda t: relu(1 - t), lambda t: relu(1 + t)),
  ),
  "relativistic_average_least_squares": Case(
    losses.relativistic_average(losses.least_squares(a=-1.0, b=1.0)),
    *ra(lambda t: (t - 1) ** 2 / 2, lambda t: (t + 1) ** 2 / 2),
  ),
  "semi_supervised": Case(
    losses.semi_supervised(),
    lambda r, f: softplus(-logsumexp(r, AXIS)) + softplus(logsumexp(f, AXIS)),
    lambda r, f: -softplus(logsumexp(f, AXIS)),
    classes=(5,),
  ),
  "kullback_leibler": member(losses.kullback_leibler, lambda v: v, lambda t: np.exp(t - 1)),
  "reverse_kullback_leibler": member(
    losses.reverse_kullback_leibler, lambda v: -np.exp(-v), lambda t: -1 - np.log(-t)
  ),
  "pearson": member(losses.pearson, lambda v: v, lambda t: t**2 / 4 + t),
  "neyman": member(
    losses.neyman, lambda v: 1 - np.exp(-v), lambda t: 2 - 2 * np.sqrt(1 - t), zero_sum=True
  ),
  "squared_hellinger": member(
    losses.squared_hellinger, lambda v: 1 - np.exp(-v), lambda t: t / (1 - t)
  ),
  "jensen_shannon": member(
    losses.jensen_shannon,
    lambda v: np.log(2) - softplus(-v),
    lambda t: -np.log(2 - np.exp(t)),
    zero_sum=True,
  ),
  "gan_divergence": member(
    losses.gan_divergence, lambda v: -softplus(-v), lambda t: -np.log(1 - np.exp(t))
  ),
  "total_variation": member(losses.total_variation, lambda v: np.tanh(v) / 2, lambda t: t),
  "alpha_-1": member(
    losses.alpha_divergence(-1.0), lambda v: 1 / 2 - softplus(-v), alpha_conjugate(-1.0)
  ),
  "alpha_0.5": member(
    losses.alpha_divergence(0.5), lambda v: 2 - softplus(-v), alpha_conjugate(0.5), zero_sum=True
  ),
  "alpha_3": member(losses.alpha_divergence(3.0), lambda v: v, alpha_conjugate(3.0)),
}


@pytest.fixture(params=CASES)
def case(request) -> Case:
  return CASES[request.param]


def draw(shape, seed=0):
  return np.random.default_rng(seed).uniform(-4.0, 4.0, shape)


def test_draws_lie_on_both_sides_of_every_kink():
  real, fake = draw((3, 4)), draw((3, 4), 1)
  kinks = {
    "hinge, real": real - 1,
    "hinge, fake": fake + 1,
    "energy_based": fake - 0.7,
    "relativistic_hinge, D": real - fake - 1,
    "relativistic_hinge, G": fake - real - 1,
    "relativistic_average_hinge, real in D": real - mean(fake) - 1,
    "relativistic_average_hinge, fake in D": fake - mean(real) + 1,
    "relativistic_average_hinge, fake in G": fake - mean(real) - 1,
    "relativistic_average_hinge, real in G": real - mean(fake) + 1,
    "alpha_3": fake + 0.5,
  }
  for name, signed in kinks.items():
    # Further off than any step of a difference below.
    assert (signed > 1e-3).any(), name
    assert (signed < -1e-3).any(), name
    assert (abs(signed) > 1e-3).all(), name


def test_values_gradients_and_transformations(case, x64):
  pair = draw((3, 4, *case.classes)), draw((3, 4, *case.classes), 1)
  along = draw(pair[0].shape, 2), draw(pair[0].shape, 3)

  def report(loss):
    def total(pair):
      return jax.vmap(loss)(*pair).sum()

    def slope(pair):
      return sum(jnp.vdot(g, a) for g, a in zip(jax.grad(total)(pair), along, strict=True))

    def run(pair):
      return {
        "vmap": jax.vmap(loss)(*pair),
        "scan": jax.lax.scan(lambda carry, row: (carry, loss(*row)), None, pair)[1],
        "gradient": jax.grad(total)(pair),
        "slope": slope(pair),
        "second": jax.grad(slope)(pair),
      }

    return run

  reports = jax.jit(lambda pair: [report(loss)(pair) for loss in case.loss])
  step = 1e-5
  moved = [
    reports(tuple(x + s * step * a for x, a in zip(pair, along, strict=True))) for s in (1, -1)
  ]
  for got, ahead, behind, expected in zip(
    reports(pair), *moved, (case.discriminator, case.generator), strict=True
  ):
    values = expected(*pair)
    np.testing.assert_allclose(got["vmap"], values, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got["scan"], values, rtol=1e-10, atol=1e-12)
    numerical = numerical_gradient(lambda r, f, e=expected: e(r, f).sum(), *pair)
    for one, other in zip(got["gradient"], numerical, strict=True):
      np.testing.assert_allclose(one, other, atol=1e-7)
    # The second derivative along a direction, by differences of the gradient that was just checked.
    curvature = sum((g * a).sum() for g, a in zip(got["second"], along, strict=True))
    np.testing.assert_allclose(
      curvature, (ahead["slope"] - behind["slope"]) / (2 * step), rtol=1e-6, atol=1e-5
    )


@pytest.mark.parametrize("check_vma", [True, False])
def test_eight_devices(check_vma, x64):
  cases = CASES | {  # the same rows, their means now over the devices
    name: CASES[name]._replace(loss=losses.relativistic_average(base, axis_name="data"))
    for name, base in (
      ("relativistic_average", None),
      ("relativistic_average_hinge", losses.hinge()),
      ("relativistic_average_least_squares", losses.least_squares(-1.0, 1.0)),
    )
  }
  logits = draw((16,)), draw((16,), 1)
  class_logits = draw((16, 5)), draw((16, 5), 1)

  def terms(discriminator, generator, parameter, pair):
    pair = [parameter * x for x in pair]
    return discriminator(*pair) + 3 * generator(*pair)

  def run(parameter, *arrays):  # one parameter a case, so that gradients come apart
    return jnp.stack(
      [
        terms(*case.loss, parameter[i], arrays[2:] if case.classes else arrays[:2])
        for i, case in enumerate(cases.values())
      ],
      axis=-1,
    )

  values, gradient = over_devices(
    run, jnp.full(len(cases), 0.9), *logits, *class_logits, check_vma=check_vma
  )
  for i, (name, case) in enumerate(cases.items()):
    pair = class_logits if case.classes else logits

    def expected(p, case=case, pair=pair):
      return terms(case.discriminator, case.generator, p, pair)

    (numerical,) = numerical_gradient(lambda p, e=expected: e(p).mean(), np.array(0.9))
    np.testing.assert_allclose(values[:, i], expected(0.9), rtol=1e-10, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(
      gradient[i] * len(cases), numerical, rtol=1e-6, atol=1e-8, err_msg=name
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_extreme_logits_stay_finite_to_the_second_order(dtype):
  extremes = jnp.array([-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4], dtype)
  pair = jnp.meshgrid(extremes, extremes)
  classes = [jnp.stack([x, -x, x], -1) for x in pair]

  def run(case, loss):
    def total(pair):
      values = loss(*pair)
      return values.sum(), values

    def slope(pair):  # a sum over all gradients, whose gradient is the sum of the Hessian's rows
      gradients, values = jax.grad(total, has_aux=True)(pair)
      return sum(g.astype(jnp.float32).sum() for g in gradients), (gradients, values)

    second, (first, values) = jax.grad(slope, has_aux=True)(classes if case.classes else pair)
    return values, first, second

  results = jax.jit(lambda: {n: [run(c, loss) for loss in c.loss] for n, c in CASES.items()})()
  for name, result in results.items():
    for values, first, second in result:
      assert values.dtype == jnp.float32, name
      assert np.isfinite(values).all(), name
      for order, gradients in (("first", first), ("second", second)):
        for gradient in gradients:
          assert np.isfinite(gradient.astype(jnp.float32)).all(), (name, order)


# papers' closed forms: D BCE, G minimax, G non-saturating, LSGAN D and G, hinge D and G, WGAN D,
# RpGAN D and G, to six digits.
@pytest.mark.parametrize(
  ("real", "fake", "expected"),
  [
    (0, 0, (1.386294, -0.693147, 0.693147, 0.5, 0.5, 2, 0, 0, 0.693147, 0.693147)),
    (1, -1, (0.626523, -0.313262, 1.313262, 0.5, 2, 0, 1, -2, 0.126928, 2.126928)),
    (2, 0.5, (1.101005, -0.974077, 0.474077, 0.625, 0.125, 1.5, -0.5, -1.5, 0.201413, 1.701413)),
    (-3, 4, (7.066737, -4.018150, 0.018150, 16, 4.5, 9, -4, 7, 7.000911, 0.000911)),
  ],
)
def test_published_numbers(real, fake, expected):
  minimax, saturating = losses.minimax(), losses.non_saturating()
  squares, hinge, pairs = losses.least_squares(), losses.hinge(), losses.relativistic()
  got = [
    minimax.discriminator(real, fake),
    minimax.generator(None, fake),
    saturating.generator(None, fake),
    squares.discriminator(real, fake),
    squares.generator(None, fake),
    hinge.discriminator(real, fake),
    hinge.generator(None, fake),
    losses.wasserstein().discriminator(real, fake),
    pairs.discriminator(real, fake),
    pairs.generator(real, fake),
  ]
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_shapes_must_match(case):
  shape = (8, *case.classes)
  with pytest.raises(ValueError, match=r"\[8(, 5)?\].*\[8, 1(, 5)?\]"):
    case.loss.discriminator(jnp.zeros(shape), jnp.zeros([8, 1, *case.classes]))


def test_bad_arguments():
  with pytest.raises(ValueError, match=r"label_smoothing.*1\.5"):
    losses.non_saturating(label_smoothing=1.5)
  with pytest.raises(ValueError, match=r"margin.*-1"):
    losses.energy_based(-1.0)
  with pytest.raises(ValueError, match=r"alpha.*1"):
    losses.alpha_divergence(1)
  with pytest.raises(TypeError, match="FDivergence"):
    losses.f_divergence(losses.alpha_divergence)
  for constructor in (losses.relativistic, losses.relativistic_average, losses.semi_supervised):
    with pytest.raises(TypeError, match="call it first"):
      constructor(losses.hinge)
  for loss in (losses.relativistic(), losses.relativistic_average()):
    with pytest.raises(ValueError, match=r"real_logits.*None"):
      loss.generator(None, jnp.zeros(2))
