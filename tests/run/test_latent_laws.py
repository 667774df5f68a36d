"""Latents in words, and the code that draws such."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import latents
from jaxgan.run.latent_laws import Law, latents_of

MIXED = latents.mixed(
  code=latents.uniform(2), label=latents.categorical(3), noise=latents.normal(1)
)
SPREAD = np.random.default_rng(0).uniform(-1.0, 1.0, [2000, 2]).astype(np.float32)


def drawn(code):
  names = {"jax": jax}
  exec(code, names)
  return names["z"]


def test_in_words():
  assert latents_of(MIXED).in_words() == (
    "float32 [n, 6]: code, 2 entries, uniform in [-1, 1]; label, 3 entries, one-hot; noise, 1 "
    "entries, normal"
  )
  wide = latents_of(lambda key, n: 3.0 + SPREAD[:n])
  assert wide.in_words().endswith(": uniform in [2, 4]")
  peaked = latents_of(lambda key, n: SPREAD[:n] ** 5)
  assert peaked.in_words().endswith(": from -1 to 1")
  assert latents_of(lambda key, n: jnp.zeros([n, 2, 2])).in_words() == "float32 [n, 2, 2]"
  rows = latents.mixed(noise=latents.normal(1), text=latents.rows(np.array([[1, 2], [3, 4]])))
  told = latents_of(rows, text=Law("words", "{key}"))
  assert told.in_words() == "float32 [n, 3]: noise, 1 entries, normal; text, 2 entries, words"


@pytest.mark.parametrize(
  "sampler",
  [
    MIXED,
    latents.normal(3),
    lambda key, n: 1.7 * SPREAD[:n],
  ],
)
def test_the_code_draws_from_the_same_laws(sampler):
  found = latents_of(sampler)
  z = drawn(found.as_code(2000))
  assert (z.shape, z.dtype) == (sampler(jax.random.key(0), 2000).shape, jnp.float32)
  if isinstance(sampler, latents.Mixed):
    parts = sampler.split(z)
    again = [latents_of(lambda key, n, part=part: part).laws[0][2] for part in parts.values()]
    assert again == [law for _, _, law in found.laws]
  else:
    assert latents_of(lambda key, n: z) == found


@pytest.mark.parametrize(
  "sampler", [lambda key, n: jnp.zeros([n, 2, 2]), lambda key, n: SPREAD[:n] ** 5]
)
def test_the_code_says_where_a_law_is_not_known(sampler):
  code = latents_of(sampler).as_code(4)
  assert code.startswith("# In place of zeros: latents as above.\n")
  assert drawn(code).shape == sampler(jax.random.key(0), 4).shape
