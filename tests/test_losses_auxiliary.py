from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax

from jaxgan import losses
from tests.functional import numerical_gradient, over_devices

LABELS = np.array([0, 3, 2, 3, 1, 0, 2, 2])
ONE_HOT = np.eye(4)[LABELS]


def draw(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def mean_of(distance):
  return lambda x, y: distance(x - y).reshape(len(x), -1).mean(1)


def pulling_away(s):
  cosine = s @ s.T / np.outer(np.linalg.norm(s, axis=1), np.linalg.norm(s, axis=1))
  return np.array([sum(np.delete(row**2, i)) / (len(s) - 1) for i, row in enumerate(cosine)])


def gaussian_kl(mean, log_variance):
  variance = np.exp(log_variance)
  terms = 0.5 * (mean**2 + variance) - 0.5 - 0.5 * log_variance  # E_q[log q - log p]
  return terms.reshape(len(mean), -1).sum(1)


def reed(real, mismatched, fake):
  def softplus(t):
    return np.logaddexp(0, t)

  return softplus(-real) + (softplus(mismatched) + softplus(fake)) / 2


ABSOLUTE, SQUARE = mean_of(np.abs), mean_of(np.square)
IMAGES = draw(8, 2, 2, 3), draw(8, 2, 2, 3, seed=1), draw(8, 3, 3, 1), draw(8, 3, 3, 1, seed=1)


class Case(NamedTuple):
  """A loss of `(*arguments, *fixed)`, its NumPy form, and whether it looks across the batch."""

  loss: Callable[..., Any]
  expected: Callable[..., Any]
  arguments: tuple[np.ndarray, ...]
  fixed: tuple[np.ndarray, ...] = ()
  axis: bool = False

  def of(self, *arguments):
    """The loss of other float arguments."""
    return self.loss(*arguments, *self.fixed)

  def by_hand(self, *arguments):
    return self.expected(*arguments, *self.fixed)


CASES = {
  "feature_matching": Case(
    losses.feature_matching,
    lambda r, f: ((r.mean(0) - f.mean(0)) ** 2).sum(),
    (draw(16, 2, 5), draw(8, 2, 5, seed=1)),
    axis=True,
  ),
  "feature_matching_norm": Case(
    lambda r, f, **o: losses.feature_matching(r, f, norm=lambda d: jnp.abs(d).mean(), **o),
    lambda r, f: abs(r.mean(0) - f.mean(0)).mean(),
    (draw(16, 5), draw(8, 5, seed=1)),
    axis=True,
  ),
  "pulling_away": Case(losses.pulling_away, pulling_away, (draw(8, 5),), axis=True),
  "auxiliary_classifier": Case(
    losses.auxiliary_classifier,
    lambda x, labels: -log_softmax(x, 1)[np.arange(8), labels],
    (draw(8, 4),),
    (LABELS,),
  ),
  "categorical_information": Case(
    losses.categorical_information,
    lambda x, code: -(code * log_softmax(x, 1)).sum(1),
    (draw(8, 4),),
    (ONE_HOT,),
  ),
  "gaussian_information": Case(
    lambda m, c, s: losses.gaussian_information(m, c, log_std=s),
    lambda m, c, s: -stats.norm(m, np.exp(s)).logpdf(c).sum(1),
    (draw(8, 2), draw(8, 2, seed=1), draw(8, 2, seed=2)),
  ),
  "gaussian_information_unit": Case(
    losses.gaussian_information,
    lambda m, c: -stats.norm(m).logpdf(c).sum(1),
    (draw(8, 2), draw(8, 2, seed=1)),
  ),
  "l1": Case(losses.l1, ABSOLUTE, IMAGES[:2]),
  "l2": Case(losses.l2, SQUARE, IMAGES[:2]),
  "cycle_consistency": Case(
    losses.cycle_consistency,
    lambda a, b, c, d: ABSOLUTE(a, b) + ABSOLUTE(c, d),
    IMAGES,
  ),
  "identity_mapping": Case(
    losses.identity_mapping,
    lambda a, b, c, d: ABSOLUTE(a, b) + ABSOLUTE(c, d),
    IMAGES,
  ),
  "matching_aware": Case(
    losses.matching_aware,
    reed,
    (draw(8), draw(8, seed=1), draw(8, seed=2)),
  ),
  "kl_to_standard_normal": Case(
    losses.kl_to_standard_normal,
    gaussian_kl,
    (draw(8, 2, 3), draw(8, 2, 3, seed=1)),
  ),
  "kl_unit_variance": Case(
    losses.kl_to_standard_normal,
    lambda m: (m**2).sum((1, 2)) / 2,
    (draw(8, 2, 3),),
  ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_transformations(name, x64):
  case = CASES[name]
  arguments = case.arguments
  along = tuple(draw(*x.shape, seed=i + 5) for i, x in enumerate(arguments))

  def total(arguments):
    return case.of(*arguments).sum()

  def slope(arguments):
    return sum(jnp.vdot(g, a) for g, a in zip(jax.grad(total)(arguments), along, strict=True))

  @jax.jit
  def run(arguments):
    pairs = jax.tree.map(lambda x: jnp.stack([x, x + 0.1]), arguments)
    return {
      "value": case.of(*arguments),
      "vmap": jax.vmap(case.of)(*pairs),
      "scan": jax.lax.scan(lambda carry, x: (carry, case.of(*x)), None, pairs)[1],
      "gradient": jax.grad(total)(arguments),
      "second": jax.grad(slope)(arguments),
    }

  got = run(arguments)
  values = case.by_hand(*arguments)
  np.testing.assert_allclose(got["value"], values, rtol=1e-10, atol=1e-10)
  stacked = np.stack([values, case.by_hand(*[x + 0.1 for x in arguments])])
  np.testing.assert_allclose(got["vmap"], stacked, rtol=1e-10, atol=1e-10)
  np.testing.assert_allclose(got["scan"], stacked, rtol=1e-10, atol=1e-10)
  numerical = numerical_gradient(lambda *a: case.by_hand(*a).sum(), *arguments)
  for one, other in zip(got["gradient"], numerical, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-6)
  # The Hessian along a direction, by differences of the gradient that was just checked.
  step = 1e-5
  ahead, behind = (
    run(tuple(x + s * step * a for x, a in zip(arguments, along, strict=True)))["gradient"]
    for s in (1, -1)
  )
  for second, plus, minus in zip(got["second"], ahead, behind, strict=True):
    np.testing.assert_allclose(second, (plus - minus) / (2 * step), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_extreme_arguments_stay_finite_to_the_second_order(dtype):
  def extremes(x):
    x = 1e4 * np.sign(x)
    x[: len(x) // 2] = 0.0  # whole examples at 0, and others far out
    return jnp.asarray(x, dtype)

  @jax.jit
  def run(scale):
    def each(case):
      def total(arguments):
        values = case.of(*[(scale * x).astype(dtype) for x in arguments])
        return values.sum(), values

      def slope(arguments):
        gradients, values = jax.grad(total, has_aux=True)(arguments)
        return sum(g.astype(jnp.float32).sum() for g in gradients), (gradients, values)

      second, (first, values) = jax.grad(slope, has_aux=True)(
        tuple(extremes(x) for x in case.arguments)
      )
      return values, first, second

    return {name: each(case) for name, case in CASES.items()}

  for scale in (0.0, 1.0):
    for name, (values, first, second) in run(jnp.float32(scale)).items():
      assert values.dtype == jnp.float32, name
      assert np.isfinite(values).all(), (name, scale)
      for order, gradients in (("first", first), ("second", second)):
        for gradient in gradients:
          assert np.isfinite(gradient.astype(jnp.float32)).all(), (name, scale, order)


@pytest.mark.parametrize("check_vma", [True, False])
def test_eight_devices(check_vma, x64):
  """One example a device, or two: any mean or comparison within a device alone would show."""
  arrays = [case.arguments + case.fixed for case in CASES.values()]

  def run(parameter, *flat):  # one parameter a case, so that gradients come apart
    flat, columns = iter(flat), []
    for i, (case, whole) in enumerate(zip(CASES.values(), arrays, strict=True)):
      own = [next(flat) for _ in whole]
      floats = [parameter[i] * x for x in own[: len(case.arguments)]]
      options = {"axis_name": "data"} if case.axis else {}
      values = case.loss(*floats, *own[len(case.arguments) :], **options)
      columns.append(jnp.broadcast_to(values, [1]))
    return jnp.stack(columns, axis=-1)

  n = len(CASES)
  flat = [x for group in arrays for x in group]
  values, gradient = over_devices(run, jnp.full(n, 0.9), *flat, check_vma=check_vma)
  assert values.shape == (8, n)
  for i, (name, case) in enumerate(CASES.items()):

    def expected(p, case=case):
      return case.by_hand(*[p * x for x in case.arguments])

    np.testing.assert_allclose(
      values[:, i], np.broadcast_to(expected(0.9), [8]), rtol=1e-10, atol=1e-12, err_msg=name
    )
    (numerical,) = numerical_gradient(lambda p, e=expected: e(p).mean(), np.array(0.9))
    np.testing.assert_allclose(gradient[i] * n, numerical, rtol=1e-6, atol=1e-8, err_msg=name)


def test_pulling_away_limits():
  f = jax.jit(losses.pulling_away)
  np.testing.assert_allclose(f(jnp.ones([4, 4])), 1.0, rtol=1e-6)
  np.testing.assert_allclose(f(jnp.eye(4)), 0.0)
  at_zero = jax.jit(jax.grad(lambda x: f(x).sum()))(jnp.zeros([4, 4]))
  assert np.isfinite(at_zero).all()


def test_against_torch():
  torch = pytest.importorskip("torch")
  logits, mean, log_variance = (draw(8, 4, seed=s).astype(np.float32) for s in range(3))
  expected = torch.nn.functional.cross_entropy(
    torch.tensor(logits), torch.tensor(LABELS), reduction="none"
  )
  np.testing.assert_allclose(losses.auxiliary_classifier(logits, LABELS), expected, rtol=1e-5)
  normal = torch.distributions.Normal
  expected = torch.distributions.kl_divergence(
    normal(torch.tensor(mean), torch.tensor(log_variance).exp().sqrt()), normal(0.0, 1.0)
  ).sum(1)
  got = losses.kl_to_standard_normal(mean, log_variance)
  np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: losses.feature_matching(jnp.ones([4, 3]), jnp.ones([4, 2])), r"\[4, 3\].*\[4, 2\]"),
    (lambda: losses.pulling_away(jnp.ones([4, 2, 2])), r"\[4, 2, 2\]"),
    (lambda: losses.pulling_away(jnp.ones([1, 2])), "2 examples"),
    (lambda: losses.auxiliary_classifier(jnp.ones([4, 3]), jnp.ones([4, 1], int)), r"\[4, 1\]"),
    (lambda: losses.auxiliary_classifier(jnp.ones([4, 3]), jnp.ones(4)), "integers.*float32"),
    (lambda: losses.categorical_information(jnp.ones([4, 3]), jnp.ones([4])), r"\[4, 3\].*\[4\]"),
    (lambda: losses.l1(jnp.ones([8]), jnp.ones([8, 1])), r"\[8\].*\[8, 1\]"),
    (lambda: losses.l2(1.0, 2.0), "batch axis"),
    (lambda: losses.cycle_consistency(*[jnp.ones(2)] * 2, *[jnp.ones(3)] * 2), r"\[2\].*\[3\]"),
  ],
)
def test_bad_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call()
