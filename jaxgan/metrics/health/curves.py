"""What a check sees: the ends of the curves, how high they once were, and what is known besides."""

import math
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["TAIL", "Check", "Curve", "Curves", "Finding", "Setting"]

TAIL = 64  # points kept of a curve: five periods of an oscillation of up to a dozen points


class Curve(NamedTuple):
  """The end of a curve. Its size is bounded, however long the run.

  Attributes:
    steps: of the last points, at most `TAIL`.
    values: of the same points.
    peak: the largest median of three neighbouring values since the start, which one outlier cannot
      make; `-inf` where there were not three.

  >>> curve = Curve()
  >>> for step, value in enumerate([1.0, 9.0, 2.0, 3.0]):
  ...   curve = curve.append(step, value)
  >>> curve.values, curve.peak
  ((1.0, 9.0, 2.0, 3.0), 3.0)
  """

  steps: tuple[int, ...] = ()
  values: tuple[float, ...] = ()
  peak: float = -math.inf

  def append(self, step: int, value: float) -> "Curve":
    """The curve with one more point."""
    values = (*self.values, value)
    three = values[-3:]
    peak = self.peak
    if len(three) == 3 and all(map(math.isfinite, three)):
      peak = max(peak, statistics.median(three))
    return Curve((*self.steps, step)[-TAIL:], values[-TAIL:], peak)

  def last(self, count: int, since: int = 0) -> tuple[float, ...]:
    """The last `count` values, or `()` while there are not so many from step `since` on."""
    if len(self.steps) < count or self.steps[-count] < since:
      return ()
    return self.values[-count:]


Curves = Mapping[str, Curve]


class Setting(NamedTuple):
  """What the curves do not tell of a run.

  Attributes:
    probabilities: D's logits are log odds (minimax, non-saturating) and `D_x`, `D_G_z1`, `D_G_z2`
      in [0, 1]; otherwise they are scores without a zero or a scale.
    classes: number of classes of `label_accuracy`, which is not judged without.
    warmup: verdicts other than `not_finite` rest on no point before this step. D wins the first
      steps of many runs that end well, and conditions are learned after the rest.
  """

  probabilities: bool = True
  classes: int | None = None
  warmup: int = 500


class Finding(NamedTuple):
  """What a check found.

  Attributes:
    evidence: the numbers.
    advice: what to try, and the papers.
  """

  evidence: str
  advice: str


class Check(NamedTuple):
  """One thing that may be wrong.

  Attributes:
    name: of its verdict.
    reads: the curves it looks at; it runs when one of them has a new point. `()` for all.
    ends_after: so many runs in a row without a finding end the verdict; before, it is not repeated.
    find: pure function of the curves and the setting.
  """

  name: str
  reads: tuple[str, ...]
  ends_after: int
  find: Callable[[Curves, Setting], Finding | None]
