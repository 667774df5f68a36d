import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from jaxgan import models, sampling


def aligned(a, b):
  """Absolute cosines of the rows, since a component's sign is arbitrary."""
  norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
  return np.abs((a * b).sum(1)) / norms


def test_factorisation_gives_eigenvectors_of_the_gram_matrix():
  weight = np.random.default_rng(0).normal(size=[6, 20])
  found = sampling.semantic_factorisation(jnp.asarray(weight), 4)
  weight = np.asarray(weight, np.float32).astype(np.float64)
  values, vectors = np.linalg.eigh(weight @ weight.T)  # ascending
  np.testing.assert_allclose(found.shares, values[::-1][:4] / values.sum(), rtol=1e-10)
  np.testing.assert_allclose(aligned(found.vectors, vectors.T[::-1][:4]), 1.0, rtol=1e-10)
  np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(4), atol=1e-12)
  assert (np.take_along_axis(found.vectors, np.abs(found.vectors).argmax(1)[:, None], 1) > 0).all()
  # the definition: no unit step changes the output more than the first
  steps = np.random.default_rng(1).normal(size=[1000, 6])
  lengths = np.linalg.norm(steps @ weight, axis=1) / np.linalg.norm(steps, axis=1)
  assert lengths.max() < np.linalg.norm(found.vectors[0] @ weight)


def test_factorisation_refuses_what_it_cannot_factor():
  with pytest.raises(ValueError, match="k=4"):
    sampling.semantic_factorisation(np.ones([5, 3]), 4)
  with pytest.raises(ValueError, match="finite"):
    sampling.semantic_factorisation(np.full([5, 3], np.nan))


@pytest.fixture(scope="module")
def dcgan():
  network = models.dcgan.Generator(resolution=8, channels=1, width=3)
  z = jax.random.normal(jax.random.key(0), [7, 10])
  return network, network.init(jax.random.key(1), z, train=False), z


def test_the_kernel_of_a_generator_is_found_and_acts_on_the_latent(dcgan):
  network, variables, z = dcgan
  name, weight = sampling.input_kernel(variables["params"], 10)
  assert name == "ConvTranspose_0.kernel"
  outputs = sampling.layer_outputs(network.apply, "ConvTranspose_0", variables, z, train=False)
  # A transposed convolution may turn the kernel around, which moves places, not lengths.
  direct = np.linalg.norm(outputs(variables, z).reshape(7, -1), axis=1)
  np.testing.assert_allclose(np.linalg.norm(z @ weight, axis=1), direct, rtol=1e-5)


def test_an_ambiguous_kernel_is_named_by_its_layer():
  params = {
    "A": {"kernel": jnp.ones([4, 2]), "bias": jnp.ones([2])},
    "AB": {"kernel": jnp.ones([3, 3, 4, 5])},
  }
  with pytest.raises(ValueError, match=r"A.kernel \[4, 2\], AB.kernel \[3, 3, 4, 5\]"):
    sampling.input_kernel(params, 4)
  for layer in ("A", "A.kernel"):
    assert sampling.input_kernel(params, 4, layer=layer)[1].shape == (4, 2)
  assert sampling.input_kernel(params, 4, layer="AB")[1].shape == (4, 45)
  with pytest.raises(ValueError, match="layer=C"):
    sampling.input_kernel(params, 4, layer="C")
  with pytest.raises(ValueError, match="no kernel has 7 inputs"):
    sampling.input_kernel(params, 7)


def test_outputs_of_a_layer_are_those_within_the_network(dcgan):
  network, variables, z = dcgan
  outputs = sampling.layer_outputs(network.apply, "BatchNorm_0", variables, z, train=False)
  before = sampling.layer_outputs(network.apply, "ConvTranspose_0", variables, z, train=False)
  # fresh running statistics: mean 0, variance 1
  scale = variables["params"]["BatchNorm_0"]["scale"] / np.sqrt(1.0 + 1e-5)
  expected = before(variables, z) * scale[None, None, None, :]
  np.testing.assert_allclose(jax.jit(outputs)(variables, z), expected, rtol=1e-5, atol=1e-7)
  with pytest.raises(ValueError, match="layer=Dense_0 must be one of BatchNorm_0, ConvTranspose_0"):
    sampling.layer_outputs(network.apply, "Dense_0", variables, z, train=False)


def test_a_layer_within_modules_has_a_path():
  network = models.mlp.Generator(dimensions=2, width=4, depth=2)
  z = jnp.ones([3, 5])
  variables = network.init(jax.random.key(0), z, train=False)
  outputs = sampling.layer_outputs(network.apply, "_Hidden_0.Dense_0", variables, z, train=False)
  dense = variables["params"]["_Hidden_0"]["Dense_0"]
  expected = z @ dense["kernel"] + dense["bias"][None]
  np.testing.assert_allclose(outputs(variables, z), expected, rtol=1e-6)
  assert sampling.input_kernel(variables["params"], 5)[0] == "_Hidden_0.Dense_0.kernel"


