import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgan import data

image = pytest.importorskip("PIL.Image")
COUNT = 11


def pictures(channels, seed, count=COUNT):
  return np.random.default_rng(seed).integers(0, 256, [count, 6, 6, channels], np.uint8)


def save(folder, images):
  folder.mkdir(parents=True)
  for number, picture in enumerate(images):
    image.fromarray(picture.squeeze()).save(folder / f"{number:02}.png")


@pytest.fixture
def options(tmp_path):
  return {"resolution": 6, "cache_dir": tmp_path / "cache"}


def test_an_archive_of_pairs(tmp_path, options):
  a, b = pictures(1, 0), pictures(3, 1)
  np.savez(tmp_path / "pairs.npz", a=a[..., 0], b=b)
  found = data.load_pairs(tmp_path / "pairs.npz", **options)
  np.testing.assert_array_equal(found.images, b)
  np.testing.assert_array_equal(found.beside["input"], a)
  assert (found.shape, found.inputs, found.classes) == ((6, 6, 3), (6, 6, 1), ())
  entry = found[3]
  np.testing.assert_array_equal(entry["input"], a[3])

  turned = data.load_pairs(tmp_path / "pairs.npz", backward=True, **options)
  np.testing.assert_array_equal(turned.images, a)
  np.testing.assert_array_equal(turned.beside["input"], b)

  part = data.load_pairs(tmp_path / "pairs.npz", split="train[:50%]", **options)
  np.testing.assert_array_equal(part.images, b[:6])
  np.testing.assert_array_equal(part.beside["input"], a[:6])
  with pytest.raises(data.DataError, match=r"split='test'.*only: a, b"):
    data.load_pairs(tmp_path / "pairs.npz", split="test", **options)


@pytest.mark.parametrize(
  ("first", "second", "split"),
  [
    ("a", "b", "train"),
    ("A", "B", "train"),
    ("trainA", "trainB", "train"),
    ("testA", "testB", "test"),
  ],
)
def test_two_folders(tmp_path, options, first, second, split):
  a, b = pictures(3, 0), pictures(3, 1)
  save(tmp_path / "set" / first, a)
  save(tmp_path / "set" / second, b)
  found = data.load_pairs(tmp_path / "set", split=split, **options)
  np.testing.assert_array_equal(found.images, b)
  np.testing.assert_array_equal(found.beside["input"], a)
  assert found.names[0] == "00.png"


def test_folders_of_other_names(tmp_path, options):
  save(tmp_path / "set" / "left", pictures(3, 0))
  save(tmp_path / "set" / "right", pictures(3, 0))
  with pytest.raises(data.DataError, match="only: left, right"):
    data.load_pairs(tmp_path / "set", **options)


def test_pictures_without_a_partner(tmp_path, options):
  save(tmp_path / "set" / "a", pictures(3, 0))
  save(tmp_path / "set" / "b", pictures(3, 0, COUNT + 1))
  with pytest.raises(data.DataError, match=r"name: 1 of B \(11\)\. Complete"):
    data.load_pairs(tmp_path / "set", **options)
  found = data.load_pairs(tmp_path / "set", paired=False, **options)
  assert (len(found), len(found.beside["input"]), found.unpaired) == (COUNT + 1, COUNT, True)
  assert set(found[0]) == {"image"}


def test_archives_of_unequal_counts(tmp_path, options):
  np.savez(tmp_path / "pairs.npz", a=pictures(3, 0), b=pictures(3, 0, 5))
  with pytest.raises(data.DataError, match="11 and 5 pictures"):
    data.load_pairs(tmp_path / "pairs.npz", **options)


def test_names_of_tfds_ask_for_both_splits(monkeypatch):
  asked = []

  def load(name, **options):
    asked.append((name, options["split"]))
    return data.Dataset("some", images=pictures(3, 0))

  monkeypatch.setattr("jaxgan.data.pairs.load", load)
  with pytest.raises(data.DataError, match="each side is shuffled apart"):
    data.load_pairs("cycle_gan/horse2zebra", split="train[:80%]")
  data.load_pairs("cycle_gan/horse2zebra", split="train[:80%]", paired=False)
  assert asked == [
    ("cycle_gan/horse2zebra", "trainA[:80%]"),
    ("cycle_gan/horse2zebra", "trainB[:80%]"),
  ]


def test_digits_and_their_outlines():
  found = data.load_pairs("digits", resolution=32, channels=3, limit=20)
  edges = found.beside["input"]
  assert edges.shape == found.images.shape == (20, 32, 32, 3)
  assert set(np.unique(edges)) == {0, 255}
  inside = found.images >= 128
  assert (inside[edges == 255]).all()  # an outline is of the shape itself
  assert 0.1 < (edges == 255).sum() / inside.sum() < 0.95


