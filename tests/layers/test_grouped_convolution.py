"""Grouped convolutions against lax's: values, two derivatives, the forms of both platforms."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgan.layers import Conv, conv
from jaxgan.layers.convolution import grouped, xla
from jaxgan.layers.convolution.geometry import resolve

jit = functools.partial(
  jax.jit,
  compiler_options={"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False},
)

# groups, channels in and out of each, kernel, strides; two groups of 16 are taken together.
SHAPES = {
  "one group a part": (2, 33, 5, (3, 3), 1),
  "two groups a part": (6, 16, 16, (3, 3), 1),
  "all groups in a part": (3, 2, 4, (3, 3), 2),
  "three of nine groups a part": (9, 3, 9, (1, 1), 1),
  "depthwise": (5, 1, 2, (4, 3), (2, 1)),
}


def normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def close(actual, expected):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max()),
    actual,
    expected,
  )


def reference(x, w, strides, groups):
  return lax.conv_general_dilated(
    x,
    w,
    np.broadcast_to(strides, 2),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.usefixtures("x64")
def test_value_first_and_second_derivatives(shape):
  groups, c, o, kernel, strides = shape
  x, w = normal(2, 5, 6, groups * c), normal(*kernel, c, groups * o, seed=1)

  def derivatives(convolve):
    def loss(x, w):
      return (convolve(x, w) ** 3).sum()

    def penalty(x, w):
      dx, dw = jax.grad(loss, (0, 1))(x, w)
      return (dx**2).sum() + (dw**2).sum()

    return jit(
      lambda x, w: (convolve(x, w), *(jax.grad(f, (0, 1))(x, w) for f in (loss, penalty)))
    )(x, w)

  ours = derivatives(lambda x, w: conv(x, w, strides=strides, groups=groups))
  close(ours, derivatives(lambda x, w: reference(x, w, strides, groups)))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.usefixtures("x64")
def test_accelerator_forms(shape):
  """What runs off the CPU, run on it."""
  groups, c, o, kernel, strides = shape
  geometry = resolve((5, 6), kernel, tuple(np.broadcast_to(strides, 2).tolist()), "SAME")
  x, w = normal(2, 5, 6, groups * c), normal(*kernel, c, groups * o, seed=1)
  y = normal(2, *geometry.output, groups * o, seed=2)

  def theirs(x, w, y):
    value, vjp = jax.vjp(lambda x, w: reference(x, w, strides, groups), x, w)
    return value, *vjp(y)

  def ours(x, w, y):
    return (
      xla.conv(geometry, x, w, groups=groups),
      xla.conv_transpose(geometry, y, w, groups=groups),
      xla.kernel_gradient(geometry, x, y, groups=groups),
    )

  close(jit(ours)(x, w, y), jit(theirs)(x, w, y))


@pytest.mark.parametrize(
  ("groups", "channels", "together"), [(96, 16, 2), (9, 3, 9), (6, 8, 3), (7, 16, 1), (4, 64, 1)]
)
def test_how_many_groups_go_together(groups, channels, together):
  assert grouped._together(groups, channels, 32) == together


@pytest.mark.usefixtures("x64")
def test_exchanges_parameters_with_flax():
  inputs = normal(2, 5, 6, 6)
  options = {"feature_group_count": 3, "param_dtype": "float64", "strides": 2}
  ours, theirs = Conv(9, (3, 3), **options), nn.Conv(9, (3, 3), **options)
  expected, variables = theirs.init_with_output(jax.random.key(0), inputs)
  actual, mine = ours.init_with_output(jax.random.key(0), inputs)
  jax.tree.map(np.testing.assert_array_equal, mine, variables)
  close(actual, expected)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda x, w: conv(x, w, groups=3), r"\(3, 3, 2, 6\) differ in channels with groups=3"),
    (lambda x, w: conv(x, w, groups=0), "groups=0"),
    (lambda x, w: conv(x, w[..., :5], groups=2), r"\(3, 3, 2, 5\).*o a multiple of groups"),
    (
      lambda x, w: Conv(6, (3, 3), feature_group_count=3).init(jax.random.key(0), x),
      "feature_group_count=3 must divide the inputs' 4 channels and features=6",
    ),
  ],
)
def test_bad_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call(jnp.ones([1, 4, 4, 4]), jnp.ones([3, 3, 2, 6]))
