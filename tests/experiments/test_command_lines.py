"""Every program that people start: help, names of flags, completion, errors and exit codes."""

import dataclasses
import importlib
import os
import pathlib
import re
import runpy
import signal
import subprocess
import sys
import typing
import warnings

import pytest

from experiments import __main__ as listing
from experiments import sample
from jaxgan import data, run

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = [program.name for program in listing.programs()]
TRAIN = [program.name for program in listing.programs() if program.trains]
COMMANDS = [f"sample {name}" for name in sample.COMMANDS]


def start(command, *argv):
  """The exit code of `python -m experiments.NAME`, in this process."""
  name, *words = command.split()
  with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
    patch.setattr(sys, "argv", [name, *words, *argv])
    patch.setattr(sys, "unraisablehook", sys.unraisablehook)  # which a command line sets
    # "found in sys.modules": other tests have imported it
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
    with pytest.raises(SystemExit) as end:
      runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
  return end.value.code


def options_of(command):
  """The dataclass that a program reads its flags into."""
  name, *words = command.split()
  if words:
    return sample.COMMANDS[words[0]].options
  module = importlib.import_module(f"experiments.{name}")
  return module.Config if hasattr(module, "Config") else module.Options


def flags_of(options):
  """Of each flag its type, and all its names."""
  found = {}
  hints = typing.get_type_hints(options, include_extras=True)
  for field in dataclasses.fields(options):
    hint = hints[field.name]
    kind = getattr(hint, "__origin__", hint) if hasattr(hint, "__metadata__") else hint
    if dataclasses.is_dataclass(kind):  # its flags stand beside the others
      found |= flags_of(kind)
      continue
    more = (getattr(each, "aliases", None) or () for each in getattr(hint, "__metadata__", ()))
    names = (f"--{field.name.replace('_', '-')}", *(name for each in more for name in each))
    found[field.name] = (kind, names)
  return found


FLAGS = {command: flags_of(options_of(command)) for command in [*PROGRAMS, *COMMANDS]}
HIDDEN = {("retrieval", "out")}  # of no use there


@pytest.mark.parametrize("command", [*PROGRAMS, *COMMANDS])
def test_help_names_the_program_and_every_flag(command, capsys):
  assert start(command, "--help") == 0
  told = capsys.readouterr()
  assert f"usage: python -m experiments.{command} [-h]" in told.out
  for name, (_, names) in FLAGS[command].items():
    assert (command, name) in HIDDEN or all(flag in told.out for flag in names), names
  assert not told.err


def test_the_list_of_programs_has_help(capsys):
  with pytest.raises(SystemExit, match="0"):
    listing.main(["--help"])
  assert "usage: python -m experiments" in capsys.readouterr().out


# What is called by one name in all programs. A paper's own name may stand beside it.
SAME = {
  "--d-steps": ("--n-dis", "--n-critic", "--dis-steps", "--critic-steps"),
  "--workdir": ("--run", "--folder", "--dir", "--workdirs", "--logdir"),
  "--out": ("--output", "--out-dir", "--to"),
  "--images": ("--input", "--pictures"),
  "--num": ("--n", "--count", "--num-samples", "--n-samples", "--samples"),
  "--steps": ("--iterations", "--iters", "--num-steps"),
  "--batch-size": ("--batch", "--bs"),
  "--learning-rate": ("--lr", "--rate"),
  "--checkpoint": ("--ckpt", "--step"),
  "--seed": ("--random-seed", "--rng"),
  "--data-dir": ("--data", "--data-folder"),
  "--features": ("--network-of-features", "--feature-network"),
  "--held-out": ("--test-split", "--validation"),
  "--ema": ("--average", "--averaged"),
}
# One word, two meanings, told apart by their types.
APART = {
  ("text_to_picture", "held_out"),  # a number of texts, and not a split
  ("sample arithmetic", "noise"),  # how much, and not whether
}


@pytest.mark.parametrize("command", FLAGS)
def test_one_thing_has_one_name(command):
  names = [set(each) for _, each in FLAGS[command].values()]
  for same, others in SAME.items():
    for each in names:
      assert not each & set(others) or same in each, f"{sorted(each)} is {same} elsewhere"
  given = [name for each in names for name in each]
  assert len(given) == len(set(given))
  assert all(re.fullmatch(r"--[a-z0-9]+(-[a-z0-9]+)*", name) for name in given)


def test_one_name_has_one_type():
  kinds = {}
  for command, flags in FLAGS.items():
    for name, (kind, _) in flags.items():
      if (command, name) not in APART:
        kinds.setdefault(name, {}).setdefault(plain(kind), []).append(command)
  assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


def plain(kind):
  """A type without whether it may be left out, and without the choices that it has."""
  args = [each for each in typing.get_args(kind) if each is not type(None)]
  if typing.get_origin(kind) in (typing.Annotated, tuple):  # of several, each
    return plain(args[0])
  if typing.get_origin(kind) is typing.Literal:
    return plain(type(args[0]))
  if type(None) in typing.get_args(kind) and len(args) == 1:
    return plain(args[0])
  return {str: "text"}.get(kind, str(kind))


