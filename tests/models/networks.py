"""What the tests of networks share: shapes and counts without computing, lively weights, torch."""

import jax
import jax.numpy as jnp
import numpy as np


def shapes(network, *inputs, train=False):
  """Shapes of `(variables, output)`; nothing is computed."""
  inputs = [jax.ShapeDtypeStruct(x, jnp.float32) if isinstance(x, tuple) else x for x in inputs]

  def run(*inputs):
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = network.init(keys["params"], *inputs, train=False)
    output, _ = network.apply(
      variables, *inputs, train=train, rngs=keys if train else None, mutable=["batch_stats"]
    )
    return variables, output

  return jax.eval_shape(run, *inputs)


def count(variables):
  return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(variables["params"]))


def dense(inputs, outputs, bias=True):
  """Parameters of a dense layer."""
  return (inputs + bias) * outputs


def conv(size, inputs, outputs, bias=True):
  """Parameters of a convolution, transposed or not."""
  return (size * size * inputs + bias) * outputs


def randomized(variables, seed=0, scale=1.0):
  """Variables with every entry drawn: biases and gains are not 0 and 1, so a test sees them."""
  rng = np.random.default_rng(seed)

  def draw(path, x):
    kind = path[-1].key
    values = rng.normal(size=x.shape)
    if kind == "kernel":
      values = scale * values / np.sqrt(np.prod(x.shape[:-1]))
    elif kind in ("scale", "var"):
      values = 1.0 + 0.2 * np.abs(values)
    else:
      values = 0.2 * values
    return jnp.asarray(values, x.dtype)

  return jax.tree_util.tree_map_with_path(draw, variables)


def close(actual, expected, tolerance):
  """Relative to the largest entry, leaf by leaf."""
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(float(np.abs(b).max()), 1e-30))
