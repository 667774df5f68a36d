import dataclasses
import json

import pytest

from jaxgan import run
from jaxgan.run import config as configs
from jaxgan.types import ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of the test."""

  critic_steps: int = 5
  """Updates of the critic."""


PRESETS = {"quick": {}, "paper": {"resolution": 64, "steps": 9000, "critic_steps": 7}}


def parse(*argv):
  return configs.parse(Config, PRESETS, ["--workdir=/tmp/x", *argv])


def test_a_preset_is_the_base_and_flags_override_it():
  assert parse() == Config(workdir="/tmp/x")
  config = parse("--preset", "paper", "--steps=12", "--flip")
  assert (config.preset, config.resolution, config.critic_steps) == ("paper", 64, 7)
  assert (config.steps, config.flip) == (12, True)


def test_help_explains_every_flag(capsys):
  with pytest.raises(SystemExit):
    parse("--help")
  text = capsys.readouterr().out
  for field in dataclasses.fields(Config):
    assert "--" + field.name.replace("_", "-") in text
  assert "Updates of the critic" in text
  assert "Mirror pictures" in text


@pytest.mark.parametrize(
  "argv", [["--preset=best"], ["--stepz=3"], ["--steps=many"], ["--dtype=float16"]]
)
def test_a_malformed_flag_ends_the_program_with_a_message(argv, capsys):
  with pytest.raises(SystemExit, match="2"):
    parse(*argv)
  output = capsys.readouterr()
  assert argv[0].split("=")[0].strip("-") in output.err + output.out


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    ("--steps=0", "--steps=0 must be positive"),
    ("--batch-size=-4", "--batch-size=-4 must be positive"),
    ("--checkpoint-every=0", "--checkpoint-every=0 must be positive"),
    ("--learning-rate=0", "--learning-rate=0.0 must be positive"),
    ("--learning-rate=nan", "--learning-rate=nan must be positive"),
    ("--seed=-1", r"--seed=-1 must be in \[0, 2\^32\)"),
    ("--seed=4294967296", "--seed=4294967296 must be"),
    ("--ema-decay=1", r"--ema-decay=1.0 must be in \[0, 1\)"),
  ],
)
def test_values_out_of_range_are_refused(argv, message):
  with pytest.raises(run.RunError, match=message):
    parse(argv)


def test_the_workdir_is_required(capsys):
  with pytest.raises(SystemExit):
    configs.parse(Config, PRESETS, [])
  assert "--workdir" in capsys.readouterr().err


def record(**changes):
  config = dataclasses.replace(Config(workdir="/tmp/x"), **changes)
  return run.Record(
    "experiments.some", dataclasses.asdict(config), ImageSpec((32, 32, 1), ("a", "b")), 7
  )


def test_a_record_is_read_back_as_it_was(tmp_path):
  assert run.Record.load(tmp_path) is None
  record().save(tmp_path)
  assert run.Record.load(tmp_path) == record()
  assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
  assert json.loads((tmp_path / "config.json").read_text())["config"]["critic_steps"] == 5


def test_a_record_of_translation_keeps_the_shape_of_its_inputs(tmp_path):
  spec = ImageSpec((32, 32, 3), (), (32, 32, 1))
  translated = dataclasses.replace(record(), spec=spec)
  translated.save(tmp_path)
  assert run.Record.load(tmp_path) == translated
  wrong = dataclasses.replace(translated, spec=spec._replace(inputs=(32, 32)))
  wrong.save(tmp_path)
  with pytest.raises(run.RunError, match=r"config\.json is damaged"):
    run.Record.load(tmp_path)


def test_a_damaged_record_is_named(tmp_path):
  (tmp_path / "config.json").write_text('{"experiment": ')
  with pytest.raises(run.RunError, match=r"config\.json is damaged"):
    run.Record.load(tmp_path)


def test_another_game_in_the_same_workdir_is_refused_with_the_differences():
  now = dataclasses.replace(Config(workdir="/tmp/x"), critic_steps=2, seed=3)
  with pytest.raises(run.RunError) as error:
    configs.check_same_game(record(), now, "experiments.some")
  message = str(error.value)
  assert "--critic-steps: was 5, now 2" in message
  assert "--seed: was 0, now 3" in message
  assert "--steps" not in message
  assert "--override" in message
  overridden = dataclasses.replace(now, override=True)
  configs.check_same_game(record(), overridden, "experiments.some")


def test_a_record_from_before_a_flag_takes_its_default():
  old = record()
  del old.config["critic_steps"]
  assert configs.read_config(old, Config).critic_steps == 5
  configs.check_same_game(old, Config(workdir="/tmp/x"), "experiments.some")
  with pytest.raises(run.RunError, match="--critic-steps: was 5, now 6"):
    configs.check_same_game(old, Config(workdir="/tmp/x", critic_steps=6), "experiments.some")


def test_a_record_with_an_unknown_flag_is_named():
  old = record()
  old.config["critic_speed"] = 2
  with pytest.raises(run.RunError, match="--critic-speed"):
    configs.read_config(old, Config)


def test_what_does_not_change_the_game_may_differ():
  now = Config(workdir="/tmp/y", steps=9, log_every=1, sample_every=2, checkpoint_every=3)
  configs.check_same_game(record(), now, "experiments.some")


def test_another_experiment_is_refused_even_with_override():
  with pytest.raises(run.RunError, match=r"holds a run of experiments\.some"):
    configs.check_same_game(record(), Config(workdir="/tmp/x", override=True), "experiments.other")
