"""The measures that a person names after `--metrics` or `--eval-metrics`.

Past 300 lines because each is a few lines that belong beside the others' names and needs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import data, metrics, sampling
from jaxgan.metrics.features import Features
from jaxgan.run.conditioning import condition_of
from jaxgan.run.config import RunError
from jaxgan.run.evidence import Evidence, Reference
from jaxgan.run.networks import smooth
from jaxgan.training import System
from jaxgan.types import Array

__all__ = ["MEASURES", "Measure", "check", "curves", "measures_named"]

Values = list[tuple[str, float, float | None]]  # name, value, standard error
Settings = Mapping[str, int | float | str]
Need = Callable[[str, Reference, System], None]  # raises where the measure of that name cannot be

_EPSILON = 1e-4  # of a path, the paper's
_PAIRS = 500  # of pictures, for MS-SSIM
_TOLD = 2000  # latents that tell which coordinates are normal
_VALIDATED = 1000  # most held-out pictures that choose Parzen's bandwidth


class Measure(NamedTuple):
  """A way of scoring samples.

  Attributes:
    score: from the evidence to values.
    settings: its options, for the protocol.
    sign: 1 if less of the first value is better, -1 if more is.
    fewest: pictures that it needs, of both kinds.
    samples: samples that it needs by the features.
    pixels: it looks at pictures, and no feature network is asked.
    needs: what has to be there besides; each raises a RunError if it is not.
  """

  score: Callable[[Evidence], Values]
  settings: Callable[[Reference], Settings] = lambda reference: {}
  sign: int = 1
  fewest: int = 4
  samples: Callable[[Features], int] = lambda network: 0
  pixels: bool = False
  needs: Sequence[Need] = ()


def _frechet(evidence: Evidence) -> Values:
  reference = evidence.reference
  value = metrics.frechet_distance(reference.real.features, evidence.fake.features)
  return [(metrics.frechet_name(reference.network), value, None)]


def _frechet_infinity(evidence: Evidence) -> Values:
  reference = evidence.reference
  fit = metrics.frechet_distance_infinity(
    reference.real.features, evidence.fake.features, key=evidence.key(0), points=15
  )
  return [(metrics.frechet_infinity_name(reference.network), fit.value, None)]


def _kernel(evidence: Evidence) -> Values:
  reference = evidence.reference
  value, error = metrics.kernel_distance(reference.real.features, evidence.fake.features)
  return [(metrics.kernel_name(reference.network), value, error)]


def _precision_recall(evidence: Evidence) -> Values:
  real, fake = evidence.reference.real, evidence.fake
  values = metrics.precision_recall(real.features, fake.features, k=3)
  return _named(values._asdict(), evidence)


def _density_coverage(evidence: Evidence) -> Values:
  real, fake = evidence.reference.real, evidence.fake
  values = metrics.density_coverage(real.features, fake.features, k=5)
  return _named(values._asdict(), evidence)


def _inception_score(evidence: Evidence) -> Values:
  mean, deviation = metrics.inception_score(_probabilities(evidence), splits=10)
  # Splits of one set of samples: their spread says how a tenth of them scores.
  name = metrics.inception_score_name(evidence.reference.network)
  return [(name, mean, deviation / 10**0.5)]


def _ms_ssim(evidence: Evidence) -> Values:
  """Of samples of all classes, beside what real pictures have: it is their distance that counts."""
  values: Values = []
  for name, pictures in (
    ("MS-SSIM", evidence.pictures),
    ("MS-SSIM of real pictures", evidence.reference.pictures),
  ):
    found = metrics.ms_ssim_diversity(
      jnp.asarray(pictures), evidence.key(1), pairs=_PAIRS, data_range=255.0
    )
    values.append((f"{name} (pixels)", *found))
  return values


def _sliced_wasserstein(evidence: Evidence) -> Values:
  real, fake = evidence.reference.pictures, evidence.pictures
  n = min(len(real), len(fake))
  order = np.random.default_rng(0).permutation(len(real))[:n]  # the set may be sorted by class
  value = metrics.sliced_wasserstein(_unit(real[order]), _unit(fake[:n]), evidence.key(2))
  return [("sliced Wasserstein (pixels)", float(value), None)]


def _path_length(evidence: Evidence) -> Values:
  """Between latents of one class: a label or code stays where the path starts."""
  between = _paths(evidence)
  return _length_of_paths("path length", evidence, evidence.generate, evidence.latents, between)


def _style_path_length(evidence: Evidence) -> Values:
  """Straight in W. Labels are mapped with the latents: both ends of a path have the first's."""
  assert evidence.mapping is not None
  assert evidence.paint is not None
  z = np.array(evidence.latents)
  if condition := condition_of(evidence.sampler):
    half = len(z) // 2
    z[half : 2 * half, condition.columns] = z[:half, condition.columns]
  w = jnp.asarray(sampling.in_batches(evidence.mapping, jnp.asarray(z)))
  return _length_of_paths("path length in W", evidence, evidence.paint, w, metrics.lerp)


