import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import penalties


def test_lazy_penalty_is_skipped_and_scaled():
  ran = []

  def counted(x):
    jax.debug.callback(lambda: ran.append(1))
    return x**2

  lazy = penalties.lazily(counted, every=4)
  x = jnp.array([1.0, 3.0])
  steps = jnp.arange(8)
  values, slopes = jax.jit(
    lambda: jax.lax.map(lambda s: (lazy(s, x), jax.grad(lambda x: lazy(s, x).sum())(x)), steps)
  )()
  jax.effects_barrier()
  due = (steps % 4 == 0)[:, None]
  np.testing.assert_allclose(values, jnp.where(due, 4 * x**2, 0.0))
  np.testing.assert_allclose(slopes, jnp.where(due, 8 * x, 0.0))
  np.testing.assert_allclose(values.mean(0), x**2)
  assert len(ran) == 4  # the value and the gradient, at steps 0 and 4
  for step in (0, 1):  # decided in tracing: no branch in the program
    assert "cond" not in str(jax.make_jaxpr(lambda x, s=step: lazy(s, x))(x))
    np.testing.assert_allclose(lazy(step, x), values[step])


def test_lazy_adam():
  g = {"w": jnp.array([0.3, -2.0])}

  def run(optimizer):
    params, state = jax.tree.map(jnp.zeros_like, g), optimizer.init(g)
    for scale in (1.0, -0.5, 2.0):
      updates, state = optimizer.update(jax.tree.map(lambda x, s=scale: s * x, g), state, params)
      params = optax.apply_updates(params, updates)
    return params["w"]

  expected = run(optax.adam(0.00188235294, 0.0, 0.990585))
  np.testing.assert_allclose(run(penalties.lazy_adam(0.002, 0.0, 0.99, every=16)), expected, 1e-4)
  expected = run(optax.adam(0.0016, 0.5**0.8, 0.991992))
  got = run(penalties.lazy_adam(lambda count: 0.002, 0.5, 0.99, every=4))
  np.testing.assert_allclose(got, expected, rtol=1e-4)
  population = optax.inject_hyperparams(penalties.lazy_adam)(0.002, b1=0.5, b2=0.99, every=4)
  np.testing.assert_allclose(run(population), expected, rtol=1e-4)


def test_weight_clipping():
  params = penalties.clip_weights({"w": jnp.array([-5.0, 0.004, 5.0])}, 0.01)
  np.testing.assert_allclose(params["w"], [-0.01, 0.004, 0.01])
  optimizer = optax.chain(optax.sgd(1.0), penalties.weight_clipping(0.01))
  gradient = {"w": jnp.array([1.0, -0.002, 0.005])}
  updates, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
  params = optax.apply_updates(params, updates)
  np.testing.assert_allclose(params["w"], [-0.01, 0.006, 0.005], rtol=1e-5)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: penalties.lazily(penalties.r1, every=0), "every.*0"),
    (lambda: penalties.lazy_adam(1e-3, 0.0, 0.9, every=0), "every.*0"),
    (lambda: penalties.weight_clipping(0.0), "bound.*0"),
    (lambda: penalties.weight_clipping().update({}, optax.EmptyState()), "params.*None"),
  ],
)
def test_bad_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call()
