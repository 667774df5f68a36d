"""A measured number and how far off it may be."""

from typing import NamedTuple

__all__ = ["Estimate"]


class Estimate(NamedTuple):
  """A score with its standard error.

  Attributes:
    value: the score.
    standard_error: standard deviation of the value over repeated draws of what the function that
      made it says.

  >>> print(Estimate(0.25, 0.01))
  0.25 ± 0.01
  """

  value: float
  standard_error: float

  def __str__(self) -> str:
    return f"{self.value:.6g} ± {self.standard_error:.2g}"
