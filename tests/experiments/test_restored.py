"""What the commands say of a run that they have read."""

import json
import types

import pytest

from experiments import evaluate, restored
from jaxgan.metrics import Protocol, Score


@pytest.mark.parametrize(
  ("step", "decay", "ema", "said"),
  [
    (86, 0.999, True, True),
    (1000, 0.999, True, False),
    (86, 0.9, True, False),
    (86, 0.999, False, False),
  ],
)
def test_a_young_average_is_told(step, decay, ema, said, capsys):
  player = types.SimpleNamespace(average={}, evaluated=lambda *, average: average)
  run = types.SimpleNamespace(
    game=types.SimpleNamespace(generator=player, step=step),
    config=types.SimpleNamespace(ema_decay=decay),
  )
  assert restored.averaged_if(run, ema=ema) is ema
  assert ("1,000 steps and has seen 86: --no-ema" in capsys.readouterr().err) is said


def test_earlier_scores_of_a_checkpoint_are_found(tmp_path):
  path = tmp_path / "evaluation_000004.json"
  assert evaluate._earlier(path) == []
  score = Score("FD (net)", 3.0, 0.3, Protocol(features="net", real=100, fake=100))
  path.write_text(json.dumps({"step": 4, "scores": [score.to_dict()]}))
  assert evaluate._earlier(path) == [score]
  path.write_text("{")
  assert evaluate._earlier(path) == []
