"""What the players of pix2pix and CycleGAN minimise, against closed forms in numpy.

Networks are replaced by straight lines, different for each direction and each discriminator, so
that a wrong weight, a lost half or two pictures that changed places change the value.
"""

import jax
import numpy as np
import pytest

from experiments import cyclegan, pix2pix, translation
from jaxgan import training
from jaxgan.types import ImageSpec

SPEC = ImageSpec((8, 8, 1), (), (8, 8, 1))


@pytest.fixture
def parts_of(monkeypatch):
  """What `build` makes the players minimise."""
  found = []

  def catching(function, place):
    def caught(*given, **options):
      found.append(given[place])
      return function(*given, **options)

    return caught

  monkeypatch.setattr(training, "system", catching(training.system, 4))
  monkeypatch.setattr(translation, "two_sided", catching(translation.two_sided, 3))

  def parts_of(module, **flags):
    found.clear()
    module.build(module.Config(workdir="unused", width=2, patch_layers=1, **flags), SPEC)
    (parts,) = found
    return parts

  return parts_of


@pytest.fixture
def batch():
  """Pictures to translate and what they become, three of each."""
  rng = np.random.default_rng(0)
  return {name: rng.uniform(-1, 1, [3, 8, 8, 1]).astype(np.float32) for name in ("input", "image")}


def player(function):
  """A network without parameters or collections, in the place of the player's own."""

  def apply_fn(variables, *inputs, train, mutable, rngs=None):
    del variables, rngs
    assert train
    assert list(mutable) == []
    return function(*inputs), {}

  return training.Player(step=0, apply_fn=apply_fn, params={}, tx=None, opt_state=None)


def minimised(parts, generator, discriminator, batch):
  """What discriminator and generator minimise, on one device."""
  key = jax.random.key(0)
  game = training.Game.new(key, player(discriminator), player(generator))

  def values(batch):
    made, _ = parts.forward({}, game, batch, key)
    seen = {**batch, **made}
    return [play({}, game, seen, key)[0] for play in (parts.discriminator, parts.generator)]

  found = jax.vmap(values, axis_name=training.AXIS)({k: x[None] for k, x in batch.items()})
  return [float(value[0]) for value in found]


def softplus(x):
  return np.logaddexp(0.0, x)


@pytest.mark.parametrize("flags", [{}, {"gan_weight": 3.0, "l1_weight": 7.0}])
def test_pix2pix(flags, parts_of, batch):
  """Equation 4 with the logistic losses of section 3.3, of which D's is halved."""

  def paint(x):
    return 0.5 * x + 0.2

  def judge(y, x):
    return (2.0 * y - x + 0.3)[..., 0]

  found = minimised(parts_of(pix2pix, **flags), paint, judge, batch)
  x, y = batch["input"], batch["image"]
  real, fake = judge(y, x), judge(paint(x), x)
  d = 0.5 * (softplus(-real).mean() + softplus(fake).mean())
  gan, l1 = softplus(-fake).mean(), np.abs(y - paint(x)).mean()
  g = flags.get("gan_weight", 1.0) * gan + flags.get("l1_weight", 100.0) * l1
  np.testing.assert_allclose(found, [d, g], rtol=1e-5)  # of sums in float32


@pytest.mark.parametrize(
  ("flags", "cycle", "identity"),
  [
    ({}, 10.0, 5.0),
    ({"identity_weight": 0.0}, 10.0, 0.0),
    ({"identity_weight": 0.25, "cycle_weight": 4.0}, 4.0, 1.0),
  ],
)
def test_cyclegan(flags, cycle, identity, parts_of, batch):
  """Equation 3 by least squares, for G without a half, for D with the half of section 4.

  D's is the mean of what both discriminators minimise, where the paper adds: of two networks that
  share nothing Adam sees no difference.
  """

  def g(a):
    return 0.5 * a + 0.2

  def f(b):
    return 0.1 - 0.7 * b

  def d_a(a):
    return 1.5 * a - 0.2

  def d_b(b):
    return 0.4 - 0.8 * b

  parts = parts_of(cyclegan, **flags)
  found = minimised(parts, lambda a, b: (g(a), f(b)), lambda a, b: (d_a(a), d_b(b)), batch)
  a, b = batch["input"], batch["image"]

  def squares(x):
    return np.square(x).mean()

  def distance(x, y):
    return np.abs(x - y).mean()

  of_a = (squares(d_a(a) - 1) + squares(d_a(f(b)))) / 2
  of_b = (squares(d_b(b) - 1) + squares(d_b(g(a)))) / 2
  gan = squares(d_b(g(a)) - 1) + squares(d_a(f(b)) - 1)
  cycled = distance(f(g(a)), a) + distance(g(f(b)), b)
  same = distance(g(b), b) + distance(f(a), a)
  wanted = [(of_a + of_b) / 2, gan + cycle * cycled + identity * same]
  np.testing.assert_allclose(found, wanted, rtol=1e-5)  # of sums in float32
