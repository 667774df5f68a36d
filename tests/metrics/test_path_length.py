import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import metrics


def squared(a, b):
  return ((a - b) ** 2).reshape(len(a), -1).sum(1)


@pytest.fixture(scope="module")
def latents():
  return jax.random.normal(jax.random.key(0), [2, 150, 6])


def test_a_straight_path_through_a_linear_generator(latents):
  """|A (b - a)|^2 at every t and for every epsilon."""
  start, end = latents
  A = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
  result = metrics.perceptual_path_length(
    lambda w: w @ A,
    start,
    end,
    squared,
    jax.random.key(1),
    interpolate=metrics.lerp,
    epsilon=1e-2,  # float32 differences keep 1e-5 of it
    discard=0.0,
  )
  expected = (((np.asarray(end) - np.asarray(start)) @ A) ** 2).sum(1)
  np.testing.assert_allclose(result.value, expected.mean(), rtol=1e-3)
  np.testing.assert_allclose(result.standard_error, expected.std() / np.sqrt(150), rtol=1e-3)


@pytest.mark.parametrize("at_start", [False, True])
def test_an_arc_is_as_long_as_its_angle(latents, at_start):
  """On the unit sphere |z(t + e) - z(t)| / e tends to the angle between the ends, at every t."""
  start, end = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in latents)
  angle = np.arccos(np.asarray((start * end).sum(1), np.float64))
  result = metrics.perceptual_path_length(
    lambda z: z,
    start,
    end,
    squared,
    jax.random.key(1),
    at_start=at_start,
    epsilon=1e-2,
    discard=0.0,
  )
  # a chord is shorter than its arc by (e angle)^2 / 24
  np.testing.assert_allclose(result.value, (angle**2).mean(), rtol=1e-3)


def test_the_papers_step_survives_float32(latents):
  start, end = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in latents)
  angle = np.arccos(np.asarray((start * end).sum(1), np.float64))
  result = metrics.perceptual_path_length(
    lambda z: z, start, end, squared, jax.random.key(1), discard=0.0
  )
  np.testing.assert_allclose(result.value, (angle**2).mean(), rtol=1e-3)


def test_outliers_beyond_the_percentiles_are_left_out(latents):
  """Squared lengths 1 to 150: the order statistics next to a percentile are kept."""
  n = 150
  start = jnp.zeros([n, 1])
  end = jnp.sqrt(jnp.arange(1.0, n + 1))[:, None]
  arguments = (lambda w: w, start, end, squared, jax.random.key(0))
  # at t = 0 nothing is cancelled: exact steps
  options = dict(interpolate=metrics.lerp, at_start=True, epsilon=0.5, batch_size=64)
  lengths = np.arange(1.0, n + 1)
  whole = metrics.perceptual_path_length(*arguments, discard=0.0, **options)
  np.testing.assert_allclose(whole.value, lengths.mean(), rtol=1e-5)
  # the 1st percentile lies between the 2nd and 3rd of 150, the 99th between the 148th and 149th
  trimmed = metrics.perceptual_path_length(*arguments, **options)
  np.testing.assert_allclose(trimmed.value, lengths[1:149].mean(), rtol=1e-5)
  heavy = end.at[77].set(1e4)
  robust = metrics.perceptual_path_length(arguments[0], start, heavy, *arguments[3:], **options)
  assert abs(robust.value - trimmed.value) < 1.0


def test_pictures_are_cropped_before_the_distance():
  start, end = jnp.zeros([4, 2, 2, 1]), jnp.ones([4, 2, 2, 1])
  result = metrics.perceptual_path_length(
    lambda w: w,
    start,
    end,
    squared,
    jax.random.key(0),
    interpolate=metrics.lerp,
    crop=lambda x: x[:, :1],
    epsilon=0.1,
  )
  np.testing.assert_allclose(result.value, 2.0, rtol=1e-4)


def test_slerp_keeps_the_length_and_turns_evenly():
  a, b = jax.random.normal(jax.random.key(2), [2, 5, 40])
  a, b = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
  for t in (0.0, 0.3, 1.0):
    points = metrics.slerp(a, 3.0 * b, jnp.full([5], t))
    np.testing.assert_allclose(jnp.linalg.norm(points, axis=1), 1 + 2 * t, rtol=1e-5)
    angle = np.arccos(np.asarray((a * points).sum(1) / (1 + 2 * t), np.float64).clip(-1, 1))
    whole = np.arccos(np.asarray((a * b).sum(1), np.float64))
    np.testing.assert_allclose(angle, t * whole, atol=1e-3)  # the inverse cosine near 1
  same = metrics.slerp(a, a, jnp.full([5], 0.5))
  np.testing.assert_allclose(same, a, rtol=1e-5)
  assert bool(jnp.isfinite(metrics.slerp(a, -a, jnp.full([5], 0.5))).all())


def test_what_cannot_be_measured_is_refused(latents):
  start, end = latents
  key = jax.random.key(0)
  with pytest.raises(ValueError, match=r"start \[150, 6\] and end \[149, 6\]"):
    metrics.perceptual_path_length(lambda z: z, start, end[1:], squared, key)
  with pytest.raises(ValueError, match="epsilon=0"):
    metrics.perceptual_path_length(lambda z: z, start, end, squared, key, epsilon=0)
  with pytest.raises(ValueError, match=r"\[64\], got \[64, 6\]"):
    metrics.perceptual_path_length(lambda z: z, start, end, lambda a, b: (a - b) ** 2, key)
  with pytest.raises(ValueError, match="not finite"):
    metrics.perceptual_path_length(lambda z: z * jnp.nan, start, end, squared, key)
