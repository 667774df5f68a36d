"""The encoder of pictures to styles: where it starts, what is locked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.models import e4e
from tests.models.networks import shapes


def test_layers_have_their_own_style_one_after_the_other():
  encoder = e4e.Encoder(num_layers=4, style_dim=6, resolution=8, width=4, max_width=8)
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)

  @jax.jit
  def run(key):
    variables = encoder.init(key, x, train=False)
    apply = functools.partial(encoder.apply, variables, x)

    def deltas(params, unlocked):
      return encoder.apply({"params": params}, x, unlocked, train=True).sum()

    gradients = [jax.grad(deltas)(variables["params"], unlocked) for unlocked in (1, 2)]
    found = [apply(unlocked, train=True) for unlocked in (None, 1.0, 3.0, 4.0)]
    return found, [g["deltas"]["kernel"] for g in gradients]

  (whole, one, three, four), (none, some) = run(jax.random.key(0))
  assert whole.shape == (2, 4, 6)
  np.testing.assert_array_equal(whole, four)
  np.testing.assert_array_equal(one, np.repeat(np.asarray(whole[:, :1]), 4, 1))
  np.testing.assert_array_equal(three[:, :3], whole[:, :3])
  np.testing.assert_array_equal(three[:, 3], whole[:, 0])
  assert 0.0 < np.abs(whole).max() < 0.3  # styles start near their mean
  assert not np.allclose(whole[:, 1], whole[:, 2])
  assert not none.any()
  assert some[:, :6].any()
  assert not some[:, 6:].any()


def test_sizes():
  encoder = e4e.Encoder(num_layers=6, style_dim=5, resolution=16, width=4, max_width=8)
  assert shapes(encoder, (2, 16, 16, 1))[1].shape == (2, 6, 5)
  with pytest.raises(ValueError, match="do not match resolution=16"):
    shapes(encoder, (2, 8, 8, 1))
  assert shapes(e4e.StyleDiscriminator(width=3), (2, 5))[1].shape == (2,)
