"""The mixtures from end to end, tiny."""

import itertools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import choices, gaussians, mixtures, mixtures_table
from jaxgan import run

TINY = {"width": 8, "batch_size": 8, "seeds": 2, "steps": 5, "log_every": 2}


def config(**flags):
  return mixtures.Config(**{"workdir": "unused", **TINY, **flags})


def test_a_run_leaves_its_files_and_prints_a_line_a_seed(tmp_path, capsys):
  mixtures.main(config(workdir=str(tmp_path), penalty="r1", game="lookahead"))
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
  toy = mixtures.build(config())
  population = jax.vmap(toy.init)(jax.random.split(jax.random.key(0), 2))
  alone = jax.tree.map(lambda x: x[1], population)
  together, single = jax.jit(jax.vmap(toy.step)), jax.jit(toy.step)
  for _ in range(2):
    population, _ = together(population)
    alone, _ = single(alone)
  kernel = population.generator.params["Dense_0"]["kernel"]
  np.testing.assert_allclose(kernel[1], alone.generator.params["Dense_0"]["kernel"], rtol=1e-4)
  assert not np.allclose(kernel[0], kernel[1])


@pytest.fixture
def small_table(monkeypatch):
  """A table of two rows, and the pairs whose populations have been trained for it."""
  monkeypatch.setattr(mixtures_table, "LOSSES", ("hinge",))
  monkeypatch.setattr(mixtures_table, "GAMES", ("top_k", "alternating"))
  trained = []
  train = mixtures.train

  def counted(config, write):
    trained.append((config.loss, config.game))
    return train(config, write)

  monkeypatch.setattr(mixtures, "train", counted)
  return trained


def test_a_table_goes_on_where_it_was_stopped(tmp_path, capsys, monkeypatch, small_table):
  flags = config(workdir=str(tmp_path), table=True, mixture="grid")
  counted = mixtures.train

  def stopped(config, write):
    if small_table:
      raise KeyboardInterrupt
    return counted(config, write)

  monkeypatch.setattr(mixtures, "train", stopped)
  with pytest.raises(KeyboardInterrupt):
    mixtures.main(flags)
  assert small_table == [("hinge", "top_k")]
  first = (tmp_path / "table.jsonl").read_text()

  monkeypatch.setattr(mixtures, "train", counted)
  mixtures.main(flags)
  assert small_table == [("hinge", "top_k"), ("hinge", "alternating")]
  assert (tmp_path / "table.jsonl").read_text().startswith(first)
  table = capsys.readouterr().out.splitlines()
  assert table[0] == "| loss | game | modes of 25 | high quality, % | s |"
  assert [row.split(" | ")[:2] for row in table[2:]] == [
    ["| hinge", "top_k"],
    ["| hinge", "alternating"],
  ]
  assert (tmp_path / "table.md").read_text().splitlines() == table

  mixtures.main(flags)  # nothing is left to do
  assert len(small_table) == 2
  assert capsys.readouterr().out.splitlines() == table

  row = json.loads((tmp_path / "table.jsonl").read_text().splitlines()[1])
  alone = mixtures.train(config(mixture="grid", loss="hinge", log_every=99), lambda line: None)
  for name, values in alone.coverage._asdict().items():
    np.testing.assert_allclose(row[name], values, rtol=1e-6, err_msg=name)


def test_a_workdir_keeps_to_its_settings(tmp_path, monkeypatch):
  monkeypatch.setattr(mixtures_table, "LOSSES", ())
  here = {"workdir": str(tmp_path), "table": True}
  mixtures.main(config(**here))
  mixtures.main(config(**here, loss="hinge", game="top_k", log_every=3))  # a table reads none
  for flags, message in [
    ({**here, "steps": 6}, "--steps: was 5, now 6"),
    ({**here, "table": False}, "--table: was True, now False"),
  ]:
    with pytest.raises(run.RunError, match=message):
      mixtures.main(config(**flags))
  assert json.loads((tmp_path / "config.json").read_text())["steps"] == 5


def test_a_table_wants_a_folder_without_a_run(tmp_path):
  settings = {"workdir": "here", "table": False, "steps": 5}
  mixtures_table.claim(tmp_path, settings, unread=["workdir"])
  mixtures_table.claim(tmp_path, settings, unread=["workdir"])  # a run anew
  with pytest.raises(run.RunError, match="--steps: was 5, now 6"):
    mixtures_table.claim(tmp_path, {**settings, "steps": 6}, unread=["workdir"])
  with pytest.raises(run.RunError, match="--table: was False, now True"):
    mixtures_table.claim(tmp_path, {**settings, "steps": 6, "table": True}, unread=["workdir"])


