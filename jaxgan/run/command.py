"""What programs that people start have in common: how flags are read, and how errors end them."""

import contextlib
import io
import logging
import os
import pathlib
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import absl.logging
import tyro

from jaxgan import data
from jaxgan.run.flags import RunError

__all__ = ["command_line", "read_flags"]

OptionsT = TypeVar("OptionsT")


def read_flags(
  options: type[OptionsT],
  argv: Sequence[str] | None = None,
  *,
  default: OptionsT | None = None,
  description: str | None = None,
  command: str | None = None,
) -> OptionsT:
  """Reads a dataclass from the command line. `--help` shows how the program is started.

  `--tyro-print-completion bash` prints what completes the flags of a shell function or alias that
  has the module's last name: nothing can be completed for `python -m experiments.dcgan` alone.

  Args:
    options: the dataclass.
    argv: arguments, by default the program's.
    default: values that flags override.
    description: in place of the dataclass's documentation.
    command: word between the program and these arguments.

  Returns:
    An instance. A flag that is unknown, malformed or missing ends the program with a message and
    the code 2, `--help` with 0.
  """
  arguments = sys.argv[1:] if argv is None else list(argv)
  spec = getattr(sys.modules["__main__"], "__spec__", None)
  name = pathlib.Path(sys.argv[0]).name if spec is None else spec.name.removesuffix(".__main__")
  words = ["python", *([] if spec is None else ["-m"]), name, *([command] if command else [])]
  completes = bool(arguments) and arguments[0].replace("_", "-").startswith("--tyro-")
  more: dict[str, Any] = {} if default is None else {"default": default}
  with _completion() if completes else contextlib.nullcontext():
    return tyro.cli(
      options,
      prog=name.rpartition(".")[2] if completes else " ".join(words),
      args=arguments,
      description=description,
      **more,
    )


@contextlib.contextmanager
def _completion() -> Iterator[None]:
  """Around what prints a script of completion, which takes each line of a help for an offer."""
  printed = io.StringIO()
  try:
    with contextlib.redirect_stdout(printed):
      yield
  finally:
    for line in printed.getvalue().splitlines(keepends=True):
      table = line.startswith("COMPLETION_SPEC = ")  # Python, in one line
      sys.stdout.write(line.replace("\\n", " ") if table else line)


@contextlib.contextmanager
def command_line() -> Iterator[None]:
  """What a program that people start wraps around its work.

  What a person can mend ends it with a line, without a trace, and the code 2: a `RunError` or
  `DataError`, and a file that the system does not let it read or write. After Ctrl-C, or a reader
  of its output that has gone away, the code is 128 plus the signal's number. Libraries keep their
  hints to themselves, and their logs of errors that they raise as well.
  """
  absl.logging.set_verbosity(absl.logging.FATAL)
  # Of writes that fail together orbax raises the first; asyncio would print traces of the others.
  logging.getLogger("asyncio").setLevel(logging.CRITICAL)
  sys.unraisablehook = _unraisable
  try:
    yield
    sys.stdout.flush()
  except (RunError, data.DataError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  except KeyboardInterrupt:
    print("error: interrupted", file=sys.stderr)
    sys.exit(128 + signal.SIGINT)
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to flush
    sys.exit(128 + signal.SIGPIPE)
  except OSError as error:
    if error.filename is None or error.strerror is None:
      raise
    print(f"error: {error.filename}: {error.strerror}; mend that, or name another", file=sys.stderr)
    sys.exit(2)


def _unraisable(hint: Any) -> None:
  # tensorstore leaves one for each write under way when another one has failed, and been raised.
  if str(hint.exc_value) != "Event loop is closed":
    sys.__unraisablehook__(hint)
