"""Scores with the protocol that made them: only what was measured alike is compared."""

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from jaxgan.metrics.estimate import Estimate

__all__ = [
  "FeatureIdentity",
  "Protocol",
  "Score",
  "feature_score_name",
  "frechet_infinity_name",
  "frechet_name",
  "inception_score_name",
  "kernel_name",
]

Setting = str | int | float | bool | None


class FeatureIdentity(typing.Protocol):
  """What a score has to know of the features it was measured on."""

  @property
  def name(self) -> str:
    """Of the network, such as "EfficientNet-Lite0"."""

  @property
  def weights_hash(self) -> str:
    """Of the file of its weights."""

  @property
  def published(self) -> bool:
    """Whether these are the very weights and network of the published Inception scores."""


def frechet_name(features: FeatureIdentity) -> str:
  """Name of a Fréchet distance: "FID" on the published Inception features only.

  >>> from types import SimpleNamespace
  >>> frechet_name(SimpleNamespace(name="EfficientNet-Lite0", published=False))
  'FD (EfficientNet-Lite0)'
  >>> frechet_name(SimpleNamespace(name="Inception-v3 2015-12-05", published=True))
  'FID'
  """
  return _name("FID", "FD", features)


def frechet_infinity_name(features: FeatureIdentity) -> str:
  """Name of an extrapolated Fréchet distance: "FID-infinity" on the published features only."""
  return _name("FID-infinity", "FD-infinity", features)


def kernel_name(features: FeatureIdentity) -> str:
  """Name of a kernel distance: "KID" on the published Inception features only."""
  return _name("KID", "KD", features)


def inception_score_name(features: FeatureIdentity) -> str:
  """Name of an inception score: "IS" by the published Inception classifier only.

  >>> from types import SimpleNamespace
  >>> inception_score_name(SimpleNamespace(name="digit classifier", published=False))
  'classifier score (digit classifier)'
  """
  return _name("IS", "classifier score", features)


def feature_score_name(score: str, features: FeatureIdentity) -> str:
  """Name of a score that no published features belong to, such as "recall (EfficientNet-Lite0)"."""
  return _name(None, score, features)


def _name(published: str | None, other: str, features: FeatureIdentity) -> str:
  # A network of another name that claims to be the published one is not believed.
  genuine = features.published and features.name.lower().startswith("inception")
  return published if published is not None and genuine else f"{other} ({features.name})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
  """How a score was measured. Two scores compare if all of it agrees.

  Attributes:
    features: name of the feature network; "pixels" or "" without one.
    weights_hash: of the network's weights.
    published: the features are those of the published Inception scores.
    resize: how pictures came to the network's size, such as "bicubic, antialiased".
    quantisation: of the samples before the network, such as "uint8".
    dtype: in which the generator and the network computed.
    dataset: name of the data.
    split: part of the data that the samples were compared with.
    resolution: pixels of a side before the resize.
    real: number of real examples.
    fake: number of samples.
    seed: of the samples; None if several or unknown.
    ema: whether the generator's weights were an average.
    settings: the measure's own options, such as `{"k": 3}`; kept as sorted pairs.

  >>> Protocol(features="pixels", real=100, fake=100, settings={"k": 3}).settings
  (('k', 3),)
  """

  features: str
  real: int
  fake: int
  weights_hash: str = ""
  published: bool = False
  resize: str = ""
  quantisation: str = "uint8"
  dtype: str = "float32"
  dataset: str = ""
  split: str = ""
  resolution: int | None = None
  seed: int | None = None
  ema: bool | None = None
  settings: tuple[tuple[str, Setting], ...] | Mapping[str, Setting] = ()

  def __post_init__(self) -> None:
    for name in ("real", "fake"):
      value = getattr(self, name)
      if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name}={value!r} must be a number of examples, 0 or more")
    # Two orders or types of the same settings are one protocol.
    settings = tuple(sorted((k, v) for k, v in dict(self.settings).items()))
    for key, value in settings:
      if not isinstance(value, Setting):
        raise TypeError(f"settings[{key!r}] must be a string or a number, got {value!r}")
    object.__setattr__(self, "settings", settings)

  @classmethod
  def of(cls, features: FeatureIdentity, **fields: Any) -> "Protocol":
    """The protocol of a score on these features; the other fields by name.

    >>> from types import SimpleNamespace
    >>> net = SimpleNamespace(name="net", weights_hash="6726825d", published=False)
    >>> Protocol.of(net, real=10, fake=10).weights_hash
    '6726825d'
    """
    return cls(
      features=features.name,
      weights_hash=features.weights_hash,
      published=features.published,
      **fields,
    )

  def differences(self, other: "Protocol") -> dict[str, tuple[Any, Any]]:
    """The fields that differ, each with this value and the other."""
    return {
      field.name: (getattr(self, field.name), getattr(other, field.name))
      for field in dataclasses.fields(self)
      if getattr(self, field.name) != getattr(other, field.name)
    }


