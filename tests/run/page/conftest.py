"""Made-up workdirs."""

import json
import pathlib

import numpy as np
import pytest

from jaxgan import sampling
from jaxgan.metrics import Protocol, Score


def grid(value, side=8):
  return sampling.grid(np.full([4, side, side, 3], value, np.uint8))


@pytest.fixture(scope="session")
def make():
  """Writes a workdir as a run leaves it: `make(folder, **changes of its config)`."""

  def made(folder, fake=100, **config) -> pathlib.Path:
    folder.mkdir(parents=True)
    flags = {"workdir": str(folder), "batch_size": 8, "steps": 40, "dataset": "digits", **config}
    record = {
      "experiment": "experiments.dcgan",
      "config": flags,
      "spec": {"shape": [8, 8, 3], "classes": []},
      "pictures": 1797,
      "environment": {"jax": "0.10.2", "devices": "1 x cpu"},
    }
    (folder / "config.json").write_text(json.dumps(record))
    lines = [
      {
        "step": step,
        "loss_D": 1.0 / step,
        "loss_G": 2.0,
        "D_x": 0.5,
        "D_G_z1": 0.25,
        "grad_norm_G": 10.0**-step,
        "steps_per_second": 2.0,
      }
      for step in range(2, 41, 2)
    ]
    _write(folder / "metrics.jsonl", [*lines, {"step": 40, "sliced_wasserstein": 0.125}])
    protocol = Protocol(features="net", real=100, fake=fake, dataset="digits", settings={"k": 3})
    scores = [
      {"step": step, **Score("KD (net)", 1.0 / step, 0.01, protocol).to_dict()} for step in (20, 40)
    ]
    _write(folder / "scores.jsonl", scores)
    verdict = {"name": "mode_collapse", "step": 30, "evidence": "all alike", "advice": "Try R1."}
    _write(folder / "health.jsonl", [verdict])
    for step in (10, 20, 30, 40):
      sampling.save_png(folder / "samples" / f"step_{step:06d}.png", grid(6 * step))
    sampling.save_png(folder / "samples" / "real.png", grid(9))
    sampling.save_png(folder / "walk_000040.png", grid(99))
    return folder

  return made


def _write(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
