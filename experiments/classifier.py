"""A small classifier of a data set, whose features and classes measure samples of that set.

ImageNet's features say little of digits or clothes; those of a classifier trained on the set itself
tell its classes apart. It is trained once, in a minute or two on two CPU cores, and kept in the
user's cache folder. Scores on it compare only with scores on the same one, which its hash tells.
"""

import dataclasses
import functools
import hashlib
import pathlib
import sys
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
import tyro
from jaxtyping import Float

from jaxgan import compilation, data, run
from jaxgan._files import user_cache
from jaxgan.metrics import features
from jaxgan.metrics.features import classifier
from jaxgan.types import Array, Batch, Key, PyTree

_IN_MEMORY = 4e9  # most bytes of pictures


@dataclasses.dataclass(frozen=True)
class Training:
  """How a classifier is trained."""

  steps: run.Count = 1500
  """Most updates; fewer where the set is small."""
  epochs: run.Count = 40
  """Most passes over the pictures."""
  batch_size: run.Count = 128
  """Pictures in an update."""
  learning_rate: run.Rate = 3e-3
  """Adam's at the start; it falls to zero as a cosine."""
  shift: run.Size = 1
  """Pictures are moved by up to so many pixels each way."""
  flip: bool = False
  """Mirror pictures at random, left to right."""
  width: run.Width = 32
  """Channels of the first convolution."""
  seed: run.Seed = 0
  """Of weights, order, shifts, and of the choice of pictures that are held out."""

  def __post_init__(self) -> None:
    """Refuses values that make no classifier."""
    run.check_fields(self)


@dataclasses.dataclass(frozen=True)
class Options:
  """Trains a classifier, prints how many held-out pictures it gets right, and keeps it."""

  dataset: str = "digits"
  """`digits` (embedded), a TFDS name, or a path; it must have labels."""
  split: str = "train"
  """Split of the data set, as TFDS writes it; a fifth of it, or 10,000 pictures, is held out."""
  data_dir: str | None = None
  """Where TFDS keeps its data sets; TFDS's own default if not given."""
  resolution: int = 28
  """Height and width in pixels to which pictures are cropped and resized."""
  channels: Literal[1, 3] | None = None
  """Make all pictures grey (1) or coloured (3); by default they stay as they are."""
  limit: int | None = None
  """Use the first N pictures only."""
  cache_dir: str | None = None
  """Where decoded pictures are kept; by default jaxgan/data in the user's cache folder."""
  retrain: bool = False
  """Train even if there is such a classifier already."""
  training: tyro.conf.OmitArgPrefixes[Training] = dataclasses.field(default_factory=Training)


def main(options: Options) -> None:
  """Trains, or finds what was trained, and prints."""
  names = ("dataset", "split", "data_dir", "resolution", "channels", "limit", "cache_dir")
  chosen: dict[str, Any] = {name: getattr(options, name) for name in names}
  dataset = run.load_data(run.Config(workdir="", **chosen))
  network, description = obtain(dataset, options.training, retrain=options.retrain)
  count = _held_out(len(dataset))
  print(f"{network.name}: {description.accuracy:.1%} of {count} held-out pictures right")
  print(f"weights {network.weights_hash} in {_path(dataset, options.training)}")


def obtain(
  dataset: data.Dataset, training: Training, *, retrain: bool = False
) -> tuple[features.Features, classifier.Description]:
  """The classifier of a data set, from the cache or trained now.

  Raises:
    RunError: the pictures have no labels or are too many.
  """
  path = _path(dataset, training)
  if not retrain and path.exists():
    try:
      description, params = classifier.load(path)
      return classifier.features_of(description, params), description
    except features.WeightsError as error:
      print(f"{error}; this is done now", file=sys.stderr)
  description, params = train(dataset, training)
  try:
    classifier.save(path, description, params)
  except OSError as error:
    print(f"the classifier cannot be kept ({error}): set XDG_CACHE_HOME", file=sys.stderr)
  return classifier.features_of(description, params), description


