"""What scores are made of: real pictures, samples, and what some measures ask for besides.

All of it is made when it is first read, so that a score costs what its measures need.
"""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import data
from jaxgan._files import replacing, user_cache
from jaxgan.metrics import features
from jaxgan.metrics.features import Features, Outputs
from jaxgan.run.conditioning import condition_of
from jaxgan.run.config import Config, RunError
from jaxgan.run.state import load_data
from jaxgan.types import Array, Key

__all__ = ["PICTURES", "Evidence", "NotFiniteError", "Reference", "held_out_data", "outputs_of"]

_BATCH = 256  # samples drawn at a time
PICTURES = 40 * _BATCH  # most samples, and real pictures, that stay in memory as pictures
_TRAINED = 50_000  # most training pictures among which copies are searched
_HELD_OUT = 11_000  # most held-out pictures: 1,000 to choose by, 10,000 to test on
_READ = 1024  # pictures read at a time


class NotFiniteError(RunError):
  """Samples are not numbers."""


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
  """The data's side of a score, the same for every game.

  Attributes:
    config: names the pictures, and the dtype of the networks.
    dataset: what samples are compared with.
    network: the features.
    num: samples, and real pictures at most.
    classes: names of the network's classes, `()` where they are not known.
    trained_on: what the run learns from, where that is not `dataset`.
    held_out: pictures that it does not learn from, if some were named.
    held_out_split: their name.
    prefix: how the flags begin that messages speak of: `--`, or `--eval-` in training.
  """

  config: Config
  dataset: data.Dataset
  network: Features
  num: int
  classes: tuple[str, ...] = ()
  trained_on: data.Dataset | None = None
  held_out: data.Dataset | None = None
  held_out_split: str = ""
  prefix: str = "--"

  @property
  def count(self) -> int:
    """Of the real pictures that are compared."""
    return min(self.num, len(self.dataset))

  @functools.cached_property
  def chosen(self) -> np.ndarray:
    """Which: a fixed choice."""
    return _chosen(self.dataset, self.num)

  @functools.cached_property
  def real(self) -> Outputs:
    """What the network says of them."""
    return outputs_of(self.dataset, self.chosen, self.network)

  @functools.cached_property
  def pictures(self) -> np.ndarray:
    """They themselves, or `PICTURES` of them by chance, uint8."""
    return _stacked(self.dataset, _chosen(self.dataset, min(self.num, PICTURES)))

  @functools.cached_property
  def labels(self) -> np.ndarray:
    """Their classes, int `[count]`."""
    if self.dataset.labels is not None:
      return np.asarray(self.dataset.labels)[self.chosen]
    return np.array([self.dataset[int(i)]["label"] for i in self.chosen])

  @property
  def training(self) -> data.Dataset:
    """What the run learns from."""
    return self.trained_on or self.dataset

  @property
  def training_count(self) -> int:
    """Of the training pictures that are searched."""
    return min(_TRAINED, len(self.training))

  @functools.cached_property
  def training_features(self) -> np.ndarray:
    """Of the training pictures."""
    chosen = _chosen(self.training, _TRAINED)
    return np.asarray(outputs_of(self.training, chosen, self.network).features)

  @functools.cached_property
  def held_out_features(self) -> np.ndarray:
    """Of as many held-out pictures as there are samples, or all."""
    assert self.held_out is not None
    chosen = _chosen(self.held_out, self.num)
    return np.asarray(outputs_of(self.held_out, chosen, self.network).features)

  @functools.cached_property
  def held_out_pictures(self) -> np.ndarray:
    """Held-out pictures in an order by chance, uint8."""
    assert self.held_out is not None
    pictures = _stacked(self.held_out, _chosen(self.held_out, _HELD_OUT))
    return pictures[np.random.default_rng(1).permutation(len(pictures))]


