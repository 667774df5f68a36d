"""Styles by optimisation, against generators whose inverse is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import sampling

KEY = jax.random.key(0)
LAYERS, DIMENSION = 3, 4


def normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


WEIGHTS = normal(LAYERS, DIMENSION, 16)


def paint(styles, noise):
  """Linear in the styles, which a layer each read their own matrix, and in the noise."""
  flat = jnp.einsum("nld,ldp->np", styles, WEIGHTS)
  picture = 0.1 * flat.reshape(-1, 4, 4, 1)
  return picture if noise is None else picture + 0.3 * noise["map"][..., None]


def find(images, start, **options):
  flags = {"layers": LAYERS, "deviation": 1.0, "key": KEY, "steps": 300} | options
  return sampling.invert_styles(paint, images, start, **flags)


def test_both_spaces_reach_the_least_squares_solution():
  targets = 0.3 * normal(2, 4, 4, 1, seed=1)
  for shape, matrix in (
    ((2, DIMENSION), WEIGHTS.sum(0)),
    ((2, LAYERS, DIMENSION), WEIGHTS.reshape(-1, 16)),
  ):
    found = find(targets, jnp.zeros(shape))
    flat = np.asarray(targets).reshape(2, 16)
    best = np.linalg.lstsq(0.1 * np.asarray(matrix).T, flat.T, rcond=None)[0].T
    styles = np.asarray(found.styles)
    assert styles.shape == (2, LAYERS, DIMENSION)
    if len(shape) == 2:
      np.testing.assert_array_equal(styles, np.repeat(styles[:, :1], LAYERS, 1))
      styles = styles[:, 0]
    np.testing.assert_allclose(styles.reshape(best.shape), best, atol=0.02)
    assert found.losses.shape == (2, 301)
    assert found.noise is None
    residual = np.square(best @ (0.1 * np.asarray(matrix)) - flat).mean(1)
    np.testing.assert_allclose(found.losses[:, -1], residual, atol=1e-3)
    np.testing.assert_allclose(found.images, paint(found.styles, None), atol=1e-6)


def test_styles_are_perturbed_early_and_not_late():
  """Of loss curves: at the first step by `jitter` deviations of one draw for all layers."""
  start = jnp.zeros([2, LAYERS, DIMENSION])
  targets = jnp.zeros([2, 4, 4, 1])
  keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(KEY, 0), i))(jnp.arange(2))
  draws = jax.vmap(lambda k: jax.random.normal(k, [DIMENSION]))(keys)
  moved = jnp.repeat((0.5 * 0.2 * draws)[:, None], LAYERS, 1)
  expected = jnp.square(paint(moved, None)).mean((1, 2, 3))
  found = find(targets, start, deviation=0.2, jitter=0.5, steps=4)
  np.testing.assert_allclose(found.losses[:, 0], expected, rtol=1e-4)
  # At three quarters the perturbation is over: the loss there is that of the styles alone.
  still = find(targets, start, jitter=0.0, steps=4)
  np.testing.assert_array_equal(still.losses, 0.0)


def test_noise_is_optimised_and_stays_standardised():
  start = {"map": normal(2, 4, 4, seed=2)}
  wanted = jnp.tile(normal(1, 4, 4, seed=3), (2, 1, 1))
  wanted = (wanted - wanted.mean()) / wanted.std()
  targets = 0.3 * wanted[..., None]
  found = find(
    targets, jnp.zeros([2, DIMENSION]), noise=start, noise_weight=0.0, jitter=0.0, steps=200
  )
  maps = np.asarray(found.noise["map"])
  np.testing.assert_allclose(maps.mean((1, 2)), 0.0, atol=1e-5)
  np.testing.assert_allclose(maps.std((1, 2)), 1.0, atol=1e-4)
  assert found.losses[:, -1].max() < 0.1 * found.losses[:, 0].min()
  held = find(targets, jnp.zeros([2, DIMENSION]), noise=start, noise_weight=100.0, steps=200)
  correlation = sampling.noise_correlation
  assert (correlation(held.noise) < 0.5 * correlation(found.noise)).all()


def test_correlation_of_noise_against_numpy():
  maps = {"a": normal(2, 32, 32), "b": normal(2, 4, 4, seed=1), "c": normal(2, 16, 8, seed=2)}
  expected = np.zeros(2)
  for name, halves in (("a", 3), ("b", 1), ("c", 1)):
    x = np.asarray(maps[name], np.float64)
    for _ in range(halves):
      for axis in (1, 2):
        expected += (x * np.roll(x, 1, axis)).mean((1, 2)) ** 2
      x = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 2.0
  np.testing.assert_allclose(jax.jit(sampling.noise_correlation)(maps), expected, rtol=1e-5)


def test_statistics_of_styles():
  z = normal(1000, 3)
  found = sampling.style_statistics(lambda z: 2.0 * z + 1.0, z, batch_size=300)
  w = 2.0 * np.asarray(z) + 1.0
  np.testing.assert_allclose(found.mean, w.mean(0), rtol=1e-5)
  np.testing.assert_allclose(found.deviation, np.sqrt(w.var(0).sum()), rtol=1e-5)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"start": jnp.zeros([1, 4])}, r"start \(1, 4\) of n"),
    ({"start": jnp.zeros([2, 2, 4])}, r"start \(2, 2, 4\) must be"),
    ({"noise": {"map": jnp.zeros([1, 4, 4])}}, r"noise of shape \(1, 4, 4\)"),
    ({"steps": 0}, "steps=0"),
    ({"jitter": -1.0}, "jitter=-1.0"),
    ({"images": jnp.zeros([2, 4, 4, 3])}, r"makes pictures \(2, 4, 4, 1\)"),
  ],
)
def test_what_does_not_fit_is_refused(change, message):
  given = {"images": jnp.zeros([2, 4, 4, 1]), "start": jnp.zeros([2, 4])} | change
  with pytest.raises(ValueError, match=message):
    find(**given)
