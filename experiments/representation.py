"""What a discriminator has learnt of pictures: a linear classifier on its features.

    python -m experiments.representation --workdir=/tmp/run --labels=1000

Radford et al. 2015 (arXiv 1511.06434), section 5.1: the features of all convolutions, each
max-pooled to a grid of 4x4, flattened and put side by side. Their classifier is a linear SVM with a
squared hinge loss; here it is `metrics.logistic_regression`, linear and regularised too, on
standardised features, so that figures are near theirs and not the same. Batch norm uses the running
averages of training. Raw pixels under the same classifier stand beside, as the floor.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments import labelled_pictures
from experiments.labelled_pictures import Labelled
from experiments.restored import positive
from jaxgan import metrics, run, sampling
from jaxgan._files import replacing
from jaxgan.types import Array, PyTree

_GRID = 4
_IN_MEMORY = 8e9  # most bytes of the training features, in float64

Represent = Callable[[Array], Array]  # from pictures in [-1, 1] to features [n, d]


@dataclasses.dataclass(frozen=True)
class Options:
  """Classifies pictures by the features of a run's discriminator."""

  workdir: str
  """Folder of the run; its data set must have labels and pictures that were held out."""
  labels: int = 1000
  """Labelled pictures of the training data to learn from, spread evenly over the classes."""
  layers: str | None = None
  """List of layers whose outputs to take instead, such as `Conv_1,BatchNorm_0`, before any
  activation; by default what comes out of all convolutions, normalised and activated."""
  weight_decay: float = 1e-4
  """Of the linear classifier: half of it times the sum of squared weights is added to the loss."""
  checkpoint: Literal["latest", "best"] | int = "latest"
  """Which checkpoint: latest, best or a step."""
  data_dir: str | None = None
  """Where TFDS keeps its data sets, if not where the run found them."""
  batch_size: int = 256
  """Pictures at a time in the discriminator."""


class Accuracy(NamedTuple):
  """What a linear classifier gets right.

  Attributes:
    accuracy: share of the test pictures.
    standard_error: its binomial standard error.
    dimension: of the features.
  """

  accuracy: float
  standard_error: float
  dimension: int


def main(options: Options) -> dict[str, Any]:
  """Restores the run, classifies, prints and writes."""
  positive(options, "labels", "batch_size")
  if not options.weight_decay >= 0.0:
    raise run.RunError(f"--weight-decay={options.weight_decay} must be 0 or more")
  restored = run.restore(options.workdir, options.checkpoint)
  record, config = restored.record, restored.config
  if len(record.spec.classes) < 2:
    raise run.RunError(f"the data set of --workdir={options.workdir} has no labels to learn from")
  if options.labels < len(record.spec.classes):
    raise run.RunError(
      f"--labels={options.labels} must be at least {len(record.spec.classes)}, one of each class"
    )
  player = restored.game.discriminator
  maps = chosen(player.apply_fn, player.variables, record.spec.shape, options.layers)
  shapes = _shapes(maps, player.variables, record.spec.shape)
  dimension = sum(h * w * c for h, w, c in map(pooled_shape, shapes.values()))
  if 8.0 * dimension * options.labels > _IN_MEMORY:
    raise run.RunError(
      f"--labels={options.labels} by {dimension:,} features take "
      f"{8e-9 * dimension * options.labels:.0f} GB: take fewer, or fewer --layers"
    )
  if options.data_dir is not None:
    config = dataclasses.replace(config, data_dir=options.data_dir)
  test = labelled_pictures.held_out(config)
  labelled = labelled_pictures.choose(config, options.labels)

  variables = player.variables
  represented = jax.jit(lambda images: represent(maps(variables, images)))
  found = {
    name: measure(function, labelled, test, options)
    for name, function in (("features", represented), ("pixels", _flat))
  }
  step = int(restored.game.step)
  content: dict[str, Any] = {name: accuracy._asdict() for name, accuracy in found.items()}
  content["protocol"] = {
    "step": step,
    "dataset": config.dataset,
    "split": config.split,
    "resolution": config.resolution,
    "seed": config.seed,
    "labels": len(labelled.labels),
    "test": len(test.labels),
    "layers": {name: list(shape) for name, shape in shapes.items()},
    "classifier": "logistic regression on standardised features",
    "weight_decay": options.weight_decay,
  }
  print(table(found, content["protocol"]))
  path = pathlib.Path(options.workdir) / f"representation_{step:06d}.json"
  with replacing(path) as temporary:
    temporary.write_text(json.dumps(content, indent=2) + "\n")
  print(f"written: {path}", file=sys.stderr)
  return content


def table(found: dict[str, Accuracy], protocol: dict[str, Any]) -> str:
  """The accuracies in Markdown."""
  rows = [
    f"step {protocol['step']}, a linear classifier of {protocol['labels']:,} labelled pictures, "
    f"{protocol['test']:,} test pictures of {protocol['dataset']}",
    "",
    "| of | dimension | test accuracy | standard error |",
    "|---|---|---|---|",
  ]
  for name, (accuracy, error, dimension) in found.items():
    rows.append(f"| {name} | {dimension:,} | {accuracy:.2%} | {error:.2%} |")
  return "\n".join(rows)


