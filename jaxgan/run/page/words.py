"""Figures and protocols in words."""

from typing import Any

from jaxgan.metrics import Protocol, Score

__all__ = ["LONGEST", "duration", "number", "protocol_words", "value"]

LONGEST = 400  # characters of what is shown of a value


def duration(seconds: float) -> str:
  """A time for a reader."""
  if seconds < 100:
    return f"{seconds:.0f} s"
  minutes = round(seconds / 60)
  return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def number(x: Any) -> str:
  """A number for a reader; other things as they are, within bounds.

  >>> [number(x) for x in (3081, 0.123456, 12345.678, None, "many")]
  ['3,081', '0.1235', '12,346', '', 'many']
  """
  if x is None:
    return ""
  if isinstance(x, bool) or not isinstance(x, int | float):
    return str(x)[:LONGEST]
  if isinstance(x, int):
    return f"{x:,}" if abs(x) < 10**30 else "a number without end"
  return f"{x:,.0f}" if 1e4 <= abs(x) < 1e15 else f"{x:.4g}"


def value(score: Score) -> str:
  """A score with its standard error."""
  if score.standard_error is None:
    return number(score.value)
  return f"{number(score.value)} ± {number(float(f'{score.standard_error:.2g}'))}"


def protocol_words(protocol: Protocol) -> str:
  """How a score was measured, but for the measure's own settings."""
  parts = [
    f"{protocol.fake:,} samples"
    + ("" if protocol.ema is None else f" of {'averaged' if protocol.ema else 'raw'} weights"),
    f"against {protocol.real:,} real pictures"
    + (f" of {protocol.dataset}" if protocol.dataset else "")
    + (f" ({protocol.split})" if protocol.split else ""),
    f"{protocol.resolution} pixels" if protocol.resolution else "",
    f"features: {protocol.features}" if protocol.features else "",
    f"weights {protocol.weights_hash}" if protocol.weights_hash else "",
    protocol.resize,
    f"{protocol.quantisation}, {protocol.dtype}",
    "" if protocol.seed is None else f"seed {protocol.seed}",
  ]
  return ", ".join(str(part)[:LONGEST] for part in parts if part)
