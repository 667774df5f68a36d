"""The trio as XLA's convolutions, in programs that `compilation.jit` compiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from jaxgan import compilation
from jaxgan.layers import conv, conv_transpose, kernel_gradient
from jaxgan.layers.convolution import direct
from tests.layers.test_convolution import SHAPES, close, normal, reference


@pytest.fixture
def everywhere(monkeypatch):
  """In double precision too, and at few positions, so that small exact tests reach it."""
  monkeypatch.setattr(direct, "_LARGEST", 8)
  monkeypatch.setattr(direct, "_GROUPED_POSITIONS", 0)


CASES = [(name, 1) for name in SHAPES]
CASES += [(name, 2) for name in ("3x3", "4x4 stride 2, odd", "1x1 stride 2", "rectangles")]


@pytest.mark.parametrize(("name", "groups"), CASES)
@pytest.mark.usefixtures("x64", "everywhere")
def test_value_first_and_second_derivatives(name, groups):
  size, kernel, strides, padding, (c, o) = SHAPES[name]
  x, w = normal(2, *size, groups * c, seed=2), normal(*kernel, c, groups * o, seed=1)

  def apart(x, w):
    parts = zip(jnp.split(x, groups, -1), jnp.split(w, groups, -1), strict=True)
    return jnp.concatenate([reference(a, b, strides, padding) for a, b in parts], -1)

  def derivatives(convolve):
    def loss(x, w):
      return (convolve(x, w) ** 3).sum()

    def penalty(x, w):
      dx, dw = jax.grad(loss, (0, 1))(x, w)
      return (dx**2).sum() + (dw**2).sum()

    return lambda x, w: (
      convolve(x, w),
      *(jax.grad(f, (0, 1))(x, w) for f in (loss, penalty)),
    )

  ours = derivatives(lambda x, w: conv(x, w, strides=strides, padding=padding, groups=groups))
  close(compilation.jit(ours)(x, w), jax.jit(derivatives(apart))(x, w))


def trio(x, w, y):
  return conv(x, w), conv_transpose(y, w), kernel_gradient(x, y, kernel_size=(3, 3))


ARRAYS = normal(8, 6, 6, 4), normal(3, 3, 4, 5, seed=1), normal(8, 6, 6, 5, seed=2)


def test_single_precision_in_loops_branches_and_vmap():
  """Tolerance: sums of up to 288 products, in another order (float32)."""
  expected = jax.jit(trio)(*ARRAYS)

  def nested(x, w, y):
    in_branch = lax.cond(x.sum() < 1e9, trio, lambda x, w, y: (2 * y, x, w), x, w, y)
    _, in_loop = lax.scan(lambda carry, _: (carry, trio(*carry)), (x, w, y), None, length=2)
    vmapped = jax.vmap(trio)(x[None], w[None], y[None])
    return in_branch, jax.tree.map(lambda z: z[1], in_loop), jax.tree.map(lambda z: z[0], vmapped)

  for found in compilation.jit(nested)(*ARRAYS):
    close(found, expected, 1e-5)


def test_eight_devices():
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  data, replicated = PartitionSpec("data"), PartitionSpec()

  def loss(x, w):
    return (conv(x, w) ** 2).sum()

  def step(x, w):
    return lax.psum(jax.grad(loss, 1)(x, lax.pcast(w, "data", to="varying")), "data")

  sharded = jax.shard_map(step, mesh=mesh, in_specs=(data, replicated), out_specs=replicated)
  x, w, _ = ARRAYS
  close(compilation.jit(sharded)(x, w), jax.jit(jax.grad(loss, 1))(x, w), 1e-5)


def test_half_precision_is_summed_in_single():
  x, w, y = (jnp.asarray(a, jnp.bfloat16) for a in ARRAYS)
  found = compilation.jit(trio)(x, w, y)
  assert {z.dtype for z in found} == {jnp.dtype(jnp.bfloat16)}
  wide = jax.jit(trio)(*(a.astype(jnp.float32) for a in (x, w, y)))
  close(jax.tree.map(lambda z: z.astype(jnp.float32), found), wide, 2**-8)


def text(x, w, y, jit):
  return jit(trio).lower(x, w, y).compile().as_text()


def test_xla_gets_convolutions_for_its_own_library():
  program = text(*ARRAYS, compilation.jit)
  lines = [line for line in program.splitlines() if " convolution(" in line]
  assert len(lines) == 3
  assert all("b01f_01io->b01f" in line for line in lines)
  assert "ynn" not in program


def test_many_channels_keep_the_products(monkeypatch):
  for name in ("_MANY", "_MOST", "_POSITIONS"):
    monkeypatch.setattr(direct, name, 0 if name != "_POSITIONS" else 1000)
  jax.clear_caches()  # of the same shapes by the other thresholds
  program = text(*ARRAYS, compilation.jit)
  jax.clear_caches()
  # What products leave to XLA with 4 channels is the convolution and its transpose.
  assert sum(" convolution(" in line for line in program.splitlines()) == 2


def test_an_unknown_option_leaves_plain_jit(monkeypatch):
  monkeypatch.setattr(compilation, "_OPTIONS", {"xla_cpu_no_such_option": ""})
  compilation._known.cache_clear()
  try:
    seen = []
    compilation.jit(lambda x: seen.append(compilation.direct_convolutions()) or x)(1.0)
    assert seen == [False]
  finally:
    compilation._known.cache_clear()


def test_other_platforms_and_options():
  seen = []

  def double(x):
    seen.append(compilation.direct_convolutions())
    return 2 * x

  assert compilation.jit(double, platform="gpu")(2.0) == 4.0
  assert compilation.jit(double)(2.0) == 4.0
  options = {"xla_backend_optimization_level": 0}
  assert compilation.jit(double, compiler_options=options, donate_argnums=0)(3.0) == 6.0
  assert seen == [False, True, True]
  assert not compilation.direct_convolutions()
  np.testing.assert_equal(compilation.jit(double).__name__, "double")
