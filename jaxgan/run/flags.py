"""What values flags may have, said once where a field is declared: `steps: Count = 2000`."""

import dataclasses
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro

__all__ = [
  "Bound",
  "Classes",
  "Count",
  "Decay",
  "Range",
  "Rate",
  "Resolution",
  "RunError",
  "Samples",
  "Seed",
  "Share",
  "Size",
  "Target",
  "Updates",
  "Weight",
  "Width",
  "check_fields",
  "flag",
]


class RunError(Exception):
  """A run cannot go on; the message says why and what to do."""


class Range(NamedTuple):
  """Values that a field may have beside its type; a part of `Annotated`.

  Attributes:
    words: what they must do, after "must".
    holds: whether a value of the type is one of them.
  """

  words: str
  holds: Callable[[Any], bool]


def _between(low: float, high: float) -> Range:
  return Range(f"be from {low:,} to {high:,}", lambda x: low <= x <= high)


# A bound above is where numbers stop to be anybody's intention, before they overflow a type, unroll
# a loop without end or exhaust the memory.
Count = Annotated[int, Range("be positive, and below 2^31", lambda x: 0 < x < 2**31)]
Updates = Annotated[int, Range("be positive, and at most 1,000", lambda x: 0 < x <= 1000)]
Width = Annotated[int, Range("be positive, and at most 65,536", lambda x: 0 < x <= 1 << 16)]
Size = Annotated[int, Range("be 0 or more, and at most 65,536", lambda x: 0 <= x <= 1 << 16)]
Samples = Annotated[int, Range("be positive, and at most 10,000,000", lambda x: 0 < x <= 10**7)]
Classes = Annotated[int, _between(2, 65_536)]
Seed = Annotated[int, Range("be in [0, 2^32)", lambda x: 0 <= x < 2**32)]
Resolution = Annotated[int, _between(4, 4096)]
Rate = Annotated[float, Range("be positive, and at most 1", lambda x: 0.0 < x <= 1.0)]
Decay = Annotated[float, Range("be in [0, 1)", lambda x: 0.0 <= x < 1.0)]
Share = Annotated[float, Range("be in [0, 1]", lambda x: 0.0 <= x <= 1.0)]
Weight = Annotated[float, _between(0, 1_000_000)]
Bound = Annotated[float, Range("be positive, and at most 1,000,000", lambda x: 0.0 < x <= 1e6)]
Target = Annotated[float, _between(-1_000_000, 1_000_000)]


def check_fields(config: Any) -> None:
  """Refuses a dataclass with a field of another type than declared, or out of its `Range`.

  Args:
    config: whose fields are flags.

  Raises:
    RunError: the message names the flag, its value and what it must be.

  >>> @dataclasses.dataclass
  ... class Config:
  ...   steps: Count = 1
  >>> check_fields(Config(steps=0))
  Traceback (most recent call last):
  ...
  jaxgan.run.flags.RunError: --steps=0 must be positive, and below 2^31
  """
  hints = get_type_hints(type(config), include_extras=True)
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    # Before the command line is read, what it must give is missing.
    if value is not tyro.MISSING and (wanted := _wanted(hints[field.name], value)):
      raise RunError(f"{flag(field.name)}={value} must {wanted}")


_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
  bool: ((bool,), "be true or false"),
  int: ((int,), "be a whole number"),
  float: ((int, float), "be a number"),
  str: ((str,), "be text"),
  types.NoneType: ((types.NoneType,), "be left out"),
}


def _wanted(hint: Any, value: Any) -> str | None:
  """What a value of this type must be, None if it is."""
  origin, args = get_origin(hint), get_args(hint)
  if origin is Annotated:
    ranges = (each for each in args[1:] if isinstance(each, Range))
    broken = (each.words for each in ranges if not each.holds(value))
    return _wanted(args[0], value) or next(broken, None)
  if origin in (Union, types.UnionType):
    wanted = [_wanted(each, value) for each in args]
    return None if None in wanted else wanted[0]
  if origin is Literal:
    return None if value in args else f"be one of {', '.join(map(str, args))}"
  if origin is tuple:
    fits = isinstance(value, tuple) and not any(_wanted(args[0], each) for each in value)
    return None if fits else "be a list of text"
  kinds, words = _KINDS[hint]
  fits = isinstance(value, kinds) and isinstance(value, bool) == (hint is bool)
  return None if fits else words


def flag(name: str) -> str:
  """How the command line calls a field."""
  return "--" + name.replace("_", "-")
