"""The main job from end to end, tiny: outputs, resume, refusals, samples."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import choices, class_balance, dcgan, sample
from jaxgan import run, training
from jaxgan.run.checkpoints import Checkpoints
from jaxgan.types import ImageSpec

FLAGS = [
  "--resolution=16",
  "--width=4",
  "--batch-size=8",
  "--limit=200",
  "--log-every=2",
  "--sample-every=3",
  "--checkpoint-every=2",
  "--no-compilation-cache",
]


def main(workdir, *argv):
  """The exit code of the experiment."""
  with pytest.raises(SystemExit) as end:
    run.main(dcgan.build, dcgan.Config, dcgan.PRESETS, [f"--workdir={workdir}", *FLAGS, *argv])
  return end.value.code


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  assert main(folder, "--steps=6") == 0
  return folder


def picture(path):
  with Image.open(path) as file:
    return np.asarray(file)


def lines(workdir):
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_a_person_wants_to_see(workdir):
  assert sorted(p.name for p in (workdir / "samples").iterdir()) == [
    "real.png",
    "step_000003.png",
    "step_000006.png",
  ]
  real, first, last = (picture(path) for path in sorted((workdir / "samples").iterdir()))
  assert real.shape == last.shape == (8 * 18 + 2, 8 * 18 + 2)
  assert real.std() > 50
  assert (first != last).any()  # six steps are too few to see more
  assert list((workdir / "tensorboard").glob("events.out.tfevents.*"))

  logged = [line for line in lines(workdir) if "loss_D" in line]
  assert [line["step"] for line in logged] == [2, 4, 6]
  for line in logged:
    assert {"loss_G", "D_x", "D_G_z1", "D_G_z2", "steps_per_second"} < set(line)
    assert 0.0 <= line["D_G_z2"] <= 1.0
    assert all(np.isfinite(value) for value in line.values())


def test_the_latest_two_checkpoints_and_the_best_are_kept(workdir):
  scores = {
    line["step"]: line["sliced_wasserstein"]
    for line in lines(workdir)
    if "sliced_wasserstein" in line
  }
  assert set(scores) == {2, 4, 6}
  with Checkpoints(workdir, read_only=True) as checkpoints:
    assert checkpoints.latest == 6
    assert checkpoints.best == min(scores, key=scores.get)


def test_tensorboard_holds_scalars_and_pictures(workdir):
  from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

  events = EventAccumulator(str(workdir / "tensorboard")).Reload()
  tags = events.Tags()
  assert {"loss_D", "loss_G", "D_x", "D_G_z1", "D_G_z2"} <= set(tags["tensors"] + tags["scalars"])
  assert "samples/image/0" in tags["images"] or "samples" in "".join(tags["tensors"])


def test_tensorboard_compares_runs_by_flags_and_last_figures(workdir):
  """As its page of hyperparameters asks for them."""
  from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
  from tensorboard.context import RequestContext
  from tensorboard.plugins import base_plugin
  from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

  runs = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(workdir), "tests")
  provider = data_provider.MultiplexerDataProvider(runs.Reload(), str(workdir))
  page = backend_context.Context(base_plugin.TBContext(data_provider=provider))
  statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS]
  asked = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, slice_size=9)
  handler = list_session_groups.Handler(RequestContext(), page, "", asked)
  (group,) = handler.run().session_groups
  assert group.hparams["learning_rate"].number_value == 2e-4
  assert group.hparams["width"].number_value == 4
  assert group.hparams["game"].string_value == "alternating"
  figures = {value.name.tag: (value.training_step, value.value) for value in group.metric_values}
  last = [line for line in lines(workdir) if line["step"] == 6]
  for name in ("loss_D", "loss_G", "sliced_wasserstein"):
    (expected,) = (line[name] for line in last if name in line)
    assert figures[name] == (6, pytest.approx(expected, rel=1e-6))  # float32 there


def test_another_config_is_refused_before_anything_is_done(workdir, capsys):
  before = (workdir / "metrics.jsonl").read_bytes()
  assert main(workdir, "--steps=8", "--learning-rate=1e-3") == 2
  assert "--learning-rate: was 0.0002, now 0.001" in capsys.readouterr().err
  assert (workdir / "metrics.jsonl").read_bytes() == before


def test_networks_that_do_not_fit_the_checkpoint_are_refused(workdir, capsys):
  record = (workdir / "config.json").read_bytes()
  assert main(workdir, "--steps=8", "--width=8", "--override") == 2
  assert "does not fit the networks" in capsys.readouterr().err
  assert (workdir / "config.json").read_bytes() == record


def test_a_batch_that_does_not_divide_is_refused(tmp_path, capsys):
  assert main(tmp_path, "--batch-size=12") == 2
  assert f"number of devices, {jax.device_count()}" in capsys.readouterr().err


def test_an_unknown_data_set_ends_with_a_line(tmp_path, capsys):
  assert main(tmp_path, "--dataset=digitz") == 2
  error = capsys.readouterr().err
  assert error.startswith("error: ")
  assert "digits" in error
  assert not (tmp_path / "config.json").exists()


def test_flags_that_no_network_fits_are_refused_before_anything_is_written(tmp_path, capsys):
  assert main(tmp_path, "--resolution=48") == 2
  assert "resolution=48 must be 8, 16, 32" in capsys.readouterr().err
  assert list(tmp_path.iterdir()) == []


def test_the_remedy_for_mixed_channels_is_a_flag(tmp_path, capsys):
  for mode in ("L", "RGB"):
    for i in range(4):
      Image.new(mode, (16, 16), 40 * i).save(tmp_path / f"{mode}{i}.png")
  flags = [f"--dataset={tmp_path}", f"--cache-dir={tmp_path / 'cache'}", "--resolution=48"]
  assert main(tmp_path / "run", *flags) == 2
  assert "--channels=1" in capsys.readouterr().err
  assert main(tmp_path / "run", *flags, "--channels=3") == 2  # past the data: no such network
  assert "resolution=48" in capsys.readouterr().err


def test_a_workdir_of_other_pictures_is_refused(workdir, capsys):
  assert main(workdir, "--steps=8", "--resolution=32", "--override") == 2
  assert "was trained on" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flags", "channels"),
  [
    (["--dataset=fashion_mnist", "--data-dir={data}/tfds", "--split=train[:300]"], 1),
    (["--dataset={data}/emoji64/train", "--flip", "--dtype=bfloat16"], 3),
  ],
  ids=["fashion_mnist", "emoji"],
)
def test_real_sets_train_by_the_same_command(tmp_path, shared_data, flags, channels):
  flags = [flag.format(data=shared_data) for flag in flags]
  flags.append(f"--cache-dir={tmp_path / 'cache'}")
  assert main(tmp_path / "run", *flags, "--steps=2") == 0
  assert run.Record.load(tmp_path / "run").spec.shape == (16, 16, channels)
  assert all(np.isfinite(line["loss_D"]) for line in lines(tmp_path / "run") if "loss_D" in line)
  grid = picture(tmp_path / "run" / "samples" / "real.png")
  assert grid.ndim == (2 if channels == 1 else 3)
  assert grid.std() > 20


def draw(workdir, **options):
  sample.main(sample.Options(str(workdir), **options))


def test_samples_as_grid_folder_and_array(workdir, tmp_path):
  draw(workdir, num=6, out=str(tmp_path / "grid.png"))
  draw(workdir, num=6, out=str(tmp_path / "folder"))
  draw(workdir, num=6, out=str(tmp_path / "array.npz"))
  images = np.load(tmp_path / "array.npz")["images"]
  assert images.shape == (6, 16, 16, 1)
  assert images.dtype == np.uint8
  for i, image in enumerate(images):
    np.testing.assert_array_equal(picture(tmp_path / f"folder/{i}.png"), image[..., 0])
  grid = picture(tmp_path / "grid.png")
  np.testing.assert_array_equal(grid[2:18, 2:18], images[0, ..., 0])


def test_seed_average_and_checkpoint_change_the_samples(workdir, tmp_path):
  def array(**options):
    draw(workdir, num=4, out=str(tmp_path / "a.npz"), **options)
    return np.load(tmp_path / "a.npz")["images"]

  with Checkpoints(workdir, read_only=True) as checkpoints:
    first = checkpoints.steps[0]
  plain = array()
  np.testing.assert_array_equal(plain, array())
  for options in ({"seed": 1}, {"ema": False}, {"checkpoint": first}):
    assert not np.array_equal(plain, array(**options)), options


def test_a_walk_runs_along_rows(workdir, tmp_path):
  draw(workdir, num=10, interpolate=5, out=str(tmp_path / "walk.png"))
  assert picture(tmp_path / "walk.png").shape == (2 * 18 + 2, 5 * 18 + 2)
  with pytest.raises(run.RunError, match="--interpolate=4"):
    draw(workdir, num=10, interpolate=4)


def test_sampling_says_what_is_missing(workdir, tmp_path):
  with pytest.raises(run.RunError, match="holds no run"):
    draw(tmp_path)
  with pytest.raises(run.RunError, match="no checkpoint 5"):
    draw(workdir, checkpoint=5)
  with pytest.raises(run.RunError, match=r"--out=a\.jpg"):
    draw(workdir, out="a.jpg")


def test_the_class_balance_is_printed(workdir, capsys, monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where the classifier is kept
  class_balance.main(class_balance.Options(str(workdir), num=50))
  output = capsys.readouterr().out
  assert "held-out" in output
  assert "50 samples of step" in output
  assert output.count("%") == 22  # accuracy, ten classes twice, the smallest share


@pytest.mark.parametrize("game", choices.GAMES)
def test_every_game_can_be_named(game):
  """Traced for two devices, with convolutions and batch norm; what they compute is tested apart."""
  config = dcgan.Config(workdir="", game=game, resolution=8, width=2, batch_size=8)
  gan = dcgan.build(config, ImageSpec((8, 8, 1)))
  mesh = training.data_mesh(jax.devices()[:2])
  state = jax.eval_shape(gan.init, jax.random.key(0))
  batch = {"image": jax.ShapeDtypeStruct((1, 8, 8, 8, 1), np.float32)}
  after, metrics = jax.eval_shape(training.data_parallel(gan.step, mesh), state, batch)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert jax.tree.leaves(jax.tree.map(lambda x: (x.shape, x.dtype), after)) == jax.tree.leaves(
    jax.tree.map(lambda x: (x.shape, x.dtype), state)
  )
  assert {"loss_D", "loss_G"} <= set(metrics)


def test_an_unknown_game_is_refused(tmp_path, capsys):
  assert main(tmp_path, "--game=chess") == 2
  assert "--game=chess must be one of alternating" in capsys.readouterr().err


def test_several_steps_a_call(tmp_path):
  flags = ["--steps=6", "--steps-per-call=4", "--log-every=4", "--sample-every=4"]
  assert main(tmp_path, *flags, "--checkpoint-every=4") == 0
  rows = [line for line in lines(tmp_path) if "loss_D" in line]
  assert [row["step"] for row in rows] == [4, 6]
  assert all(np.isfinite(row["loss_G"]) for row in rows)
  assert (tmp_path / "samples" / "step_000006.png").exists()


def test_intervals_must_hold_whole_calls(tmp_path, capsys):
  assert main(tmp_path / "run", "--steps=4", "--steps-per-call=4") == 2
  assert "--log-every=2 must be a multiple of --steps-per-call=4" in capsys.readouterr().err


def test_a_larger_number_of_steps_extends_a_finished_run(workdir, capsys):
  """Last, since it moves the run on."""
  assert main(workdir, "--steps=6") == 0
  assert "larger --steps" in capsys.readouterr().err
  assert main(workdir, "--steps=8") == 0
  assert [line["step"] for line in lines(workdir) if "loss_D" in line] == [2, 4, 6, 8]
  with Checkpoints(workdir) as checkpoints:
    assert checkpoints.latest == 8
