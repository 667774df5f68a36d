"""Whole systems on one device and on eight: dropout, reference batches, codes, norms, styles."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import (
  acgan,
  began,
  biggan,
  ebgan,
  gan,
  gigagan,
  improved_gan,
  progan,
  sagan,
  sngan_projection,
  stylegan,
  stylegan2,
  wgan,
)
from jaxgan import training
from jaxgan.data import captions
from jaxgan.types import ImageSpec

CAPTIONS = ("blue cat", "blue dog", "red cat", "red dog", "sun")
SPEC = ImageSpec((16, 16, 1), tuple("0123456789"), captions=CAPTIONS)
COMMON = dict(workdir="unused", resolution=16, width=5, batch_size=16, steps=3)
STYLES = dict(width=2, max_width=4, latent_dim=6, style_dim=6, depth=1, group_size=2)
SYSTEMS = {
  "gan": (gan, {}),
  "improved_gan": (improved_gan, dict(all_techniques=True, virtual_batch_norm=4)),
  "acgan": (acgan, {}),
  "began": (began, {}),
  "ebgan": (ebgan, {}),
  "wgan": (wgan, {}),
  "sngan_projection": (sngan_projection, dict(n_dis=1)),
  "sagan": (sagan, dict(attention=8, width=8)),
  "biggan": (
    biggan,
    dict(n_dis=1, shared=4, hierarchical=True, latent_dim=12, orthogonal_weight=1e-4),
  ),
  "gigagan": (
    gigagan,
    dict(STYLES, text_width=4, text_heads=1, head_width=2, attention=8, r1_every=2),
  ),
  # Five steps are all of its stages.
  "progan": (
    progan,
    dict(width=2, max_width=4, latent_dim=6, group_size=2, stable_steps=1, fade_steps=1, steps=5),
  ),
  "stylegan": (stylegan, STYLES),
  "stylegan2": (
    stylegan2,
    dict(STYLES, augment="diffaugment", conditional=True, path_every=2, r1_every=2),
  ),
}

# Some of its parameters have no influence, such as a bias before instance norm: their gradient is
# rounding, of which Adam makes whole steps.
WITHOUT_INFLUENCE = {"stylegan"}


def wide(tree):
  return jax.tree.map(
    lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
  )


@pytest.mark.parametrize(
  "name",
  [pytest.param(n, marks=() if n in {"gan"} else pytest.mark.slow) for n in SYSTEMS],
)
def test_eight_devices_play_the_game_of_one_in_float64(name, x64, monkeypatch):
  module, flags = SYSTEMS[name]
  if name in WITHOUT_INFLUENCE:
    monkeypatch.setattr(optax, "adam", lambda rate, **_: optax.sgd(rate))
  config = module.Config(**{**COMMON, **flags})
  system = module.build(config, SPEC)
  step_at = system.step_at or (lambda t: system.step)
  key = jax.random.key(7)
  batch = {
    "image": jax.random.uniform(key, (1, 16, *SPEC.shape), jnp.float64, -1.0, 1.0),
    "label": jax.random.randint(key, (1, 16), 0, 10, jnp.int32),
    "text": jnp.asarray(captions.Vocabulary.of(CAPTIONS).encode(CAPTIONS, 3))[
      jax.random.randint(key, (1, 16), 0, 5, jnp.int32)
    ],
  }
  ends = []
  for n in (1, 8):
    mesh = training.data_mesh(jax.devices()[:n])
    game = jax.device_put(wide(system.init(jax.random.key(0))), training.replicated(mesh))
    steps = {play: training.data_parallel(play, mesh) for play in map(step_at, range(config.steps))}
    for t in range(config.steps):
      sharded = jax.device_put(batch, training.batch_sharding(mesh))
      game, metrics = steps[step_at(t)](game, sharded)
    players = [(p.params, p.collections) for p in (game.discriminator, game.generator)]
    ends.append(jax.device_get((players, metrics)))
  for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
    # Gradient norms are logged in float32, and differ by its rounding.
    tolerance = 1e-6 if a.dtype == np.float32 else 1e-8
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=1e-10)
