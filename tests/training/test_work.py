"""No step computes what it does not need: matrix products counted by hand and in compiled steps."""

import re

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen as nn

from jaxgan import latents, losses, penalties, training
from jaxgan.training import games, objectives

N, BATCH = 1024, 512
UNIT = 2 * BATCH * N * N  # one pass of a batch through one layer; all else is small beside it


class Generator(nn.Module):
  @nn.compact
  def __call__(self, z, *, train):
    return nn.Dense(N)(nn.relu(nn.Dense(N)(z)))


class Discriminator(nn.Module):
  @nn.compact
  def __call__(self, x, *, train):
    for _ in range(2):
      x = nn.leaky_relu(nn.Dense(N)(x))
    return nn.Dense(1)(x)[:, 0]


def compiled(penalties=(), **options):
  sgd, z = optax.sgd(0.1), latents.normal(N)
  parts = objectives.adversarial(losses.non_saturating(), z, penalties=penalties)
  step = training.make_train_step(*parts[:2], forward=parts.forward, **options)
  x, keys = jnp.zeros([1, N]), jax.random.split(jax.random.key(0))
  game = jax.eval_shape(
    lambda: training.Game.new(
      jax.random.key(1),
      training.new_player(Discriminator(), sgd, keys[0], x),
      training.new_player(Generator(), sgd, keys[1], x),
    )
  )
  batch = {"image": jnp.zeros([options.get("d_steps", 1), BATCH, N])}
  return jax.jit(step).lower(game, batch).compile()


GENERATE = 2
JUDGE = 2
D_STEP = 2 * JUDGE + 2 * 2 + 2 * 1  # real and fake: forward, kernels, second layer's input
G_STEP = JUDGE + 2 + 2 + 1  # D forward, D's two inputs, G's kernels, G's second layer's input


@pytest.mark.parametrize(
  ("options", "units"),
  [
    ({}, GENERATE + D_STEP + G_STEP),
    ({"d_steps": 3}, 3 * (GENERATE + D_STEP) + G_STEP),
    ({"g_steps": 2}, 2 * GENERATE + D_STEP + 2 * G_STEP),
    # D's pass over fakes serves both players too.
    ({"play": games.simultaneous}, GENERATE + D_STEP + G_STEP - JUDGE),
  ],
  ids=["alternating", "three of D", "two of G", "simultaneous"],
)
def test_a_step_multiplies_what_the_algorithm_needs(options, units):
  """In particular G's step takes no gradient of D's kernels: that would be two units more."""
  counted = compiled(**options).cost_analysis()["flops"] / UNIT
  assert units <= counted < 1.01 * units


def products(text):
  """Matrix products of a compiled program: outside of conditional branches, and within."""
  computations = {}
  for block in re.split(r"\n(?=\S)", text):
    if match := re.match(r"(ENTRY )?%?([\w.\-]+) .*\{", block):
      computations["ENTRY" if match[1] else match[2]] = block

  def reached(name, seen):
    if name not in seen and name in computations:
      seen.add(name)
      for called in re.findall(
        r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)", computations[name]
      ):
        reached(called, seen)
    return seen

  always = reached("ENTRY", set())
  # Products with a side of one are the last layer's.
  count = {
    name: sum(
      f"[{BATCH},{N}]" in line or f"[{N},{N}]" in line
      for line in re.findall(r"= (\S+) (?:dot|custom-call)\(", block)
    )
    for name, block in computations.items()
  }
  outside = sum(count[name] for name in always)
  return outside, sum(count.values()) - outside


def test_a_lazy_penalty_costs_nothing_in_other_steps():
  lazy = penalties.lazily(penalties.r1, every=16)
  plain, _ = products(compiled().as_text())
  outside, within = products(
    compiled([lambda critic, batch, key, game: lazy(game.step, critic, batch["image"])]).as_text()
  )
  always, _ = products(
    compiled([lambda critic, batch, key, game: penalties.r1(critic, batch["image"])]).as_text()
  )
  assert plain == GENERATE + D_STEP + G_STEP
  assert outside == plain
  assert within > 0
  assert always > plain
