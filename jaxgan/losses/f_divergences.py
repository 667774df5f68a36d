"""The f-GAN family: a divergence's variational bound as an adversarial loss."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.nn import relu, softplus

from jaxgan._arrays import at_least_float32, bounded_exp, same_shape
from jaxgan.types import AdversarialLoss, Array

Function = Callable[[Array], Array]


class FDivergence(NamedTuple):
  """A member of the family: a row of the tables of f-GAN, Nowozin et al. 2016 (arXiv 1606.00709).

  Attributes:
    f: the convex function of the density ratio `u = p/q > 0`; `D_f(P, Q) = E_Q f(p/q)`.
    activation: `g_f`, from a raw logit to the domain of the conjugate, increasing in the logit.
    conjugate: `f*(t) = sup_u (u t - f(u))`, on its own domain and without any bound.
    conjugate_of_activation: `f*(g_f(v))` as one function of the logit, finite for every logit.

  >>> u, t = jnp.array(2.0), jnp.array(0.5)  # f*(t) >= u t - f(u), whatever u
  >>> bool(pearson.conjugate(t) >= u * t - pearson.f(u))
  True
  """

  f: Function
  activation: Function
  conjugate: Function
  conjugate_of_activation: Function


def f_divergence(member: FDivergence, *, zero_sum: bool = False) -> AdversarialLoss:
  """The variational bound of an f-divergence, tight at the best discriminator.

  f-GAN, Nowozin et al. 2016 (arXiv 1606.00709), sections 2 and 3.2, for a raw logit `V`:

    discriminator  -g_f(V(x)) + f*(g_f(V(G(z))))     minus the bound; minimum -D_f(P, Q)
    generator      -g_f(V(G(z)))                     the recommended form, or
                   -f*(g_f(V(G(z))))                 the zero-sum one of algorithm 1

  Exponentials are exact up to an exponent of 30 and follow their tangent beyond, so that values and
  gradients stay finite for any finite logit, and theirs alive. (Total variation saturates, and
  `alpha_divergence` is flat outside its domain.)

  Args:
    member: `kullback_leibler`, `reverse_kullback_leibler`, `pearson`, `neyman`,
      `squared_hellinger`, `jensen_shannon`, `gan_divergence`, `total_variation`,
      `alpha_divergence(alpha)`, or your own `FDivergence`.
    zero_sum: whether the generator minimises the bound itself.

  Returns:
    The pair of losses; each takes logits `[...]` and returns the loss of each, `[...]`.

  Raises:
    TypeError: `member` is not an `FDivergence`.

  >>> loss = f_divergence(kullback_leibler)
  >>> loss.discriminator(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0])).round(4)
  Array([ 0.    , -1.6321], dtype=float32)
  """
  if not isinstance(member, FDivergence):
    raise TypeError(f"member must be an FDivergence such as kullback_leibler, got {member!r}")

  def discriminator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return member.conjugate_of_activation(fake) - member.activation(real)

  def generator(real_logits, fake_logits):
    del real_logits
    score = member.conjugate_of_activation if zero_sum else member.activation
    return -score(at_least_float32(fake_logits))

  return AdversarialLoss(discriminator, generator)


kullback_leibler = FDivergence(
  f=lambda u: u * jnp.log(u),
  activation=lambda v: v,
  conjugate=lambda t: jnp.exp(t - 1),
  conjugate_of_activation=lambda v: bounded_exp(v - 1),
)
"""`D_f = KL(P | Q) = E_P[log p/q]`; its best logit is `1 + log p/q`."""

reverse_kullback_leibler = FDivergence(
  f=lambda u: -jnp.log(u),
  activation=lambda v: -bounded_exp(-v),
  conjugate=lambda t: -1 - jnp.log(-t),
  conjugate_of_activation=lambda v: v - 1,
)
"""`D_f = KL(Q | P) = E_Q[log q/p]`; its best logit is `log p/q`."""

pearson = FDivergence(
  f=lambda u: (u - 1) ** 2,
  activation=lambda v: v,
  conjugate=lambda t: t**2 / 4 + t,
  conjugate_of_activation=lambda v: v**2 / 4 + v,
)
"""Pearson's chi^2, `D_f = E_Q[(p/q - 1)^2]`; its best logit is `2 (p/q - 1)`."""

