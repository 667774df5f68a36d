"""What a classifier of the real pictures sees in a run's samples: share and confidence by class.

A generator that forgets classes (mode collapse) shows here. The classifier is trained on the run's
data set as `experiments.classifier` does, once, and kept; it can be trusted where its printed
accuracy on held-out pictures is high: on digits and clothes, not on photographs.
"""

import dataclasses
from typing import Literal

import jax
import numpy as np

from experiments import classifier
from jaxgan import compilation, run, sampling
from jaxgan.metrics import features


@dataclasses.dataclass(frozen=True)
class Options:
  """Classifies samples of a run by a classifier of its real pictures."""

  workdir: str
  """Folder of the run; its data set must have labels."""
  num: int = 1000
  """Number of samples."""
  seed: int = 0
  """Of the latents and the classifier."""
  checkpoint: Literal["latest", "best"] | int = "latest"
  """Which checkpoint: latest, best or a step."""


def main(options: Options) -> None:
  """Trains the classifier, draws and prints."""
  restored = run.restore(options.workdir, options.checkpoint)
  classes = restored.record.spec.classes
  if not classes:
    raise run.RunError(f"the data set of --workdir={options.workdir} has no labels to train on")
  dataset = run.load_data(restored.config)
  network, description = classifier.obtain(dataset, classifier.Training(seed=options.seed))
  _, labels = classifier.arrays(dataset)

  variables = restored.game.generator.evaluated()
  generate = compilation.jit(restored.system.generate)
  z = restored.system.latents(jax.random.key(options.seed), options.num)
  samples = sampling.to_uint8(sampling.in_batches(lambda z: generate(variables, z), z))
  probabilities = features.extract_all(network, samples).probabilities
  assert probabilities is not None

  shares = np.bincount(probabilities.argmax(1), minlength=len(classes)) / options.num
  real = np.bincount(labels, minlength=len(classes)) / len(labels)
  print(f"classifier: {description.accuracy:.1%} of held-out real pictures right")
  print(f"{options.num} samples of step {int(restored.game.step)}: class, share (of the real)")
  for name, share, expected in zip(classes, shares, real, strict=True):
    print(f"  {name:>12} {share:6.1%} ({expected:.1%})")
  print(f"smallest share {shares.min():.1%}, mean confidence {probabilities.max(1).mean():.3f}")


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
