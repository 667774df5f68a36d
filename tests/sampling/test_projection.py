import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import sampling

WEIGHT = jax.random.normal(jax.random.key(0), [3, 16]) / 4.0


def affine(z):
  return (z @ WEIGHT).reshape(-1, 4, 4, 1)


def pictures(n):
  return jax.random.normal(jax.random.key(1), [n, 4, 4, 1]) / 2.0


def test_the_projection_of_an_affine_generator_is_least_squares():
  images = pictures(2)
  start = jax.random.normal(jax.random.key(2), [2, 2, 3])
  found = sampling.invert(affine, images, start, steps=400)
  expected = np.linalg.lstsq(
    np.asarray(WEIGHT, np.float64).T, np.asarray(images).reshape(2, -1).T, rcond=None
  )[0].T
  np.testing.assert_allclose(found.latents, expected, atol=1e-3)  # Adam at a rate that ends at 0
  np.testing.assert_allclose(found.images, affine(found.latents), rtol=1e-6)
  assert found.losses.shape == (2, 401)
  errors = np.mean((np.asarray(found.images) - np.asarray(images)) ** 2, axis=(1, 2, 3))
  np.testing.assert_allclose(found.losses[:, -1], errors, rtol=1e-5)
  assert (found.losses[:, -1] < found.losses[:, 0]).all()


def bumpy(z):
  """Has a local minimum beside each global one."""
  return (z + 2.0 * jnp.sin(3.0 * z)).reshape(-1, 2, 2, 1)


def test_the_best_restart_is_kept_and_restarts_do_not_mix():
  truth = jnp.array([[0.1, -0.3, 0.2, 0.0], [0.5, 0.1, 0.0, -0.2]])
  images = bumpy(truth)
  start = jnp.stack([truth + 4.0, truth + 0.05, truth - 3.0], 1)
  options = dict(steps=60, learning_rate=0.03)
  seen = {}
  together = sampling.invert(bumpy, images, start, progress=seen.__setitem__, **options)
  np.testing.assert_allclose(together.latents, truth, atol=1e-2)
  assert (seen[59][:, jnp.array([0, 2])] > 10.0 * together.losses[:, -1:]).all()
  alone = sampling.invert(bumpy, images[1:], start[1:, 1:2], **options)
  np.testing.assert_allclose(together.latents[1:], alone.latents, atol=1e-5)


def test_a_restart_that_diverges_is_not_chosen():
  start = jnp.stack([jnp.full([1, 3], jnp.nan), jnp.zeros([1, 3])], 1)
  found = sampling.invert(affine, pictures(1), start, steps=5)
  assert np.isfinite(found.latents).all()
  assert np.isfinite(found.losses).all()


def test_a_prior_shortens_the_latents():
  images = 3.0 * affine(jnp.array([[2.0, -1.0, 1.0]]))
  start = jnp.zeros([1, 1, 3])
  free = sampling.invert(affine, images, start, steps=100)
  held = sampling.invert(affine, images, start, steps=100, prior=sampling.normal_prior(0.5))
  assert np.linalg.norm(held.latents) < 0.9 * np.linalg.norm(free.latents)
  z = np.asarray(held.latents)
  error = np.mean((np.asarray(held.images) - np.asarray(images)) ** 2)
  np.testing.assert_allclose(held.losses[0, -1], error + 0.25 * np.mean(z**2), rtol=1e-5)


def test_features_are_what_is_compared():
  """A feature that sees only the mean brightness leaves the rest as it was."""
  images = pictures(1)
  found = sampling.invert(
    lambda z: z.reshape(-1, 4, 4, 1),
    images,
    jnp.zeros([1, 1, 16]),
    features=lambda x: {"mean": x.mean((1, 2, 3))},
    steps=200,
  )
  np.testing.assert_allclose(found.images, np.full([1, 4, 4, 1], images.mean()), atol=1e-3)


def test_features_at_several_scales_are_means_of_squares_of_pixels():
  images = pictures(3)
  sizes = sampling.multi_scale(3)(images)
  np.testing.assert_allclose(sizes[2][:, 0, 0, 0], images.mean((1, 2, 3)), atol=1e-6)
  np.testing.assert_allclose(sizes[1][:, 0, 1, 0], images[:, :2, 2:].mean((1, 2, 3)), atol=1e-6)
  with pytest.raises(ValueError, match="levels=4"):
    sampling.multi_scale(4)(images)
  with pytest.raises(ValueError, match="levels=0"):
    sampling.multi_scale(0)


def test_progress_is_told_before_every_step():
  told = []
  found = sampling.invert(
    affine,
    pictures(2),
    jnp.ones([2, 3, 3]),
    steps=4,
    progress=lambda step, losses: told.append((step, np.asarray(losses))),
  )
  assert [step for step, _ in told] == [0, 1, 2, 3]
  assert told[0][1].shape == (2, 3)
  np.testing.assert_array_equal(told[0][1][:, 0], found.losses[:, 0])


def test_rates_follow_the_published_ramps():
  rate = sampling.projection_schedule(1000, 0.1)
  for step in (0, 10, 49, 50, 500, 750, 800, 950, 1000):
    t = step / 1000  # as the appendix says: ramps of 0.05 and 0.25
    down = 0.5 - 0.5 * np.cos(np.pi * min(1.0, (1.0 - t) / 0.25))
    np.testing.assert_allclose(rate(step), 0.1 * down * min(1.0, t / 0.05), atol=1e-7)
  rates = jax.vmap(rate)(jnp.arange(1001))
  assert (jnp.diff(rates[:51]) > 0).all()
  np.testing.assert_allclose(rates[50:751], 0.1, rtol=1e-6)
  assert (jnp.diff(rates[751:]) < 0).all()


def test_psnr_is_that_of_pictures_in_0_to_255():
  a, b = np.random.default_rng(0).integers(0, 256, [2, 3, 4, 4, 1])
  expected = 10.0 * np.log10(255.0**2 / np.mean((a - b) ** 2.0, axis=(1, 2, 3)))
  scaled = (jnp.asarray(x, jnp.float32) / 127.5 - 1.0 for x in (a, b))
  np.testing.assert_allclose(sampling.psnr(*scaled), expected, rtol=1e-5)
  assert jnp.isinf(sampling.psnr(jnp.ones([1, 2]), jnp.ones([1, 2])))[0]
  with pytest.raises(ValueError, match="same shape"):
    sampling.psnr(jnp.ones([1, 2]), jnp.ones([2, 1]))


@pytest.mark.parametrize(
  ("images", "start", "options", "message"),
  [
    ((2, 4, 4, 1), (1, 1, 3), {}, r"start \(1, 1, 3\)"),
    ((2, 4, 4, 1), (2, 3), {}, "restarts"),
    ((2, 4, 4, 1), (2, 0, 3), {}, "restarts"),
    ((2, 8, 8, 1), (2, 1, 3), {}, r"generate makes pictures \(4, 4, 1\)"),
    ((2, 4, 4, 1), (2, 1, 3), {"steps": 0}, "steps=0"),
    ((2, 4, 4, 1), (2, 1, 3), {"learning_rate": -1.0}, "learning_rate=-1"),
  ],
)
def test_projection_refuses_what_does_not_fit(images, start, options, message):
  with pytest.raises(ValueError, match=message):
    sampling.invert(affine, jnp.ones(images), jnp.ones(start), **options)
