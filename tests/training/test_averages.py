import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.training import ramped_decay


def test_half_lives_in_pictures():
  """Batches of 32 and a half-life of 10,000 pictures: 0.997784, once the ramp is over."""
  decay = jax.jit(ramped_decay(0.5 ** (32 / 10_000), 0.05))
  np.testing.assert_allclose(decay(jnp.asarray(1e5)), 0.997784, atol=1e-6)
  # After t updates the half-life is at most t / 20 of them.
  for t in (1, 100, 5000):
    np.testing.assert_allclose(decay(jnp.asarray(t)), 0.5 ** (20 / t), rtol=1e-5)
  assert float(decay(jnp.asarray(0))) == 0.0
  assert float(ramped_decay(0.0, 0.05)(jnp.asarray(9))) == 0.0


@pytest.mark.parametrize(
  ("arguments", "said"), [((1.0, 0.05), "decay=1.0"), ((0.5, 0.0), "ramp=0")]
)
def test_bad_arguments(arguments, said):
  with pytest.raises(ValueError, match=said):
    ramped_decay(*arguments)
