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
CASES = {  # function, its NumPy form, its float arguments
  "feature_matching": (
    losses.feature_matching,
    lambda r, f: ((r.mean(0) - f.mean(0)) ** 2).sum(),
    (draw(6, 2, 5), draw(4, 2, 5, seed=1)),
  ),
  "feature_matching_norm": (
    lambda r, f: losses.feature_matching(r, f, norm=lambda d: jnp.abs(d).mean()),
    lambda r, f: abs(r.mean(0) - f.mean(0)).mean(),
    (draw(6, 5), draw(4, 5, seed=1)),
  ),
  "pulling_away": (losses.pulling_away, pulling_away, (draw(8, 5),)),
  "auxiliary_classifier": (
    lambda x: losses.auxiliary_classifier(x, LABELS),
    lambda x: -log_softmax(x, 1)[np.arange(8), LABELS],
    (draw(8, 4),),
  ),
  "categorical_information": (
    lambda x: losses.categorical_information(x, ONE_HOT),
    lambda x: -log_softmax(x, 1)[np.arange(8), LABELS],
    (draw(8, 4),),
  ),
  "gaussian_information": (
    lambda m, c, s: losses.gaussian_information(m, c, log_std=s),
    lambda m, c, s: -stats.norm(m, np.exp(s)).logpdf(c).sum(1),
    (draw(8, 2), draw(8, 2, seed=1), draw(8, 2, seed=2)),
  ),
  "gaussian_information_unit": (
    losses.gaussian_information,
    lambda m, c: -stats.norm(m).logpdf(c).sum(1),
    (draw(8, 2), draw(8, 2, seed=1)),
  ),
  "l1": (losses.l1, ABSOLUTE, IMAGES[:2]),
  "l2": (losses.l2, SQUARE, IMAGES[:2]),
  "cycle_consistency": (
    losses.cycle_consistency,
    lambda a, b, c, d: ABSOLUTE(a, b) + ABSOLUTE(c, d),
    IMAGES,
  ),
  "identity_mapping": (
    losses.identity_mapping,
    lambda a, b, c, d: ABSOLUTE(a, b) + ABSOLUTE(c, d),
    IMAGES,
  ),
  "matching_aware": (
    losses.matching_aware,
    reed,
    (draw(8), draw(8, seed=1), draw(8, seed=2)),
  ),
  "kl_to_standard_normal": (
    losses.kl_to_standard_normal,
    gaussian_kl,
    (draw(8, 2, 3), draw(8, 2, 3, seed=1)),
  ),
  "kl_unit_variance": (
    losses.kl_to_standard_normal,
    lambda m: (m**2).sum((1, 2)) / 2,
    (draw(8, 2, 3),),
  ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_transformations(name, x64):
  f, expected, arguments = CASES[name]

  def total(arguments):
    return f(*arguments).sum()

  @jax.jit
  def run(arguments):
    pairs = jax.tree.map(lambda x: jnp.stack([x, x + 0.1]), arguments)
    return {
      "value": f(*arguments),
      "vmap": jax.vmap(f)(*pairs),
      "scan": jax.lax.scan(lambda carry, x: (carry, f(*x)), None, pairs)[1],
      "gradient": jax.grad(total)(arguments),
      "second": jax.grad(lambda a: sum((g**2).sum() for g in jax.tree.leaves(jax.grad(total)(a))))(
        arguments
      ),
      "extreme": jax.grad(total)(
        jax.tree.map(lambda x: (1e4 * jnp.sign(x)).astype(jnp.bfloat16), arguments)
      ),
      "half": f(*jax.tree.map(lambda x: (1e4 * jnp.sign(x)).astype(jnp.bfloat16), arguments)),
    }

  got = run(arguments)
  values = expected(*arguments)
  np.testing.assert_allclose(got["value"], values, rtol=1e-10, atol=1e-10)
  stacked = np.stack([values, expected(*[x + 0.1 for x in arguments])])
  np.testing.assert_allclose(got["vmap"], stacked, rtol=1e-10, atol=1e-10)
  np.testing.assert_allclose(got["scan"], stacked, rtol=1e-10, atol=1e-10)
  numerical = numerical_gradient(lambda *a: expected(*a).sum(), *arguments)
  for one, other in zip(got["gradient"], numerical, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-6)
  assert all(np.isfinite(x).all() for x in got["second"])
  assert all(np.isfinite(x.astype(np.float32)).all() for x in got["extreme"])
  assert got["half"].dtype in (jnp.float32, jnp.float64)
  assert np.isfinite(got["half"]).all()


@pytest.mark.parametrize("check_vma", [True, False])
def test_eight_devices(check_vma, x64):
  real, fake = draw(16, 3), draw(16, 3, seed=1)

  def run(p, r, f):
    distance = losses.feature_matching(p * r, f, axis_name="data")
    return losses.pulling_away(p + r, axis_name="data") + distance

  def expected(p):
    return pulling_away(p + real) + ((p * real.mean(0) - fake.mean(0)) ** 2).sum()

  values, gradient = over_devices(run, jnp.array(0.7), real, fake, check_vma=check_vma)
  np.testing.assert_allclose(values, expected(0.7), rtol=1e-10)
  (numerical,) = numerical_gradient(lambda p: expected(p).mean(), np.array(0.7))
  np.testing.assert_allclose(gradient, numerical, rtol=1e-6)


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