def paired(count=COUNT):
  return data.Dataset(
    "pairs",
    images=pictures(3, 0, count),
    beside={"input": pictures(1, 1, count), "text": np.arange(2 * count).reshape(count, 2)},
  )


def unpaired():
  return data.Dataset(
    "two", images=pictures(3, 0), beside={"input": pictures(1, 1, 7)}, unpaired=True
  )


SETTINGS = {"batch_size": 8, "groups": 2, "seed": 3, "flip": True}


@pytest.mark.parametrize("limit", [1 << 30, 0])
def test_pairs_stay_together(limit):
  dataset = paired()
  with data.Batches(dataset, **SETTINGS, device_limit=limit) as batches:
    indices, flips = batches.indices(4)
    assert flips.any()
    batch = batches(4)
    ahead = next(batches.starting_at(4))
  for name, stored in (("image", dataset.images), ("input", dataset.beside["input"])):
    wanted = stored[indices]
    wanted = np.where(flips[..., None, None, None], wanted[..., ::-1, :], wanted) / 127.5 - 1
    np.testing.assert_allclose(batch[name], wanted, atol=1e-6)
    np.testing.assert_array_equal(batch[name], ahead[name])
  np.testing.assert_array_equal(batch["text"], dataset.beside["text"][indices])


def test_two_sets_have_orders_and_coins_of_their_own():
  dataset = unpaired()
  taken = []
  with data.Batches(dataset, **SETTINGS) as batches:
    for step in range(14):  # 224 places: 32 times the 7 inputs, 20 times the pictures
      batch = batches(step)
      for name, stored in (("image", dataset.images), ("input", dataset.beside["input"])):
        found = np.rint(np.asarray(batch[name]) * 127.5 + 127.5).reshape(-1, *stored.shape[1:])
        for picture in found:
          straight = (stored == picture).all((1, 2, 3))
          mirrored = (stored[:, :, ::-1] == picture).all((1, 2, 3))
          assert straight.sum() + mirrored.sum() == 1
          taken.append((name, int((straight | mirrored).argmax()), bool(mirrored.any())))
  inputs = [entry for entry in taken if entry[0] == "input"]
  images = [entry for entry in taken if entry[0] == "image"]
  assert np.bincount([index for _, index, _ in inputs]).tolist() == [32] * 7
  agree = np.mean([a[2] == b[2] for a, b in zip(images, inputs, strict=True)])
  assert 0.35 < agree < 0.65  # 224 coins: four deviations of 0.033
  together = {(a[1], b[1]) for a, b in zip(images, inputs, strict=True)}
  assert len(together) > 60  # of 77 combinations


@pytest.mark.parametrize("make", [paired, unpaired])
def test_storage_and_devices_do_not_matter(make):
  sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec(None, "data"))
  with data.Batches(make(), **SETTINGS) as batches:
    wanted = batches(2)
  for more in ({"device_limit": 0}, {"sharding": sharding}):
    with data.Batches(make(), **SETTINGS, **more) as batches:
      found = batches(2)
      stack = next(batches.stacks(2, [1]))
      again = batches.assemble(batches.source, jax.tree.map(lambda x: x[0], stack))
    for name, value in wanted.items():
      np.testing.assert_array_equal(found[name], value)
      np.testing.assert_array_equal(again[name], value)


def test_streamed_pictures_bring_what_is_beside_them(tmp_path):
  save(tmp_path / "pictures", pictures(3, 0))
  streamed = data.load(tmp_path / "pictures", resolution=6, cache_limit=0)
  assert streamed.names == tuple(f"{number:02}.png" for number in range(COUNT))
  text = np.arange(COUNT, dtype=np.int32)[:, None]
  dataset = data.Dataset("some", reader=streamed.reader, beside={"text": text})
  with data.Batches(dataset, batch_size=4) as batches:
    indices, _ = batches.indices(1)
    np.testing.assert_array_equal(batches(1)["text"], text[indices])


@pytest.mark.parametrize(
  ("beside", "unpaired", "message"),
  [
    ({"text": np.zeros([3, 2], np.int32)}, False, "3} rows beside 11"),
    ({"text": np.zeros([11], object)}, False, "give numbers"),
    ({"label": np.zeros([11])}, False, "another name"),
    ({}, True, "needs something"),
    ({"a": np.zeros([3]), "b": np.zeros([4])}, True, "one row for each"),
  ],
)
def test_what_cannot_stand_beside_pictures(beside, unpaired, message):
  with pytest.raises(data.DataError, match=message):
    data.Dataset("some", images=pictures(3, 0), beside=beside, unpaired=unpaired)