def _length_of_paths(
  name: str,
  evidence: Evidence,
  generate: Callable[[Array], Array],
  ends: Array,
  interpolate: Callable[[Array, Array, Array], Array],
) -> Values:
  """Of paths from the first half of the ends to the second."""
  network, half = evidence.reference.network, len(ends) // 2
  look = smooth(network, f"{evidence.reference.prefix}features")

  @jax.jit
  def apart(a: Array, b: Array) -> Array:
    return ((look(a) - look(b)) ** 2).sum(-1)

  found = metrics.perceptual_path_length(
    generate,
    ends[:half],
    ends[half : 2 * half],
    apart,
    evidence.key(3),
    interpolate=interpolate,
    epsilon=_EPSILON,
  )
  return [(metrics.feature_score_name(name, network), *found)]


def _paths(evidence: Evidence) -> Callable[[Array, Array, Array], Array]:
  """Great circles in the normal coordinates, straight lines in others, none in one-hot parts."""
  normal = sampling.normal_coordinates(evidence.sampler(evidence.key(4), _TOLD))
  fixed = np.zeros(normal.shape, bool)
  if condition := condition_of(evidence.sampler):
    fixed[condition.columns] = True

  def between(a: Array, b: Array, t: Array) -> Array:
    z = metrics.lerp(a, b, t)
    if normal.any():
      z = z.at[:, normal].set(metrics.slerp(a[:, normal], b[:, normal], t))
    return jnp.where(fixed[None], a, z)

  return jax.jit(between)


def _memorisation(evidence: Evidence) -> Values:
  reference = evidence.reference
  found = metrics.memorisation(
    evidence.fake.features, reference.training_features, reference.held_out_features
  )
  return _named({"memorisation": found.share, "memorisation z": found.z}, evidence)


