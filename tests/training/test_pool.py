"""The pool of earlier fakes, against the same written for lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxgan import training
from jaxgan.latents import example_keys

KEY = jax.random.key(0)
query = jax.jit(training.pool_query)


def of(start, count):
  """Distinct items of two numbers."""
  return jnp.stack([jnp.arange(start, start + count)] * 2, 1).astype(jnp.float32)


def test_it_fills_before_it_gives_back_anything_else():
  pool = training.pool_init(5, jnp.zeros([2]))
  seen, pool = query(pool, of(1, 3), KEY)
  np.testing.assert_array_equal(seen, of(1, 3))
  np.testing.assert_array_equal(pool.items[:3], of(1, 3))
  np.testing.assert_array_equal(pool.items[3:], 0.0)
  assert int(pool.filled) == 3
  seen, pool = query(pool, of(4, 2), KEY)
  np.testing.assert_array_equal(seen, of(4, 2))
  np.testing.assert_array_equal(pool.items, of(1, 5))
  assert int(pool.filled) == 5


def test_a_full_pool_exchanges_half_and_loses_nothing():
  pool = training.pool_init(50, jnp.zeros([2]))
  _, pool = query(pool, of(1, 50), KEY)
  seen, after = query(pool, of(51, 2000), KEY)
  seen, items = np.asarray(seen)[:, 0], np.asarray(after.items)[:, 0]
  # What goes in is either seen or kept: together they are all that there ever was.
  np.testing.assert_array_equal(np.sort([*seen, *items]), np.arange(1, 2051))
  exchanged = (seen != np.arange(51, 2051)).mean()
  assert abs(exchanged - 0.5) < 4.5 * np.sqrt(0.25 / 2000)
  # Every place is drawn: no first item outlives 1000 exchanges among 50 places.
  assert items.min() > 50
  # An exchanged item waits 50 exchanges of probability 1/2 in the mean.
  lag = np.arange(51, 2051) - seen
  assert abs(lag[1000:][lag[1000:] > 0].mean() - 100.0) < 20.0


def test_later_fakes_of_a_batch_meet_earlier_ones():
  pool = training.pool_init(1, jnp.zeros([2]))
  seen, after = query(pool, of(1, 40), KEY)
  held, expected = None, []
  coins = np.asarray(seen)[:, 0] != np.arange(1, 41)
  for i in range(40):
    fake = i + 1
    if held is None:
      held = fake
    elif coins[i]:
      fake, held = held, fake
    expected.append(fake)
  assert 5 < coins.sum() < 35
  np.testing.assert_array_equal(np.asarray(seen)[:, 0], expected)
  assert float(after.items[0, 0]) == held


def test_none_gives_back_what_it_gets_and_no_gradient_passes():
  empty = training.pool_init(0, jnp.zeros([2]))
  seen, after = query(empty, of(1, 3), KEY)
  np.testing.assert_array_equal(seen, of(1, 3))
  assert after.items.shape == (0, 2)
  for pool in (empty, training.pool_init(2, jnp.zeros([2]))):
    gradient = jax.grad(lambda x, pool=pool: training.pool_query(pool, x, KEY)[0].sum())(of(1, 3))
    np.testing.assert_array_equal(gradient, 0.0)


def by_lists(size, fakes, coins, places):
  """The same in plain Python: what is seen, and what is kept."""
  kept, seen = [], []
  for fake, coin, place in zip(fakes, coins, places, strict=True):
    if len(kept) < size:
      kept.append(fake)
      seen.append(fake)
    elif coin:
      seen.append(kept[place])
      kept[place] = fake
    else:
      seen.append(fake)
  return seen, kept


def test_against_lists():
  fakes = of(1, 60)
  seen, after = query(training.pool_init(10, jnp.zeros([2])), fakes, KEY)
  pairs = [jax.random.split(key) for key in example_keys(KEY, 60)]
  coins = [bool(jax.random.bernoulli(coin)) for coin, _ in pairs]
  places = [int(jax.random.randint(place, [], 0, 10)) for _, place in pairs]
  expected, kept = by_lists(10, range(1, 61), coins, places)
  np.testing.assert_array_equal(seen[:, 0], expected)
  np.testing.assert_array_equal(after.items[:, 0], kept)


def test_eight_devices_have_the_pool_of_one():
  fakes = [of(1, 16), of(17, 16), of(33, 16)]

  def query(pool, fakes, key):
    return training.pool_query(pool, fakes, key, axis_name=training.AXIS)

  ends = []
  for n in (1, 8):
    mesh = training.data_mesh(jax.devices()[:n])
    spec = P(training.AXIS)
    # Types tell that the pool is the same everywhere, or `P()` would be refused.
    mapped = jax.shard_map(query, mesh=mesh, in_specs=(P(), spec, P()), out_specs=(spec, P()))
    step, pool, seen = jax.jit(mapped), training.pool_init(20, jnp.zeros([2])), []
    for i, batch in enumerate(fakes):
      one, pool = step(pool, batch, jax.random.fold_in(KEY, i))
      seen.append(one)
    ends.append(jax.device_get((seen, pool)))
  jax.tree.map(np.testing.assert_array_equal, *ends)
  assert int(ends[0][1].filled) == 20
  assert (ends[0][0][2] != fakes[2]).any()


def test_what_does_not_fit_is_refused():
  with pytest.raises(ValueError, match="size=-1"):
    training.pool_init(-1, jnp.zeros([2]))
  with pytest.raises(ValueError, match=r"fakes \(3, 4\) are not a batch of the pool's \(2,\)"):
    training.pool_query(training.pool_init(2, jnp.zeros([2])), jnp.zeros([3, 4]), KEY)