def measure(function: Represent, labelled: Labelled, test: Labelled, options: Options) -> Accuracy:
  """Fits a linear classifier to some pictures and tests it on others."""

  def parts(images: Any) -> Iterator[np.ndarray]:
    return sampling.batches(lambda x: function(_signed(x)), images, options.batch_size)

  x = np.concatenate(list(parts(labelled.images)))
  fit = metrics.logistic_regression(weight_decay=options.weight_decay)
  predict = fit(x, labelled.labels)
  # The test's features pass by: all of them would be too many.
  predicted = np.concatenate([predict(part) for part in parts(test.images)])
  accuracy = float((predicted == test.labels).mean())
  error = float(np.sqrt(accuracy * (1.0 - accuracy) / len(test.labels)))
  return Accuracy(accuracy, error, x.shape[1])


def represent(maps: dict[str, Float[Array, "n _ _ _"]]) -> Float[Array, "n d"]:
  """Max-pools each map to 4x4, flattens, and puts all side by side."""
  parts = [_flat(max_pooled(maps[name])) for name in sorted(maps)]
  return jnp.concatenate([part.astype(jnp.float32) for part in parts], axis=1)


def max_pooled(x: Float[Array, "n h w c"]) -> Float[Array, "n _ _ c"]:
  """Largest values in a grid of 4x4 cells; cells of a size that 4 does not divide overlap.

  A side below 4 stays as it is.
  """
  for axis in (1, 2):
    if (size := x.shape[axis]) > _GRID:
      cells = [(i * size // _GRID, -(-(i + 1) * size // _GRID)) for i in range(_GRID)]
      cut = [jax.lax.slice_in_dim(x, *cell, axis=axis).max(axis) for cell in cells]
      x = jnp.stack(cut, axis)
  return x


def pooled_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
  """Shape of `max_pooled` of one example."""
  h, w, c = shape
  return min(h, _GRID), min(w, _GRID), c


def chosen(
  apply: Callable[..., Any], variables: PyTree, shape: tuple[int, ...], layers: str | None
) -> Callable[[PyTree, Array], dict[str, Array]]:
  """A function from variables and pictures to the feature maps, by their layers' names.

  Args:
    apply: the discriminator's.
    variables: the discriminator's.
    shape: of a picture.
    layers: those of `--layers`; None for all convolutions.

  Raises:
    RunError: there is no such layer, it makes no maps, or the discriminator takes more than
      pictures.
  """
  images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  try:
    jax.eval_shape(lambda v, x: apply(v, x, train=False), variables, images)
  except (TypeError, ValueError) as error:
    raise run.RunError(
      f"the run's discriminator does not take one picture alone ({error}): take a run whose "
      "discriminator is neither told the class nor packed"
    ) from error
  if layers is None:
    convolved = _of_convolutions(apply)
    if not _shapes(convolved, variables, shape):
      raise run.RunError("the run's discriminator has no convolutions: name its layers by --layers")
    return convolved
  names = list(dict.fromkeys(filter(None, map(str.strip, layers.split(",")))))
  if not names:
    raise run.RunError(f"--layers={layers} must be a list like Conv_0,Conv_1")
  try:
    outputs = {
      name: sampling.layer_outputs(apply, name, variables, images, train=False) for name in names
    }
  except ValueError as error:
    raise run.RunError(f"{error}".replace("layer=", "--layers=")) from error

  def maps(variables: PyTree, images: Array) -> dict[str, Array]:
    made = {name: output(variables, images) for name, output in outputs.items()}
    return {name: x.reshape(len(x), 1, 1, -1) if x.ndim == 2 else x for name, x in made.items()}

  for name, made in _shapes(maps, variables, shape).items():
    if len(made) != 3:
      raise run.RunError(f"--layers={name} gives {list(made)} a picture, and maps have 3 axes")
  return maps


def _of_convolutions(apply: Callable[..., Any]) -> Callable[[PyTree, Array], dict[str, Array]]:
  """What comes out of each convolution, normalised and activated, by the convolution's name.

  Activations are functions and no layers, but the next layer with a kernel takes them in, so they
  are the inputs of such layers: up to the first dense one, and without the picture itself, which
  the shortcut of a residual block may take in. Maps that are summed over their places before that
  dense layer are not found.
  """

  def maps(variables: PyTree, images: Array) -> dict[str, Array]:
    found: dict[str, Array] = {}
    seen: list[Array] = []
    last: tuple[str, tuple[int, ...]] | None = None  # convolution, and shape of what it made

    def look(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
      nonlocal last
      made = call(*args, **kwargs)
      module = context.module
      if context.method_name != "__call__" or not module.has_variable("params", "kernel"):
        return made
      x = args[0]
      if last is not None and not any(x is each for each in seen):
        name, shape = last
        if x.ndim == 2 and x.shape[1] == np.prod(shape[1:]):
          x = x.reshape(shape)
        # the picture, pooled perhaps, has its channels and not those that were made last
        if x.ndim == 4 and (x.shape[-1] == shape[-1] or x.shape[-1] != images.shape[-1]):
          found[name if name not in found else f"{name} ({len(found)})"] = x
      seen.append(args[0])
      last = (".".join(module.path), made.shape) if made.ndim == 4 else None
      return made

    with nn.intercept_methods(look):
      apply(variables, images, train=False)
    return found

  return maps


def _shapes(
  maps: Callable[[PyTree, Array], dict[str, Array]], variables: PyTree, shape: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
  images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  return {name: x.shape[1:] for name, x in jax.eval_shape(maps, variables, images).items()}


def _signed(images: Array) -> Array:
  """Pictures in [-1, 1] of pictures in uint8."""
  return jnp.asarray(images, jnp.float32) / 127.5 - 1.0


def _flat(x: Array) -> Array:
  return x.reshape(len(x), -1)


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
