import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.layers import CrossAttention, DistanceAttention, attention, distance_attention


def normal(*shape, seed=0, dtype=None):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def close(actual, expected, tolerance=1e-10):
  """Relative to the largest entry, leaf by leaf."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max()),
    actual,
    expected,
  )


def in_torch(torch, params, x, text, mask, width):
  """Either layer of one example's head after the other; without a text it is self-attention."""
  n, h, w, c = x.shape
  rows = x.reshape(n, h * w, c)
  project = {k: v / v.shape[0] ** 0.5 for k, v in params.items() if k != "gain"}
  queries = rows @ project["query"]
  keys = queries if text is None else text @ project["key"]
  values = (rows if text is None else text) @ project["value"]
  outputs = []
  for i in range(queries.shape[-1] // width):
    part = slice(i * width, (i + 1) * width)
    q, k, v = queries[..., part], keys[..., part], values[..., part]
    if text is None:
      logits = -(q[:, :, None] - k[:, None]).square().sum(-1) / width**0.5
    else:
      logits = (q[:, :, None] * k[:, None]).sum(-1) / width**0.5
      logits = logits.masked_fill(~mask[:, None], float("-inf"))
    outputs.append(torch.softmax(logits, -1) @ v)
  out = torch.cat(outputs, -1) @ project["output"]
  return x + params["gain"] * out.reshape(x.shape)


@pytest.mark.parametrize("kind", ["distance", "cross"])
@pytest.mark.usefixtures("x64")
def test_against_torch(kind):
  """Values, gradients, and those of the squared gradient by the images, which R1 takes."""
  torch = pytest.importorskip("torch", reason="needs PyTorch")
  x, text = normal(2, 3, 4, 6), normal(2, 5, 7, seed=1)
  mask = jnp.arange(5)[None] < jnp.array([[5], [2]])
  more = () if kind == "distance" else (text, mask)
  layer = (DistanceAttention if kind == "distance" else CrossAttention)(
    head_width=3, param_dtype=jnp.float64
  )
  params = jax.jit(layer.init)(jax.random.key(0), x, *more)["params"]

  def loss(params, x):
    y = layer.apply({"params": params}, x, *more)
    return jnp.tanh(y * jnp.arange(y.size).reshape(y.shape)).sum(), y

  def penalty(params, x):
    return (jax.grad(lambda x: loss(params, x)[0])(x) ** 2).sum()

  @jax.jit
  def ours(params, x):
    gradients, y = jax.grad(loss, (0, 1), has_aux=True)(params, x)
    return y, gradients, jax.grad(penalty, (0, 1))(params, x)

  names = sorted(params)
  theirs = {
    name: torch.tensor(np.asarray(params[name].get("kernel") if name != "gain" else params[name]))
    for name in names
  }
  inputs = [theirs[name].requires_grad_() for name in names]
  image = torch.tensor(np.asarray(x)).requires_grad_()
  words = [] if kind == "distance" else [torch.tensor(np.asarray(a)) for a in more]
  y = in_torch(torch, theirs, image, *(words or (None, None)), 3)
  scale = torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape)
  value = (y * scale).tanh().sum()
  first = torch.autograd.grad(value, [*inputs, image], create_graph=True)
  second = torch.autograd.grad(first[-1].square().sum(), [*inputs, image])

  def flat(tree):
    return [*(tree[0][n]["kernel"] if n != "gain" else tree[0][n] for n in names), tree[1]]

  found, *gradients = ours(params, x)
  close(found, y.detach().numpy())
  for actual, expected in zip(gradients, (first, second), strict=True):
    close(flat(actual), [g.detach().numpy() for g in expected])


@pytest.mark.parametrize("block_size", [None, 3])
@pytest.mark.usefixtures("x64")
def test_distances_in_blocks(block_size):
  q, k, v = normal(2, 10, 3), normal(2, 7, 3, seed=1), normal(2, 7, 4, seed=2)
  weights = jnp.exp(-0.7 * ((q[:, :, None] - k[:, None]) ** 2).sum(-1))
  expected = weights / weights.sum(-1, keepdims=True) @ v
  apply = functools.partial(distance_attention, scale=0.7, block_size=block_size)
  close(jax.jit(apply)(q, k, v), expected)


@pytest.mark.parametrize("block_size", [None, 2])
def test_hidden_keys_are_not_read(block_size):
  q, k, v = (normal(2, 5, 3, seed=s, dtype="float32") for s in range(3))
  bias = jnp.where(jnp.arange(5)[None] < 3, 0.0, -1e9).repeat(2, 0)
  actual = attention(q, k, v, bias=bias, block_size=block_size)
  np.testing.assert_allclose(actual, attention(q, k[:, :3], v[:, :3]), rtol=1e-5, atol=1e-6)
  with pytest.raises(ValueError, match=r"bias has shape \(5,\)"):
    attention(q, k, v, bias=bias[0])


def test_words_that_are_masked_have_no_influence():
  x, text = normal(1, 2, 2, 4, dtype="float32"), normal(1, 3, 4, seed=1, dtype="float32")
  layer, mask = CrossAttention(), jnp.array([[True, True, False]])
  variables = jax.jit(layer.init)(jax.random.key(0), x, text)
  changed = text.at[:, 2].add(100.0)
  masked = layer.apply(variables, x, text, mask)
  np.testing.assert_array_equal(masked, layer.apply(variables, x, changed, mask))
  assert jnp.abs(layer.apply(variables, x, changed) - layer.apply(variables, x, text)).max() > 1e-3


def test_shapes_that_do_not_fit():
  x, key = jnp.ones([2, 2, 2, 4]), jax.random.key(0)
  with pytest.raises(ValueError, match=r"text \(3, 5, 4\) do not fit"):
    CrossAttention().init(key, x, jnp.ones([3, 5, 4]))
  with pytest.raises(ValueError, match=r"mask has shape \(2, 4\)"):
    CrossAttention().init(key, x, jnp.ones([2, 5, 4]), jnp.ones([2, 4], bool))
  with pytest.raises(ValueError, match="head_width=0"):
    DistanceAttention(head_width=0).init(key, x)
