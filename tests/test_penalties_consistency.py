"""Penalties on outputs: consistency of the critic (CR, bCR, zCR) and LeCam."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import penalties
from tests.functional import numerical_gradient, over_devices

WEIGHT = np.random.default_rng(0).normal(size=(2, 2, 3))  # of images 2x2x3
DECAY = 0.5


def images(n=16, seed=0):
  return np.random.default_rng(seed).normal(size=(n, 2, 2, 3))


def critic(x, scale, xp=jnp):
  """A curved critic, in JAX or in NumPy."""
  return xp.tanh(scale * xp.einsum("bhwc,hwc->b", x, WEIGHT.astype(x.dtype)))


def moved(x):
  """What stands for an augmentation: a flip."""
  return x[:, :, ::-1]


def averages(scale, real, fake, axis_name=None):
  """LeCam's averages after two batches, the later one that of the penalty."""
  state = penalties.lecam_averages()
  for factor in (0.5, 1.0):
    logits = critic(factor * real, scale), critic(factor * fake, scale)
    state = penalties.lecam_update(state, *logits, decay=DECAY, axis_name=axis_name)
  return state


def anchors(scale, real, fake):
  """The same by the definition: weights 1/2 and 1, normalised."""
  return [
    (DECAY * critic(0.5 * x, scale, np).mean() + critic(x, scale, np).mean()) / (DECAY + 1)
    for x in (real, fake)
  ]


def lecam(scale, real, fake, axis_name=None, **options):
  logits = critic(real, scale), critic(fake, scale)
  return penalties.lecam(*logits, averages(scale, real, fake, axis_name), **options)


def lecam_by_hand(scale, frozen, real, fake, positive=lambda t: t):
  a_real, a_fake = anchors(frozen, real, fake)
  above, below = critic(real, scale, np) - a_fake, a_real - critic(fake, scale, np)
  return positive(above) ** 2 + positive(below) ** 2


def by_hand(x, scale):
  return (critic(x, scale, np) - critic(moved(x), scale, np)) ** 2


class Case(NamedTuple):
  """`penalty(scale, real, fake, axis_name)`, and its NumPy form of `(scale, frozen, real, fake)`.

  `frozen` is the scale of the terms that carry no gradient.
  """

  penalty: Any
  expected: Any


CASES = {
  "consistency": Case(
    lambda s, r, f, axis_name=None: penalties.consistency(
      functools.partial(critic, scale=s), r, moved(r)
    ),
    lambda s, frozen, r, f: by_hand(r, s),
  ),
  "balanced_consistency": Case(
    lambda s, r, f, axis_name=None: penalties.balanced_consistency(
      functools.partial(critic, scale=s), r, moved(r), f, moved(f)
    ),
    lambda s, frozen, r, f: by_hand(r, s) + by_hand(f, s),
  ),
  "latent_consistency": Case(
    lambda s, r, f, axis_name=None: penalties.latent_consistency(jnp.tanh(s * r), jnp.tanh(s * f)),
    lambda s, frozen, r, f: ((np.tanh(s * r) - np.tanh(s * f)) ** 2).sum((1, 2, 3)),
  ),
  "lecam": Case(lecam, lecam_by_hand),
  "lecam_one_sided": Case(
    functools.partial(lecam, one_sided=True),
    functools.partial(lecam_by_hand, positive=lambda t: np.maximum(t, 0)),
  ),
}
REAL, FAKE = images(), images(seed=1)


