import jax
import numpy as np
import pytest

from jaxgan.metrics import features
from jaxgan.metrics.features import classifier

DESCRIPTION = classifier.Description("shapes", (8, 8, 1), ("a", "b", "c"), 0.5, {"width": 4})
PICTURES = np.random.default_rng(0).integers(0, 256, [5, 8, 8, 1], np.uint8)


@pytest.fixture(scope="module")
def params():
  return DESCRIPTION.module().init(jax.random.key(0), np.zeros([1, 8, 8, 1]))["params"]


def test_features_and_probabilities(params):
  network = classifier.features_of(DESCRIPTION, params)
  assert (network.name, network.dimension, network.classes) == ("classifier(shapes 8)", 128, 3)
  assert network.published is False
  outputs = network.apply(PICTURES)
  assert (np.asarray(outputs.features) >= 0).all()
  got, logits = DESCRIPTION.module().apply({"params": params}, PICTURES / np.float32(127.5) - 1)
  np.testing.assert_allclose(outputs.features, got, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(outputs.probabilities, jax.nn.softmax(logits), rtol=1e-4)
  large = np.full([2, 16, 16, 3], 200, np.uint8)  # resized, and made grey
  small = np.full([2, 8, 8, 1], 200, np.uint8)
  a, b = (network.apply(x).features for x in (large, small))
  np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_file_is_read_back_with_the_same_hash(params, tmp_path):
  classifier.save(tmp_path / "deep" / "a.npz", DESCRIPTION, params)
  description, read = classifier.load(tmp_path / "deep" / "a.npz")
  assert description == DESCRIPTION
  jax.tree.map(np.testing.assert_array_equal, read, params)
  hashes = {classifier.features_of(DESCRIPTION, p).weights_hash for p in (params, read)}
  assert len(hashes) == 1
  changed = jax.tree.map(lambda x: x + 1e-6, params)
  assert classifier.features_of(DESCRIPTION, changed).weights_hash not in hashes


def test_files_that_cannot_be_read_are_refused(params, tmp_path, monkeypatch):
  path = tmp_path / "a.npz"
  with pytest.raises(features.WeightsError, match=r"a\.npz.*python -m experiments\.classifier"):
    classifier.load(path)
  classifier.save(path, DESCRIPTION, params)
  whole = path.read_bytes()
  for content in (whole[: len(whole) // 2], b"", b"text", b"PK\x03\x04"):
    path.write_bytes(content)
    with pytest.raises(features.WeightsError, match="train it anew"):
      classifier.load(path)
  np.savez(path, weights=np.zeros(3))
  with pytest.raises(features.WeightsError, match="train it anew"):
    classifier.load(path)
  path.write_bytes(whole)
  monkeypatch.setattr(classifier, "_FORM", 2)
  with pytest.raises(features.WeightsError, match="form 1 and not 2"):
    classifier.load(path)


def test_weights_of_another_width_are_refused(params, tmp_path):
  other = classifier.Description("shapes", (8, 8, 1), ("a", "b", "c"), 0.5, {"width": 8})
  classifier.save(tmp_path / "a.npz", other, params)
  with pytest.raises(
    features.WeightsError, match=r"of another shape Conv_0\.bias \[4\] and not \[8\]"
  ):
    classifier.load(tmp_path / "a.npz")
