"""The f-GAN family against divergences by quadrature, and beyond the bound of its exponentials."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxgan import losses

GRID = np.linspace(-9.0, 9.0, 4001)
P, Q = stats.norm(0.0, 1.0).pdf(GRID), stats.norm(0.4, 0.9).pdf(GRID)


def quadrature(values):
  return integrate.simpson(values, x=GRID)


MEMBERS = {
  "kullback_leibler": losses.kullback_leibler,
  "reverse_kullback_leibler": losses.reverse_kullback_leibler,
  "pearson": losses.pearson,
  "neyman": losses.neyman,
  "squared_hellinger": losses.squared_hellinger,
  "jensen_shannon": losses.jensen_shannon,
  "gan_divergence": losses.gan_divergence,
  "total_variation": losses.total_variation,
  "alpha_-1": losses.alpha_divergence(-1.0),
  "alpha_0.5": losses.alpha_divergence(0.5),
  "alpha_2": losses.alpha_divergence(2.0),
}
DIVERGENCES = {
  "kullback_leibler": P * np.log(P / Q),
  "reverse_kullback_leibler": Q * np.log(Q / P),
  "pearson": (P - Q) ** 2 / Q,
  "neyman": (P - Q) ** 2 / P,
  "squared_hellinger": (np.sqrt(P) - np.sqrt(Q)) ** 2,
  "jensen_shannon": P * np.log(2 * P / (P + Q)) + Q * np.log(2 * Q / (P + Q)),
  "gan_divergence": P * np.log(P / (P + Q)) + Q * np.log(Q / (P + Q)),
  "total_variation": abs(P - Q) / 2,
  "alpha_-1": (P - Q) ** 2 / (2 * P),
  "alpha_0.5": 2 * (np.sqrt(P) - np.sqrt(Q)) ** 2,
  "alpha_2": (P - Q) ** 2 / (2 * Q),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_bound_is_tight_at_the_best_discriminator(name, x64):
  divergence = MEMBERS[name]
  loss = losses.f_divergence(divergence)

  def logit_of(target):  # the inverse of the activation, by halving
    def halve(bounds, _):
      low, high = bounds
      middle = (low + high) / 2
      below = divergence.activation(middle) < target
      return (jnp.where(below, middle, low), jnp.where(below, high, middle)), None

    start = jnp.full(target.shape, -1e7), jnp.full(target.shape, 1e7)
    return jax.lax.scan(halve, start, length=100)[0][0]

  @jax.jit
  def run(u, v):
    best = logit_of(jax.vmap(jax.grad(divergence.f))(P / Q))  # T* = f'(p/q)
    zero = jnp.zeros_like(best)
    parts = [
      (loss.discriminator(logits, zero), loss.discriminator(zero, logits))
      for logits in (best, jnp.clip(best, -2.0, 2.0) + 0.3)
    ]
    slope = jax.vmap(jax.grad(divergence.f))(u)
    return {
      "f": divergence.f(P / Q),
      "bounds": parts,
      "origin": loss.discriminator(0.0, 0.0),
      # Fenchel and Young: u f'(u) - f*(f'(u)) = f(u).
      "fenchel": u * slope - divergence.conjugate(slope) - divergence.f(u),
      "fused": divergence.conjugate_of_activation(v),
      "composed": divergence.conjugate(divergence.activation(v)),
      "activation": divergence.activation(v),
    }

  got = run(np.linspace(0.2, 5.0, 50), np.linspace(-0.9, 6.0, 49))
  # The loss takes a pair at one point; its halves are integrated under P and under Q.
  origin = got["origin"]
  best, other = (
    -quadrature(P * (real - origin) + Q * (fake - origin)) - origin for real, fake in got["bounds"]
  )
  expected = quadrature(DIVERGENCES[name])
  np.testing.assert_allclose(quadrature(Q * got["f"]), expected, atol=1e-6)
  np.testing.assert_allclose(best, expected, atol=1e-4)
  assert other < expected - 1e-3
  np.testing.assert_allclose(got["fenchel"], 0.0, atol=1e-9)
  np.testing.assert_allclose(got["fused"], got["composed"], rtol=1e-6, atol=1e-9)
  assert (np.diff(got["activation"]) > 0).all()


def test_minimax_is_the_jensen_shannon_divergence_at_its_best(x64):
  logits = jnp.log(P / Q)  # D* = p / (p + q)
  zero = jnp.zeros_like(logits)
  loss = losses.minimax()
  real = loss.discriminator(logits, zero) - jnp.log(2.0)
  fake = loss.discriminator(zero, logits) - jnp.log(2.0)
  jsd = quadrature(DIVERGENCES["jensen_shannon"]) / 2
  np.testing.assert_allclose(-quadrature(P * real + Q * fake), 2 * jsd - np.log(4), atol=1e-6)
  # The generator's loss is the value's second term.
  np.testing.assert_allclose(loss.generator(None, logits), -fake, atol=1e-12)


def tangent(x):
  """The exponential up to 30, and its tangent there beyond."""
  return np.exp(np.minimum(x, 30.0)) * (1 + np.maximum(x - 30.0, 0.0))


# Of the logit: the activation and the conjugate of it, where an exponential of theirs is bounded.
BOUNDED = {
  "kullback_leibler": (None, lambda v: tangent(v - 1)),
  "reverse_kullback_leibler": (lambda v: -tangent(-v), None),
  "neyman": (lambda v: 1 - tangent(-v), lambda v: 2 - 2 * tangent(-v / 2)),
  "squared_hellinger": (lambda v: 1 - tangent(-v), lambda v: tangent(v) - 1),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_beyond_the_exponent_bound_members_follow_the_tangent(name, x64):
  member = getattr(losses, name)
  logits = np.array([-1e4, -62.0, -40.0, -30.5, -29.5, 29.5, 30.5, 31.5, 40.0, 62.0, 1e4])
  for got, expected in zip(
    (member.activation, member.conjugate_of_activation), BOUNDED[name], strict=True
  ):
    if expected is None:
      continue
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(got)))(logits)
    np.testing.assert_allclose(values, expected(logits), rtol=1e-12)
    h = 1e-6
    numerical = (expected(logits + h) - expected(logits - h)) / (2 * h)
    np.testing.assert_allclose(slopes, numerical, rtol=1e-4, atol=1e-9)
    assert (abs(slopes) > 1e12).any()  # alive where it is the largest
