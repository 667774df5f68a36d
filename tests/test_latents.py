import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from scipy import stats

from jaxgan import latents

INFOGAN = latents.mixed(
  noise=latents.uniform(5), category=latents.categorical(4), continuous=latents.uniform(2)
)


def draw_all(key, n, axis_name=None):
  """One draw of every kind, to be compiled once."""
  samplers = {
    "mixed": INFOGAN,
    "truncated_normal": latents.truncated_normal(3, threshold=0.5),
    "rows": latents.rows(np.arange(30).reshape(10, 3)),
    "style_mixing": latents.style_mixing(latents.normal(3), layers=6),
  }
  return {name: sample(key, n, axis_name=axis_name) for name, sample in samplers.items()}


@pytest.fixture(scope="module")
def whole():
  return jax.jit(draw_all, static_argnums=1)(jax.random.key(3), 16)


def assert_trees_equal(actual, expected):
  assert jax.tree.map(lambda z: z.dtype, actual) == jax.tree.map(lambda z: z.dtype, expected)
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize(("devices", "check_vma"), [(2, True), (8, True), (8, False)])
def test_every_sharding_draws_the_same(whole, devices, check_vma):
  mesh = jax.make_mesh((devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  sharded = jax.shard_map(
    lambda key: draw_all(key, 16 // devices, axis_name="data"),
    mesh=mesh,
    in_specs=P(),
    out_specs=P("data"),
    check_vma=check_vma,
  )
  assert_trees_equal(jax.jit(sharded)(jax.random.key(3)), whole)


def test_batch_split_over_two_axes():
  mesh = jax.make_mesh((2, 4), ("host", "chip"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
  keys = jax.shard_map(
    lambda key: latents.example_keys(key, 2, axis_name=("host", "chip")),
    mesh=mesh,
    in_specs=P(),
    out_specs=P(("host", "chip")),
  )
  expected = jnp.stack([jax.random.fold_in(jax.random.key(3), index) for index in range(16)])
  assert (jax.jit(keys)(jax.random.key(3)) == expected).all()


def test_a_smaller_batch_is_the_beginning_of_a_larger_one(whole):
  smaller = jax.jit(draw_all, static_argnums=1)(jax.random.key(3), 4)
  assert_trees_equal(smaller, jax.tree.map(lambda z: z[:4], whole))


def test_vmap_over_keys(whole):
  keys = jnp.stack([jax.random.key(2), jax.random.key(3)])
  population = jax.jit(jax.vmap(lambda key: draw_all(key, 16)))(keys)
  assert_trees_equal(jax.tree.map(lambda z: z[1], population), whole)
  assert not np.array_equal(population["mixed"][0], population["mixed"][1])


def test_same_draws_in_double_precision(whole):
  with jax.enable_x64(True):
    assert_trees_equal(jax.jit(draw_all, static_argnums=1)(jax.random.key(3), 16), whole)


@pytest.mark.parametrize(
  ("sample", "law"),
  [
    (latents.normal(40), stats.norm()),
    (latents.uniform(40), stats.uniform(-1, 2)),
    (latents.truncated_normal(40, threshold=0.5), stats.truncnorm(-0.5, 0.5)),
    (latents.truncated_normal(40, threshold=2.0), stats.truncnorm(-2, 2)),
  ],
)
def test_law(sample, law):
  z = np.asarray(jax.jit(sample, static_argnums=1)(jax.random.key(0), 500), np.float64)
  assert stats.kstest(z.ravel(), law.cdf).pvalue > 1e-3
  correlation = np.corrcoef(z, rowvar=False)
  assert np.abs(correlation - np.eye(40)).max() < 5 / np.sqrt(500)


def test_threshold_may_be_traced(whole):
  def draw(threshold):
    return latents.truncated_normal(3, threshold=threshold)(jax.random.key(3), 16)

  np.testing.assert_allclose(jax.jit(draw)(0.5), whole["truncated_normal"], rtol=1e-6)


def test_categorical_is_one_hot_and_equally_likely():
  z = np.asarray(jax.jit(latents.categorical(5), static_argnums=1)(jax.random.key(0), 4000))
  assert set(np.unique(z)) == {0.0, 1.0}
  assert (z.sum(axis=1) == 1).all()
  assert stats.chisquare(z.sum(axis=0)).pvalue > 1e-3


def test_rows_are_whole_and_equally_likely():
  table = np.array([[1 << 24, 0], [7, 1], [5, 2]])
  draws = np.asarray(latents.rows(table)(jax.random.key(0), 3000))
  np.testing.assert_array_equal(draws, table[draws[:, 1].astype(int)])
  counts = np.bincount(draws[:, 1].astype(int))
  assert (abs(counts - 1000) < 130).all()  # five deviations of 26


def test_rows_are_read_when_first_drawn():
  read = []

  def table():
    read.append(1)
    return np.ones([2, 8, 8, 1], np.uint8)

  sample = latents.rows(table)
  assert not read
  assert jax.jit(sample, static_argnums=1)(jax.random.key(0), 3).shape == (3, 8, 8, 1)
  sample(jax.random.key(1), 2)
  assert read == [1]
  with pytest.raises(ValueError, match="at least one row"):
    latents.rows(np.zeros([0, 2]))


def test_mixed_parts_come_back_and_differ():
  z = jax.jit(INFOGAN.__call__, static_argnums=1)(jax.random.key(0), 2000)
  parts = INFOGAN.split(z)
  assert list(parts) == ["noise", "category", "continuous"]
  np.testing.assert_array_equal(jnp.concatenate(list(parts.values()), axis=1), z)
  assert (parts["category"].sum(axis=1) == 1).all()
  both = np.corrcoef(parts["noise"][:, :2], parts["continuous"], rowvar=False)
  assert np.abs(both - np.eye(4)).max() < 5 / np.sqrt(2000)
  twice = jax.jit(lambda z: INFOGAN.split(z)["continuous"])(z[None])
  np.testing.assert_array_equal(twice[0], parts["continuous"])


def test_style_mixing_crossover():
  sample = latents.style_mixing(latents.normal(2), layers=5, probability=0.8)
  styles = jax.jit(sample, static_argnums=1)(jax.random.key(0), 4000)
  count = np.bincount(styles.crossover, minlength=6)
  expected = 4000 * np.array([0.2, 0.2, 0.2, 0.2, 0.2])  # 1, 2, 3, 4, and 5: not mixed
  assert count[0] == 0
  assert stats.chisquare(count[1:], expected).pvalue > 1e-3
  assert np.abs(np.corrcoef(styles.first[:, 0], styles.second[:, 0])[0, 1]) < 5 / np.sqrt(4000)


def test_mix_styles_joins_at_the_crossover(whole):
  first, second, crossover = jax.tree.map(np.asarray, whole["style_mixing"])
  mixed = latents.mix_styles(whole["style_mixing"], layers=6)
  assert mixed.shape == (16, 6, 3)
  for example in range(16):
    for layer in range(6):
      source = first if layer < crossover[example] else second
      np.testing.assert_array_equal(mixed[example, layer], source[example])


@pytest.mark.parametrize(
  ("call", "error", "message"),
  [
    (lambda: latents.normal(0), ValueError, "dimension must be at least 1, got 0"),
    (lambda: latents.uniform(-1), ValueError, "dimension must be at least 1, got -1"),
    (lambda: latents.truncated_normal(2, threshold=0.0), ValueError, "threshold must be positive"),
    (lambda: latents.categorical(1), ValueError, "classes must be at least 2, got 1"),
    (lambda: latents.mixed(), ValueError, "at least one part"),
    (lambda: INFOGAN.split(jnp.zeros([2, 10])), ValueError, r"\(2, 10\).* 11"),
    (lambda: latents.style_mixing(INFOGAN, layers=1), ValueError, "layers must be at least 2"),
    (
      lambda: latents.style_mixing(INFOGAN, layers=2, probability=1.5),
      ValueError,
      r"probability must be in \[0, 1\], got 1.5",
    ),
    (
      lambda: latents.mix_styles(
        latents.Styles(jnp.zeros([2, 3]), jnp.zeros([2, 4]), jnp.zeros([2], int)), layers=3
      ),
      ValueError,
      r"\(2, 3\), \(2, 4\)",
    ),
    (lambda: latents.normal(3)(jax.random.key(0), 0), ValueError, "n must be at least 1, got 0"),
    (lambda: latents.normal(3)(jax.random.PRNGKey(0), 1), TypeError, r"jax\.random\.key\(seed\)"),
  ],
)
def test_bad_input(call, error, message):
  with pytest.raises(error, match=message):
    call()
