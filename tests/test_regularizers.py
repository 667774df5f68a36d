import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax

from jaxgan import regularizers
from tests.functional import numerical_gradient, over_devices

KEY = jax.random.key(3)


def draw(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def gram(w):
  w = w.reshape(-1, w.shape[-1])
  return w.T @ w


def entropy(x):
  p = softmax(x, -1).mean(0)
  return -(p * np.log(p)).sum()


CASES = {
  "orthogonal": (
    regularizers.orthogonal,
    lambda w: ((gram(w) - np.eye(w.shape[-1])) ** 2).sum(),
    (draw(3, 3, 2, 4),),
  ),
  "off_diagonal_orthogonal": (
    regularizers.off_diagonal_orthogonal,
    lambda w: (gram(w) ** 2).sum() - (np.diag(gram(w)) ** 2).sum(),
    (draw(3, 3, 2, 4),),
  ),
  "spectral": (
    regularizers.spectral,
    lambda w: np.linalg.eigvalsh(gram(w))[-1],
    (draw(3, 3, 2, 4),),
  ),
  "historical_averaging": (
    regularizers.historical_averaging,
    lambda p, a: ((p - a) ** 2).sum(),
    (draw(3, 2), draw(3, 2, seed=1)),
  ),
  "minibatch_entropy": (regularizers.minibatch_entropy, entropy, (draw(8, 5),)),
}


@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_transformations(name, x64):
  f, expected, arguments = CASES[name]

  @jax.jit
  def run(arguments):
    pairs = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), arguments)
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), arguments)
    return {
      "vmap": jax.vmap(f)(*pairs),
      "scan": jax.lax.scan(lambda carry, x: (carry, f(*x)), None, pairs)[1],
      "gradient": jax.grad(f)(*arguments),
      "second": jax.grad(lambda x: (jax.grad(f)(x, *arguments[1:]) ** 2).sum())(arguments[0]),
      "half": f(*half),
      "zero": jax.grad(f)(*jax.tree.map(jnp.zeros_like, arguments)),
    }

  got = run(arguments)
  values = [expected(*arguments), expected(*[2 * x for x in arguments])]
  np.testing.assert_allclose(got["vmap"], values, rtol=1e-10)
  np.testing.assert_allclose(got["scan"], values, rtol=1e-10)
  numerical, *_ = numerical_gradient(expected, *arguments)
  np.testing.assert_allclose(got["gradient"], numerical, atol=1e-6, rtol=1e-6)
  assert np.isfinite(got["second"]).all()
  assert np.isfinite(got["zero"]).all()
  assert got["half"].dtype != jnp.bfloat16
  np.testing.assert_allclose(got["half"], values[0], rtol=0.03)


def test_sums_over_kernels_only():
  params = {
    "dense": {"kernel": jnp.eye(3), "bias": jnp.ones(3)},
    "embed": {"embedding": jnp.ones([4, 3])},
    "conv": [{"kernel": 2 * jnp.ones([1, 1, 1, 2])}],
  }
  chosen = regularizers.kernels(params)
  assert sorted(w.shape for w in chosen) == [(1, 1, 1, 2), (3, 3)]
  assert regularizers.orthogonal(chosen) == 2 * 3.0**2 + 2 * 4.0**2
  assert regularizers.off_diagonal_orthogonal(chosen) == 2 * 4.0**2
  np.testing.assert_allclose(regularizers.spectral(chosen), 1.0 + 8.0, rtol=1e-5)
  with pytest.raises(ValueError, match=r"two axes.*\[3\]"):
    regularizers.orthogonal(params["dense"])


