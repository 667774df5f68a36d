import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import sampling


@pytest.fixture
def z():
  return jax.random.normal(jax.random.key(0), [3, 5])


def test_arithmetic_is_sums_of_means(z):
  other = z[:2] * 2.0
  result = sampling.vector_arithmetic([z, other], [z[1:]])
  expected = np.mean(z, 0) + np.mean(other, 0) - np.mean(z[1:], 0)
  np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(sampling.vector_arithmetic([z]), z.mean(0))
  np.testing.assert_allclose(sampling.vector_arithmetic([z], [z]), 0.0, atol=1e-7)


@pytest.mark.parametrize(
  ("plus", "minus"), [([], []), ([(3,)], []), ([(0, 3)], []), ([(2, 3)], [(2, 4)])]
)
def test_arithmetic_refuses_what_cannot_be_added(plus, minus):
  with pytest.raises(ValueError, match="at least one"):
    sampling.vector_arithmetic([jnp.ones(s) for s in plus], [jnp.ones(s) for s in minus])


def test_a_sweep_changes_one_coordinate_only(z):
  values = jnp.array([-2.0, 0.0, 1.0, 2.0])
  rows = sampling.sweep(z, 3, values)
  assert rows.shape == (3, 4, 5)
  np.testing.assert_array_equal(rows[:, :, 3], np.broadcast_to(values, [3, 4]))
  kept = np.delete(np.asarray(rows), 3, axis=2)
  np.testing.assert_array_equal(kept, np.delete(np.asarray(z), 3, axis=1)[:, None].repeat(4, 1))
  np.testing.assert_array_equal(jax.jit(sampling.sweep, static_argnums=1)(z, 3, values), rows)


def test_classes_are_swept_as_one_hot_codes(z):
  rows = sampling.sweep_classes(z, 1, 3)
  assert rows.shape == (3, 3, 5)
  for label in range(3):
    np.testing.assert_array_equal(rows[:, label, 1:4], np.eye(3)[[label] * 3])
    np.testing.assert_array_equal(rows[:, label, [0, 4]], z[:, jnp.array([0, 4])])


def test_walks_are_straight_and_even(z):
  directions = jax.random.normal(jax.random.key(1), [2, 5])
  steps = jnp.linspace(-3.0, 3.0, 7)
  points = sampling.traverse(z, directions, steps)
  assert points.shape == (3, 2, 7, 5)
  np.testing.assert_allclose(points[:, :, 3], z[:, None].repeat(2, 1), atol=1e-6)
  np.testing.assert_allclose(
    jnp.diff(points, axis=2), np.broadcast_to(directions[None, :, None], [3, 2, 6, 5]), atol=1e-5
  )


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda z: sampling.sweep(z, 5, jnp.ones([2])), "index=5"),
    (lambda z: sampling.sweep(z, -1, jnp.ones([2])), "index=-1"),
    (lambda z: sampling.sweep(z, 0, jnp.ones([2, 2])), "one-dimensional"),
    (lambda z: sampling.sweep(z[0], 0, jnp.ones([2])), r"must be \[n, d\]"),
    (lambda z: sampling.sweep_classes(z, 3, 3), "start=3 and classes=3"),
    (lambda z: sampling.sweep_classes(z, 0, 1), "classes=1"),
    (lambda z: sampling.traverse(z, jnp.ones([2, 4]), jnp.ones([3])), r"\[k, 5\]"),
  ],
)
def test_edits_refuse_what_does_not_fit(z, call, message):
  with pytest.raises(ValueError, match=message):
    call(z)
