import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgan import data
from jaxgan.data.dataset import Reader

image = pytest.importorskip("PIL.Image")
COUNT = 23


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
  folder = tmp_path_factory.mktemp("set")
  pixels = np.random.default_rng(0).integers(0, 256, [COUNT, 6, 6, 3], np.uint8)
  for number, picture in enumerate(pixels):
    path = folder / "pictures" / "ab"[number % 2]
    path.mkdir(parents=True, exist_ok=True)
    image.fromarray(picture).save(path / f"{number:02}.png")
  cached = data.load(folder / "pictures", resolution=6, cache_dir=folder / "cache")
  streamed = data.load(folder / "pictures", resolution=6, cache_limit=0)
  return {
    "resident": (cached, {}),
    "gathered": (cached, {"device_limit": 0}),
    "streamed": (streamed, {}),
    "workers": (streamed, {"workers": 2}),
  }


@pytest.fixture
def sharding():
  return NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec(None, "data"))


SETTINGS = {"batch_size": 8, "groups": 2, "seed": 3, "flip": True}


def expected(dataset, step):
  """The batch in plain NumPy, from the definition."""
  with data.Batches(dataset, **SETTINGS) as batches:
    indices, flips = batches.indices(step)
  pictures = dataset.images[indices]
  pictures = np.where(flips[..., None, None, None], pictures[..., ::-1, :], pictures)
  return pictures / 127.5 - 1, dataset.labels[indices]


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("mode", ["resident", "gathered", "streamed"])
def test_all_storage_gives_the_same_batches(stored, sharding, mode, sharded):
  dataset, more = stored[mode]
  sharding = sharding if sharded else None
  reference = data.Batches(stored["resident"][0], **SETTINGS)
  with data.Batches(dataset, **SETTINGS, **more, sharding=sharding) as batches:
    ahead = batches.starting_at(1)
    for step in (1, 2, 3, 4):  # past an epoch's end
      for batch in (next(ahead), batches(step)):
        images, labels = expected(stored["resident"][0], step)
        assert batch["image"].dtype == jnp.float32
        assert batch["label"].dtype == jnp.int32
        np.testing.assert_allclose(batch["image"], images, atol=1e-6)
        np.testing.assert_array_equal(batch["label"], labels)
        np.testing.assert_array_equal(batch["image"], reference(step)["image"])
        if sharded:
          assert all(
            array.sharding.is_equivalent_to(sharding, array.ndim) for array in batch.values()
          )


def test_a_sharding_may_replicate_over_other_axes(stored):
  mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))
  sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
  reference = data.Batches(stored["resident"][0], **SETTINGS)(2)
  for mode in ("resident", "gathered", "streamed"):
    dataset, more = stored[mode]
    with data.Batches(dataset, **SETTINGS, **more, sharding=sharding) as batches:
      np.testing.assert_array_equal(batches(2)["image"], reference["image"])


def test_worker_processes_give_the_same_batches(stored):
  dataset, more = stored["workers"]
  reference = data.Batches(stored["resident"][0], **SETTINGS)
  with data.Batches(dataset, **SETTINGS, **more) as batches:
    for step, batch in enumerate(itertools.islice(batches.starting_at(5), 5), 5):
      for name, array in reference(step).items():
        np.testing.assert_array_equal(batch[name], array)


def test_an_epoch_of_batches_is_the_data_set(stored):
  dataset, _ = stored["resident"]
  with data.Batches(dataset, batch_size=1, groups=COUNT, seed=1) as batches:
    pictures = np.asarray(batches(0)["image"])[:, 0]
  found = np.rint(pictures * 127.5 + 127.5).astype(np.uint8)
  assert sorted(map(bytes, found)) == sorted(map(bytes, dataset.images))


def test_the_ends_of_the_range_are_exact():
  ends = np.array([0, 255], np.uint8).reshape(1, 1, 2, 1)
  with data.Batches(data.Dataset("ends", images=np.repeat(ends, 2, 2)[:, :, 1:3]), 3) as batches:
    assert np.unique(batches(0)["image"]).tolist() == [-1.0, 1.0]


