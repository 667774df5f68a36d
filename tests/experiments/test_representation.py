"""Linear classifiers on a discriminator's features, on a tiny run."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import (
  dcgan,
  labelled_pictures,
  pacgan,
  representation,
  sagan,
  sngan_projection,
)
from jaxgan import metrics, run, sampling
from jaxgan.run.state import Restored
from jaxgan.types import ImageSpec


class Residual(nn.Module):
  """A shortcut on the pooled picture, two dense layers, the second as wide as the maps."""

  @nn.compact
  def __call__(self, x, *, train):
    pooled = nn.avg_pool(x, (2, 2), (2, 2))
    x = nn.relu(nn.Conv(4, (3, 3))(x))
    x = nn.Conv(5, (3, 3))(x)
    x = nn.avg_pool(x, (2, 2), (2, 2)) + nn.Conv(5, (1, 1))(pooled)
    x = nn.tanh(nn.BatchNorm(use_running_average=not train)(x))
    x = nn.Conv(1, (3, 3))(x)  # as many channels as the picture
    x = nn.elu(x).reshape(len(x), -1)
    x = nn.relu(nn.Dense(16)(x))
    return nn.Dense(1)(x)[:, 0]


def random_variables(apply_init, *args):
  """Variables of their shapes, normal but for variances, without compiling anything."""
  random = np.random.default_rng(0)
  shapes = jax.eval_shape(apply_init, jax.random.key(0), *args)
  return jax.tree.map(lambda x: np.abs(random.normal(size=x.shape)).astype(x.dtype), shapes)


def random_network():
  images = np.random.default_rng(1).normal(size=[3, 8, 8, 1]).astype(np.float32)
  network = Residual()
  return network, random_variables(lambda key, x: network.init(key, x, train=False), images), images


def test_cells_are_those_of_adaptive_pooling():
  torch = pytest.importorskip("torch")
  random = np.random.default_rng(0)
  for height, width in ((16, 14), (7, 5), (4, 9)):
    x = random.normal(size=[2, height, width, 3]).astype(np.float32)
    expected = torch.nn.functional.adaptive_max_pool2d(torch.tensor(x.transpose(0, 3, 1, 2)), 4)
    pooled = representation.max_pooled(jnp.asarray(x))
    np.testing.assert_array_equal(pooled, expected.numpy().transpose(0, 2, 3, 1))
    assert representation.pooled_shape(x.shape[1:]) == pooled.shape[1:]
  small = jnp.asarray(random.normal(size=[2, 2, 3, 3]), jnp.float32)
  np.testing.assert_array_equal(representation.max_pooled(small), small)


def test_maps_are_normalised_and_activated_and_are_neither_picture_nor_dense():
  network, variables, images = random_network()
  maps = representation.chosen(network.apply, variables, (8, 8, 1), None)
  found = jax.jit(maps)(variables, images)
  shapes = {name: x.shape[1:] for name, x in found.items()}
  assert shapes == {"Conv_0": (8, 8, 4), "Conv_2": (4, 4, 5), "Conv_3": (4, 4, 1)}
  activated = {"Conv_0": nn.relu, "BatchNorm_0": nn.tanh, "Conv_3": nn.elu}
  for (layer, activation), x in zip(activated.items(), found.values(), strict=True):
    outputs = sampling.layer_outputs(network.apply, layer, variables, images, train=False)
    np.testing.assert_allclose(x, activation(outputs(variables, images)), rtol=1e-5, atol=1e-5)
  features = representation.represent(found)
  assert features.shape == (3, 4 * 4 * (4 + 5 + 1))
  np.testing.assert_array_equal(features[:, 16 * 4 : 16 * 9], found["Conv_2"].reshape(3, -1))
  first = found["Conv_0"].reshape(3, 4, 2, 4, 2, 4).max((2, 4)).reshape(3, -1)
  np.testing.assert_array_equal(features[:, : 16 * 4], first)


def test_named_layers_are_taken_as_they_are():
  network, variables, images = random_network()
  maps = representation.chosen(network.apply, variables, (8, 8, 1), "Dense_0, Conv_1")
  made = maps(variables, images)
  assert {name: x.shape[1:] for name, x in made.items()} == {
    "Dense_0": (1, 1, 16),
    "Conv_1": (8, 8, 5),
  }


SPLIT = "train[:80%]"


@pytest.fixture(scope="module")
def restored():
  """A run on the embedded digits."""
  config = dcgan.Config(workdir="", split=SPLIT, resolution=8, width=2, latent_dim=2)
  spec = ImageSpec((8, 8, 1), tuple("0123456789"))
  system = dcgan.build(config, spec)
  shapes = jax.eval_shape(system.init, jax.random.key(0))
  random = np.random.default_rng(0)
  player = jax.tree.map(
    lambda x: random.uniform(0.1, 1.0, x.shape).astype(x.dtype) - 0.5 * (x.ndim > 1),
    shapes.discriminator,
  )
  game = shapes.replace(discriminator=player, step=np.int32(7))
  return Restored(run.Record("experiments.dcgan", {}, spec, 40), config, system, game)


@pytest.fixture
def command(restored, tmp_path, monkeypatch):
  """Runs the command on that run, or on a changed one."""

  def call(changed=restored, **flags):
    monkeypatch.setattr(run, "restore", lambda *_: changed)
    options = {"workdir": str(tmp_path), "labels": 50, "weight_decay": 1e-2, **flags}
    return representation.main(representation.Options(**options))

  return call


def test_accuracies_are_those_of_a_linear_classifier(command, restored, tmp_path, capsys):
  content = command(batch_size=100)
  printed = capsys.readouterr().out
  labelled = labelled_pictures.choose(restored.config, 50)
  test = labelled_pictures.held_out(restored.config)
  assert np.bincount(labelled.labels).tolist() == [5] * 10

  def expected(function):
    x, y = (function(each.images.astype(np.float32) / 127.5 - 1.0) for each in (labelled, test))
    fit = metrics.logistic_regression(weight_decay=1e-2)
    return metrics.classification_accuracy_score(x, labelled.labels, y, test.labels, fit=fit)

  pixels = expected(lambda x: x.reshape(len(x), -1))
  assert content["pixels"] == {
    "accuracy": pixels.value,
    "standard_error": pixels.standard_error,
    "dimension": 64,
  }
  assert pixels.value > 0.7  # chance is 0.1

  player = restored.game.discriminator
  outputs = sampling.layer_outputs(
    player.apply_fn, "Conv_0", player.variables, jnp.zeros([1, 8, 8, 1]), train=False
  )
  (name,) = content["protocol"]["layers"]  # of 8 pixels D has one convolution to maps
  assert (name, content["features"]["dimension"]) == ("Conv_0", 32)
  features = expected(
    lambda x: np.asarray(nn.leaky_relu(outputs(player.variables, x), 0.2)).reshape(len(x), -1)
  )
  # a picture may fall on the other side by rounding
  assert abs(content["features"]["accuracy"] - features.value) <= 1 / len(test.labels)
  assert f"| pixels | 64 | {pixels.value:.2%} |" in printed
  written = json.loads((tmp_path / "representation_000007.json").read_text())
  assert written == json.loads(json.dumps(content))
  assert written["protocol"]["labels"] == 50
  assert written["protocol"]["test"] == len(test.labels)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"labels": 0}, "--labels=0 must be positive"),
    ({"labels": 9}, "--labels=9 must be at least 10"),
    ({"labels": 100_000_000}, "take fewer"),
    ({"labels": 10_000}, "--labels=10000 wants 1000 pictures of class 0"),
    ({"batch_size": 0}, "--batch-size=0"),
    ({"weight_decay": -1.0}, "--weight-decay=-1.0"),
    ({"weight_decay": float("nan")}, "--weight-decay=nan"),
    ({"layers": "nix"}, "--layers=nix must be one of Conv_0"),
    ({"layers": " ,"}, "--layers= , must be a list"),
  ],
  ids=str,
)
def test_what_cannot_be_done_is_said_in_a_line(command, flags, message):
  assert message in refused(lambda: command(**flags))


def test_runs_without_what_is_needed_are_refused(command, restored):
  record = dataclasses.replace(restored.record, spec=ImageSpec((8, 8, 1), ()))
  assert "no labels to learn from" in refused(lambda: command(restored._replace(record=record)))
  config = dataclasses.replace(restored.config, split="train")
  assert "--split=train[:80%]" in refused(lambda: command(restored._replace(config=config)))

  def discriminated(apply):
    player = restored.game.discriminator.replace(apply_fn=apply)
    return restored._replace(game=restored.game.replace(discriminator=player))

  conditional = discriminated(lambda variables, x, condition, *, train: x)
  assert "does not take one picture alone" in refused(lambda: command(conditional))
  dense = discriminated(lambda variables, x, *, train: x.sum((1, 2, 3)))
  assert "no convolutions" in refused(lambda: command(dense))


@pytest.mark.parametrize("module", [sngan_projection, sagan, pacgan], ids=lambda m: m.__name__)
def test_discriminators_of_classes_and_packs_are_refused(module):
  system = module.build(module.Config(workdir="", width=8), ImageSpec((32, 32, 1), ("a", "b")))
  player = jax.eval_shape(system.init, jax.random.key(0)).discriminator
  message = refused(
    lambda: representation.chosen(player.apply_fn, player.variables, (32, 32, 1), None)
  )
  assert "does not take one picture alone" in message


def test_a_missing_run_is_said_in_a_line(tmp_path):
  options = representation.Options(workdir=str(tmp_path))
  assert "holds no run" in refused(lambda: representation.main(options))


def refused(call):
  with pytest.raises(run.RunError) as error:
    call()
  assert "\n" not in str(error.value)
  return str(error.value)
