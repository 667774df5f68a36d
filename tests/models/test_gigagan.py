import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxgan.layers import blur_downsample
from jaxgan.models.gigagan import Discriminator, Generator, Judged, other_texts, pyramid
from jaxgan.models.text import TextEncoder
from jaxgan.training import AXIS, data_mesh

WORDS, LENGTH = 9, 3
TOKENS = jnp.array([[5, 2, 0], [3, 4, 2], [5, 2, 0], [6, 2, 0]])


def encoder(**options):
  return TextEncoder(WORDS, LENGTH, width=8, depth=1, heads=2, **options)


def normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def judge(resolution=16):
  return Discriminator(
    encoder(), WORDS, resolution, width=4, max_width=4, head_width=2, group_size=2
  )


@functools.cache
def judge_variables():
  return jax.jit(functools.partial(judge().init, train=False))(
    jax.random.key(0), jnp.zeros([4, 16, 16, 3]), TOKENS
  )


def test_each_picture_is_judged_by_itself_at_every_resolution_below():
  """Of 16 pixels at 8 and at 4, of 8 pixels at 4."""
  levels = (normal(4, 16, 16, 3), normal(4, 8, 8, 3, seed=1))

  variables = judge_variables()

  def logits(levels):
    return judge().apply(variables, levels, TOKENS, train=False).sum(0)

  slopes = jax.jit(jax.jacrev(logits))(levels)
  moved = [[bool(jnp.abs(slope).max() > 1e-6) for slope in level] for level in slopes]
  assert moved == [[True, True, False], [False, False, True]]


def test_a_picture_brings_its_pyramid():
  image = normal(4, 16, 16, 3)
  levels = pyramid(image)
  np.testing.assert_array_equal(levels[1], blur_downsample(image))
  apply = jax.jit(functools.partial(judge().apply, train=False))
  np.testing.assert_array_equal(
    apply(judge_variables(), image, TOKENS), apply(judge_variables(), levels, TOKENS)
  )


def test_mismatches_are_the_texts_of_other_pictures():
  apply = jax.jit(judge().apply, static_argnames="train")
  image = normal(4, 16, 16, 3)
  judged = apply(judge_variables(), image, TOKENS, train=True)
  assert isinstance(judged, Judged)
  others = TOKENS[jnp.array([1, 2, 3, 0])]
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
  close(judged.logits, apply(judge_variables(), image, TOKENS, train=False))
  close(judged.mismatched, apply(judge_variables(), image, others, train=False))
  assert judged.counts.all()
  assert jnp.abs(judged.mismatched - judged.logits).max() > 1e-3
  alone = apply(judge_variables(), image, jnp.repeat(TOKENS[:1], 4, 0), train=True)
  assert not alone.counts.any()


@pytest.mark.parametrize("devices", [1, 4])
def test_other_texts_never_are_the_own_one(devices):
  """The next one of the batch, which is a ring over all devices."""
  tokens = np.random.default_rng(0).integers(0, 2, [24, 2]).astype(np.int32)
  spec = PartitionSpec(AXIS)
  across = jax.jit(
    jax.shard_map(
      functools.partial(other_texts, axis_name=AXIS),
      mesh=data_mesh(jax.devices()[:devices]),
      in_specs=spec,
      out_specs=(spec, spec),
    )
  )
  others, found = map(np.asarray, across(tokens))
  expected = [
    next(row for row in np.roll(tokens, -i, 0) if (row != own).any())
    for i, own in enumerate(tokens)
  ]
  np.testing.assert_array_equal(others, expected)
  assert found.all()


def test_numbers_of_logits():
  for resolution, count in ((8, 1), (16, 3), (32, 6), (64, 10)):
    images = jax.ShapeDtypeStruct((4, resolution, resolution, 3), jnp.float32)
    apply = functools.partial(judge(resolution).init_with_output, train=False)
    shape = jax.eval_shape(apply, jax.random.key(0), images, TOKENS)[0].shape
    assert shape == (4, count)


@functools.cache
def painter():
  generator = Generator(
    encoder(), WORDS, 16, width=4, max_width=4, style_dim=8, depth=1, attention=(8,), head_width=2
  )
  z = jnp.concatenate([normal(2, 5), TOKENS[:2].astype(jnp.float32)], 1)
  variables = jax.jit(functools.partial(generator.init, train=True))(jax.random.key(0), z)
  return jax.jit(generator.apply, static_argnames="train"), variables, z