class Evidence:
  """One generator's samples beside the reference.

  Args:
    reference: the data's side.
    generate: jitted, from latents to pictures in [-1, 1].
    sampler: of the latents, `(key, n) -> [n, ...]`.
    seed: of the samples.
    mapping: from latents to styles, of generators that have such.
    paint: from styles to pictures.
  """

  def __init__(
    self,
    reference: Reference,
    generate: Callable[[Array], Array],
    sampler: Callable[..., Array],
    seed: int,
    *,
    mapping: Callable[[Array], Array] | None = None,
    paint: Callable[[Array], Array] | None = None,
  ) -> None:
    self.reference, self.generate, self.sampler = reference, generate, sampler
    self.mapping, self.paint = mapping, paint
    self._key = jax.random.key(seed)

  def key(self, use: int) -> Key:
    """Keys beside those of the latents, one for each use."""
    return jax.random.fold_in(self._key, 2**31 + use)

  @functools.cached_property
  def latents(self) -> Array:
    """Of the samples, in their order."""
    parts = [self._draw(index) for index in range(-(-self.reference.num // _BATCH))]
    return jnp.concatenate(parts)[: self.reference.num]

  @functools.cached_property
  def labels(self) -> np.ndarray:
    """The classes that samples were asked for, int `[num]`."""
    condition = condition_of(self.sampler)
    assert condition is not None
    return np.asarray(self.latents)[:, condition.columns].argmax(1)

  @functools.cached_property
  def pictures(self) -> np.ndarray:
    """The first samples as they would be saved, uint8."""
    parts = itertools.islice(self._samples(0), PICTURES // _BATCH)
    return np.concatenate([np.asarray(features.preprocessing.to_uint8(x)) for x in parts])

  @functools.cached_property
  def fake(self) -> Outputs:
    """What the network says of the samples, which pass by a few hundred at a time."""
    kept: list[Any] = [self.pictures] if "pictures" in self.__dict__ else []
    others = self._samples(PICTURES // _BATCH if kept else 0)
    return features.extract_all(self.reference.network, itertools.chain(kept, others))

  def _draw(self, index: int) -> Array:
    return self.sampler(jax.random.fold_in(self._key, index), _BATCH)

  def _samples(self, first: int) -> Iterator[Any]:
    num = self.reference.num
    for index in range(first, -(-num // _BATCH)):
      images = np.asarray(self.generate(self._draw(index)))[: num - index * _BATCH]
      if not np.isfinite(images).all():
        raise NotFiniteError(
          "the samples are not finite: the run diverged; take an earlier checkpoint"
        )
      yield images


def held_out_data(config: Config, split: str, shape: tuple[int, int, int], flag: str) -> Any:
  """The pictures of a split that a run does not learn from.

  Args:
    config: the run's.
    split: as TFDS writes it.
    shape: of the run's pictures.
    flag: what the message calls the split.

  Raises:
    RunError: the set has no such split, or it is the run's own.
  """
  if split == config.split:
    raise RunError(f"{flag}={split} is what the run learns from: name another split, such as test")
  channels: Any = shape[-1]
  try:
    return load_data(dataclasses.replace(config, split=split, limit=None, channels=channels))
  except data.DataError as error:
    raise RunError(
      f"{flag}={split}: {error}".replace("--split=", f"{flag}=") + ". A set without a second split "
      f"has to be divided before training: --split=train[:80%], and here {flag}=train[80%:]"
    ) from error


def outputs_of(dataset: data.Dataset, chosen: np.ndarray, network: Features) -> Outputs:
  """What a network says of pictures of a set; kept in the user's cache folder.

  Args:
    dataset: the set.
    chosen: which of its pictures.
    network: the features.

  Returns:
    Numpy arrays, in the order of `chosen`.
  """
  path = None
  # Functions without weights may change under one name.
  if network.weights_hash:
    digest = hashlib.sha256(f"{network.name} {network.weights_hash} {network.resize}".encode())
    digest.update(str((len(chosen), *dataset.shape)).encode())
    for part in _parts(dataset, chosen):
      digest.update(np.ascontiguousarray(part).tobytes())
    path = user_cache("features", f"{digest.hexdigest()[:32]}.npz")
  if path is not None and (kept := _read_outputs(path)) is not None:
    return kept
  outputs = features.extract_all(network, _parts(dataset, chosen))
  if path is not None:
    arrays = {k: v for k, v in outputs._asdict().items() if v is not None}
    try:
      with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    except OSError:
      pass  # a cache that cannot be written costs time alone
  return outputs


def _chosen(dataset: data.Dataset, most: int) -> np.ndarray:
  return np.sort(np.random.default_rng(0).permutation(len(dataset))[:most])


def _parts(dataset: data.Dataset, chosen: np.ndarray) -> Iterator[Any]:
  for start in range(0, len(chosen), _READ):
    part = chosen[start : start + _READ]
    if dataset.images is not None:
      yield np.asarray(dataset.images[part])
    else:
      yield np.stack([dataset[int(i)]["image"] for i in part])


def _stacked(dataset: data.Dataset, chosen: np.ndarray) -> np.ndarray:
  return np.concatenate(list(_parts(dataset, chosen)))


def _read_outputs(path: pathlib.Path) -> Outputs | None:
  try:
    with np.load(path, allow_pickle=False) as file:
      return Outputs(**{name: file[name] for name in file.files})
  except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
    return None
