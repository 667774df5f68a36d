"""What a classifier of the real pictures sees in a run's samples: share and confidence by class.

A generator that forgets classes (mode collapse) shows here. The classifier, scikit-learn's
multi-layer perceptron on pixels, is trained on four fifths of the run's data set and tested on the
rest, so it can be trusted where its printed accuracy is high: on digits, not on photographs.
"""

import dataclasses
import warnings
from typing import Literal

import jax
import numpy as np
import tyro
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from jaxgan import run, sampling

_PICTURES = 5000  # most real pictures that the classifier is trained and tested on


@dataclasses.dataclass(frozen=True)
class Options:
  """Classifies samples of a run by a classifier of its real pictures."""

  workdir: str
  """Folder of the run; its data set must have labels."""
  num: int = 1000
  """Number of samples."""
  seed: int = 0
  """Of the latents, the split and the classifier."""
  checkpoint: Literal["latest", "best"] | int = "latest"
  """Which checkpoint: latest, best or a step."""


def main(options: Options) -> None:
  """Trains the classifier, draws and prints."""
  restored = run.restore(options.workdir, options.checkpoint)
  classes = restored.record.spec.classes
  if not classes:
    raise run.RunError(f"the data set of --workdir={options.workdir} has no labels to train on")
  dataset = run.load_data(restored.config)
  chosen = np.random.default_rng(options.seed).permutation(len(dataset))[:_PICTURES]
  examples = [dataset[int(i)] for i in chosen]
  images = np.stack([example["image"] for example in examples])
  labels = np.array([example["label"] for example in examples])
  classifier, accuracy = train(images, labels, options.seed)

  variables = restored.game.generator.evaluated()
  generate = jax.jit(restored.system.generate)
  z = restored.system.latents(jax.random.key(options.seed), options.num)
  samples = sampling.to_uint8(sampling.in_batches(lambda z: generate(variables, z), z))
  probabilities = classifier.predict_proba(flatten(samples))

  shares = np.bincount(probabilities.argmax(1), minlength=len(classes)) / options.num
  real = np.bincount(labels, minlength=len(classes)) / len(labels)
  print(f"classifier: {accuracy:.1%} of held-out real pictures right")
  print(f"{options.num} samples of step {int(restored.game.step)}: class, share (of the real)")
  for name, share, expected in zip(classes, shares, real, strict=True):
    print(f"  {name:>12} {share:6.1%} ({expected:.1%})")
  print(f"smallest share {shares.min():.1%}, mean confidence {probabilities.max(1).mean():.3f}")


def train(images: np.ndarray, labels: np.ndarray, seed: int) -> tuple[MLPClassifier, float]:
  """The classifier, and its accuracy on the fifth of the pictures that it has not seen."""
  order = np.random.default_rng(seed).permutation(len(images))
  held_out, seen = np.split(order, [len(images) // 5])
  classifier = MLPClassifier((256,), max_iter=60, random_state=seed)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # the printed accuracy tells better
    classifier.fit(flatten(images[seen]), labels[seen])
  return classifier, classifier.score(flatten(images[held_out]), labels[held_out])


def flatten(images: np.ndarray) -> np.ndarray:
  """Pixels in [0, 1], a row a picture."""
  return images.reshape(len(images), -1).astype(np.float32) / 255.0


if __name__ == "__main__":
  with run.command_line():
    main(tyro.cli(Options))