neyman = FDivergence(
  f=lambda u: (1 - u) ** 2 / u,
  activation=lambda v: 1 - bounded_exp(-v),
  conjugate=lambda t: 2 - 2 * jnp.sqrt(1 - t),
  conjugate_of_activation=lambda v: 2 - 2 * bounded_exp(-v / 2),
)
"""Neyman's chi^2, `D_f = E_P[(1 - q/p)^2]`; its best logit is `2 log p/q`."""

squared_hellinger = FDivergence(
  f=lambda u: (jnp.sqrt(u) - 1) ** 2,
  activation=lambda v: 1 - bounded_exp(-v),
  conjugate=lambda t: t / (1 - t),
  conjugate_of_activation=lambda v: bounded_exp(v) - 1,
)
"""`D_f = E_Q[(sqrt(p/q) - 1)^2]`, at most 2; its best logit is `log(p/q) / 2`."""

jensen_shannon = FDivergence(
  f=lambda u: u * jnp.log(u) - (u + 1) * jnp.log((u + 1) / 2),
  activation=lambda v: math.log(2) - softplus(-v),
  conjugate=lambda t: -jnp.log(2 - jnp.exp(t)),
  conjugate_of_activation=lambda v: softplus(v) - math.log(2),
)
"""`D_f = KL(P | M) + KL(Q | M)`, `M = (P + Q) / 2`; its best logit is `log p/q`."""

gan_divergence = FDivergence(
  f=lambda u: u * jnp.log(u) - (u + 1) * jnp.log(u + 1),
  activation=lambda v: -softplus(-v),
  conjugate=lambda t: -jnp.log(1 - jnp.exp(t)),
  conjugate_of_activation=softplus,
)
"""`jensen_shannon` less `log 4`: the losses of `non_saturating`, or zero-sum of `minimax`."""

total_variation = FDivergence(
  f=lambda u: jnp.abs(u - 1) / 2,
  activation=lambda v: jnp.tanh(v) / 2,
  conjugate=lambda t: t,
  conjugate_of_activation=lambda v: jnp.tanh(v) / 2,
)
"""`D_f = E_Q|p/q - 1| / 2`, in [0, 1]; its best logit is infinite, of the sign of `p - q`."""


def alpha_divergence(alpha: float) -> FDivergence:
  """The alpha-divergence, `f(u) = (u^alpha - 1 - alpha (u - 1)) / (alpha (alpha - 1))`.

  f-GAN, Nowozin et al. 2016 (arXiv 1606.00709). Its limits at 0 and 1 are the reverse and the
  forward Kullback-Leibler divergences; at 2 it is half of Pearson's, at 1/2 twice the squared
  Hellinger distance, at -1 half of Neyman's.

  Args:
    alpha: any number but 0 and 1.

  Returns:
    The member for `f_divergence`.

  Raises:
    ValueError: `alpha` is 0 or 1.

  >>> loss = f_divergence(alpha_divergence(2.0))
  >>> loss.discriminator(jnp.array([1.0]), jnp.array([1.0]))
  Array([0.5], dtype=float32)
  """
  if alpha in (0, 1):
    raise ValueError(
      f"alpha must be neither 0 nor 1, got {alpha}: take reverse_kullback_leibler for 0 and "
      "kullback_leibler for 1"
    )
  power = alpha / (alpha - 1)

  def f(u: Array) -> Array:
    return (u**alpha - 1 - alpha * (u - 1)) / (alpha * (alpha - 1))

  def conjugate(t: Array) -> Array:
    return (relu(t * (alpha - 1) + 1) ** power - 1) / alpha

  if alpha < 1:
    return FDivergence(
      f=f,
      activation=lambda v: 1 / (1 - alpha) - softplus(-v),
      conjugate=conjugate,
      conjugate_of_activation=lambda v: (
        (bounded_exp(power * (math.log(1 - alpha) + _log_softplus(-v))) - 1) / alpha
      ),
    )

  def conjugate_of_identity(v: Array) -> Array:
    # The supremum lies at u = 0 where the base is negative; the inner `where` keeps its log finite.
    base = v * (alpha - 1) + 1
    inside = base > 0
    value = bounded_exp(power * jnp.log(jnp.where(inside, base, 1.0)))
    return (jnp.where(inside, value, 0.0) - 1) / alpha

  return FDivergence(f, lambda v: v, conjugate, conjugate_of_identity)


def _log_softplus(x: Array) -> Array:
  """`log(log(1 + exp(x)))`, which is `x` to rounding where `exp(x)` vanishes beside 1."""
  small = x < -40.0
  return jnp.where(small, x, jnp.log(softplus(jnp.where(small, 0.0, x))))
