import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxgan import layers
from jaxgan.layers.spectral_norm import spectral_norm


def normal(*shape, seed=0, dtype=None):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def unit(n, seed=5):
  u = np.random.default_rng(seed).normal(size=n)
  return jnp.asarray(u / np.linalg.norm(u))


def close(actual, expected, tolerance):
  np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# Ours, torch's, our name of the weights, the axes by which ours become torch's, ours' input.
CASES = {
  "conv": (
    layers.SNConv(5, (3, 3), padding=1),
    lambda nn: nn.Conv2d(4, 5, 3, padding=1),
    (3, 2, 0, 1),
    (2, 6, 6, 4),
  ),
  "transposed": (
    layers.SNConvTranspose(5, (4, 4), strides=2, transpose_kernel=True),
    lambda nn: nn.ConvTranspose2d(4, 5, 4, stride=2, padding=1),
    (3, 2, 0, 1),
    (2, 6, 6, 4),
  ),
  "dense": (layers.SNDense(5), lambda nn: nn.Linear(4, 5), (1, 0), (2, 4)),
  "embed": (layers.SNEmbed(7, 4), lambda nn: nn.Embedding(7, 4), (0, 1), None),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.usefixtures("x64")
def test_layers_agree_with_torch(case):
  """Value, gradient and the vector after two calls in training."""
  torch = pytest.importorskip("torch")
  layer, make, axes, shape = case
  layer = layer.clone(param_dtype=jnp.float64)
  images = shape is not None and len(shape) == 4
  x = jnp.array([3, 0, 3]) if shape is None else normal(*shape)
  variables = jax.jit(layer.init)(jax.random.key(0), x)
  (name,) = {"kernel", "embedding"} & set(variables["params"])
  params, u = variables["params"], variables["spectral"]["u"]
  if "bias" in params:
    params["bias"] = normal(*params["bias"].shape, seed=2)

  theirs = torch.nn.utils.spectral_norm(make(torch.nn).double(), eps=1e-12)
  with torch.no_grad():
    theirs.weight_orig.copy_(torch.tensor(np.asarray(params[name])).permute(axes))
    theirs.weight_u.copy_(torch.tensor(np.asarray(u)))
    if "bias" in params:
      theirs.bias.copy_(torch.tensor(np.asarray(params["bias"])))
  t = torch.tensor(np.asarray(x))
  t = t.permute(0, 3, 1, 2) if images else t

  @jax.jit
  def ours(params, spectral):
    def loss(params):
      y, written = layer.apply({"params": params, "spectral": spectral}, x, mutable=["spectral"])
      return jnp.sin(y).sum(), (y, written["spectral"])

    return jax.grad(loss, has_aux=True)(params)

  spectral = variables["spectral"]
  for _ in range(2):
    gradient, (y, spectral) = ours(params, spectral)
    theirs.zero_grad()
    expected = theirs(t)
    torch.sin(expected).sum().backward()
    expected = expected.permute(0, 2, 3, 1) if images else expected
    close(y, expected.detach().numpy(), 1e-10)
    close(spectral["u"], theirs.weight_u.numpy(), 1e-10)
    back = np.argsort(axes)
    close(gradient[name], theirs.weight_orig.grad.permute(*back).numpy(), 1e-10)


@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_the_axis_of_a_transposed_convolution(transpose_kernel):
  """The channels of the result, in either order of the kernel's axes."""
  layer = layers.SNConvTranspose(3, (4, 4), transpose_kernel=transpose_kernel)
  variables = jax.eval_shape(layer.init, jax.random.key(0), jnp.ones([1, 5, 5, 2]))
  assert variables["spectral"]["u"].shape == (3,)


@pytest.mark.parametrize("shape", [(3, 3, 4, 6), (20, 5), (2, 9)])
@pytest.mark.usefixtures("x64")
def test_iteration_reaches_the_largest_singular_value(shape):
  w, u = normal(*shape), unit(shape[-1])
  expected = np.linalg.norm(np.asarray(w).reshape(-1, shape[-1]), 2)
  one = jax.jit(spectral_norm)
  estimates = [spectral_norm(w, u, iterations=0).sigma]
  result = one(w, u)
  for _ in range(300):
    estimates.append(result.sigma)
    result = one(w, result.u)
  assert (np.diff(estimates) > -1e-12).all()
  np.testing.assert_allclose(result.sigma, expected, rtol=1e-6)
  close(result.w * result.sigma, w, 1e-14)
  at_once = spectral_norm(w, u, iterations=3)
  np.testing.assert_allclose(at_once.sigma, estimates[3], rtol=1e-12)
  moved = spectral_norm(jnp.moveaxis(w, -1, 0), u, axis=0, iterations=3)
  close(jnp.moveaxis(moved.w, 0, -1), at_once.w, 1e-12)


def test_repeated_singular_values_and_zeros_are_finite():
  @jax.jit
  def run(w, u):
    value = functools.partial(spectral_norm, u=u)
    first = jax.grad(lambda w: (value(w).w ** 3).sum())
    second = jax.grad(lambda w: (first(w) ** 2).sum())
    return value(w), first(w), second(w)

  u = unit(6).astype("float32")
  orthogonal = jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(9, 6)))[0], "float32")
  for w in (orthogonal, jnp.zeros([9, 6]), jnp.ones([9, 6]), 1e-8 * orthogonal):
    for leaf in jax.tree.leaves(run(w, u)):
      assert jnp.isfinite(leaf).all()
  np.testing.assert_allclose(run(orthogonal, u)[0].sigma, 1.0, rtol=1e-6)
  zero = run(jnp.zeros([9, 6]), u)[0]
  np.testing.assert_array_equal(zero.w, 0.0)
  np.testing.assert_array_equal(zero.u, u)  # a vector of zeros would hold for ever