@dataclasses.dataclass(frozen=True)
class Score:
  """A named number, how far off it may be, and how it was measured.

  `<`, `<=`, `>` and `>=` compare values, and `compare` gives the difference; both refuse scores of
  different names or protocols. Whether less is better is the measure's affair.

  Attributes:
    name: as `frechet_name` and its like give it.
    value: finite.
    standard_error: non-negative, or None if it is not known.
    protocol: how it was measured.

  >>> protocol = Protocol(features="net", real=100, fake=100)
  >>> a, b = Score("FD (net)", 3.0, 0.3, protocol), Score("FD (net)", 2.0, 0.4, protocol)
  >>> print(a)
  FD (net) 3 ± 0.3 (100 real, 100 fake)
  >>> b < a, print(a.compare(b))
  1 ± 0.5
  (True, None)
  >>> Score.from_dict(a.to_dict()) == a
  True
  """

  name: str
  value: float
  standard_error: float | None
  protocol: Protocol

  def __post_init__(self) -> None:
    object.__setattr__(self, "value", float(self.value))
    if self.standard_error is not None:
      object.__setattr__(self, "standard_error", float(self.standard_error))
    if not math.isfinite(self.value):
      raise ValueError(f"value of {self.name} must be finite, got {self.value}")
    error = self.standard_error
    if error is not None and not (math.isfinite(error) and error >= 0):
      raise ValueError(f"standard_error of {self.name} must be finite and 0 or more, got {error}")

  def compare(self, other: "Score", *, ignoring: Sequence[str] = ()) -> Estimate:
    """This value less the other's, with the error of the difference of independent scores.

    Args:
      other: of the same name and protocol.
      ignoring: fields of the protocol that may differ, such as `["seed"]` or `["ema"]`.

    Returns:
      The difference; its standard error is nan if either score has none.

    Raises:
      ValueError: the names or protocols differ; the message lists the fields.

    """
    self._check(other, ignoring)
    errors = (self.standard_error, other.standard_error)
    error = math.nan if None in errors else math.hypot(*typing.cast(tuple[float, float], errors))
    return Estimate(self.value - other.value, error)

  def to_dict(self) -> dict[str, Any]:
    """Nothing but JSON's types."""
    made = dataclasses.asdict(self)
    made["protocol"]["settings"] = dict(made["protocol"]["settings"])
    return made

  @classmethod
  def from_dict(cls, fields: Mapping[str, Any]) -> "Score":
    """The score that `to_dict` made the fields of.

    Raises:
      ValueError: fields are missing or unknown.

    """
    fields = dict(fields)
    _check_fields("score", fields, cls)
    protocol = dict(fields["protocol"])
    _check_fields("protocol", protocol, Protocol)
    return cls(**(fields | {"protocol": Protocol(**protocol)}))

  def __str__(self) -> str:
    value = (
      f"{self.value:.6g}"
      if self.standard_error is None
      else str(Estimate(self.value, self.standard_error))
    )
    return f"{self.name} {value} ({self.protocol.real:,} real, {self.protocol.fake:,} fake)"

  def __lt__(self, other: "Score") -> bool:
    return self._check(other) and self.value < other.value

  def __le__(self, other: "Score") -> bool:
    return self._check(other) and self.value <= other.value

  def __gt__(self, other: "Score") -> bool:
    return self._check(other) and self.value > other.value

  def __ge__(self, other: "Score") -> bool:
    return self._check(other) and self.value >= other.value

  def _check(self, other: "Score", ignoring: Sequence[str] = ()) -> bool:
    if not isinstance(other, Score):
      raise TypeError(f"a Score compares with a Score, got {type(other).__name__}")
    known = {field.name for field in dataclasses.fields(Protocol)}
    if unknown := sorted(set(ignoring) - known):
      raise ValueError(f"ignoring={unknown} are no fields of a protocol: choose of {sorted(known)}")
    different = {
      field: pair
      for field, pair in self.protocol.differences(other.protocol).items()
      if field not in ignoring
    }
    if self.name != other.name:
      different = {"name": (self.name, other.name)} | different
    if different:
      listed = "; ".join(f"{field} {a!r} against {b!r}" for field, (a, b) in different.items())
      raise ValueError(
        f"these scores were not measured alike ({listed}): measure them under one protocol, or "
        "name what may differ in compare(other, ignoring=[...])"
      )
    return True


def _check_fields(name: str, fields: Mapping[str, Any], cls: type) -> None:
  known = {field.name for field in dataclasses.fields(cls)}
  if set(fields) != known:
    raise ValueError(
      f"a {name} has the fields {sorted(known)}; missing {sorted(known - set(fields))}, unknown "
      f"{sorted(set(fields) - known)}"
    )