def test_a_batch_may_be_larger_than_the_set():
  dataset = data.Dataset("two", images=np.zeros([2, 4, 4, 1], np.uint8))
  with data.Batches(dataset, batch_size=9) as batches:
    assert batches(0)["image"].shape == (1, 9, 4, 4, 1)
    assert set(batches(0)) == {"image"}
    assert np.bincount(batches.indices(0)[0].ravel()).tolist() in ([4, 5], [5, 4])


def test_pictures_are_mirrored_only_if_asked(stored):
  dataset, _ = stored["resident"]
  with (
    data.Batches(dataset, batch_size=64) as plain,
    data.Batches(dataset, 64, flip=True) as mirrored,
  ):
    assert not plain.indices(0)[1].any()
    np.testing.assert_array_equal(plain.indices(0)[0], mirrored.indices(0)[0])
    assert 0.2 < mirrored.indices(0)[1].mean() < 0.8


def test_assemble_runs_inside_a_scan(stored):
  dataset, _ = stored["resident"]
  with data.Batches(dataset, **SETTINGS) as batches:
    steps = [batches.indices(step) for step in range(3)]
    images, labels = jnp.asarray(dataset.images), jnp.asarray(dataset.labels)
    _, scanned = jax.lax.scan(
      lambda carry, xs: (carry, data.assemble(images, labels, *xs)),
      None,
      jax.tree.map(lambda *parts: jnp.stack(parts), *steps),
    )
    for step in range(3):
      for name, array in batches(step).items():
        np.testing.assert_array_equal(scanned[name][step], array)


def test_waiting_is_counted(stored):
  class Slow:
    name, classes, sequential = "slow", (), False

    def read(self, indices):
      time.sleep(0.05)
      return [(np.zeros([4, 4, 1], np.uint8), None) for _ in indices]

  dataset = data.Dataset("slow", reader=Reader(Slow(), range(9), (4, 4, 1)))
  with data.Batches(dataset, batch_size=4) as batches:
    assert batches.wait_seconds == 0.0
    batches(0)
    before = batches.wait_seconds
    batches(1)
    assert 0.04 < batches.wait_seconds - before < 1.0


def test_closing_ends_iterators(stored):
  for dataset, more in (stored["gathered"], stored["streamed"]):
    batches = data.Batches(dataset, batch_size=4, **more)
    iterator = batches.starting_at(0)
    next(iterator)
    batches.close()
    with pytest.raises(StopIteration):
      next(iterator)


def test_a_damaged_picture_of_a_stream_is_named(tmp_path):
  for number in range(4):
    image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
  dataset = data.load(tmp_path, channels=3, cache_limit=0)
  (tmp_path / "2.png").write_bytes(b"")
  with data.Batches(dataset, batch_size=4) as batches:
    with pytest.raises(data.DataError, match=r"2\.png"):
      batches(0)
    with pytest.raises(data.DataError, match=r"2\.png"):
      next(batches.starting_at(0))


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"batch_size": 0}, "batch_size=0: give a whole number of at least 1"),
    ({"batch_size": 8, "groups": 0}, "groups=0"),
    ({"batch_size": 8, "seed": -1}, "seed=-1"),
    ({"batch_size": 8, "workers": -1}, "workers=-1"),
  ],
)
def test_numbers_out_of_range(stored, arguments, message):
  with pytest.raises(data.DataError, match=message):
    data.Batches(stored["resident"][0], **arguments)


def test_shardings_that_do_not_fit(stored, sharding):
  dataset, _ = stored["resident"]
  with pytest.raises(data.DataError, match="batch_size=12 does not divide over the 8 shards"):
    data.Batches(dataset, batch_size=12, sharding=sharding)
  groups = NamedSharding(sharding.mesh, PartitionSpec("data"))
  with pytest.raises(data.DataError, match="splits the groups"):
    data.Batches(dataset, batch_size=8, groups=8, sharding=groups)
