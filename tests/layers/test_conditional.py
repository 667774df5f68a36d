import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.layers.conditional import append_condition


def test_features_and_images():
  rng = np.random.default_rng(0)
  condition = jnp.asarray(rng.normal(size=[3, 2]), "float32")
  rows = jnp.asarray(rng.normal(size=[3, 4]), "float32")
  images = jnp.asarray(rng.normal(size=[3, 2, 5, 4]), "float32")
  np.testing.assert_array_equal(
    append_condition(rows, condition), np.concatenate([rows, condition], 1)
  )
  y = jax.jit(append_condition)(images, condition)
  assert y.shape == (3, 2, 5, 6)
  np.testing.assert_array_equal(y[..., :4], images)
  for row in range(2):
    for column in range(5):
      np.testing.assert_array_equal(y[:, row, column, 4:], condition)
  mapped = jax.vmap(append_condition)(images[None], condition[None])
  np.testing.assert_array_equal(mapped[0], y)


def test_gradient_and_type():
  x, condition = jnp.ones([2, 3, 3, 1], "bfloat16"), jnp.array([[0, 1], [1, 0]])
  assert append_condition(x, condition).dtype == jnp.bfloat16
  gradient = jax.grad(lambda c: append_condition(jnp.ones([2, 3, 3, 1]), c).sum())(jnp.ones([2, 2]))
  np.testing.assert_array_equal(gradient, np.full([2, 2], 9.0))


@pytest.mark.parametrize(
  ("x", "condition"), [((3, 4), (2, 4)), ((3, 4), (3,)), ((3, 5, 4), (3, 2)), ((1, 4), (3, 2))]
)
def test_bad_shapes(x, condition):
  with pytest.raises(ValueError, match=r"do not fit.*one_hot"):
    append_condition(jnp.ones(x), jnp.ones(condition))