WRONG = {
  "classifier": ["--dataset={other}/pictures"],
  "compare": ["--workdir={empty}", "--workdir={other}"],
  "conditions": ["--workdir={empty}", "--classifier=x.npz"],
  "inversion": ["--workdir={other}", "--generator={empty}", "--images={other}"],
  "mixtures": ["--workdir={other}", "--packing=2"],
  "population": ["--workdir={empty}", "--out={other}"],
  "sample invert": ["--workdir={empty}", "--images={other}"],
  "sample arithmetic": ["--workdir={empty}", "--plus=1"],
  "study": ["--out={other}", "--resolution=30"],
  "study_table": ["--studies={empty}"],
  "text_to_picture": ["--workdir={empty}", "--text=a"],
  "translate": ["--workdir={empty}", "--input={empty}"],
  "truncation": ["--workdir={empty}", "--classifier=x.npz"],
} | {name: ["--workdir={other}", "--steps=0"] for name in TRAIN if name != "mixtures"}


@pytest.mark.parametrize("command", [*PROGRAMS, *COMMANDS])
def test_what_a_person_can_mend_ends_with_a_line(command, tmp_path, capsys):
  (tmp_path / "empty").mkdir()
  places = {"empty": tmp_path / "empty", "other": tmp_path / "other"}
  argv = [flag.format(**places) for flag in WRONG.get(command, ["--workdir={empty}"])]
  assert start(command, *argv) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: ")
  assert "--" in line or str(tmp_path) in line
  assert not (tmp_path / "other").exists()


USED = pytest.mark.parametrize(
  "command", ["dcgan", "sample", "sample walk", "evaluate", "mixtures"]
)


@USED  # first, since older versions of tyro remember in one process what was unknown
def test_a_missing_flag_is_an_error_of_usage(command, capsys):
  assert start(command) == 2
  assert "--workdir" in capsys.readouterr().err


@USED
def test_an_unknown_flag_is_an_error_of_usage(command, capsys):
  assert start(command, "--workdir=/tmp/x", "--stepz=3") == 2
  assert "--stepz" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("error", "code", "said"),
  [
    (run.RunError("--x=1 must be 2"), 2, "error: --x=1 must be 2\n"),
    (data.DataError("--dataset=x"), 2, "error: --dataset=x\n"),
    (PermissionError(13, "Permission denied", "/x"), 2, "error: /x: Permission denied; mend that"),
    (KeyboardInterrupt(), 130, "error: interrupted\n"),
  ],
)
def test_exit_codes(error, code, said, capsys, monkeypatch):
  monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
  with pytest.raises(SystemExit) as end, run.command_line():
    raise error
  assert end.value.code == code
  assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError("without a file"), KeyError("x")])
def test_what_nobody_foresaw_keeps_its_trace(error, monkeypatch):
  monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
  with pytest.raises(type(error)), run.command_line():
    raise error


def test_a_reader_who_has_gone_is_no_error():
  code = "from jaxgan import run\nwith run.command_line():\n  print('x' * 10**6)"
  with subprocess.Popen(
    [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
  ) as process:
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=100) == 128 + signal.SIGPIPE


def completed(folder, command, *words):
  """What bash offers after words of a command whose completion was printed."""
  script = f"""
    source {folder / command}
    words=("$@") COMP_WORDS=({command} "${{words[@]}}") COMP_CWORD=${{#words[@]}}
    $(complete -p {command} | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
    printf '%s\\n' "${{COMPREPLY[@]}}"
  """
  done = subprocess.run(
    ["bash", "-c", script, "bash", *words], capture_output=True, text=True, env=os.environ
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.splitlines()


@pytest.mark.parametrize(
  ("command", "begun", "offered"),
  [
    ("dcgan", "--lear", ["--learning-rate"]),
    ("sample", "--che", ["--checkpoint"]),
    ("mixtures", "--mix", ["--mixture"]),  # whose help has several lines
    ("compare", "--work", ["--workdir", "--workdirs"]),
  ],
)
def test_bash_completes_flags(command, begun, offered, tmp_path, capsys):
  assert start(command, "--tyro-print-completion", "bash") in (0, None)
  printed = capsys.readouterr()
  (tmp_path / command).write_text(printed.out)
  check = subprocess.run(["bash", "-n", tmp_path / command], capture_output=True, text=True)
  assert (check.returncode, check.stderr) == (0, "")
  assert sorted(completed(tmp_path, command, begun)) == offered


def test_completion_follows_choices(tmp_path, capsys):
  start("dcgan", "--tyro-print-completion", "bash")
  (tmp_path / "dcgan").write_text(capsys.readouterr().out)
  assert set(completed(tmp_path, "dcgan", "--preset", "")) == {"quick", "measured", "paper"}


def test_zsh_has_a_script_too(capsys):
  start("dcgan", "--tyro-print-completion", "zsh")
  assert capsys.readouterr().out.startswith("#compdef dcgan\n")
