import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compilation


@functools.partial(compilation.jit, static_argnums=1)
def powers(x, n):
  return x ** jnp.arange(n)


def test_a_compiled_function_may_be_part_of_another_program():
  """Derivatives and abstract shapes of it, loops around it."""
  assert jax.eval_shape(lambda x: powers(x, 3), jnp.float32(2.0)).shape == (3,)
  np.testing.assert_allclose(powers(jnp.float32(2.0), 3), [1.0, 2.0, 4.0])
  slope = jax.jit(jax.grad(lambda x: powers(x, 3).sum()))(jnp.float32(2.0))
  np.testing.assert_allclose(slope, 5.0)
  np.testing.assert_allclose(jax.vmap(lambda x: powers(x, 3))(jnp.ones(2)), np.ones([2, 3]))
  again = compilation.jit(lambda x: powers(x, 2))
  np.testing.assert_allclose(again(jnp.float32(3.0)), [1.0, 3.0])


def test_it_can_be_lowered():
  assert powers.lower(jnp.float32(2.0), 2).compile()(jnp.float32(3.0)).tolist() == [1.0, 3.0]
