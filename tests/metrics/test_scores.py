import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from jaxgan import metrics
from jaxgan.metrics import Protocol, Score

INCEPTION = SimpleNamespace(name="Inception-v3 2015-12-05", weights_hash="6726825d", published=True)
LITE = SimpleNamespace(name="EfficientNet-Lite0", weights_hash="abcd", published=False)
PROTOCOL = Protocol.of(
  LITE,
  real=10_000,
  fake=10_000,
  resize="bicubic, antialiased",
  dataset="cifar10",
  split="train",
  resolution=32,
  seed=0,
  ema=True,
  settings={"subsets": 100, "subset_size": 1000},
)


@pytest.mark.parametrize(
  ("name", "published", "other"),
  [
    (metrics.frechet_name, "FID", "FD (EfficientNet-Lite0)"),
    (metrics.frechet_infinity_name, "FID-infinity", "FD-infinity (EfficientNet-Lite0)"),
    (metrics.kernel_name, "KID", "KD (EfficientNet-Lite0)"),
    (metrics.inception_score_name, "IS", "classifier score (EfficientNet-Lite0)"),
  ],
)
def test_published_names_are_kept_for_published_features(name, published, other):
  assert name(INCEPTION) == published
  assert name(LITE) == other
  # neither the network's name alone nor a claim alone earns the published name
  renamed = SimpleNamespace(name=INCEPTION.name, weights_hash="0", published=False)
  assert name(renamed) == other.replace(LITE.name, INCEPTION.name)
  claims = SimpleNamespace(name=LITE.name, weights_hash="0", published=True)
  assert name(claims) == other


def test_other_scores_always_name_their_features():
  assert metrics.feature_score_name("recall", LITE) == "recall (EfficientNet-Lite0)"
  assert metrics.feature_score_name("recall", INCEPTION) == f"recall ({INCEPTION.name})"


def test_a_score_survives_json():
  for score in (
    Score(metrics.kernel_name(LITE), -1e-5, 2e-5, PROTOCOL),
    Score("FID", np.float32(12.5), None, Protocol(features="x", real=5, fake=3)),
  ):
    text = json.dumps(score.to_dict(), allow_nan=False)
    assert Score.from_dict(json.loads(text)) == score
    assert hash(Score.from_dict(json.loads(text))) == hash(score)
  fields = score.to_dict()
  with pytest.raises(ValueError, match=r"missing \['value'\], unknown \['worth'\]"):
    Score.from_dict({"worth" if k == "value" else k: v for k, v in fields.items()})
  del fields["protocol"]["ema"]
  with pytest.raises(ValueError, match=r"a protocol has .* missing \['ema'\]"):
    Score.from_dict(fields)


def test_scores_of_one_protocol_compare():
  low, high = (Score("KD", v, 0.03, PROTOCOL) for v in (1.0, 1.5))
  assert low < high
  assert low <= high
  assert high > low
  assert high >= low
  assert not low > high
  assert low <= Score("KD", 1.0, 0.5, PROTOCOL)
  np.testing.assert_allclose(high.compare(low), (0.5, math.sqrt(2) * 0.03))
  assert math.isnan(low.compare(dataclasses.replace(high, standard_error=None)).standard_error)


CHANGES = {
  "features": "other",
  "weights_hash": "ffff",
  "published": True,
  "real": 5000,
  "fake": 5000,
  "resize": "bilinear",
  "quantisation": "none",
  "dtype": "bfloat16",
  "dataset": "svhn",
  "split": "test",
  "resolution": 64,
  "seed": 1,
  "ema": False,
  "settings": {"subsets": 100, "subset_size": 500},
}


def test_every_field_of_a_protocol_is_changed_below():
  assert set(CHANGES) == {field.name for field in dataclasses.fields(Protocol)}


@pytest.mark.parametrize("field", CHANGES)
def test_scores_of_different_protocols_are_refused(field):
  a = Score("KD", 1.0, 0.1, PROTOCOL)
  b = Score("KD", 2.0, 0.1, dataclasses.replace(PROTOCOL, **{field: CHANGES[field]}))
  for compare in (Score.__lt__, Score.__le__, Score.__gt__, Score.__ge__, Score.compare):
    with pytest.raises(ValueError, match=rf"\({field} [^;]*\)"):
      compare(a, b)
  assert a.compare(b, ignoring=[field]).value == -1.0
  assert a != b


def test_all_differing_fields_are_listed():
  a = Score("FID", 1.0, None, PROTOCOL)
  b = Score("FD", 2.0, None, dataclasses.replace(PROTOCOL, fake=5000, seed=1))
  with pytest.raises(ValueError, match=r"name 'FID' against 'FD'; fake 10000 .* 5000; seed 0"):
    a < b  # noqa: B015
  with pytest.raises(ValueError, match=r"\(name [^;]*\)"):
    a.compare(b, ignoring=["fake", "seed"])
  with pytest.raises(ValueError, match=r"ignoring=\['sead'\]"):
    a.compare(b, ignoring=["sead"])
  with pytest.raises(TypeError, match="compares with a Score, got float"):
    a < 1.0  # noqa: B015


def test_settings_are_compared_whatever_their_order():
  a = Protocol(features="x", real=1, fake=1, settings={"k": 3, "b": 1})
  assert a == Protocol(features="x", real=1, fake=1, settings=(("b", 1), ("k", 3)))


def test_a_score_prints_what_has_to_be_known():
  score = Score(metrics.frechet_name(LITE), 12.3456789, None, PROTOCOL)
  assert str(score) == "FD (EfficientNet-Lite0) 12.3457 (10,000 real, 10,000 fake)"


def test_numbers_that_are_none_are_refused():
  with pytest.raises(ValueError, match="value of FD must be finite, got nan"):
    Score("FD", float("nan"), None, PROTOCOL)
  with pytest.raises(ValueError, match="standard_error of FD"):
    Score("FD", 1.0, -0.1, PROTOCOL)
  with pytest.raises(ValueError, match="real=-1"):
    Protocol(features="x", real=-1, fake=1)
  with pytest.raises(TypeError, match=r"settings\['k'\]"):
    Protocol(features="x", real=1, fake=1, settings={"k": [3]})
