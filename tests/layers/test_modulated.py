import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgan.layers.modulated import ModulatedConv, modulated_conv, resampled_conv


def normal(*shape, seed=0, dtype=None):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def close(actual, expected, tolerance=1e-10):
  """Relative to the largest entry, leaf by leaf."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max()),
    actual,
    expected,
  )


def problem(kernel_size, seed=0):
  x, kernel = normal(2, 5, 4, 3, seed=seed), normal(kernel_size, kernel_size, 3, 4, seed=seed + 1)
  return x, kernel, 1.0 + 0.5 * normal(2, 3, seed=seed + 2)


def torch_modulated(torch, x, kernel, styles, demodulate, up):
  """With a kernel an example, in groups, as in StyleGAN2's code; arguments in JAX's layouts."""
  f = torch.nn.functional
  x, w = x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
  n, c, height, width = x.shape
  w = w[None] * styles[:, None, :, None, None]
  if demodulate:
    w = w * (w.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
  x = x.reshape(1, n * c, height, width)
  k = w.shape[-1]
  if up == 1:
    y = f.conv2d(x, w.flatten(0, 1), padding=k // 2, groups=n)
  else:
    y = f.conv_transpose2d(x, w.transpose(1, 2).flatten(0, 1), stride=2, groups=n)
    if k == 1:  # the zeros that follow the last pixels
      y = f.pad(y, (0, 1, 0, 1))
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 4
    pad = (1, 1, 1, 1) if k == 3 else (2, 1, 2, 1)
    filters = torch.outer(taps, taps).expand(y.shape[1], 1, 4, 4)
    y = f.conv2d(f.pad(y, pad), filters, groups=y.shape[1])
  return y.reshape(n, -1, *y.shape[2:]).permute(0, 2, 3, 1)


VARIANTS = {
  "3x3": (3, True, 1),
  "3x3 enlarging": (3, True, 2),
  "3x3 without demodulation": (3, False, 1),
  "1x1 to RGB": (1, False, 1),
  "1x1 enlarging": (1, True, 2),
}


@pytest.mark.parametrize(("kernel_size", "demodulate", "up"), VARIANTS.values(), ids=VARIANTS)
@pytest.mark.usefixtures("x64")
def test_against_torch(kernel_size, demodulate, up):
  """Values, gradients, and those of the squared gradient by the styles (path lengths)."""
  torch = pytest.importorskip("torch", reason="needs PyTorch")
  arguments = problem(kernel_size)
  apply = functools.partial(modulated_conv, demodulate=demodulate, up=up)
  direction = normal(*jax.eval_shape(apply, *arguments).shape, seed=5)

  def loss(*arguments):
    y = apply(*arguments)
    return (direction * jnp.tanh(y)).sum(), y

  def penalty(*arguments):
    slope = jax.grad(lambda *a: loss(*a)[0], 2)(*arguments)
    return (slope**2).sum()

  @jax.jit
  def ours(*arguments):
    gradients, y = jax.grad(loss, (0, 1, 2), has_aux=True)(*arguments)
    return y, gradients, jax.grad(penalty, (0, 1, 2))(*arguments)

  theirs = [torch.tensor(np.asarray(a)).requires_grad_() for a in arguments]
  y = torch_modulated(torch, *theirs, demodulate, up)
  value = (torch.tensor(np.asarray(direction)) * y.tanh()).sum()
  first = torch.autograd.grad(value, theirs, create_graph=True)
  second = torch.autograd.grad(first[2].square().sum(), theirs)
  expected = y.detach().numpy(), *([g.detach().numpy() for g in gs] for gs in (first, second))
  actual = ours(*arguments)
  close((actual[0], list(actual[1]), list(actual[2])), expected)


@pytest.mark.parametrize(("kernel_size", "demodulate"), [(3, True), (1, False)])
@pytest.mark.usefixtures("x64")
def test_a_kernel_an_example(kernel_size, demodulate):
  x, kernel, styles = problem(kernel_size)

  def one(x, style):
    w = kernel * style[None, None, :, None]
    if demodulate:
      w = w / jnp.sqrt((w**2).sum((0, 1, 2)) + 1e-8)[None, None, None]
    return lax.conv_general_dilated(
      x[None], w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]

  actual = modulated_conv(x, kernel, styles, demodulate=demodulate)
  close(actual, jax.jit(jax.vmap(one))(x, styles))
  each = jax.vmap(functools.partial(modulated_conv, demodulate=demodulate), (0, None, 0))
  close(each(x[:, None], kernel, styles[:, None])[:, 0], actual)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("filter", [(1, 3, 3, 1), (1, 2, 4), (1,)], ids=str)
@pytest.mark.usefixtures("x64")
def test_resampled_conv_by_definition(filter, kernel_size):
  """Zeros, filter and kernel are one linear map of the image with zeros all around it."""
  x, kernel, _ = problem(kernel_size)
  taps = np.divide(filter, np.sum(filter))
  size, reach = len(taps), kernel_size // 2

  def everywhere(x, convolve_kernel):
    """Full convolutions, which lose nothing at the borders."""
    y = np.apply_along_axis(np.convolve, 1, x, taps)
    y = np.apply_along_axis(np.convolve, 2, y, taps)
    k = kernel if convolve_kernel else kernel[::-1, ::-1]
    n, h, w, _ = y.shape
    out = np.zeros([n, h + 2 * reach + 9, w + 2 * reach + 9, 4])
    for i in range(kernel_size):
      for j in range(kernel_size):
        out[:, i + 1 : i + 1 + h, j + 1 : j + 1 + w] += y @ k[i, j]
    return out  # with a zero before and some behind

  z = np.zeros([2, 10, 8, 3])
  z[:, ::2, ::2] = 4 * x
  # StyleGAN2's code pads the filter by (size + 1) // 2 before enlarging twice, and by
  # (size - 1) // 2 before reducing to half, the kernel always by its reach.
  begin = 1 + reach + size - 1 - (size + 1) // 2
  expected = everywhere(z, True)[:, begin:, begin:][:, :10, :8]
  close(resampled_conv(x, kernel, up=2, filter=filter), expected, 1e-12)
  begin = 1 + reach + size - 1 - (size - 1) // 2
  expected = everywhere(x, False)[:, begin::2, begin::2][:, :2, :2]
  close(resampled_conv(x, kernel, down=2, filter=filter), expected, 1e-12)


def test_float32():
  """Within 1e-5 of float64 at a channel count that reaches minimal filtering."""
  x, kernel, styles = normal(2, 8, 8, 64), normal(3, 3, 64, 64, seed=1), normal(2, 64, seed=2)
  x, kernel, styles = (a.astype("float32") for a in (x, kernel, styles))

  def gradients(*arguments):
    y, pull = jax.vjp(functools.partial(modulated_conv, up=2), *arguments)
    return y, *pull(y)

  single = jax.jit(gradients)(x, kernel, styles)
  with jax.enable_x64(True):
    wide = [jnp.asarray(np.asarray(a), "float64") for a in (x, kernel, styles)]
    close(single, jax.jit(gradients)(*wide), 1e-5)


@pytest.mark.usefixtures("x64")
def test_module_is_the_function():
  images, latents = normal(2, 5, 4, 3), normal(2, 6, seed=1)
  layer = ModulatedConv(4, up=2, param_dtype="float64", bias_init=jax.nn.initializers.normal())
  p = jax.jit(layer.init)(jax.random.key(0), images, latents)["params"]
  styles = latents @ p["style_kernel"] / np.sqrt(6) + 1
  expected = (
    modulated_conv(images, p["kernel"] / np.sqrt(27), styles, up=2) + p["bias"][None, None, None]
  )
  close(jax.jit(layer.apply)({"params": p}, images, latents), expected, 1e-12)
  plain = ModulatedConv(
    4, (1, 1), demodulate=False, equalized=False, use_bias=False, param_dtype="float64"
  )
  p = jax.jit(plain.init)(jax.random.key(0), images, latents)["params"]
  assert set(p) == {"kernel", "style_kernel", "style_bias"}
  styles = latents @ p["style_kernel"] + 1
  expected = modulated_conv(images, p["kernel"], styles, demodulate=False)
  close(jax.jit(plain.apply)({"params": p}, images, latents), expected, 1e-12)


def test_initial_scale():
  """Equalised weights are N(0, 1), and outputs keep the inputs' variance, demodulated or not."""
  images, latents = normal(8, 4, 4, 64, dtype="float32"), normal(8, 32, seed=1, dtype="float32")
  for layer in (ModulatedConv(64), ModulatedConv(64, (1, 1), demodulate=False)):
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), images, latents)
    for name in ("kernel", "style_kernel"):
      assert abs(variables["params"][name].std() - 1) < 0.1
    np.testing.assert_array_equal(variables["params"]["style_bias"], np.ones(64))
    # Borders of the 3x3 kernel see 0; styles of variance 2 double the other.
    assert 0.5 < y.var() < 2.5