def test_the_sample_is_the_largest_picture_of_training():
  apply, variables, z = painter()
  images = apply(variables, z, train=True)
  assert [x.shape for x in images] == [(2, 16, 16, 3), (2, 8, 8, 3)]
  np.testing.assert_allclose(apply(variables, z, train=False), images[0], rtol=1e-5, atol=1e-6)


def test_tokens_survive_rounding_and_texts_matter():
  apply, variables, z = painter()
  whole = apply(variables, z, train=False)
  np.testing.assert_array_equal(whole, apply(variables, z.at[:, 5:].add(0.3), train=False))
  changed = apply(variables, z.at[0, 5].set(7.0), train=False)
  assert jnp.abs(changed[0] - whole[0]).max() > 1e-3
  np.testing.assert_allclose(changed[1], whole[1], rtol=1e-5, atol=1e-6)


def test_padding_is_not_read():
  variables = encoder().init(jax.random.key(0), TOKENS)
  text = encoder().apply(variables, TOKENS)
  other = jax.tree.map(jnp.copy, variables)
  table = other["params"]["words_table"]
  other["params"]["words_table"] = table.at[0].add(9.0)
  changed = encoder().apply(other, TOKENS)
  np.testing.assert_allclose(changed.summary, text.summary, rtol=1e-5, atol=1e-6)
  seen = np.asarray(text.mask)
  assert seen.tolist() == (TOKENS > 0).tolist()
  np.testing.assert_allclose(
    np.asarray(changed.tokens)[seen], np.asarray(text.tokens)[seen], rtol=1e-5, atol=1e-6
  )


def test_the_order_of_words_matters():
  variables = encoder().init(jax.random.key(0), TOKENS)
  a, b = encoder().apply(variables, jnp.array([[3, 4, 2], [4, 3, 2]])).summary
  assert jnp.abs(a - b).max() > 1e-2


def test_a_frozen_encoder_is_read_and_not_trained():
  features = normal(WORDS, 5)
  frozen = encoder(embed=lambda tokens: features[tokens])
  variables = frozen.init(jax.random.key(0), TOKENS)
  assert "words_table" not in variables["params"]

  def loss(features):
    made = encoder(embed=lambda tokens: features[tokens])
    return (made.apply(variables, TOKENS).summary[:, 0] ** 2).sum()

  assert loss(features) != loss(features + 1.0 * normal(WORDS, 5, seed=1))
  np.testing.assert_array_equal(jax.grad(loss)(features), 0.0)


def refused(sizes, texts=4):
  levels = tuple(jnp.zeros([4, size, size, 3]) for size in sizes)
  d = Discriminator(encoder(), WORDS, resolution=16, width=4, max_width=4)
  return jax.eval_shape(
    lambda: d.init(jax.random.key(0), levels, jnp.tile(TOKENS, (2, 1))[:texts], train=True)
  )


@pytest.mark.parametrize(
  ("make", "said"),
  [
    (lambda: encoder().init(jax.random.key(0), TOKENS[:, :2]), r"tokens \(4, 2\) are not"),
    (lambda: TextEncoder(9, 3, width=6, heads=4).init(jax.random.key(0), TOKENS), "heads=4"),
    (
      lambda: Generator(encoder(), WORDS, attention=(7,)).init(
        jax.random.key(0), jnp.zeros([1, 9]), train=True
      ),
      r"attention=\(7,\) must be among 4, 8, 16, 32",
    ),
    (
      lambda: Generator(encoder(), WORDS).init(jax.random.key(0), jnp.zeros([1, 3]), train=True),
      r"z \(1, 3\) is not",
    ),
    (lambda: refused([16, 8], texts=8), "and 8 texts do not fit"),
    (lambda: refused([16]), "do not fit"),
    (lambda: refused([16, 10]), "do not fit"),
    (lambda: refused([16, 8, 4]), "do not fit"),
  ],
)
def test_what_does_not_fit(make, said):
  with pytest.raises(ValueError, match=said):
    make()
