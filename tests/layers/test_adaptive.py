import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxgan import compilation
from jaxgan.layers import AdaptiveConv, ModulatedConv, adaptive_conv, modulated_conv
from jaxgan.layers.convolution import direct


def normal(*shape, seed=0, dtype=None):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def close(actual, expected, tolerance=1e-10):
  """Relative to the largest entry, leaf by leaf."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max()),
    actual,
    expected,
  )


def problem(kernels=3, kernel_size=3, dtype=None):
  """Images, bank, logits of the kernels, styles."""
  bank = normal(kernels, kernel_size, kernel_size, 3, 4, seed=1, dtype=dtype)
  styles = 1.0 + 0.5 * normal(2, 3, seed=3, dtype=dtype)
  return normal(2, 5, 4, 3, dtype=dtype), bank, normal(2, kernels, seed=2, dtype=dtype), styles


def torch_adaptive(torch, x, bank, logits, styles, demodulate, up):
  """One kernel an example in one grouped convolution, arguments in JAX's layouts."""
  f = torch.nn.functional
  n, height, width, c = x.shape
  shares = logits.exp() / logits.exp().sum(1, keepdim=True)
  w = (shares[:, :, None, None, None, None] * bank[None]).sum(1)
  w = w * styles[:, None, None, :, None]
  if demodulate:
    w = w / (w.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
  w = w.permute(0, 4, 3, 1, 2)  # n o c k l
  x = x.permute(0, 3, 1, 2).reshape(1, n * c, height, width)
  if up == 1:
    y = f.conv2d(x, w.flatten(0, 1), padding=w.shape[-1] // 2, groups=n)
  else:
    y = f.conv_transpose2d(x, w.transpose(1, 2).flatten(0, 1), stride=2, groups=n)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 4
    filters = torch.outer(taps, taps).expand(y.shape[1], 1, 4, 4)
    y = f.conv2d(f.pad(y, (1, 1, 1, 1)), filters, groups=y.shape[1])
  return y.reshape(n, -1, *y.shape[2:]).permute(0, 2, 3, 1)


@pytest.mark.parametrize(
  ("demodulate", "up"), [(True, 1), (True, 2), (False, 1)], ids=["plain", "enlarging", "to RGB"]
)
@pytest.mark.usefixtures("x64")
def test_against_torch(demodulate, up):
  """Values, gradients, and those of the squared gradients by the images and the weights."""
  torch = pytest.importorskip("torch", reason="needs PyTorch")
  arguments = problem()

  def apply(x, bank, logits, styles):
    weights = jax.nn.softmax(logits, -1)
    return adaptive_conv(x, bank, weights, styles, demodulate=demodulate, up=up)

  direction = normal(*jax.eval_shape(apply, *arguments).shape, seed=5)

  def loss(*arguments):
    y = apply(*arguments)
    return (direction * jnp.tanh(y)).sum(), y

  def penalty(*arguments):
    slopes = jax.grad(lambda *a: loss(*a)[0], (0, 2))(*arguments)
    return sum((slope**2).sum() for slope in slopes)

  @jax.jit
  def ours(*arguments):
    gradients, y = jax.grad(loss, range(4), has_aux=True)(*arguments)
    return y, list(gradients), list(jax.grad(penalty, range(4))(*arguments))

  theirs = [torch.tensor(np.asarray(a)).requires_grad_() for a in arguments]
  y = torch_adaptive(torch, *theirs, demodulate, up)
  value = (torch.tensor(np.asarray(direction)) * y.tanh()).sum()
  first = torch.autograd.grad(value, theirs, create_graph=True)
  squared = first[0].square().sum() + first[2].square().sum()
  second = torch.autograd.grad(squared, theirs)
  expected = y.detach().numpy(), *([g.detach().numpy() for g in gs] for gs in (first, second))
  close(ours(*arguments), expected)


@pytest.mark.usefixtures("x64")
def test_mixing_kernels_is_mixing_what_they_give():
  """Convolution is linear in its kernel."""
  x, bank, logits, styles = problem()
  weights = jax.nn.softmax(logits, -1)
  each = [modulated_conv(x, kernel, styles, demodulate=False) for kernel in bank]
  expected = sum(weights[:, i][:, None, None, None] * y for i, y in enumerate(each))
  close(adaptive_conv(x, bank, weights, styles, demodulate=False), expected)


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.usefixtures("x64")
def test_programs_for_any_number_of_examples(up):
  x, bank, logits, styles = problem()
  weights = jax.nn.softmax(logits, -1)
  shapes = [jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for a in (x, weights, styles)]
  (n,) = export.symbolic_shape("n")
  program = export.export(
    jax.jit(lambda x, weights, styles: adaptive_conv(x, bank, weights, styles, up=up))
  )(*(jax.ShapeDtypeStruct((n, *a.shape), a.dtype) for a in shapes))
  close(program.call(x, weights, styles), adaptive_conv(x, bank, weights, styles, up=up))
  first = [a[:1] for a in (x, weights, styles)]
  close(program.call(*first), adaptive_conv(first[0], bank, *first[1:], up=up))


def test_in_half_precision():
  x, bank, logits, styles = problem()
  weights = jax.nn.softmax(logits, -1)
  expected = adaptive_conv(x, bank, weights, styles)
  actual = adaptive_conv(*(a.astype(jnp.bfloat16) for a in (x, bank, weights, styles)))
  assert actual.dtype == jnp.bfloat16
  # 27 products of terms rounded by 2^-9 each, of outputs around 1.
  np.testing.assert_allclose(actual.astype(jnp.float32), expected, atol=0.05)


def test_of_one_kernel_the_layer_is_a_modulated_convolution():
  x, w = normal(2, 4, 4, 3, dtype="float32"), normal(2, 6, seed=1, dtype="float32")
  layer, plain = AdaptiveConv(5, kernels=1), ModulatedConv(5)
  params = dict(jax.jit(layer.init)(jax.random.key(0), x, w)["params"])
  expected = {name: params[name] for name in ("bias", "style_bias", "style_kernel")}
  expected["kernel"] = params["bank"][0]
  actual = layer.apply({"params": params}, x, w)
  # The same sums in another order, in float32.
  close(actual, plain.apply({"params": expected}, x, w), 1e-5)


def test_the_latent_chooses_the_kernel():
  x = normal(1, 4, 4, 3, dtype="float32")
  layer = AdaptiveConv(5, kernels=2, use_bias=False)
  params = dict(jax.jit(layer.init)(jax.random.key(0), x, jnp.ones([1, 1]))["params"])
  params["weight_kernel"] = jnp.array([[-100.0, 100.0]])
  params["style_kernel"] = jnp.zeros([1, 3])
  for latent, chosen in ((-1.0, 0), (1.0, 1)):
    actual = layer.apply({"params": params}, x, jnp.full([1, 1], latent))
    kernel = params["bank"][chosen] / np.sqrt(27)
    close(actual, modulated_conv(x, kernel, jnp.ones([1, 3])), 1e-5)


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    ([(2, 4, 4, 3), (2, 3, 3, 3, 5), (2, 3), (2, 3)], "weights (2, 3) are not [n, kernels]"),
    ([(2, 4, 4, 3), (2, 3, 3, 3, 5), (2, 2), (2, 4)], "styles (2, 4) do not fit"),
  ],
)
def test_shapes_that_do_not_fit(arguments, said):
  with pytest.raises(ValueError, match=re.escape(said)):
    adaptive_conv(*map(jnp.ones, arguments))
  with pytest.raises(ValueError, match="kernels=0"):
    AdaptiveConv(2, kernels=0).init(jax.random.key(0), jnp.ones([1, 4, 4, 1]), jnp.ones([1, 1]))


@pytest.mark.parametrize("up", [1, 2])
def test_kernels_of_examples_are_no_convolutions_of_the_library(up, monkeypatch):
  """It would take them for grouped ones, at which it is slow."""
  x, bank, logits, styles = problem(dtype="float32")
  weights = jax.nn.softmax(logits, -1)

  def slope(x, bank):
    return jax.grad(lambda *a: (adaptive_conv(*a, weights, styles, up=up) ** 2).sum(), (0, 1))(
      x, bank
    )

  def refused(*_):
    raise AssertionError("a convolution of the library")

  for name in direct.__all__:
    monkeypatch.setattr(direct, name, refused)
  close(compilation.jit(slope)(x, bank), jax.jit(slope)(x, bank), 1e-5)
