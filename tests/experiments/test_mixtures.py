"""The mixtures from end to end, tiny."""

import json

import jax
import numpy as np
import pytest
import tyro
from PIL import Image

from experiments import choices, mixtures
from jaxgan import run

TINY = {"width": 8, "batch_size": 8, "latent_dim": 2, "seeds": 2, "steps": 5, "log_every": 2}


def test_a_run_leaves_its_files_and_prints_a_line_a_seed(tmp_path, capsys):
  config = mixtures.Config(workdir=str(tmp_path), penalty="r1", game="lookahead", **TINY)
  mixtures.main(config)
  printed = capsys.readouterr().out.splitlines()
  assert [line.split()[0] for line in printed] == ["seed", "0", "1", "median"]
  assert json.loads((tmp_path / "config.json").read_text())["game"] == "lookahead"
  lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
  assert [line["step"] for line in lines] == [2, 4, 5]
  for name in ("covered", "high_quality", "reverse_kl", "loss_D", "loss_G", "penalty"):
    assert np.isfinite(lines[-1][name]).all(), name
    assert np.shape(lines[-1][name]) == (2,), name
  with Image.open(tmp_path / "samples.png") as picture:
    assert np.asarray(picture).std() > 20


def test_a_population_is_its_seeds_trained_alone():
  toy = mixtures.build(mixtures.Config(workdir="unused", **TINY))
  population = jax.jit(jax.vmap(toy.init))(jax.random.split(jax.random.key(0), 2))
  alone = jax.tree.map(lambda x: x[1], population)
  together, single = jax.jit(jax.vmap(toy.step)), jax.jit(toy.step)
  for _ in range(2):
    population, _ = together(population)
    alone, _ = single(alone)
  kernel = population.generator.params["Dense_0"]["kernel"]
  np.testing.assert_allclose(kernel[1], alone.generator.params["Dense_0"]["kernel"], rtol=1e-4)
  assert not np.allclose(kernel[0], kernel[1])


def test_the_table_has_a_row_a_game(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(mixtures, "_TABLE_GAMES", ("top_k",))
  monkeypatch.setattr(mixtures, "_TABLE_LOSSES", ("hinge",))
  mixtures.main(mixtures.Config(workdir=str(tmp_path), table=True, mixture="grid", **TINY))
  rows = capsys.readouterr().out.splitlines()
  assert rows[0].startswith("| game | hinge: modes of 25")
  assert [row.split(" | ")[0] for row in rows[2:]] == ["| top_k"]
  assert (tmp_path / "table.md").read_text().splitlines() == rows


@pytest.mark.parametrize("name", choices.GAMES)
def test_every_game_keeps_the_structure_of_its_state(name):
  toy = mixtures.build(mixtures.Config(workdir="unused", game=name, **TINY))
  start = jax.eval_shape(toy.init, jax.random.key(0))
  after, values = jax.eval_shape(toy.step, start)
  assert jax.tree.structure(start) == jax.tree.structure(after)
  assert jax.tree.map(lambda x: x.dtype, start) == jax.tree.map(lambda x: x.dtype, after)
  assert {"loss_D", "loss_G"} <= set(values)


@pytest.mark.parametrize(("mixture", "modes", "std"), [("ring", 8, 0.02), ("grid", 25, 0.05)])
def test_mixtures_have_all_their_modes(mixture, modes, std):
  made = mixtures.mixture_of(mixtures.Config(workdir="unused", mixture=mixture))
  centres = np.asarray(made.centres)
  gaps = np.linalg.norm(centres[:, None] - centres[None], axis=-1) + 9 * np.eye(modes)
  np.testing.assert_allclose(gaps.min(), {"ring": 1.530734, "grid": 2.0}[mixture], rtol=1e-5)
  samples = np.asarray(made.sample(jax.random.key(0), (40, 100))).reshape(-1, 2)
  distance = np.linalg.norm(samples[:, None] - centres[None], axis=-1)
  counts = np.bincount(distance.argmin(1), minlength=modes)
  assert abs(counts / 4000 - 1 / modes).max() < 4 * np.sqrt(1 / modes / 4000)
  np.testing.assert_allclose((distance.min(1) ** 2).mean(), 2 * std**2, rtol=0.1)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"steps": 0}, "--steps=0 must be positive"),
    ({"batch_size": -1}, "--batch-size=-1"),
    ({"loss": "log"}, "--loss=log must be one of minimax, non_saturating"),
    ({"penalty": "l2"}, "--penalty=l2 must be one of none, r1"),
    ({"game": "chess"}, "--game=chess must be one of alternating, simultaneous"),
  ],
)
def test_flags_without_meaning_are_refused(flags, message):
  with pytest.raises(run.RunError, match=message):
    mixtures.Config(workdir="unused", **flags)


def test_help_names_every_choice(capsys):
  with pytest.raises(SystemExit):
    tyro.cli(mixtures.Config, args=["--help"])
  text = capsys.readouterr().out
  for name in [*choices.LOSSES, *choices.PENALTIES, *choices.GAMES]:
    assert name in text