def test_half_precision_and_vmap():
  w, u = normal(3, 8, 6, dtype="float32"), jnp.stack([unit(6, seed) for seed in range(3)])
  u = u.astype("float32")
  results = jax.jit(jax.vmap(spectral_norm))(w, u)
  one = jax.jit(spectral_norm)
  expected = [one(w[i], u[i]) for i in range(3)]
  for actual, *single in zip(results, *expected, strict=True):
    np.testing.assert_allclose(actual, jnp.stack(single), rtol=2e-6, atol=1e-6)
  half = one(w[0].astype("bfloat16"), u[0])
  assert (half.w.dtype, half.u.dtype, half.sigma.dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
  exact = one(w[0].astype("bfloat16").astype("float32"), u[0])
  np.testing.assert_allclose(half.sigma, exact.sigma, rtol=1e-6)
  layer = layers.SNConv(4, (3, 3), dtype="bfloat16")
  y, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), jnp.ones([1, 4, 4, 2]))
  assert y.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_who_writes_the_vector():
  layer, x = layers.SNDense(5), normal(2, 4, dtype="float32")
  frozen = layers.SNDense(5, update_stats=False)

  @jax.jit
  def run(key):
    variables = layer.init(key, x)
    writing = layer.apply(variables, x, mutable=["spectral"])
    still = frozen.apply(variables, x, mutable=["spectral"])
    return variables["spectral"]["u"], writing, still, layer.apply(variables, x)

  start, (y, changes), (still_y, same), read_only = run(jax.random.key(0))
  np.testing.assert_allclose(jnp.linalg.norm(start), 1.0, rtol=1e-6)
  assert np.abs(changes["spectral"]["u"] - start).max() > 1e-3
  np.testing.assert_array_equal(same["spectral"]["u"], start)
  # A pass that does not write normalises as the one that does.
  np.testing.assert_allclose(still_y, y, rtol=1e-6)
  np.testing.assert_allclose(read_only, y, rtol=1e-6)
  assert np.abs(run(jax.random.key(1))[0] - start).max() > 1e-3


@pytest.mark.usefixtures("x64")
def test_devices_keep_one_vector():
  """The vector does not see the batch: 8 devices write what 1 writes."""
  layer, x = layers.SNConv(5, (3, 3), param_dtype=jnp.float64), normal(8, 4, 4, 3)
  variables = jax.jit(layer.init)(jax.random.key(0), x)

  def step(variables, x):
    def loss(params):
      y, written = layer.apply({**variables, "params": params}, x, mutable=["spectral"])
      return jnp.sin(y).mean(), written

    return jax.grad(loss, has_aux=True)(variables["params"])

  def sharded(variables, x):
    variables = jax.tree.map(lambda v: jax.lax.pcast(v, "data", to="varying"), variables)
    return jax.lax.pmean(step(variables, x), "data")

  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  whole, split = PartitionSpec(), PartitionSpec("data")
  run = jax.shard_map(sharded, mesh=mesh, in_specs=(whole, split), out_specs=whole)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12),
    jax.jit(run)(variables, x),
    jax.jit(step)(variables, x),
  )


@pytest.mark.parametrize(("w", "u", "axis"), [((3, 4), 3, -1), ((4,), 4, 0), ((3, 4), 4, 0)])
def test_bad_shapes(w, u, axis):
  with pytest.raises(ValueError, match=r"do not fit: u must have the length"):
    spectral_norm(jnp.ones(w), jnp.ones(u), axis=axis)