def test_half_precision():
  x, kernel, styles = (a.astype("bfloat16") for a in problem(3))
  y = modulated_conv(x, kernel, styles)
  assert y.dtype == jnp.bfloat16
  expected = modulated_conv(*(a.astype("float32") for a in (x, kernel, styles)))
  # Scaled inputs, outputs of the convolution and results are rounded, each by 2^-8 at most.
  close(y.astype("float32"), expected, 3 * 2.0**-8)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda x, w, s: modulated_conv(x, w, s[:1]), r"styles of shape \(1, 3\).*\(2, 5, 4, 3\)"),
    (lambda x, w, s: modulated_conv(x[0], w, s), r"x of shape \(5, 4, 3\)"),
    (lambda x, w, s: modulated_conv(x, w[:2], s), r"kernel has shape \(2, 3, 3, 4\)"),
    (lambda x, w, s: modulated_conv(x, w[:, :, :2], s), "differ in channels"),
    (lambda x, w, s: resampled_conv(x, w, up=2, down=2), "up=2 and down=2"),
    (lambda x, w, s: resampled_conv(x, w, down=0), "down=0"),
    (lambda x, w, s: ModulatedConv(4).init(jax.random.key(0), x, s[0]), r"latents of shape \(3,\)"),
  ],
)
def test_bad_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call(*problem(3))