def test_spectral_derivatives_hold_the_singular_vectors(x64):
  w, along = draw(2, 3, 4), draw(2, 3, 4, seed=1)

  @jax.jit
  def run(along):
    def slope(w):
      return jnp.vdot(jax.grad(regularizers.spectral)(w), along)

    return jax.grad(regularizers.spectral)(w), jax.grad(slope)(w)

  u, sigma, vh = np.linalg.svd(w.reshape(6, 4))
  outer = np.outer(u[:, 0], vh[0]).reshape(w.shape)
  for direction, is_exact in ((along, False), (w, True), (outer, True)):
    first, second = run(direction)
    np.testing.assert_allclose(first, 2 * sigma[0] * outer, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(second, 2 * (outer * direction).sum() * outer, rtol=1e-9, atol=1e-12)
    h = 1e-4
    ahead, here, behind = (
      np.linalg.svd((w + s * h * direction).reshape(6, 4))[1][0] ** 2 for s in (1, 0, -1)
    )
    true, got = (ahead - 2 * here + behind) / h**2, (second * direction).sum()
    if is_exact:
      np.testing.assert_allclose(got, true, rtol=1e-6)
    else:
      assert got < 0.99 * true  # the turn of the vectors adds curvature


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_spectral_where_singular_values_meet(dtype):
  weights = {
    "identity": np.eye(4, 3),
    "zeros": np.zeros([4, 3]),
    "two equal": np.diag([2.0, 2.0, 1.0]),
    "rank 1": np.ones([4, 3]),
    "extreme": 1e4 * np.eye(3),
  }
  weights = {name: jnp.asarray(w, dtype) for name, w in weights.items()}

  @jax.jit
  def run(weights):
    def each(w):
      gradient = jax.grad(regularizers.spectral)
      along = jnp.ones_like(w)
      hessian = jax.grad(lambda w: jnp.vdot(gradient(w), along))(w)
      return regularizers.spectral(w), gradient(w), hessian

    return jax.tree.map(each, weights)

  for name, (value, gradient, hessian) in run(weights).items():
    w, gradient, hessian = (np.asarray(x, np.float64) for x in (weights[name], gradient, hessian))
    assert value.dtype == jnp.float32, name
    np.testing.assert_allclose(value, np.linalg.norm(w, 2) ** 2, rtol=1e-5, err_msg=name)
    assert np.isfinite(gradient).all(), name
    assert np.isfinite(hessian).all(), name
    # A subgradient of a convex function: the tangent plane lies below it everywhere.
    slack = 0.05 if dtype == "bfloat16" else 1e-4  # of the gradient's own rounding, 2^-8 or 2^-23
    scale = max(1.0, abs(w).max())
    for seed in range(20):
      move = scale * draw(*w.shape, seed=seed)
      higher = np.linalg.norm(w + move, 2) ** 2
      plane = float(value) + (gradient * move).sum()
      assert plane <= higher + slack * scale**2, name


def test_path_lengths_against_the_jacobian(x64):
  matrix = draw(4 * 4 * 3, 2 * 5)  # of latents of 2 layers of 5
  w = draw(4096, 2, 5, seed=1)

  def synthesis(w):
    return (w.reshape(-1, 10) @ matrix.T).reshape(-1, 4, 4, 3)

  @jax.jit
  def run(scale):
    def lengths(scale, w):
      return regularizers.path_lengths(lambda w: scale * synthesis(w), w, KEY)

    slope = jax.grad(lambda scale: lengths(scale, w[:4]).sum())(scale)
    return lengths(scale, w), lengths(scale, w[:4].reshape(4, 10)), slope

  lengths, flat, _ = run(1.0)
  # E |J^T y|^2 = |J|_F^2 / (H W), and the mean over 2 layers.
  np.testing.assert_allclose((lengths**2).mean(), (matrix**2).sum() / 16 / 2, rtol=0.03)
  np.testing.assert_allclose(flat, np.sqrt(2) * lengths[:4], rtol=1e-10)
  assert len(np.unique(lengths)) == len(lengths)
  still, _, slope = run(0.0)  # a generator that ignores its latent
  assert (still == 0).all()
  assert slope == 0


def test_path_length_and_its_average():
  lengths = jnp.array([1.0, 3.0])
  (penalty, average), gradient = (
    regularizers.path_length(lengths, jnp.array(1.0), decay=0.9),
    jax.grad(lambda x: regularizers.path_length(x, jnp.array(1.0), decay=0.9)[0].sum())(lengths),
  )
  np.testing.assert_allclose(average, 1.1, rtol=1e-6)
  np.testing.assert_allclose(penalty, (lengths - 1.1) ** 2, rtol=1e-5)
  np.testing.assert_allclose(gradient, 2 * (lengths - 1.1), rtol=1e-5)  # none through the average


@pytest.mark.parametrize("check_vma", [True, False])
def test_eight_devices(check_vma, x64):
  logits, latents = draw(16, 4), draw(16, 12, seed=1)

  def run(p, x, w, axis_name="data"):
    lengths = regularizers.path_lengths(
      lambda w: jnp.sin(p * w).reshape(-1, 2, 2, 3), w, KEY, axis_name=axis_name
    )
    penalty, average = regularizers.path_length(lengths, jnp.zeros([]), axis_name=axis_name)
    return penalty + average + regularizers.minibatch_entropy(p * x, axis_name=axis_name)

  values, gradient = over_devices(run, jnp.array(0.7), logits, latents, check_vma=check_vma)

  @jax.jit
  @functools.partial(jax.grad, has_aux=True)
  def alone(p):
    values = run(p, logits, latents, axis_name=None)
    return values.mean(), values

  expected, expected_values = alone(0.7)
  np.testing.assert_allclose(values, expected_values, rtol=1e-10)
  np.testing.assert_allclose(gradient, expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_entropy_of_certain_codes(dtype):
  same = jnp.zeros([8, 4], dtype).at[:, 0].set(1e4)
  value, gradient = jax.jit(jax.value_and_grad(regularizers.minibatch_entropy))(same)
  assert value == 0.0
  assert np.isfinite(gradient.astype(jnp.float32)).all()
  evenly = jnp.tile(1e4 * jnp.eye(4, dtype=dtype), [2, 1])
  got = jax.jit(regularizers.minibatch_entropy)(evenly)
  np.testing.assert_allclose(got, np.log(4), rtol=1e-6)


def test_historical_average_by_optax():
  history = draw(5, 3)
  average = jnp.zeros(3)
  for t, params in enumerate(history, start=1):
    average = optax.incremental_update(jnp.asarray(params), average, 1 / t)
  got = regularizers.historical_averaging(history[-1], average)
  np.testing.assert_allclose(got, ((history[-1] - history.mean(0)) ** 2).sum(), rtol=1e-5)
  through_average = jax.grad(regularizers.historical_averaging, 1)(history[-1], average)
  assert (through_average == 0).all()


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: regularizers.minibatch_entropy(jnp.ones(3)), r"\[3\]"),
    (lambda: regularizers.path_lengths(lambda w: w, jnp.ones([2, 3]), KEY), r"H, W.*\[2, 3\]"),
    (lambda: regularizers.path_lengths(lambda w: w, jnp.ones(3), KEY), r"w must.*\[3\]"),
    (
      lambda: regularizers.historical_averaging({"w": jnp.ones(3)}, {"w": jnp.ones(1)}),
      r"\[1\] and \[3\]",
    ),
  ],
)
def test_bad_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call()