def _parzen(evidence: Evidence) -> Values:
  """In pixels from 0 to 1, as the papers of 2014 have it."""
  held_out = _flat(evidence.reference.held_out_pictures)
  first = min(_VALIDATED, len(held_out) // 2)
  centres = jnp.asarray(_flat(evidence.pictures))
  sigma = metrics.parzen_bandwidth(centres, held_out[:first]).sigma
  found = metrics.parzen_log_likelihood(centres, held_out[first:], sigma)
  return [
    ("Parzen log-likelihood (pixels)", found.mean, found.standard_error),
    ("Parzen bandwidth (pixels)", sigma, None),
  ]


def _label_accuracy(evidence: Evidence) -> Values:
  right = _probabilities(evidence).argmax(1) == evidence.labels
  accuracy = float(right.mean())
  error = float(np.sqrt(accuracy * (1.0 - accuracy) / len(right)))
  name = metrics.feature_score_name("label accuracy", evidence.reference.network)
  return [(name, accuracy, error)]


def _classification_accuracy(evidence: Evidence) -> Values:
  reference = evidence.reference
  found = metrics.classification_accuracy_score(
    evidence.fake.features, evidence.labels, reference.real.features, reference.labels
  )
  name = metrics.feature_score_name("classification accuracy score", reference.network)
  return [(name, *found)]


def _named(values: Mapping[str, float], evidence: Evidence) -> Values:
  network = evidence.reference.network
  return [(metrics.feature_score_name(k, network), value, None) for k, value in values.items()]


def _probabilities(evidence: Evidence) -> np.ndarray:
  assert evidence.fake.probabilities is not None
  return np.asarray(evidence.fake.probabilities)


def _unit(pictures: np.ndarray) -> Array:
  return jnp.asarray(pictures, jnp.float32) / 127.5 - 1.0


def _flat(pictures: np.ndarray) -> np.ndarray:
  return pictures.reshape(len(pictures), -1).astype(np.float32) / 255.0


def _classes(name: str, reference: Reference, system: System) -> None:
  if reference.network.classes is None:
    raise RunError(
      f"the metric '{name}' needs a classifier; {reference.network.name} has no classes"
    )


def _own_classes(name: str, reference: Reference, system: System) -> None:
  wanted = reference.dataset.classes
  if reference.classes != wanted:
    told = ", ".join(reference.classes) or "others"
    raise RunError(
      f"the metric '{name}' needs a classifier of the run's classes ({', '.join(wanted)}), but the "
      f"classes of {reference.network.name} are {told}: give {reference.prefix}features an .npz "
      f"that python -m experiments.classifier --dataset={reference.config.dataset} wrote"
    )


def _labels(name: str, reference: Reference, system: System) -> None:
  condition = condition_of(system.latents)
  if condition is None or condition.name != "label":
    raise RunError(
      f"the metric '{name}' needs a generator that is told a label, and this run's is not; "
      "experiments.cgan, acgan, sngan_projection and biggan have such"
    )
  if len(condition.columns) != len(reference.dataset.classes):
    raise RunError(
      f"the metric '{name}': the generator knows {len(condition.columns)} labels, and "
      f"{reference.dataset.name} has {len(reference.dataset.classes)} classes"
    )


def _held_out(fewest: int) -> Need:
  def need(name: str, reference: Reference, system: System) -> None:
    flag = f"{reference.prefix}held-out"
    held_out, training = reference.held_out, reference.training
    if held_out is None:
      raise RunError(
        f"the metric '{name}' needs pictures that the run does not learn from: name their split by "
        f"{flag}=test. A set without a second split has to be divided before training: "
        f"--split=train[:80%], and {flag}=train[80%:]"
      )
    if len(held_out) < fewest:
      raise RunError(
        f"the metric '{name}' needs {fewest} held-out pictures or more, and "
        f"{flag}={reference.held_out_split} has {len(held_out)}"
      )
    if (shared := _shared(held_out, training)) > 0.5:
      raise RunError(
        f"{flag}={reference.held_out_split} is not held out: the run learns from {shared:.0%} of it"
      )

  return need


def _shared(held_out: data.Dataset, training: data.Dataset) -> float:
  """Share of the held-out pictures that are training pictures too; 0 where a set is streamed."""
  if held_out.images is None or training.images is None:
    return 0.0
  known = {hash(image.tobytes()) for image in training.images}
  return sum(hash(image.tobytes()) in known for image in held_out.images) / len(held_out)


def _smooth_paths(name: str, reference: Reference, system: System) -> None:
  smooth(reference.network, f"the metric '{name}'")
  shape = jax.eval_shape(lambda key: system.latents(key, 2), jax.random.key(0)).shape
  if len(shape) != 2:
    raise RunError(f"the metric '{name}' needs latents of one row each, not of the shape {shape}")
  if reference.config.dtype != "float32":
    raise RunError(
      f"the metric '{name}' moves latents by {_EPSILON}, which a generator in "
      f"--dtype={reference.config.dtype} does not see"
    )


def _styles(name: str, reference: Reference, system: System) -> None:
  if system.style is None:
    raise RunError(
      f"the metric '{name}' needs a generator of styles, and this run's is not; "
      "experiments.stylegan and stylegan2 have such: take ppl"
    )


def _of_held_out(reference: Reference) -> Settings:
  tested = min(reference.num, len(reference.held_out or ()))
  return {
    "held_out": reference.held_out_split,
    "held_out_pictures": tested,
    "training_pictures": reference.training_count,
  }


def _of_parzen(reference: Reference) -> Settings:
  n = len(reference.held_out_pictures)
  return {
    "held_out": reference.held_out_split,
    "held_out_pictures": n,
    "validated": min(_VALIDATED, n // 2),
  }


# What people write after --metrics on one side, functions on the other.
MEASURES: dict[str, Measure] = {
  "kid": Measure(_kernel),
  "fd": Measure(_frechet),
  "fd_inf": Measure(
    _frechet_infinity,
    lambda reference: {"points": 15},
    # What its docstring says: subsets from twice the dimension to all, of 15 sizes.
    samples=lambda network: 2 * network.dimension + 15,
  ),
  "pr": Measure(_precision_recall, lambda reference: {"k": 3}, sign=-1),
  "dc": Measure(_density_coverage, lambda reference: {"k": 5}, sign=-1, fewest=6),
  "is": Measure(
    _inception_score, lambda reference: {"splits": 10}, sign=-1, fewest=10, needs=[_classes]
  ),
  "ms_ssim": Measure(_ms_ssim, lambda reference: {"pairs": _PAIRS}, pixels=True),
  "swd": Measure(_sliced_wasserstein, lambda reference: {"projections": 256}, pixels=True),
  "ppl": Measure(
    _path_length,
    lambda reference: {"epsilon": _EPSILON, "paths": reference.num // 2},
    needs=[_smooth_paths],
  ),
  "ppl_w": Measure(
    _style_path_length,
    lambda reference: {"epsilon": _EPSILON, "paths": reference.num // 2},
    needs=[_styles, _smooth_paths],
  ),
  "memorisation": Measure(_memorisation, _of_held_out, fewest=8, needs=[_held_out(8)]),
  "parzen": Measure(_parzen, _of_parzen, sign=-1, pixels=True, needs=[_held_out(4)]),
  "labels": Measure(_label_accuracy, sign=-1, needs=[_labels, _classes, _own_classes]),
  "cas": Measure(_classification_accuracy, sign=-1, needs=[_labels]),
}

# Scores that `jaxgan.metrics.health` reads, and the names of its curves.
_CURVES = {"memorisation": "memorisation", "label accuracy": "label_accuracy"}


def curves(scores: Sequence[metrics.Score]) -> dict[str, float]:
  """What health reads of the scores, by the names that it knows."""
  return {
    curve: score.value
    for name, curve in _CURVES.items()
    for score in scores
    if score.name.startswith(f"{name} (")
  }


def measures_named(names: str, flag: str) -> dict[str, Measure]:
  """The measures of a comma-separated list.

  Raises:
    RunError: the list is empty or has an unknown name.
  """
  chosen = [name.strip() for name in names.split(",") if name.strip()]
  unknown = [name for name in chosen if name not in MEASURES]
  if unknown or not chosen:
    raise RunError(f"{flag}={names} must be a list like kid,fd of {', '.join(MEASURES)}")
  return {name: MEASURES[name] for name in chosen}


def check(measures: Mapping[str, Measure], reference: Reference, system: System) -> None:
  """Refuses measures that cannot be taken, before anything is computed.

  Raises:
    RunError: one needs more pictures than there are, or something that is not there.
  """
  for name, measure in measures.items():
    if reference.count < measure.fewest:
      raise RunError(
        f"the metric '{name}' needs {measure.fewest} pictures or more, and there are "
        f"{reference.count}"
      )
    for need in measure.needs:
      need(name, reference, system)
    wanted = measure.samples(reference.network)
    if reference.num < wanted:
      raise RunError(
        f"the metric '{name}' needs {wanted} samples or more for the {reference.network.dimension} "
        f"dimensions of {reference.network.name}, and {reference.num} are asked for"
      )