@pytest.mark.parametrize("sizes", [[100], [7, 1, 60, 32], [1] * 100])
def test_components_are_those_of_all_examples_at_once(sizes):
  """As many components as are carried: exact, up to float64's rounding."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=[100, 12]) @ rng.normal(size=[12, 12]) + 5.0
  found = sampling.principal_components(np.split(x, np.cumsum(sizes)[:-1]), 3)
  expected = PCA(3, svd_solver="full").fit(x)
  np.testing.assert_allclose(found.mean, expected.mean_, rtol=1e-10)
  np.testing.assert_allclose(found.deviations, np.sqrt(expected.explained_variance_), rtol=1e-8)
  np.testing.assert_allclose(found.shares, expected.explained_variance_ratio_, rtol=1e-8)
  np.testing.assert_allclose(aligned(found.vectors, expected.components_), 1.0, rtol=1e-8)


def test_components_of_many_features_are_close_where_they_are_cut():
  rng = np.random.default_rng(0)
  x = (rng.normal(size=[300, 40]) * 0.7 ** np.arange(40)).astype(np.float32)
  found = sampling.principal_components(np.split(x, 6), 4)
  expected = PCA(4, svd_solver="full").fit(x)
  # What lies beyond the 14th component, 0.7^14 = 0.7% of the first, is cut off six times.
  np.testing.assert_allclose(found.deviations, np.sqrt(expected.explained_variance_), rtol=1e-4)
  np.testing.assert_allclose(aligned(found.vectors, expected.components_), 1.0, rtol=1e-4)


def test_components_without_variance_are_left_out():
  x = np.outer(np.arange(5.0), [3.0, 4.0])
  found = sampling.principal_components([x], 2)
  np.testing.assert_allclose(np.abs(found.vectors), [[0.6, 0.8]], rtol=1e-12)
  np.testing.assert_allclose(found.deviations, 5.0 * np.std(np.arange(5.0), ddof=1), rtol=1e-12)
  with pytest.raises(ValueError, match="nothing to analyse"):
    sampling.principal_components([np.ones([5, 2])], 1)
  with pytest.raises(ValueError, match="finite"):
    sampling.principal_components([np.full([5, 2], np.inf)], 1)


def test_a_step_along_a_principal_direction_is_one_deviation_of_its_component():
  """With an affine layer the regression is exact, and the layer's step can be read off."""
  weight = jax.random.normal(jax.random.key(0), [4, 9])
  layer = jax.jit(lambda z: (z @ weight + 3.0).reshape(-1, 3, 3))
  z = jax.random.normal(jax.random.key(1), [500, 4])
  found = sampling.principal_directions(layer, z, 4, batch_size=64)
  outputs = np.asarray(layer(z)).reshape(500, -1).astype(np.float64)
  expected = PCA(4, svd_solver="full").fit(outputs)
  moved = found.vectors @ np.asarray(weight, np.float64)
  np.testing.assert_allclose(
    np.linalg.norm(moved, axis=1), np.sqrt(expected.explained_variance_), rtol=1e-4
  )
  np.testing.assert_allclose(aligned(moved, expected.components_), 1.0, rtol=1e-4)
  np.testing.assert_allclose(found.shares, expected.explained_variance_ratio_, rtol=1e-4)


def test_principal_directions_of_an_affine_layer_are_its_semantic_factors():
  """Both find what the layer stretches most; PCA up to the error of 4,000 draws, about 2%."""
  weight = (
    jax.random.normal(jax.random.key(2), [5, 8]) * jnp.array([9.0, 5.0, 3.0, 1.0, 0.3])[:, None]
  )
  z = jax.random.normal(jax.random.key(3), [4000, 5])
  pca = sampling.principal_directions(lambda z: z @ weight, z, 3, batch_size=4000)
  sefa = sampling.semantic_factorisation(weight, 3)
  assert (aligned(pca.vectors, sefa.vectors) > 0.99).all()
  np.testing.assert_allclose(np.linalg.norm(pca.vectors, axis=1), 1.0, atol=0.05)
  np.testing.assert_allclose(pca.shares, sefa.shares, atol=0.02)


def test_principal_directions_refuse_too_few_latents():
  with pytest.raises(ValueError, match="k=3 must be from 1 to 2"):
    sampling.principal_directions(lambda z: z, jnp.ones([3, 5]), 3)
  with pytest.raises(ValueError, match=r"\[n, d\]"):
    sampling.principal_directions(lambda z: z, jnp.ones([3]), 1)
