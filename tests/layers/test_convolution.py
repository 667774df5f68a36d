import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from jaxgan.layers import conv, conv_transpose, kernel_gradient
from jaxgan.layers.convolution import forms, minimal_filtering, xla
from jaxgan.layers.convolution.geometry import pair, resolve

DIMENSIONS = ("NHWC", "HWIO", "NHWC")

# The arithmetic is under test, not LLVM: a seventh of the compile time.
jit = functools.partial(
  jax.jit,
  compiler_options={"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False},
)


def normal(*shape, seed=0, dtype=None):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def reference(x, w, strides, padding):
  padding = [(padding, padding)] * 2 if isinstance(padding, int) else padding
  return lax.conv_general_dilated(
    x, w, np.broadcast_to(strides, 2), padding, dimension_numbers=DIMENSIONS
  )


def close(actual, expected, tolerance=1e-10):
  """Relative to the largest entry, leaf by leaf."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max()),
    actual,
    expected,
  )


@pytest.fixture
def minimal(monkeypatch):
  """Minimal filtering from two channels on, so that small tests reach it, and no form of few."""
  monkeypatch.setattr(forms, "_FEW", 1)
  monkeypatch.setattr(forms, "_MANY", 2)
  monkeypatch.setattr(forms, "_MANY_FOR_KERNEL", 2)


# size, kernel, strides, padding, channels: with the thresholds above, one channel and three or more
# reach different forms.
SHAPES = {
  "3x3": ((7, 10), (3, 3), 1, "SAME", (3, 5)),
  "3x3 of one channel": ((5, 6), (3, 3), 1, "SAME", (1, 4)),
  "3x3 to one channel": ((5, 6), (3, 3), 1, "SAME", (40, 1)),
  "3x3 valid": ((9, 5), (3, 3), 1, "VALID", (2, 3)),
  "3x3 cropping": ((10, 9), (3, 3), 1, ((-1, 2), (0, -2)), (2, 3)),
  "3x3 stride 2": ((10, 9), (3, 3), 2, ((0, 1), (2, 1)), (2, 3)),
  "4x4 stride 2": ((8, 8), (4, 4), 2, "SAME", (3, 4)),
  "4x4 stride 2 of one channel": ((8, 6), (4, 4), 2, "SAME", (1, 4)),
  "4x4 stride 2, odd": ((13, 9), (4, 4), 2, 1, (2, 3)),
  "4x4 stride 1": ((6, 7), (4, 4), 1, 1, (40, 3)),
  "4x4 dense": ((4, 4), (4, 4), 1, "VALID", (3, 5)),
  "5x5 stride 2": ((9, 11), (5, 5), 2, "SAME", (3, 2)),
  "1x1": ((5, 6), (1, 1), 1, "SAME", (3, 2)),
  "1x1 stride 2": ((5, 6), (1, 1), 2, "SAME", (3, 2)),
  "2x2 stride 3": ((8, 7), (2, 2), 3, "VALID", (3, 2)),
  "7x7": ((9, 8), (7, 7), 1, 3, (3, 2)),
  "rectangles": ((9, 7), (3, 4), (1, 2), ((1, 1), (2, 1)), (2, 3)),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.usefixtures("x64")
def test_the_kernel_gradient_of_few_channels(shape, monkeypatch):
  """Four positions of a row at a time, also of rows that four does not divide."""
  size, kernel, strides, padding, (c, o) = shape
  used = []
  by_rows = forms._by_rows
  monkeypatch.setattr(forms, "_by_rows", lambda *args: used.append(1) or by_rows(*args))
  geometry = resolve(size, kernel, pair("strides", strides), padding)
  x, y = normal(2, *size, c), normal(2, *geometry.output, o, seed=1)
  close(forms.kernel_gradient(geometry, x, y), xla.kernel_gradient(geometry, x, y))
  assert bool(used) == (c < 40 and forms._taps(geometry) > 1)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.usefixtures("x64", "minimal")
def test_value_first_and_second_derivatives(shape):
  size, kernel, strides, padding, (c, o) = shape
  x, w = normal(2, *size, c), normal(*kernel, c, o, seed=1)

  def derivatives(convolve):
    def loss(x, w):
      return (convolve(x, w) ** 3).sum()

    def penalty(x, w):
      dx, dw = jax.grad(loss, (0, 1))(x, w)
      return (dx**2).sum() + (dw**2).sum()

    return jit(
      lambda x, w: (convolve(x, w), *(jax.grad(f, (0, 1))(x, w) for f in (loss, penalty)))
    )(x, w)

  ours = derivatives(lambda x, w: conv(x, w, strides=strides, padding=padding))
  close(ours, derivatives(lambda x, w: reference(x, w, strides, padding)))


@pytest.mark.parametrize("name", ["3x3", "4x4 stride 2, odd", "5x5 stride 2", "1x1 stride 2"])
@pytest.mark.usefixtures("x64", "minimal")
def test_three_adjoints(name):
  size, kernel, strides, padding, (c, o) = SHAPES[name]
  x, w = normal(2, *size, c), normal(*kernel, c, o, seed=1)
  y = normal(*reference(x, w, strides, padding).shape, seed=2)
  options = {"strides": strides, "padding": padding}
  trilinear = jnp.vdot(reference(x, w, strides, padding), y)
  image = jit(functools.partial(conv_transpose, size=size, **options))(y, w)
  np.testing.assert_allclose(jnp.vdot(image, x), trilinear, rtol=1e-12)
  gradient = jit(functools.partial(kernel_gradient, kernel_size=kernel, **options))(x, y)
  np.testing.assert_allclose(jnp.vdot(gradient, w), trilinear, rtol=1e-12)


@pytest.mark.parametrize("taps", [(1, 2), (2, 2), (2, 3), (3, 3)])
@pytest.mark.usefixtures("x64")
def test_minimal_filtering(taps):
  z, v = normal(2, 3 + taps[0], 3 + taps[1], 3), normal(*taps, 3, 2, seed=1)
  expected, vjp = jax.vjp(lambda z, v: reference(z, v, 1, "VALID"), z, v)
  close(jit(minimal_filtering.correlate)(z, v), expected)
  u = normal(*expected.shape, seed=2)
  close(jit(minimal_filtering.correlate_adjoint)(u, v), vjp(u)[0])
  close(jit(minimal_filtering.kernel_adjoint)(z, u), vjp(u)[1])


@pytest.mark.parametrize(("taps", "products"), [(2, 9), (3, 16)])
def test_minimal_filtering_saves_products(taps, products):
  z, v = jnp.ones([1, 1 + taps, 1 + taps, 1]), jnp.ones([taps, taps, 1, 1])
  for function, arguments in (
    (minimal_filtering.correlate, (z, v)),
    (minimal_filtering.correlate_adjoint, (jnp.ones([1, 2, 2, 1]), v)),
    (minimal_filtering.kernel_adjoint, (z, jnp.ones([1, 2, 2, 1]))),
  ):
    assert str(jax.make_jaxpr(function)(*arguments)).count("dot_general") == products


@pytest.mark.parametrize("channels", [(64, 64), (3, 16)])
def test_float32_error(channels):
  """At the real thresholds, in float32, minimal filtering loses a digit at most."""
  x, w = (normal(4, 8, 8, channels[0], dtype="float32"), normal(4, 4, *channels, dtype="float32"))
  actual, vjp = jax.vjp(functools.partial(conv, strides=2), x, w)
  expected, expected_vjp = jax.vjp(lambda x, w: reference(x, w, 2, "SAME"), x, w)
  close((actual, vjp(actual)), (expected, expected_vjp(expected)), 1e-5)


def test_bfloat16_accumulates_in_float32():
  x, w = normal(2, 8, 8, 70, dtype="bfloat16"), normal(4, 4, 70, 64, dtype="bfloat16")
  convolve = functools.partial(conv, strides=2)
  actual = jit(convolve)(x, w)
  assert actual.dtype == jnp.bfloat16
  expected = jit(convolve)(x.astype("float32"), w.astype("float32"))
  np.testing.assert_array_equal(actual, expected.astype("bfloat16"))
  gradients = jit(jax.grad(lambda x, w: convolve(x, w).sum(), (0, 1)))(x, w)
  assert [g.dtype for g in gradients] == [jnp.bfloat16] * 2


def loss(x, w, strides=2):
  """Of a convolution, its gradient and its transpose: all three in forward and backward."""
  y = conv(x, w, strides=strides)
  z = conv_transpose(jnp.tanh(y), w, strides=strides)
  slope = jax.grad(lambda x: (conv(x, w, strides=strides) ** 3).sum())(x)
  return (z**2).sum() + (slope**2).sum()


@pytest.mark.usefixtures("x64", "minimal")
def test_vmap():
  x, w = normal(3, 2, 4, 6, 2), normal(3, 4, 4, 2, 3, seed=1)
  gradient = jax.grad(loss, (0, 1))
  expected = [jit(gradient)(*pair) for pair in zip(x, w, strict=True)]
  close(jit(jax.vmap(gradient))(x, w), jax.tree.map(lambda *a: jnp.stack(a), *expected))
  shared = jit(jax.vmap(gradient, (0, None)))(x, w[0])
  close(shared[1][0], expected[0][1])


@pytest.mark.usefixtures("x64", "minimal")
def test_scan_and_cond():
  x, w = normal(2, 6, 6, 2), normal(3, 3, 2, 3, seed=1)
  gradient = jax.grad(functools.partial(loss, strides=1), (0, 1))
  expected = jit(gradient)(x, w)

  def body(carry, scale):
    return lax.cond(scale > 1, gradient, lambda x, w: (x, w), x, w), None

  close(jit(lambda: lax.scan(body, (x, w), jnp.array([1.0, 2.0]))[0])(), expected)
  checkpointed = jit(jax.grad(jax.checkpoint(functools.partial(loss, strides=1)), (0, 1)))
  close(checkpointed(x, w), expected)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.usefixtures("x64", "minimal")
def test_eight_devices(check_vma):
  x, w = normal(8, 4, 4, 2), normal(4, 4, 2, 3, seed=1)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  data, replicated = PartitionSpec("data"), PartitionSpec()

  def step(x, w):
    varying = lax.pcast(w, "data", to="varying") if check_vma else w
    return lax.psum(jax.grad(loss, 1)(x, varying), "data")

  expected = jit(jax.grad(loss, 1))(x, w)
  sharded = jax.shard_map(
    step, mesh=mesh, in_specs=(data, replicated), out_specs=replicated, check_vma=check_vma
  )
  close(jit(sharded)(x, w), expected)

  if check_vma:  # an uncast kernel: the gradient is summed over devices by itself
    uncast = jax.shard_map(
      jax.grad(loss, 1), mesh=mesh, in_specs=(data, replicated), out_specs=replicated
    )
    close(jit(uncast)(x, w), expected)


def convolutions(text):
  """Each convolution of a StableHLO text: its left dilation, and whether it contracts the batch."""
  for line in text.splitlines():
    if "stablehlo.convolution" in line:
      left = line.split("dim_numbers = [")[1].split("]")[0]
      dilation = line.split("lhs_dilate = [")[1].split("]")[0] if "lhs_dilate" in line else "1"
      # The images' batch is axis 0: it is contracted where it stands for the feature axis.
      yield [int(d) for d in dilation.split(",")], left.split(",")[0].strip() == "f"


@pytest.mark.parametrize("strides", [1, 2])
def test_export_for_accelerators(strides):
  x, w = jnp.ones([2, 8, 8, 16]), jnp.ones([4, 4, 16, 32])
  gradient = jax.jit(jax.grad(functools.partial(loss, strides=strides), (0, 1)))
  text = jax.export.export(gradient, platforms=["cuda", "tpu"])(x, w).mlir_module()
  found = list(convolutions(text))
  assert any(contracts for _, contracts in found)
  assert not any(contracts and max(dilation) > 1 for dilation, contracts in found)
  naive = jax.jit(
    jax.grad(lambda w: (lax.conv_transpose(x, w, (2, 2), "SAME") ** 2).sum())
  )  # the parser sees the fault it looks for
  text = jax.export.export(naive, platforms=["cuda"])(jnp.ones([4, 4, 16, 32])).mlir_module()
  assert any(contracts and max(dilation) > 1 for dilation, contracts in convolutions(text))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.usefixtures("x64")
def test_accelerator_forms(shape):
  """What runs off the CPU, run on it."""
  size, kernel, strides, padding, (c, o) = shape
  geometry = resolve(size, kernel, pair("strides", strides), padding)
  x, w, y = (
    normal(2, *size, c),
    normal(*kernel, c, o, seed=1),
    normal(2, *geometry.output, o, seed=2),
  )

  def theirs(x, w, y):
    value, vjp = jax.vjp(lambda x, w: reference(x, w, strides, padding), x, w)
    return value, *vjp(y)

  def ours(x, w, y):
    return (
      xla.conv(geometry, x, w),
      xla.conv_transpose(geometry, y, w),
      xla.kernel_gradient(geometry, x, y),
    )

  close(jit(ours)(x, w, y), jit(theirs)(x, w, y))


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda x, w: conv(x, w[:, :, :1]), r"\(1, 4, 4, 2\) and w of shape \(3, 3, 1, 5\)"),
    (lambda x, w: conv(x[0], w), r"x has shape \(4, 4, 2\)"),
    (lambda x, w: conv(x, w.astype("bfloat16")), "differ in dtype"),
    (lambda x, w: conv(x.astype(int), w.astype(int)), "floating"),
    (lambda x, w: conv(x, w, padding="CIRCULAR"), r"'CIRCULAR'.*jnp\.pad"),
    (lambda x, w: conv(x, w, padding=(1, 2, 3)), r"padding=\(1, 2, 3\)"),
    (lambda x, w: conv(x, w, strides=0), "strides=0"),
    (lambda x, w: conv(x[:, :2], w, padding="VALID"), r"kernel_size=\(3, 3\) exceeds"),
    (lambda x, w: conv_transpose(x, w), "differ in channels"),
    (lambda x, w: conv_transpose(x, w.swapaxes(2, 3), size=(9, 4)), r"size=\(9, 4\)"),
    (lambda x, w: kernel_gradient(x, x, kernel_size=3, strides=2), r"\(1, 2, 2\)"),
  ],
)
def test_bad_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call(jnp.ones([1, 4, 4, 2]), jnp.ones([3, 3, 2, 5]))