def test_damaged_rows_are_named(tmp_path):
  path = tmp_path / "table.jsonl"
  for text, message in [('{"loss": "hi', "is damaged"), ('{"loss": "hinge"}', "is no row")]:
    path.write_text(text + "\n")
    with pytest.raises(run.RunError, match=message):
      mixtures_table.fill(path, None)


def test_the_table_shows_median_and_range():
  row = mixtures_table.Row("hinge", "top_k", [8, 7, 3], [0.5, 0.91, 0.0], [0.0] * 3, 12.4)
  assert mixtures_table.markdown([row], 8).splitlines()[2] == (
    "| hinge | top_k | 7 (3 to 8) | 50 (0 to 91) | 12 |"
  )


@pytest.mark.parametrize("name", choices.GAMES)
def test_every_game_keeps_the_structure_of_its_state(name):
  toy = mixtures.build(config(game=name))
  start = jax.eval_shape(toy.init, jax.random.key(0))
  after, values = jax.eval_shape(toy.step, start)
  assert jax.tree.structure(start) == jax.tree.structure(after)
  assert jax.tree.map(lambda x: x.dtype, start) == jax.tree.map(lambda x: x.dtype, after)
  assert {"loss_D", "loss_G"} <= set(values)


def played(**flags):
  """The games before and after each of five steps, of which four were planned."""
  toy = mixtures.build(config(rate_left=0.0, steps=4, **flags))
  step = jax.jit(toy.step)
  states = [jax.jit(toy.init)(jax.random.key(0))]
  for _ in range(5):
    states.append(step(states[-1])[0])
  return states


@pytest.fixture(scope="module")
def clipped():
  """A clipped critic of two steps a turn, with LeCam."""
  return played(loss="wasserstein", penalty="lecam", d_steps=2, clip=0.02, learning_rate=0.1)


def moves(states, role):
  """Whether each step changed the first kernel of a player."""
  kernels = [np.asarray(getattr(game, role).params["Dense_0"]["kernel"]) for game in states]
  return [not np.array_equal(*pair) for pair in itertools.pairwise(kernels)]


def test_learning_rates_end_with_the_last_step(clipped):
  assert moves(clipped, "generator") == [True] * 4 + [False]
  # Clipping alone can hold a kernel, so that D is looked at where its steps are not clipped.
  states = played(game="past_extragradient", d_steps=2)
  for role in ("discriminator", "generator"):
    assert moves(states, role) == [True] * 4 + [False], role


def test_clipping_holds_from_the_first_step_on(clipped):
  for game in clipped:
    weights = np.concatenate([np.ravel(x) for x in jax.tree.leaves(game.discriminator.params)])
    np.testing.assert_allclose(abs(weights).max(), 0.02, rtol=1e-5)
  assert max(abs(x).max() for x in jax.tree.leaves(clipped[-1].generator.params)) > 0.1


def test_lecam_carries_its_averages(clipped):
  averages = [game.extra["lecam"] for game in clipped]
  assert [int(average.updates) for average in averages] == [0, 2, 4, 6, 8, 10]
  assert averages[0].real == 0 != averages[1].real


@jax.jit
def slope(values):
  """The means of the penalties at a linear critic, by name."""

  def critic(x):
    return x @ values

  batch = {"image": jnp.ones([4096, 2]), "fake": jnp.zeros([4096, 2])}
  batch |= {"real_logits": critic(batch["image"]), "fake_logits": critic(batch["fake"])}

  def at(terms):
    game = types.SimpleNamespace(extra=terms.extra())
    return [term(critic, batch, jax.random.key(1), game).mean() for term in terms.penalties]

  return {name: at(terms) for name, terms in choices.PENALTIES.items()}


def test_penalties_by_their_names():
  # At a gradient of norm 5, and of 1/2; jitter moves D by a normal of 0.05 times the norm. The
  # mean of 4096 squared normals is within 10% (4.5 deviations) of its expectation.
  steep, flat = (slope(jnp.array(values)) for values in ([3.0, 4.0], [0.3, 0.4]))
  jitter = 0.05**2
  expected = {
    "none": ([], []),
    "r1": ([25], [0.25]),
    "r2": ([25], [0.25]),
    "r1_r2": ([25, 25], [0.25, 0.25]),
    "r1_estimate": ([25], [0.25]),
    "r2_estimate": ([25], [0.25]),
    "r1_r2_estimate": ([25, 25], [0.25, 0.25]),
    "gradient_penalty": ([16], [0.25]),
    "one_sided_gradient_penalty": ([16], [0]),
    "dragan": ([16], [0.25]),
    "one_sided_dragan": ([16], [0]),
    "consistency": ([25 * jitter], [0.25 * jitter]),
    "balanced_consistency": ([50 * jitter], [0.5 * jitter]),
    "lecam": ([2 * 7**2], [2 * 0.7**2]),  # both averages are those of the batch
  }
  assert expected.keys() == choices.PENALTIES.keys()
  for name, (at_steep, at_flat) in expected.items():
    np.testing.assert_allclose(steep[name], at_steep, rtol=0.1, err_msg=name)
    np.testing.assert_allclose(flat[name], at_flat, rtol=0.1, err_msg=name)


