"""The command line: `python -m jaxgan.data.prepare --help`."""

import contextlib
import logging
import pathlib
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from jaxgan.data.errors import DataError, require
from jaxgan.data.prepare import REPORT, Options, prepare


def main(argv: Sequence[str] | None = None) -> None:
  """Prepares a data set, and says what became of the files and what to do next."""
  options = require("tyro", "the command line").cli(
    Options, prog="python -m jaxgan.data.prepare", description=_ABOUT, args=argv
  )
  findings = prepare(options)
  out = pathlib.Path(options.out).expanduser()
  size = sum(path.stat().st_size for path in out.iterdir())
  print(findings)
  print(f"\nwritten to {out}: {size / 1e6:,.1f} MB. {REPORT} there names all that was left out.")
  print("Train on it as docs/guides/own_pictures.md tells, for example by")
  dataset = shlex.quote(str(out.absolute()))
  print(
    f"  python -m experiments.stylegan2 --preset=measured --dataset={dataset} "
    f"--resolution={options.resolution} --augment=ada --workdir=FOLDER"
  )


_ABOUT = "Makes a data set of your own pictures: checked, cropped, resized, without duplicates."


@contextlib.contextmanager
def command_line() -> Iterator[None]:
  """Errors are a line, signals clean up, and libraries keep their hints to themselves."""

  def end(number: int, _: Any) -> None:
    raise SystemExit(128 + number)

  signal.signal(signal.SIGTERM, end)
  warnings.simplefilter("ignore")  # Pillow's, of odd files
  logging.disable(logging.WARNING)
  try:
    yield
  except DataError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  except KeyboardInterrupt:
    print("interrupted: nothing was written", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":
  with command_line():
    main()
