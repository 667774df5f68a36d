import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import sampling


def test_batches_cover_every_latent_once_and_keep_one_shape():
  shapes = set()

  def generate(z):
    shapes.add(z.shape)
    return z + 1.0

  z = np.arange(23.0)[:, None]
  np.testing.assert_array_equal(sampling.in_batches(generate, z, batch_size=5), z + 1.0)
  assert shapes == {(5, 1)}
  with pytest.raises(ValueError, match="batch_size=0"):
    sampling.in_batches(generate, z, batch_size=0)


def test_quantisation_is_the_inverse_of_scaling():
  values = np.arange(256, dtype=np.uint8)
  np.testing.assert_array_equal(sampling.to_uint8(values / 127.5 - 1.0), values)


def test_the_grid_shows_each_picture_in_its_place():
  images = np.stack([np.full([4, 3, 3], i, np.uint8) for i in range(5)])
  grid = sampling.grid(images, columns=2, gap=1)
  assert grid.shape == (16, 9, 3)
  assert grid[1, 1, 0] == 0
  assert grid[1, 5, 0] == 1
  assert grid[6, 1, 0] == 2
  assert grid[11, 1, 0] == 4
  assert (grid[11:15, 5:8] == 128).all()
  with pytest.raises(ValueError, match="1 or 3"):
    sampling.grid(images[..., :2])


def levels(*values):
  """Pictures of one grey level each."""
  return np.stack([np.full([4, 3, 1], value, np.uint8) for value in values])


def test_pairs_stand_one_above_the_other():
  picture = sampling.pair_grid(levels(1, 2, 3), levels(11, 12, 13), columns=2, gap=1)[..., 0]
  assert picture.shape == (2 * (2 * 5 + 1), 2 * 4 + 1)
  assert [picture[y, x] for y in (1, 6, 12, 17) for x in (1, 5)] == [1, 2, 11, 12, 3, 128, 13, 128]
  with pytest.raises(ValueError, match="same shape"):
    sampling.pair_grid(levels(1), levels(1, 2))


def test_neighbours_stand_right_of_their_sample():
  indices = np.array([[4, 0], [1, 2]])
  picture = sampling.neighbour_grid(levels(90, 91), levels(0, 1, 2, 3, 4), indices, gap=1)[..., 0]
  assert picture.shape == (2 * 5 + 1, 5 + 2 * 4 + 1)
  assert [picture[y, x] for y in (1, 6) for x in (1, 6, 10)] == [90, 4, 0, 91, 1, 2]
  assert (picture[:, 4:6] == 128).all()
  with pytest.raises(ValueError, match="from 0 to 4"):
    sampling.neighbour_grid(levels(9), levels(0, 1, 2, 3, 4), np.array([[5]]))
  with pytest.raises(ValueError, match=r"must be \[2, k\]"):
    sampling.neighbour_grid(levels(9, 9), levels(0), np.array([[0]]))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_is_read_back_and_leaves_nothing_else(tmp_path, channels):
  image = np.arange(20 * channels, dtype=np.uint8).reshape(4, 5, channels)
  sampling.save_png(tmp_path / "deep" / "a.png", image)
  back = np.asarray(Image.open(tmp_path / "deep" / "a.png")).reshape(image.shape)
  np.testing.assert_array_equal(back, image)
  assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.png"]


def test_paths_start_and_end_where_they_should():
  start, end = jax.random.normal(jax.random.key(0), (2, 3, 50))
  for path in (sampling.linear, sampling.spherical):
    points = path(start, end, 7)
    assert points.shape == (3, 7, 50)
    np.testing.assert_allclose(points[:, 0], start, atol=1e-5)
    np.testing.assert_allclose(points[:, -1], end, atol=1e-5)


def test_the_arc_stays_on_the_sphere_at_even_angles():
  start, end = jax.random.normal(jax.random.key(1), (2, 4, 100))
  start, end = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (start, end))
  points = sampling.spherical(start, end, 5)
  np.testing.assert_allclose(jnp.linalg.norm(points, axis=-1), 1.0, atol=1e-5)
  angles = jnp.arccos((points[:, 1:] * points[:, :-1]).sum(-1))
  np.testing.assert_allclose(angles, angles.mean(1, keepdims=True) + 0.0 * angles, atol=1e-4)


def test_parallel_latents_have_a_finite_path():
  x = jnp.ones([1, 4])
  np.testing.assert_allclose(sampling.spherical(x, 3.0 * x, 3)[0, 1], 2.0, atol=1e-5)


@pytest.mark.parametrize("path", [sampling.linear, sampling.spherical])
def test_paths_refuse_what_they_cannot_join(path):
  with pytest.raises(ValueError, match="same shape"):
    path(jnp.ones([2, 3]), jnp.ones([1, 3]), 4)
  with pytest.raises(ValueError, match="steps=1"):
    path(jnp.ones([2, 3]), jnp.ones([2, 3]), 1)
