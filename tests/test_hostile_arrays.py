"""Any logits, critics and weights: finite values and gradients, or an error that names shapes."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from experiments import choices
from jaxgan import losses, penalties, regularizers

SIZES = (0.0, 1e-38, 1e-30, 1e-7, 1.0, 29.9, 30.1, 88.7, 1e3, 1e6, 1e12)
NUMBERS = st.sampled_from([sign * size for size in SIZES for sign in (-1.0, 1.0)])
ROWS = st.lists(NUMBERS, min_size=6, max_size=6).map(lambda x: np.array(x, np.float32))
LOSSES = {name: make() for name, make in choices.LOSSES.items()}
LOSSES["energy_based"] = losses.energy_based(10.0)
EVERY = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def finite(tree):
  return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


@EVERY
def test_losses_and_their_gradients_are_finite(loss):
  def both(real, fake):
    return loss.discriminator(real, fake).sum() + loss.generator(real, fake).sum()

  compiled = jax.jit(jax.value_and_grad(both, (0, 1)))

  @hypothesis.given(ROWS, ROWS)
  @hypothesis.settings(max_examples=100)
  def of_any_logits(real, fake):
    assert finite(compiled(real, fake)), (real, fake)

  of_any_logits()


SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@EVERY
@hypothesis.given(SHAPES, SHAPES)
@hypothesis.settings(max_examples=20)
def test_losses_of_two_shapes_are_refused_with_both(loss, real, fake):
  hypothesis.assume(real != fake)
  for player in loss:
    like = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (real, fake)]
    try:
      assert jax.eval_shape(player, *like).shape == fake  # it reads one of them only
    except ValueError as error:
      assert str(list(real)) in str(error)  # noqa: PT017
      assert str(list(fake)) in str(error)  # noqa: PT017


PENALTIES = {
  "r1": lambda critic, x, key: penalties.r1(critic, x),
  "r1_estimate": penalties.r1_estimate,
  "gradient_penalty": lambda critic, x, key: penalties.gradient_penalty(critic, x, -x, key),
  "dragan": penalties.dragan,
  "orthogonal": lambda critic, x, key: regularizers.orthogonal({"w": x}),
  "off_diagonal": lambda critic, x, key: regularizers.off_diagonal_orthogonal({"w": x}),
  "spectral": lambda critic, x, key: regularizers.spectral({"w": x}),
  "entropy": lambda critic, x, key: regularizers.minibatch_entropy(x),
}


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
def test_penalties_and_their_gradients_are_finite(penalty):
  """Also where a gradient vanishes, or weights are 0 or all alike."""

  def total(scale, x):
    def critic(x):
      return scale * jnp.tanh(x).sum(-1)

    return penalty(critic, x, jax.random.key(0)).sum()

  compiled = jax.jit(jax.value_and_grad(total, (0, 1)))
  small = st.sampled_from(
    [sign * size for size in (0.0, 1e-30, 1e-3, 1.0, 1e3) for sign in (-1, 1)]
  )

  @hypothesis.given(small, st.lists(small, min_size=6, max_size=6))
  @hypothesis.settings(max_examples=60)
  def of_any(scale, x):
    assert finite(compiled(np.float32(scale), np.array(x, np.float32).reshape(3, 2))), (scale, x)

  of_any()
