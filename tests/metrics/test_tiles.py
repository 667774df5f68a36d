"""What all measures over pairs share: tiles, devices, and checks of their arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgan import metrics
from jaxgan.metrics import _tiles

MEASURES = {
  "kernel_distance": metrics.kernel_distance,
  "kernel_distance of subsets": lambda a, b: metrics.kernel_distance(
    a, b, subsets=3, subset_size=20, key=jax.random.key(0)
  ),
  "precision_recall": metrics.precision_recall,
  "density_coverage": metrics.density_coverage,
  "parzen_log_likelihood": lambda a, b: metrics.parzen_log_likelihood(a, b, 0.5),
  "nearest_neighbours": lambda a, b: metrics.nearest_neighbours(a, b, k=3),
  "memorisation": lambda a, b: metrics.memorisation(a, b, b[::-1] + 0.5),
  "frechet_distance": metrics.frechet_distance,
}


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(0)
  return rng.normal(size=(80, 6)).astype(np.float32), (0.9 * rng.normal(size=(56, 6)) + 0.2).astype(
    np.float32
  )


@pytest.fixture
def small_tiles(monkeypatch):
  """Tiles that divide neither set, so that every sweep has filled-up ones on both edges."""
  monkeypatch.setattr(_tiles, "ROWS", 32)
  monkeypatch.setattr(_tiles, "COLUMNS", 24)


def test_a_sweep_covers_every_pair_once(small_tiles):
  x, y = np.arange(75.0, dtype=np.float32)[:, None], np.arange(50.0, dtype=np.float32)[:, None]
  seen, total = np.zeros([75, 50], int), np.zeros(75)
  column_total = np.zeros(50)
  for rows, columns, row_part, column_part in _tiles.sweep(_products, {"x": x}, {"x": y}):
    seen[rows, columns] += 1
    total[rows] += row_part
    column_total[columns] += column_part.sum(0)
  np.testing.assert_array_equal(seen, 1)
  np.testing.assert_array_equal(total, (x @ y.T).sum(1))
  np.testing.assert_array_equal(column_total, (x @ y.T).sum(0))


def _products(rows, columns):
  valid = (rows["index"][:, None] >= 0) & (columns["index"][None, :] >= 0)
  products = jnp.where(valid, _tiles.dot(rows["x"], columns["x"]), 0.0)
  return products.sum(1), products.sum(0)


@pytest.mark.parametrize("name", MEASURES)
def test_small_tiles_give_the_same_score(name, data, request):
  whole = MEASURES[name](*data)
  request.getfixturevalue("small_tiles")
  np.testing.assert_allclose(MEASURES[name](*data), whole, rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("spec", ["split", "copied"])
def test_one_and_eight_devices_give_the_same_bits(name, spec, data, small_tiles):
  mesh = Mesh(np.asarray(jax.devices()), ("data",))
  sharding = NamedSharding(mesh, PartitionSpec("data" if spec == "split" else None))
  # what is copied need not divide: 77 and 51 examples
  one = data if spec == "split" else (data[0][:77], data[1][:51])
  eight = [jax.device_put(x, sharding) for x in one]
  assert len(eight[0].sharding.device_set) == 8
  np.testing.assert_array_equal(MEASURES[name](*eight), MEASURES[name](*one))


def test_the_work_is_spread_over_the_devices_that_hold_the_arrays(data, small_tiles):
  mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",))
  x = jax.device_put(data[0], NamedSharding(mesh, PartitionSpec("data")))
  assert _tiles._devices((x, data[1])) == jax.devices()[:4]
  assert _tiles._devices((data[1],)) == [jax.devices()[0]]
  on_third = jax.device_put(data[1], jax.devices()[2])
  assert _tiles._devices((on_third,)) == [jax.devices()[2]]
  assert _tiles._devices((on_third, x)) == jax.devices()[:4]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.float64, np.int32])
def test_other_numbers_are_taken_as_float32_takes_them(dtype):
  x = np.round(8 * np.random.default_rng(0).normal(size=(2, 40, 3)))
  expected = metrics.frechet_distance(*x)
  got = metrics.frechet_distance(*(z.astype(dtype) for z in x))
  np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("name", MEASURES)
def test_features_that_do_not_fit_are_refused(name, data):
  measure, (x, y) = MEASURES[name], data
  with pytest.raises(ValueError, match=r"must be \[n, d\] .* got \[40, 2, 6\]: flatten"):
    measure(x.reshape(40, 2, 6), y)
  with pytest.raises(ValueError, match=r"dimensions must match, got .*\[80, 6\].*\[56, 5\]"):
    measure(x, y[:, :5])
  with pytest.raises(ValueError, match=r"[0-9] examples"):
    measure(x[:0], y)
  bad = x.copy()
  bad[[5, 9], 2] = np.nan, np.inf
  with pytest.raises(ValueError, match=r"must be finite, but 2 of 80 .* number 5"):
    measure(bad, y)
  with pytest.raises(TypeError, match="must hold real numbers, got dtype complex64"):
    measure(x + 1j, y)


@pytest.mark.parametrize("name", MEASURES)
def test_arguments_are_named_in_the_errors(name, data):
  x, y = data
  first = {"parzen_log_likelihood": "samples", "nearest_neighbours": "samples"}
  second = {
    "parzen_log_likelihood": "held_out",
    "nearest_neighbours": "data",
    "memorisation": "train",
  }
  first = first.get(name, "fake" if name == "memorisation" else "real")
  with pytest.raises(ValueError, match=f"^{first} must"):
    MEASURES[name](x * np.nan, y)
  with pytest.raises(ValueError, match=f"^{second.get(name, 'fake')} must"):
    MEASURES[name](x, y * np.nan)


class Elsewhere:
  """An array of which another process holds a part, as numpy sees one."""

  is_fully_addressable = False
  is_fully_replicated = False

  def __array__(self, *_, **__):
    raise RuntimeError("spans non-addressable devices")


def test_arrays_of_other_processes_have_to_be_gathered_first(data):
  with pytest.raises(ValueError, match=r"fake has parts on other processes: .*process_allgather"):
    metrics.frechet_distance(data[0], Elsewhere())
