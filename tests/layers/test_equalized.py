import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.layers import EqualizedConv, EqualizedDense, scaled_leaky_relu


def normal(*shape, seed=0, dtype=None):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def close(actual, expected, tolerance=1e-10):
  """Relative to the largest entry, leaf by leaf."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max()),
    actual,
    expected,
  )


def drawn(layer, x):
  variables = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
  return {name: normal(*v.shape, seed=i) for i, (name, v) in enumerate(sorted(variables.items()))}


def torch_layer(torch, x, kernel, bias, scale, up, down):
  """In JAX's layouts, in StyleGAN2's conventions: a filter after enlarging or before reducing."""
  f = torch.nn.functional
  if kernel.ndim == 2:
    return x @ (kernel * scale) + bias
  x, w = x.permute(0, 3, 1, 2), (kernel * scale).permute(3, 2, 0, 1)
  taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8

  def filtered(x, pad, gain):
    filters = gain * torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
    return f.conv2d(f.pad(x, pad), filters, groups=x.shape[1])

  reach = w.shape[-1] // 2
  if up == 2:
    y = filtered(f.conv_transpose2d(x, w.transpose(0, 1), stride=2), (1, 1, 1, 1), 4.0)
  elif down == 2:
    y = f.conv2d(filtered(x, (1 + reach,) * 4, 1.0), w, stride=2)
  else:
    y = f.conv2d(x, w, padding=reach)
  return y.permute(0, 2, 3, 1) + bias


LAYERS = {
  "dense": (EqualizedDense(4, gain=1.5, lr_multiplier=0.01), (2, 5), 1.5 * 0.01 / 5**0.5, 0.01),
  "3x3": (EqualizedConv(4, gain=1.5), (2, 6, 4, 5), 1.5 / 45**0.5, 1.0),
  "1x1 reducing": (EqualizedConv(4, (1, 1), down=2), (2, 6, 4, 5), 5**-0.5, 1.0),
  "3x3 reducing": (
    EqualizedConv(4, down=2, lr_multiplier=2.0),
    (2, 6, 4, 5),
    2.0 / 45**0.5,
    2.0,
  ),
  "3x3 enlarging": (EqualizedConv(4, up=2), (2, 3, 4, 5), 45**-0.5, 1.0),
}


@pytest.mark.parametrize(("layer", "shape", "scale", "multiplier"), LAYERS.values(), ids=LAYERS)
@pytest.mark.usefixtures("x64")
def test_against_torch(layer, shape, scale, multiplier):
  torch = pytest.importorskip("torch", reason="needs PyTorch")
  x, direction = normal(*shape, seed=5), None
  params = drawn(layer, x)
  direction = normal(*jax.eval_shape(layer.apply, {"params": params}, x).shape, seed=6)

  @functools.partial(jax.value_and_grad, argnums=(0, 1))
  def ours(params, x):
    return (direction * jnp.tanh(layer.apply({"params": params}, x))).sum()

  value, (of_params, of_x) = jax.jit(ours)(params, x)
  leaves = [torch.tensor(np.asarray(a)).requires_grad_() for a in (x, *params.values())]
  given = dict(zip(params, leaves[1:], strict=True))
  up, down = getattr(layer, "up", 1), getattr(layer, "down", 1)
  y = torch_layer(torch, leaves[0], given["kernel"], multiplier * given["bias"], scale, up, down)
  theirs = (torch.tensor(np.asarray(direction)) * y.tanh()).sum()
  gradients = [g.numpy() for g in torch.autograd.grad(theirs, leaves)]
  close(float(value), theirs.item())
  close([of_x, *of_params.values()], gradients)


def test_initial_weights_and_what_they_do():
  """N(0, 1) as stored, over the multiplier; outputs of unit variance whatever it is."""
  x = normal(500, 200, dtype="float32")
  outputs = []
  for multiplier in (1.0, 0.01):
    layer = EqualizedDense(300, lr_multiplier=multiplier, bias=0.5)
    y, variables = layer.init_with_output(jax.random.key(0), x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert abs(kernel.std() * multiplier - 1.0) < 0.02
    np.testing.assert_allclose(bias, 0.5 / multiplier, rtol=1e-6)
    assert abs(y.std() - 1.0) < 0.03
    outputs.append(y)
  np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)
  bare = EqualizedConv(2, use_bias=False).init(jax.random.key(0), jnp.ones([1, 4, 4, 3]))
  assert set(bare["params"]) == {"kernel"}


def test_activation_keeps_the_mean_square():
  x = normal(100_000, dtype="float32")
  # E[max(x, 0.2 x)^2] = (1 + 0.2^2) / 2 of a normal x.
  np.testing.assert_allclose((scaled_leaky_relu(x) ** 2).mean(), 1.04, rtol=0.02)
  y = scaled_leaky_relu(jnp.array([-1.0, 3.0]), slope=0.5, gain=2.0)
  np.testing.assert_allclose(y, [-1.0, 6.0], rtol=1e-6)


def test_half_precision_and_bad_arguments():
  x = jnp.ones([2, 4, 4, 3], "bfloat16")
  layer = EqualizedConv(2, dtype="bfloat16")
  y, variables = layer.init_with_output(jax.random.key(0), x)
  assert (y.dtype, variables["params"]["kernel"].dtype) == (jnp.bfloat16, jnp.float32)
  with pytest.raises(ValueError, match=r"lr_multiplier=0.0 must be positive"):
    EqualizedDense(2, lr_multiplier=0.0).init(jax.random.key(0), x)
