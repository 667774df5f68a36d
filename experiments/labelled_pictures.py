"""The labelled pictures of semi-supervised learning, and those that test it."""

import dataclasses
from typing import NamedTuple

import numpy as np

from jaxgan import data, run


class Labelled(NamedTuple):
  """Pictures with their classes.

  Attributes:
    images: uint8 `[n, H, W, C]`.
    labels: int32 `[n]`.
  """

  images: np.ndarray
  labels: np.ndarray


def choose(config: run.Config, count: int) -> Labelled:
  """So many pictures of the training data, as evenly over the classes as can be.

  They follow from the run's seed.

  Raises:
    RunError: the data have no labels, or not so many pictures of each class.
  """
  images, labels = _read(run.load_data(config), "--dataset")
  classes = np.unique(labels)
  order = np.random.default_rng(config.seed).permutation(len(labels))
  turns = [order[labels[order] == each] for each in classes]
  shares = [len(part) for part in np.array_split(np.arange(count), len(classes))]
  for each, turn, share in zip(classes, turns, shares, strict=True):
    if share > len(turn):
      raise run.RunError(
        f"--labels={count} wants {share} pictures of class {each}, and there are {len(turn)}"
      )
  rows = np.concatenate([turn[:share] for turn, share in zip(turns, shares, strict=True)])
  return Labelled(images[rows], labels[rows])


def held_out(config: run.Config) -> Labelled:
  """The split `test` of the training data; of sets without one a fifth at the end of `train`.

  That fifth is only held out where the run was told so, by `--split=train[:80%]`.

  Raises:
    RunError: the data have no labels, or neither split can be had.
  """
  if "test" in config.split:
    raise run.RunError(f"--split={config.split} trains on what the error is measured on")
  try:
    test = run.load_data(dataclasses.replace(config, split="test", limit=None))
  except data.DataError as error:
    if config.split != "train[:80%]":
      raise run.RunError(
        f"--dataset={config.dataset} has no split 'test' to measure the error on; train with "
        "--split=train[:80%], so that the rest is held out"
      ) from error
    test = run.load_data(dataclasses.replace(config, split="train[80%:]", limit=None))
  return _read(test, "--dataset")


def _read(dataset: data.Dataset, flag: str) -> Labelled:
  if not dataset.classes:
    raise run.RunError(f"{flag}={dataset.name} has no labels; take a set that has, such as mnist")
  examples = [dataset[i] for i in range(len(dataset))]
  return Labelled(
    np.stack([example["image"] for example in examples]),
    np.asarray([example["label"] for example in examples], np.int32),
  )
