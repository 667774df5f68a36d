import functools
import importlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.layers.attention import SelfAttention, attention

module = importlib.import_module("jaxgan.layers.attention")  # the function has its name


def normal(*shape, seed=0, dtype=None):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def close(actual, expected, tolerance=1e-10):
  """Relative to the largest entry, leaf by leaf."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max()),
    actual,
    expected,
  )


def plain(q, k, v, scale=1.0):
  logits = scale * jnp.einsum("...qd,...kd->...qk", q, k)
  weights = jnp.exp(logits)
  return jnp.einsum("...qk,...ke->...qe", weights / weights.sum(-1, keepdims=True), v)


def derivatives(apply, *arguments):
  """Value, gradient, and the gradient of the squared gradient."""

  def loss(*arguments):
    return (jnp.sin(apply(*arguments)) ** 2).sum()

  def penalty(*arguments):
    return sum((g**2).sum() for g in jax.grad(loss, (0, 1, 2))(*arguments))

  return jax.jit(
    lambda *a: (apply(*a), jax.grad(loss, (0, 1, 2))(*a), jax.grad(penalty, (0, 1, 2))(*a))
  )(*arguments)


@pytest.mark.parametrize("block_size", [None, 3])
@pytest.mark.usefixtures("x64")
def test_blocks_are_the_whole(block_size):
  q, k, v = normal(2, 10, 3), normal(2, 7, 3, seed=1), normal(2, 7, 4, seed=2)
  blocked = functools.partial(attention, scale=0.7, block_size=block_size)
  close(
    derivatives(blocked, q, k, v), derivatives(functools.partial(plain, scale=0.7), q, k, v), 1e-11
  )


@pytest.mark.usefixtures("x64")
def test_axes_and_vmap():
  q, k, v = normal(3, 2, 5, 4), normal(3, 2, 6, 4, seed=1), normal(3, 2, 6, 1, seed=2)
  expected = plain(q, k, v)
  for block_size in (1, 9, 2):
    blocked = jax.jit(functools.partial(attention, block_size=block_size))
    close(blocked(q, k, v), expected, 1e-12)
  close(jax.jit(jax.vmap(blocked))(q, k, v), expected, 1e-12)
  close(attention(q[0, 0], k[0, 0], v[0, 0]), expected[0, 0], 1e-12)


def test_long_sequences_store_no_weights():
  """Compiled memory of forward and backward against that of the weights alone."""
  q, k, v = (jax.ShapeDtypeStruct((3, n, 8), jnp.float32) for n in (2048, 1024, 1024))

  def memory(block_size):
    def loss(q, k, v):
      return (attention(q, k, v, block_size=block_size) ** 2).sum()

    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(q, k, v).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  weights = 3 * 2048 * 1024 * 4
  assert memory(2048) > weights
  assert memory(None) < weights / 2


def test_default_block(monkeypatch):
  """Chosen by the number of weights: all at once, or as many queries as make up that number."""
  blocks = []
  attend = module._attend

  def spy(q, *rest):
    blocks.append(q.shape[1])
    return attend(q, *rest)

  monkeypatch.setattr(module, "_attend", spy)
  for queries, keys in ((4096, 1024), (4096, 2048)):
    shapes = [jax.ShapeDtypeStruct((1, n, 2), jnp.float32) for n in (queries, keys, keys)]
    jax.eval_shape(attention, *shapes)
  assert blocks == [4096, 2**18 // 2048]


def test_half_precision_has_a_wide_softmax():
  q, k, v = (normal(1, 300, 2, seed=s, dtype="bfloat16") for s in range(3))
  actual = attention(q, k, jnp.abs(v))
  assert actual.dtype == jnp.bfloat16
  expected = plain(*(a.astype("float32") for a in (q, k, jnp.abs(v))))
  # Weights and results are rounded once each, by 2^-8 at most.
  np.testing.assert_allclose(actual.astype("float32"), expected, rtol=2 * 2.0**-8)


def test_large_logits_are_finite():
  q, k, v = 100 * normal(1, 4, 2), 100 * normal(1, 5, 2, seed=1), normal(1, 5, 3, seed=2)
  value, gradient = jax.jit(jax.value_and_grad(lambda q: attention(q, k, v).sum()))(q)
  assert jnp.isfinite(value)
  assert jnp.isfinite(gradient).all()


def in_torch(torch, x, params, pool):
  """SAGAN's block in PyTorch's layers and layout."""
  f = torch.nn.functional
  n, _, h, w = x.shape
  query, key, value = (
    torch.einsum("nchw,co->nohw", x, params[name]) for name in ("query", "key", "value")
  )
  key, value = f.max_pool2d(key, pool), f.max_pool2d(value, pool)
  weights = torch.bmm(query.flatten(2).transpose(1, 2), key.flatten(2)).softmax(-1)
  output = torch.bmm(value.flatten(2), weights.transpose(1, 2)).reshape(n, -1, h, w)
  return x + params["gamma"] * torch.einsum("nchw,co->nohw", output, params["output"])


@pytest.mark.parametrize(("pool", "block_size"), [(2, None), (1, 3)])
@pytest.mark.usefixtures("x64")
def test_block_against_torch(pool, block_size):
  torch = pytest.importorskip("torch", reason="needs PyTorch")
  layer = SelfAttention(pool=pool, block_size=block_size, param_dtype="float64")
  x, direction = normal(2, 4, 6, 16), normal(2, 4, 6, 16, seed=1)
  variables = jax.jit(layer.init)(jax.random.key(0), x)
  variables["params"]["gamma"] += 0.7
  params = {
    name: torch.tensor(np.asarray(leaf["kernel"][0, 0] if name != "gamma" else leaf))
    for name, leaf in variables["params"].items()
  }
  names = sorted(params)

  def loss(x, variables):
    y = layer.apply(variables, x)
    return (direction * jnp.tanh(y)).sum(), y

  @jax.jit
  def ours(x, variables):
    gradients, y = jax.grad(loss, (0, 1), has_aux=True)(x, variables)
    penalty = jax.grad(lambda x: (jax.grad(loss, has_aux=True)(x, variables)[0] ** 2).sum())
    return y, gradients, penalty(x)

  y, (dx, dvariables), second = ours(x, variables)
  theirs = torch.tensor(np.asarray(x)).permute(0, 3, 1, 2).requires_grad_()
  for name in names:
    params[name].requires_grad_()
  expected = in_torch(torch, theirs, params, pool)
  value = (torch.tensor(np.asarray(direction)).permute(0, 3, 1, 2) * expected.tanh()).sum()
  first = torch.autograd.grad(value, [theirs, *(params[n] for n in names)], create_graph=True)
  penalty = torch.autograd.grad(first[0].square().sum(), theirs)[0]
  back = [t.detach().permute(0, 2, 3, 1).numpy() for t in (expected, first[0], penalty)]
  close([y, dx, second], back)
  gradients = dvariables["params"]
  mine = [gradients[n]["kernel"][0, 0] if n != "gamma" else gradients[n] for n in names]
  close(mine, [g.detach().numpy() for g in first[1:]])


def test_block_takes_other_convolutions():
  layer, theirs = SelfAttention(), SelfAttention(conv=nn.Conv)
  x = normal(1, 4, 4, 8, dtype="float32")
  variables = jax.jit(layer.init)(jax.random.key(0), x)
  close(jax.jit(theirs.init)(jax.random.key(0), x), variables, 0.0)
  variables["params"]["gamma"] += 1.0
  close(jax.jit(theirs.apply)(variables, x), jax.jit(layer.apply)(variables, x), 1e-6)


def test_half_precision_block():
  layer = SelfAttention(dtype="bfloat16")
  init = jax.jit(layer.init_with_output)
  y, variables = init(jax.random.key(0), jnp.ones([1, 4, 4, 8]))
  assert y.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
  ("shapes", "message"),
  [
    (((2, 5, 3), (2, 6, 4), (2, 6, 1)), r"queries \(2, 5, 3\), keys \(2, 6, 4\)"),
    (((2, 5, 3), (2, 6, 3), (2, 5, 1)), r"values \(2, 5, 1\)"),
    (((2, 5, 3), (1, 6, 3), (1, 6, 1)), r"do not fit"),
    (((3,), (6, 3), (6, 1)), r"queries \(3,\)"),
  ],
)
def test_bad_shapes(shapes, message):
  with pytest.raises(ValueError, match=message):
    attention(*(jnp.ones(shape) for shape in shapes))


def test_bad_arguments():
  with pytest.raises(ValueError, match="block_size=0"):
    attention(jnp.ones([5, 2]), jnp.ones([5, 2]), jnp.ones([5, 2]), block_size=0)
  for shape, pool in (((1, 4, 4, 4), 2), ((4, 4, 8), 2), ((1, 1, 4, 8), 2), ((1, 4, 4, 8), 0)):
    with pytest.raises(ValueError, match=rf"pool={pool}: \[batch, height"):
      SelfAttention(pool=pool).init(jax.random.key(0), jnp.ones(shape))