@pytest.mark.parametrize("name", CASES)
def test_closed_forms_and_transformations(name, x64):
  penalty, expected = CASES[name]
  scales = np.array([0.1, 0.6, 1.7])

  def value(scale):
    return penalty(scale, REAL, FAKE)

  @jax.jit
  def run(scales):
    return {
      "vmap": jax.vmap(value)(scales),
      "scan": jax.lax.scan(lambda carry, s: (carry, value(s)), None, scales)[1],
      "slope": jax.vmap(jax.jacrev(value))(scales),
      "second": jax.vmap(jax.grad(jax.grad(lambda s: value(s).sum())))(scales),
    }

  def differences(s):
    """First derivatives of each example and second ones of the sum, the frozen terms at `s`."""
    near, far = 1e-6, 1e-4
    at = {h: expected(s + h, s, REAL, FAKE) for h in (near, -near, 0.0, far, -far)}
    return (at[near] - at[-near]) / (2 * near), (at[far] - 2 * at[0.0] + at[-far]).sum() / far**2

  got = run(scales)
  values = [expected(s, s, REAL, FAKE) for s in scales]
  np.testing.assert_allclose(got["vmap"], values, rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(got["scan"], values, rtol=1e-9, atol=1e-12)
  first, second = zip(*[differences(s) for s in scales], strict=True)
  np.testing.assert_allclose(got["slope"], first, rtol=1e-6, atol=1e-8)
  np.testing.assert_allclose(got["second"], second, rtol=1e-5, atol=1e-5)


def test_gradients_in_the_images(x64):
  real, fake = images(4), images(4, 1)
  named = {n: case for n, case in CASES.items() if "lecam" not in n}

  def totals(function, real, fake):
    return {n: function(case)(real, fake).sum() for n, case in named.items()}

  got = jax.jit(
    jax.jacrev(functools.partial(totals, lambda case: functools.partial(case.penalty, 0.6)), (0, 1))
  )(real, fake)
  for name, case in named.items():
    numerical = numerical_gradient(
      lambda r, f, case=case: case.expected(0.6, 0.6, r, f).sum(), real, fake
    )
    for one, other in zip(got[name], numerical, strict=True):
      np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("check_vma", [True, False])
def test_eight_devices(check_vma, x64):
  def run(scales, real, fake, axis_name="data"):  # one scale a case, so that gradients come apart
    return jnp.stack(
      [
        case.penalty(scales[i], real, fake, axis_name=axis_name)
        for i, case in enumerate(CASES.values())
      ],
      axis=-1,
    )

  scales = jnp.full(len(CASES), 0.6)
  values, gradient = over_devices(run, scales, REAL, FAKE, check_vma=check_vma)

  @jax.jit
  @functools.partial(jax.grad, has_aux=True)
  def alone(scales):
    values = run(scales, REAL, FAKE, axis_name=None)
    return values.mean(), values

  expected, expected_values = alone(scales)
  np.testing.assert_allclose(values, expected_values, rtol=1e-10, atol=1e-12)
  np.testing.assert_allclose(gradient, expected, rtol=1e-10)
  by_hand = [case.expected(0.6, 0.6, REAL, FAKE) for case in CASES.values()]
  np.testing.assert_allclose(values, np.stack(by_hand, -1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_finite_in_float32_at_extreme_outputs(dtype):
  real, fake = (jnp.asarray(x, dtype) for x in (REAL, FAKE))

  def linear(x, scale):
    return scale * jnp.einsum("bhwc,hwc->b", x, WEIGHT.astype(x.dtype))

  @jax.jit
  def run(scale):
    def terms(scale):
      scale = scale.astype(dtype)
      f = functools.partial(linear, scale=scale)
      state = penalties.lecam_update(penalties.lecam_averages(), f(real), f(fake))
      return {
        "consistency": penalties.consistency(f, real, moved(real)),
        "balanced": penalties.balanced_consistency(f, real, moved(real), fake, moved(fake)),
        "latent": penalties.latent_consistency(scale * real, scale * fake),
        "lecam": penalties.lecam(f(real), f(fake), state),
        "one_sided": penalties.lecam(f(real), f(fake), state, one_sided=True),
      }

    def slope(scale):
      return jax.jacrev(lambda s: jax.tree.map(jnp.sum, terms(s)))(scale)

    return terms(scale), slope(scale), jax.jacrev(slope)(scale)

  for scale in (0.0, 1e4):
    values, first, second = run(jnp.float32(scale))
    for name, value in values.items():
      assert value.dtype == jnp.float32, name
      for x in (value, first[name], second[name]):
        assert np.isfinite(x).all(), (name, scale)


def test_consistency_keeps_the_shape_of_the_outputs():
  """A critic of patches returns a map; its outputs must match one by one."""

  def patches(x):
    return x.sum(-1)

  values = penalties.consistency(patches, REAL, moved(REAL))
  np.testing.assert_allclose(
    values, (REAL.sum(-1) - moved(REAL).sum(-1)) ** 2, rtol=1e-4, atol=1e-5
  )
  sizes = iter([2, 1])
  with pytest.raises(ValueError, match=r"critic_of_x \[2\].*critic_of_augmented \[1\]"):
    penalties.consistency(lambda x: jnp.ones(next(sizes)), REAL, REAL)


def test_lecam_over_many_updates():
  real, fake = np.array([1.0, 3.0]), np.array([-2.0, 0.0])
  state = penalties.lecam_averages()
  batches = [(real + i, fake - i) for i in range(4)]
  update = jax.jit(functools.partial(penalties.lecam_update, decay=0.9))
  for pair in batches:
    state = update(state, *pair)
  weights = 0.9 ** np.arange(3, -1, -1)
  expected = [np.average([b[i].mean() for b in batches], weights=weights) for i in (0, 1)]
  np.testing.assert_allclose([state.real, state.fake], expected, rtol=1e-5)
  a_real, a_fake = expected
  got = penalties.lecam(real, fake, state)
  np.testing.assert_allclose(got, (real - a_fake) ** 2 + (fake - a_real) ** 2, rtol=1e-5)
  low, high = real - 9, fake + 9  # each on its free side for one of the two
  got = penalties.lecam(np.append(real, low), np.append(high, fake), state, one_sided=True)
  a = np.maximum(np.append(real, low) - a_fake, 0) ** 2
  b = np.maximum(a_real - np.append(high, fake), 0) ** 2
  np.testing.assert_allclose(got, a + b, rtol=1e-5)
  gradient = jax.grad(
    lambda r: penalties.lecam(r, fake, penalties.lecam_update(state, r, fake)).sum()
  )(jnp.asarray(real))
  after = penalties.lecam_update(state, real, fake)
  np.testing.assert_allclose(gradient, 2 * (real - after.fake), rtol=1e-5)  # none through a_R


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: penalties.consistency(lambda x: x, REAL, REAL[:1]), r"\[16, .*\[1, "),
    (
      lambda: penalties.balanced_consistency(
        lambda x: x.sum((1, 2, 3)), REAL, REAL, FAKE[:4], FAKE[:4]
      ),
      r"at_real \[16\].*at_fake \[4\]",
    ),
    (lambda: penalties.latent_consistency(REAL, FAKE[:1]), r"\[16, .*\[1, "),
    (lambda: penalties.lecam(jnp.ones([8]), jnp.ones([8, 1]), None), r"\[8\].*\[8, 1\]"),
  ],
)
def test_bad_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call()
