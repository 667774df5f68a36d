import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.metrics import features

PICTURES = np.random.default_rng(0).integers(0, 256, [21, 6, 5, 3], np.uint8)


def colour(images):
  mean = images.astype(jnp.float32).mean((1, 2))
  return features.Outputs(mean, jax.nn.softmax(mean[:, :2]))


MEAN = features.of_function("mean colour", colour, dimension=3, classes=2, weights_hash="none")
WANTED = PICTURES.astype(np.float32).mean((1, 2))


def mesh(count):
  return jax.make_mesh((count,), ("data",), devices=jax.devices()[:count])


@pytest.mark.parametrize("devices", [1, 8, None])
@pytest.mark.parametrize("batch_size", [1, 8, 11, 64])
def test_any_number_of_pictures_by_any_batch_on_any_devices(devices, batch_size):
  where = None if devices is None else mesh(devices)
  parts = list(features.extract(MEAN, PICTURES, batch_size=batch_size, mesh=where))
  size = -(-batch_size // (devices or 8)) * (devices or 8)
  counts = [*[size] * (21 // size), 21 % size]
  assert [len(part.features) for part in parts] == [count for count in counts if count]
  whole = features.extract_all(MEAN, PICTURES, batch_size=batch_size, mesh=where)
  assert whole.features.dtype == whole.probabilities.dtype == np.float32
  assert isinstance(whole.features, np.ndarray)
  np.testing.assert_allclose(whole.features, WANTED, rtol=1e-6)
  np.testing.assert_allclose(whole.probabilities.sum(1), 1.0, rtol=1e-6)
  np.testing.assert_array_equal(np.concatenate([p.features for p in parts]), whole.features)


def test_batches_of_any_size_are_cut_anew_and_traced_once():
  traced = []

  def counting(images):
    traced.append(images.shape)
    return images.astype(jnp.float32).mean((1, 2))

  network = features.of_function("counting", counting, dimension=3)
  parts = [PICTURES[:1], PICTURES[1:1], PICTURES[1:14], jnp.asarray(PICTURES[14:])]
  got = features.extract_all(network, iter(parts), batch_size=8)
  assert traced == [(8, 6, 5, 3)]
  assert got.probabilities is None
  np.testing.assert_allclose(got.features, WANTED, rtol=1e-6)


def test_floating_pictures_are_quantised():
  floating = PICTURES.astype(np.float32) / 127.5 - 1 + 1e-3
  for dtype in (jnp.float32, jnp.bfloat16):
    got = features.extract_all(MEAN, jnp.asarray(floating, dtype), batch_size=8).features
    np.testing.assert_allclose(got, WANTED, atol=1e-3 if dtype == jnp.float32 else 0.5)


def test_pictures_pass_by_and_are_not_held():
  """While the features of a batch are handed out, no more than two further batches were read."""
  read = []

  def pictures():
    for index in range(10):
      read.append(index)
      yield PICTURES[:8]

  for index, _ in enumerate(features.extract(MEAN, pictures(), batch_size=8)):
    assert len(read) <= index + 3


def test_samples_are_drawn_by_batch_and_cut():
  draw = jax.jit(lambda key, n: jax.random.uniform(key, [n, 6, 5, 3], minval=-1), static_argnums=1)
  key = jax.random.key(0)
  whole = np.concatenate(list(features.generated(draw, key, 20, batch_size=8)))
  assert whole.shape == (20, 6, 5, 3)
  np.testing.assert_array_equal(whole[8:16], draw(jax.random.fold_in(key, 1), 8))
  got = features.extract_all(MEAN, features.generated(draw, key, 20, batch_size=8)).features
  assert got.shape == (20, 3)
  with pytest.raises(ValueError, match="n=0 and batch_size=8"):
    next(features.generated(draw, key, 0, batch_size=8))


def test_functions_of_other_libraries_get_numpy():
  def foreign(images):
    assert type(images) is np.ndarray
    return images.mean((1, 2))  # float64

  network = features.of_function("numpy", foreign, dimension=3, compiled=False)
  got = features.extract_all(network, PICTURES, batch_size=4).features
  assert got.dtype == np.float32
  np.testing.assert_allclose(got, WANTED, rtol=1e-6)
  np.testing.assert_allclose(network.apply(jnp.asarray(PICTURES)).features, WANTED, rtol=1e-6)


def test_what_identifies_features():
  assert (MEAN.name, MEAN.weights_hash, MEAN.published) == ("mean colour", "none", False)
  assert (MEAN.dimension, MEAN.classes, MEAN.resize) == (3, 2, "none")
  assert repr(MEAN) == "Features('mean colour', dimension=3, weights='none')"


@pytest.mark.parametrize(
  ("images", "error", "message"),
  [
    (PICTURES[0], ValueError, r"\(6, 5, 3\) must be \[n, height, width, 1 or 3\]"),
    (PICTURES[..., :2], ValueError, r"\(21, 6, 5, 2\)"),
    (PICTURES.astype(np.int32), TypeError, "int32: give uint8, or floating"),
    (PICTURES.astype(np.float32), ValueError, r"reach 255.0: .* uint8"),
    (np.full([3, 4, 4, 1], np.nan, np.float32), ValueError, "reach nan: they must be finite"),
    ([PICTURES, PICTURES[:, :4]], ValueError, r"\(6, 5, 3\) and \(4, 5, 3\): resize them"),
    ([{"image": PICTURES}], TypeError, "iterable of dict"),
    (PICTURES[:0], ValueError, "images are empty"),
    ([], ValueError, "images are empty"),
  ],
)
def test_pictures_that_are_none_are_refused(images, error, message):
  with pytest.raises(error, match=message):
    features.extract_all(MEAN, images)


def test_wrong_promises_and_types_are_refused():
  with pytest.raises(ValueError, match=r"\[\(21, 3\), \(21, 2\)\] and not \[\(21, 3\), None\]"):
    features.of_function("mean", colour, dimension=3).apply(PICTURES)
  with pytest.raises(ValueError, match="set dimension="):
    features.of_function("mean", colour, dimension=4, classes=2).apply(PICTURES)
  with pytest.raises(TypeError, match=r"float32: .* preprocessing\.to_uint8"):
    MEAN.apply(PICTURES.astype(np.float32))
  with pytest.raises(ValueError, match="batch_size=0"):
    next(features.extract(MEAN, PICTURES, batch_size=0))
