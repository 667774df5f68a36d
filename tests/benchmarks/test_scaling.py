"""Reductions and FLOP of traced steps, against compiled programs and the hand count."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import collectives, flops, jaxgan_steps, scaling
from benchmarks.linen_steps import count
from jaxgan import training


def shapes(gan, size):
  game = jax.eval_shape(gan.init, jax.random.key(0))
  pictures = (gan.d_steps, size.batch_size, size.resolution, size.resolution, size.channels)
  return game, {"image": jax.ShapeDtypeStruct(pictures, jnp.float32)}


def parameter_bytes(game):
  return 4 * count((game.discriminator.params, game.generator.params))


def test_a_compiled_step_on_eight_devices_sends_what_was_counted():
  """Gradients once a player, statistics, metrics; nothing but sums, so no picture is gathered."""
  size = flops.Size(16, 1, 4, 8)
  gan = jaxgan_steps.dcgan_system(size)
  game, batch = shapes(gan, size)
  traffic, _ = scaling.traced(gan.step, game, batch)
  assert traffic.sizes["gradients"] == parameter_bytes(game)
  # Two float32 vectors a norm and pass, back and forth: G's of 8 and 4 features by one pass, D's of
  # 8 by three, of real pictures and fakes in its own step and of fakes in G's.
  assert traffic.sizes["statistics"] == 2 * 2 * 4 * (8 + 4 + 3 * 8)
  # Loss, D(x), two D(G(z)), accuracy and loss of G, and two norms of gradients.
  assert traffic.sizes["metrics"] == 4 * 8
  assert traffic.counts["gradients"] == 2
  step = training.data_parallel(gan.step, training.data_mesh())
  hlo = step.lower(game, batch).compile().as_text()
  assert collectives.all_reduces(hlo)["bytes"] == sum(traffic.sizes.values())


def test_each_update_reduces_the_gradients_of_its_player_once():
  size = flops.Size(8, 1, 2, 8)
  gan = jaxgan_steps.dcgan_system(size, d_steps=3, g_steps=2)
  game, batch = shapes(gan, size)
  traffic, _ = scaling.traced(gan.step, game, batch)
  assert traffic.counts["gradients"] == 3 + 2
  d, g = (4 * count(player.params) for player in (game.discriminator, game.generator))
  assert traffic.sizes["gradients"] == 3 * d + 2 * g


def test_gathers_are_not_passed_over():
  def step(game, batch):
    every = jax.lax.all_gather(batch["image"], training.AXIS)
    return game, {"mean": jax.lax.pmean(every.mean(), training.AXIS)}

  gan = jaxgan_steps.dcgan_system(flops.Size(8, 1, 2, 8))
  with pytest.raises(ValueError, match="has a all_gather"):
    scaling.traced(step, *shapes(gan, flops.Size(8, 1, 2, 8)))


def test_the_paper_s_dcgan_has_the_flop_of_the_hand_count():
  case = scaling.CASES["DCGAN 64"]()
  traffic, work, game = scaling.measured(case)
  by_hand = sum(flops.dcgan_step(flops.Size(64, 3, 128, 128)).values())
  assert case.batch_size == 128
  assert work(128) == pytest.approx(by_hand, rel=1e-9)
  assert traffic.sizes["gradients"] == parameter_bytes(game)
  assert traffic.sizes["statistics"] < 0.01 * traffic.sizes["gradients"]


def test_a_price_is_the_sum_of_its_parts():
  traffic = scaling.Traffic({"gradients": 10**9, "statistics": 0, "metrics": 0}, {}, 5)
  chip = scaling.Chip(teraflops=100.0, utilisation=0.5, gigabytes=50.0, hop_microseconds=2.0)
  parts = scaling.price(traffic, 1e12, 64, chip)
  assert parts["compute"] == pytest.approx(20.0)
  assert parts["bandwidth"] == pytest.approx(2 * 63 / 64 * 20.0)
  assert parts["latency"] == pytest.approx(5 * 2 * (3 + 3 + 3) * 2.0 / 1000)


def test_a_state_in_parts_is_smaller_by_its_wide_kernels():
  gan = jaxgan_steps.dcgan_system(flops.Size(16, 1, 128, 8))
  game, _ = shapes(gan, flops.Size(16, 1, 128, 8))
  # Kernels of 128 and 256 features: D's with two moments, G's with an average too.
  wide = 4 * 4 * 4 * (3 * (1 * 128 + 128 * 256) + 4 * (100 * 256 + 256 * 128))
  assert scaling.held(game, 1) - scaling.held(game, 2) == wide // 2
