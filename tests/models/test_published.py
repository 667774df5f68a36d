"""The networks of 2014 to 2017: their published sizes, and what all of them promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import layers
from jaxgan.models import acgan, autoencoder, cgan, dcgan, gan, improved, infogan, wgan_gp
from tests.models.networks import conv, count, dense, randomized, shapes

DIGITS, COLOURS, FACES = (2, 28, 28, 1), (2, 32, 32, 3), (2, 64, 64, 3)

# A network as published, its inputs' shapes, its output's and its parameters, layer by layer.
PUBLISHED = {
  "gan G": (
    gan.Generator(),
    [(2, 100)],
    DIGITS,
    dense(100, 1200) + dense(1200, 1200) + dense(1200, 784),
  ),
  "gan D": (
    gan.Discriminator(),
    [DIGITS],
    (2,),
    dense(784, 240 * 5) + dense(240, 240 * 5) + dense(240, 1),
  ),
  "cgan G": (
    cgan.Generator(10),
    [(2, 110)],
    DIGITS,
    dense(100, 200) + dense(10, 1000) + dense(1200, 1200) + dense(1200, 784),
  ),
  "cgan D": (
    cgan.Discriminator(10),
    [DIGITS, (2, 10)],
    (2,),
    dense(784, 240 * 5) + dense(10, 50 * 5) + dense(290, 240 * 4) + dense(240, 1),
  ),
  "acgan G": (
    acgan.Generator(10),
    [(2, 110)],
    COLOURS,
    dense(110, 16 * 384)
    + conv(5, 384, 192, False)
    + 2 * 192
    + conv(5, 192, 96, False)
    + 2 * 96
    + conv(5, 96, 3),
  ),
  "acgan D": (
    acgan.Discriminator(10),
    [COLOURS],
    acgan.Outputs((2,), (2, 10)),
    conv(3, 3, 16)
    + sum(conv(3, n, 2 * n, False) + 2 * 2 * n for n in (16, 32, 64, 128, 256))
    + dense(4 * 4 * 512, 1 + 10),
  ),
  "infogan G": (
    infogan.Generator(),
    [(2, 74)],
    DIGITS,
    dense(74, 1024, False)
    + 2 * 1024
    + dense(1024, 7 * 7 * 128, False)
    + 2 * 7 * 7 * 128
    + conv(4, 128, 64, False)
    + 2 * 64
    + conv(4, 64, 1),
  ),
  "infogan D": (
    infogan.Discriminator(),
    [DIGITS],
    infogan.Outputs((2,), (2, 10), (2, 2)),
    conv(4, 1, 64)
    + conv(4, 64, 128, False)
    + 2 * 128
    + dense(7 * 7 * 128, 1024, False)
    + 2 * 1024
    + dense(1024, 1)
    + dense(1024, 128, False)
    + 2 * 128
    + dense(128, 10 + 2),
  ),
  "began G": (
    autoencoder.Generator(),
    [(2, 64)],
    FACES,
    dense(64, 8 * 8 * 128) + 4 * 2 * conv(3, 128, 128) + conv(3, 128, 3),
  ),
  "began D": (
    autoencoder.AutoEncoder(),
    [FACES],
    autoencoder.Outputs((2,), (2, 64), FACES),
    conv(3, 3, 128)
    + sum(conv(3, a, b) for a, b in [(128, 128)] * 3)
    + sum(conv(3, a, b) for a, b in [(128, 256), (256, 256), (256, 256)])
    + sum(conv(3, a, b) for a, b in [(256, 384), (384, 384), (384, 384)])
    + sum(conv(3, a, b) for a, b in [(384, 512), (512, 512)])
    + dense(8 * 8 * 512, 64)
    + dense(64, 8 * 8 * 128)
    + 4 * 2 * conv(3, 128, 128)
    + conv(3, 128, 3),
  ),
  "ebgan D": (
    autoencoder.ConvAutoEncoder(),
    [FACES],
    autoencoder.Outputs((2,), (2, 8 * 8 * 256), FACES),
    conv(4, 3, 64)
    + sum(conv(4, a, b, False) + 2 * b for a, b in [(64, 128), (128, 256), (256, 128), (128, 64)])
    + conv(4, 64, 3),
  ),
  "wgan_gp MNIST G": (
    wgan_gp.Generator(28, 1),
    [(2, 128)],
    DIGITS,
    dense(128, 16 * 256) + conv(5, 256, 128) + conv(5, 128, 64) + conv(5, 64, 1),
  ),
  "wgan_gp MNIST D": (
    wgan_gp.Critic(28),
    [DIGITS],
    (2,),
    conv(5, 1, 64) + conv(5, 64, 128) + conv(5, 128, 256) + dense(16 * 256, 1),
  ),
  "wgan_gp CIFAR G": (
    wgan_gp.Generator(width=128),
    [(2, 128)],
    COLOURS,
    dense(128, 16 * 512, False)
    + 2 * 16 * 512
    + conv(5, 512, 256, False)
    + 2 * 256
    + conv(5, 256, 128, False)
    + 2 * 128
    + conv(5, 128, 3),
  ),
  "wgan_gp CIFAR D": (
    wgan_gp.Critic(width=128),
    [COLOURS],
    (2,),
    conv(5, 3, 128) + conv(5, 128, 256) + conv(5, 256, 512) + dense(16 * 512, 1),
  ),
  "wgan_gp layer norm": (
    wgan_gp.Critic(width=128, norm=layers.LayerNorm),
    [COLOURS],
    (2,),
    conv(5, 3, 128) + conv(5, 128, 256) + conv(5, 256, 512) + 2 * 768 + dense(16 * 512, 1),
  ),
  "dcgan layer norm": (
    dcgan.Discriminator(norm=lambda train: layers.LayerNorm()),
    [FACES],
    (2,),
    2_765_568,  # as with batch norm
  ),
  "improved G": (
    improved.Generator(reference_size=7),
    [(2, 100)],
    COLOURS,
    dense(100, 16 * 512, False)
    + 2 * 16 * 512
    + conv(5, 512, 256, False)
    + 2 * 256
    + conv(5, 256, 128, False)
    + 2 * 128
    + conv(5, 128, 3),
  ),
  "improved D": (
    improved.Discriminator(),
    [COLOURS],
    improved.Outputs((2,), (2, 256)),
    conv(4, 3, 64)
    + conv(4, 64, 128, False)
    + 2 * 128
    + conv(4, 128, 256, False)
    + 2 * 256
    + 256 * 100 * 5
    + 100 * 5  # norms of the columns
    + 100
    + dense(256 + 100, 1),
  ),
  "improved MNIST G": (
    improved.DenseGenerator(),
    [(2, 100)],
    DIGITS,
    dense(100, 500) + dense(500, 500) + dense(500, 784) + 784,
  ),
  "improved MNIST D": (
    improved.DenseClassifier(),
    [DIGITS],
    improved.DenseOutputs((2, 10), (2, 250)),
    sum(
      dense(a, b)
      for a, b in [(784, 1000), (1000, 500), (500, 250), (250, 250), (250, 250), (250, 10)]
    )
    + 10,  # the last layer's norms alone are learned
  ),
}


@pytest.mark.parametrize(
  ("network", "inputs", "output", "parameters"), PUBLISHED.values(), ids=PUBLISHED
)
def test_the_published_networks(network, inputs, output, parameters):
  """Shapes and parameters, half precision inside only, and random numbers in training only."""
  for dtype, train in ((None, False), (jnp.bfloat16, True)):
    variables, result = shapes(network.clone(dtype=dtype), *inputs, train=train)
    assert jax.tree.map(jnp.shape, result) == output
    assert count(variables) == parameters
    types = {x.dtype for x in jax.tree.leaves((variables, result))}
    assert types == {np.dtype("float32")}


# Those that a test compares with torch, gradients and all, are left out.
SMALL = {
  "gan G": (gan.Generator(8, width=6), [(4, 5)]),
  "acgan G": (acgan.Generator(3, 8, width=4), [(4, 7)]),
  "acgan D": (acgan.Discriminator(3, 8, width=2), [(4, 8, 8, 3)]),
  "infogan G": (infogan.Generator(8, width=2), [(4, 7)]),
  "infogan D": (infogan.Discriminator(width=2), [(4, 8, 8, 1)]),
  "began D": (autoencoder.AutoEncoder(16, width=2, hidden=5), [(4, 16, 16, 3)]),
  "ebgan D": (autoencoder.ConvAutoEncoder(8, width=2, hidden=5), [(4, 8, 8, 3)]),
  "wgan_gp MNIST G": (wgan_gp.Generator(28, 1, width=2), [(4, 7)]),
  "wgan_gp G": (wgan_gp.Generator(16, width=2), [(4, 7)]),
  "wgan_gp D": (wgan_gp.Critic(8, width=2, norm=layers.LayerNorm), [(4, 8, 8, 3)]),
  "improved G": (improved.Generator(8, width=2, reference_size=5), [(4, 7)]),
  "improved MNIST G": (improved.DenseGenerator(8, width=6), [(4, 7)]),
}


@pytest.mark.parametrize(("network", "inputs"), SMALL.values(), ids=SMALL)
def test_every_parameter_learns(network, inputs):
  """Finite gradients that are not all 0, in training mode; pictures in [-1, 1]."""
  rng = np.random.default_rng(0)
  inputs = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in inputs]

  variables = randomized(shapes(network, *inputs)[0])
  stats = {name: v for name, v in variables.items() if name != "params"}

  @jax.jit
  def run(params):
    def loss(params):
      keys = {"dropout": jax.random.key(1)}
      output, _ = network.apply(
        {"params": params, **stats}, *inputs, train=True, rngs=keys, mutable=["batch_stats"]
      )
      terms = [jnp.sin(3.0 * x) for x in jax.tree.leaves(output)]
      return sum(x.sum() for x in terms), output

    return jax.grad(loss, has_aux=True)(params)

  gradients, output = run(variables["params"])
  for path, g in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.isfinite(g).all(), path
    assert np.abs(g).max() > 0.0, path
  if "Generator" in type(network).__name__ and not isinstance(network, autoencoder.Generator):
    assert output.shape[0] == 4
    assert 0.0 < np.abs(output).max() <= 1.0


@pytest.mark.parametrize(
  ("network", "inputs", "message"),
  [
    (gan.Generator(mean=-1.0), [(2, 5)], r"mean=-1.0 must lie within \(-1, 1\)"),
    (cgan.Generator(10), [(2, 10)], r"z \(2, 10\) is not \[batch, noise \+ classes\]"),
    (cgan.Discriminator(10), [DIGITS, (2, 9)], r"condition \(2, 9\) is not \[batch, classes\]"),
    (acgan.Generator(10, 28), [(2, 110)], "resolution=28 must be 8, 16, 32"),
    (acgan.Discriminator(10, 16), [COLOURS], "do not match resolution=16"),
    (infogan.Generator(30), [(2, 74)], "resolution=30 must be a multiple of 4"),
    (autoencoder.Generator(8), [(2, 64)], "resolution=8 must be 16, 32"),
    (autoencoder.AutoEncoder(64), [COLOURS], "do not match resolution=64"),
    (wgan_gp.Critic(28), [COLOURS], "do not match resolution=28"),
    (improved.Discriminator(12), [(2, 12, 12, 3)], "resolution=12 must be 8, 16, 32"),
  ],
)
def test_what_does_not_fit_is_refused(network, inputs, message):
  with pytest.raises(ValueError, match=message):
    shapes(network, *inputs)


def test_pictures_start_at_the_mean_of_the_data():
  """Around it, since the first weights are small; grey without."""
  z = jnp.zeros([1, 100])
  for mean, expected in ((-0.7, -0.7), (None, 0.0)):
    network = gan.Generator(4, width=8, mean=mean)
    start = jax.jit(functools.partial(network.init_with_output, train=False))
    images, _ = start(jax.random.key(0), z)
    np.testing.assert_allclose(images, jnp.full([1, 4, 4, 1], expected), atol=1e-6)


def test_weights_of_the_first_gan_are_uniform_around_zero():
  params = jax.jit(
    lambda: gan.Discriminator(20).init(jax.random.key(0), jnp.zeros(DIGITS), train=False)
  )()["params"]
  kernels = [x for x in jax.tree.leaves(params) if x.ndim == 2]
  assert len(kernels) == 3
  for kernel in kernels:
    assert 0.0 < -float(kernel.min()) <= 0.005
    assert 0.0 < float(kernel.max()) <= 0.005


@pytest.mark.parametrize(
  ("distance", "at", "slope"),
  [
    (autoencoder.mean_absolute, 2.0, [[0.5, -0.5]]),
    (autoencoder.mean_squared, 5.0, [[1.0, -3.0]]),
    (autoencoder.root_squared, 10**0.5, [[10**-0.5, -3 * 10**-0.5]]),
  ],
)
def test_distances(distance, at, slope):
  """By hand at a difference of (1, -3), with a finite gradient where there is none."""
  x = jnp.array([[1.0, -3.0]])
  np.testing.assert_allclose(jax.jit(distance)(x, jnp.zeros_like(x)), [at], rtol=1e-6)
  gradient = jax.grad(lambda x: distance(x, jnp.zeros_like(x)).sum())
  np.testing.assert_allclose(gradient(x), jnp.asarray(slope), rtol=1e-6)
  if distance is autoencoder.mean_absolute:  # any slope between those of the two sides
    assert (jnp.abs(gradient(jnp.zeros_like(x))) <= 0.5).all()
  else:
    np.testing.assert_array_equal(gradient(jnp.zeros_like(x)), jnp.zeros_like(x))
  with pytest.raises(ValueError, match=r"x \(1, 2\) and reconstruction \(2, 1\) differ"):
    distance(x, x.T)
