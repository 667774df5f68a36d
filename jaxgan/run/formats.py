"""The number of the form in which a workdir is written: `config.json` and checkpoints alike.

`docs/compatibility.md` says what is promised of it. What was written before there were numbers is
of format 0.
"""

import re
import zlib
from typing import Any

import jaxgan
from jaxgan.run.flags import RunError

__all__ = ["FORMAT", "NAME", "check_format", "format_of", "sealed"]

# Counted up by whoever changes what is written so that an older version would read it wrongly. Add
# a workdir of the format before to tests/run/data then, and keep reading it.
FORMAT = 1
NAME = "format"  # of the entry


def check_format(number: Any, what: str, writer: Any = None) -> int:
  """Refuses what a later version has written.

  Args:
    number: the format's.
    what: where it was found, for the message.
    writer: the version that wrote it, as it is said there.

  Returns:
    The number.

  Raises:
    RunError: it is above `FORMAT`.
    ValueError: it is no such number.

  >>> check_format(0, "config.json")
  0
  >>> check_format(9, "config.json", "7.0.0")
  Traceback (most recent call last):
    ...
  jaxgan.run.flags.RunError: config.json is of format 9, and jaxgan ...: install jaxgan 7.0.0, ...
  """
  if type(number) is not int or number < 0:
    raise ValueError(f"its format is {number!r}")
  if number > FORMAT:
    known = isinstance(writer, str) and re.fullmatch(r"[\w.+-]{1,40}", writer, re.ASCII)
    by = f"jaxgan {writer}, which wrote it, or a newer one" if known else "a newer one"
    raise RunError(
      f"{what} is of format {number}, and jaxgan {jaxgan.__version__} reads formats up to "
      f"{FORMAT}: install {by}"
    )
  return number


def sealed(number: int) -> str:
  """A format's number as a checkpoint has it: with a checksum, since it is read before the others.

  >>> sealed(1)
  '1 83dcefb7'
  """
  return f"{number} {zlib.crc32(str(number).encode()):08x}"


def format_of(written: Any) -> int:
  """The number of what `sealed` made, 0 for None.

  Raises:
    ValueError: it was changed.
  """
  if written is None:
    return 0
  number = str(written).split(" ")[0]
  if not number.isdecimal() or len(number) > 9 or written != sealed(int(number)):
    raise ValueError(f"its format is {written!r}")
  return int(number)