def train(dataset: data.Dataset, training: Training) -> tuple[classifier.Description, PyTree]:
  """Trains on all pictures but those held out, and tests on these.

  Raises:
    RunError: the pictures have no labels or are too many.
  """
  images, labels = arrays(dataset)
  order = np.random.default_rng(training.seed).permutation(len(images))
  held_out, seen = np.split(order, [_held_out(len(images))])
  pictures = data.Dataset(dataset.name, images[seen], labels[seen], dataset.classes)
  description = classifier.Description(
    dataset.name, dataset.shape, dataset.classes, 0.0, {"width": training.width}
  )
  network = description.module()
  steps = min(training.steps, max(training.epochs * len(seen) // training.batch_size, 1))
  optimizer = optax.adam(optax.cosine_decay_schedule(training.learning_rate, steps))

  def loss(params: PyTree, batch: Batch, key: Key) -> Array:
    shift_key, dropout_key = jax.random.split(key)
    moved = shifted(batch["image"], shift_key, training.shift)
    rngs = {"dropout": dropout_key}
    outputs: Any = network.apply({"params": params}, moved, train=True, rngs=rngs)
    return optax.softmax_cross_entropy_with_integer_labels(outputs[1], batch["label"]).mean()

  @functools.partial(compilation.jit, donate_argnums=(0, 1))
  def update(params: PyTree, state: PyTree, batch: Batch, key: Key) -> tuple[PyTree, PyTree]:
    batch = {name: array[0] for name, array in batch.items()}
    changes, state = optimizer.update(jax.grad(loss)(params, batch, key), state)
    return optax.apply_updates(params, changes), state

  init_key, key = jax.random.split(jax.random.key(training.seed))
  params = compilation.jit(network.init)(init_key, jnp.zeros((1, *dataset.shape)))["params"]
  state = optimizer.init(params)
  options: dict[str, Any] = dict(seed=training.seed, flip=training.flip)
  with data.Batches(pictures, training.batch_size, **options) as batches:
    bar = tqdm.trange(steps, desc=f"classifier of {dataset.name}", leave=False, disable=None)
    for step, batch in zip(bar, batches.starting_at(0), strict=False):
      params, state = update(params, state, batch, jax.random.fold_in(key, step))
  network_features = classifier.features_of(description, params)
  found = features.extract_all(network_features, images[held_out], batch_size=256)
  assert found.probabilities is not None
  accuracy = float((found.probabilities.argmax(1) == labels[held_out]).mean())
  return dataclasses.replace(description, accuracy=accuracy), params


def arrays(dataset: data.Dataset) -> tuple[np.ndarray, np.ndarray]:
  """All pictures and labels.

  Raises:
    RunError: there are no labels, or the pictures do not fit into memory.
  """
  if not dataset.classes:
    raise run.RunError(f"the data set {dataset.name} has no labels to train a classifier on")
  if dataset.images is not None and dataset.labels is not None:
    return dataset.images, dataset.labels
  size = len(dataset) * float(np.prod(dataset.shape))
  if size > _IN_MEMORY:
    raise run.RunError(
      f"the {len(dataset)} pictures of {dataset.name} take {size / 1e9:.0f} GB: set --limit"
    )
  examples = [dataset[index] for index in range(len(dataset))]
  images, labels = ([example[name] for example in examples] for name in ("image", "label"))
  return np.stack(images), np.array(labels)


def shifted(images: Float[Array, "n h w c"], key: Key, reach: int) -> Float[Array, "n h w c"]:
  """Moves each picture by up to `reach` whole pixels each way; borders are repeated."""
  padded = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
  corners = jax.random.randint(key, [len(images), 2], 0, 2 * reach + 1)
  cut = functools.partial(jax.lax.dynamic_slice, slice_sizes=images.shape[1:])
  return jax.vmap(lambda image, corner: cut(image, (corner[0], corner[1], 0)))(padded, corners)


def _held_out(count: int) -> int:
  return min(count // 5, 10_000)


def _path(dataset: data.Dataset, training: Training) -> pathlib.Path:
  """Where the classifier is kept: a name for the reader, and a digest of all that decides it."""
  places = np.linspace(0, len(dataset) - 1, 64).astype(int)
  examples = [dataset[int(place)] for place in places]
  digest = hashlib.sha256(repr((training, dataset.shape, len(dataset), dataset.classes)).encode())
  for example in examples:
    digest.update(example["image"].tobytes() + np.int32(example.get("label", -1)).tobytes())
  readable = "".join(letter if letter.isalnum() else "_" for letter in dataset.name)[:40]
  return user_cache("classifiers", f"{readable}-{dataset.shape[0]}-{digest.hexdigest()[:16]}.npz")


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