def test_losses_by_their_names_want_real_above_fake():
  real, fake = jnp.array([0.3, 0.6]), jnp.array([0.2, 0.4])

  @jax.jit
  def gradients():
    def of(loss):
      d = jax.grad(lambda *x: loss.discriminator(*x).sum(), (0, 1))(real, fake)
      return *d, jax.grad(lambda *x: loss.generator(*x).sum(), 1)(real, fake)

    return {name: of(make()) for name, make in choices.LOSSES.items()}

  for name, (d_real, d_fake, g_fake) in gradients().items():
    assert (d_real < 0).all(), name
    assert (d_fake > 0).all(), name
    assert (g_fake < 0).all(), name


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


def test_a_diverged_run_can_be_drawn(tmp_path):
  points = np.full([9, 2], np.nan)
  snapshot = gaussians.Snapshot(1, points, points[:, 0])
  gaussians.plot(tmp_path / "plot.png", gaussians.ring(), [snapshot])
  assert (tmp_path / "plot.png").stat().st_size > 0


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"steps": 0}, "--steps=0 must be positive"),
    ({"batch_size": -1}, "--batch-size=-1"),
    ({"rate_left": 1.5}, r"--rate-left=1.5 must be in \[0, 1\]"),
    ({"penalty_weight": float("nan")}, "--penalty-weight=nan"),
    ({"clip": 0.0}, "--clip=0.0 must be positive"),
    ({"clip": 0.01, "game": "competitive"}, "--clip=0.01 is a part of Adam"),
    ({"clip": 0.01, "table": True}, "--clip=0.01 is a part of Adam"),
    ({"loss": "log"}, "--loss=log must be one of minimax, non_saturating"),
    ({"penalty": "l2"}, "--penalty=l2 must be one of none, r1"),
    ({"game": "chess"}, "--game=chess must be one of alternating, simultaneous"),
  ],
)
def test_flags_without_meaning_are_refused(flags, message):
  with pytest.raises(run.RunError, match=message):
    config(**flags)


def test_defaults_are_those_of_the_mixture():
  ring, grid = mixtures.parse(["--workdir=x"]), mixtures.parse(["--workdir=x", "--mixture", "grid"])
  assert ring == mixtures.Config(workdir="x", **mixtures.PRESETS["ring"])
  assert grid == mixtures.Config(workdir="x", mixture="grid", **mixtures.PRESETS["grid"])
  assert grid.steps > ring.steps
  assert mixtures.parse(["--workdir=x", "--mixture=grid", "--steps=7"]).steps == 7


@pytest.mark.parametrize(
  ("argv", "word"), [(["--workdir=x", "--mixture=cube"], "cube"), (["--mixture=grid"], "workdir")]
)
def test_malformed_flags_end_with_a_message(argv, word, capsys):
  with pytest.raises(SystemExit) as end:
    mixtures.parse(argv)
  assert end.value.code
  assert word in capsys.readouterr().err


def test_help_names_every_choice(capsys):
  with pytest.raises(SystemExit):
    mixtures.parse(["--help"])
  text = capsys.readouterr().out
  for name in [*choices.LOSSES, *choices.PENALTIES, *choices.GAMES]:
    assert name in text


def test_packing_judges_points_together():
  toy = mixtures.build(config(packing=2, penalty="none"))
  game, _ = jax.jit(toy.step)(toy.init(jax.random.key(0)))
  kernels = {x.shape for x in jax.tree.leaves(game.discriminator.params)}
  assert (4, 8) in kernels  # two points of the plane side by side
  assert toy.logits(game, jnp.zeros([5, 2])).shape == (5,)


@pytest.mark.parametrize(
  ("flags", "said"),
  [(dict(packing=2), "--penalty=none"), (dict(packing=3, penalty="none"), "--packing=3")],
)
def test_packings_that_do_not_go_are_refused(flags, said):
  with pytest.raises(run.RunError, match=said):
    mixtures.build(config(**flags))
