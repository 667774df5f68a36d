"""Runs the checks as a run goes on, or over the curves of a run that is over."""

import collections
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxgan.metrics.health.checks import CHECKS
from jaxgan.metrics.health.curves import Check, Curve, Setting

__all__ = ["Monitor", "Verdict", "diagnose"]


class Verdict(NamedTuple):
  """What is wrong with a run, since when, how it shows and what to try.

  Attributes:
    name: of the check.
    step: at which it was found.
    evidence: the numbers.
    advice: what to try, and the papers.

  >>> print(Verdict("mode_collapse", 300, "diversity is 0.1 of the data's", "Try R1."))
  step 300: mode collapse: diversity is 0.1 of the data's. Try R1.
  """

  name: str
  step: int
  evidence: str
  advice: str

  def __str__(self) -> str:
    return f"step {self.step}: {self.name.replace('_', ' ')}: {self.evidence}. {self.advice}"


class Monitor:
  """Watches a run: takes every line of its log, and tells what starts to go wrong.

  It holds at most 64 points of each curve, and nothing that `replay` of the log does not rebuild:
  after a resume it goes on as if there had been no break, and repeats no verdict that still stands.

  Args:
    probabilities: D's logits are log odds, and `D_x`, `D_G_z1`, `D_G_z2` in [0, 1]. False for
      Wasserstein, relativistic, least-squares and energy losses.
    classes: number of classes of `label_accuracy`, which is not judged without.
    warmup: verdicts other than `not_finite` rest on no point before this step.
    checks: which to run.

  Raises:
    ValueError: fewer than two classes, a negative warm-up, or two checks of one name.

  >>> monitor = Monitor(warmup=0)
  >>> for step in range(0, 500, 50):
  ...   for verdict in monitor.update(step, {"D_accuracy": 1.0, "loss_D": 1e-4}):
  ...     print(verdict.step, verdict.name)
  450 discriminator_wins
  >>> monitor.active
  ('discriminator_wins',)
  """

  def __init__(
    self,
    *,
    probabilities: bool = True,
    classes: int | None = None,
    warmup: int = 500,
    checks: Sequence[Check] = CHECKS,
  ) -> None:
    if classes is not None and classes < 2:
      raise ValueError(f"classes={classes} must be at least 2, or None without labels")
    if warmup < 0:
      raise ValueError(f"warmup={warmup} must be 0 or more steps")
    names = [check.name for check in checks]
    if len(set(names)) < len(names):
      raise ValueError(f"checks must have names of their own, got {', '.join(names)}")
    self._setting = Setting(probabilities, classes, warmup)
    self._checks = tuple(checks)
    self._curves: dict[str, Curve] = {}
    self._step = 0
    self._quiet: dict[str, int] = {}  # of each standing verdict, runs since the last finding

  @property
  def active(self) -> tuple[str, ...]:
    """Names of the verdicts that stand now."""
    return tuple(self._quiet)

  def update(self, step: int, values: Mapping[str, float]) -> list[Verdict]:
    """Takes a line of the log.

    Values should be means over some tens of steps, as the run loop writes them: single batches are
    noisier than the thresholds allow for.

    Args:
      step: of the line, not before that of the last one.
      values: name to number; scores may come on lines of their own.

    Returns:
      Verdicts that start with this line.

    Raises:
      ValueError: the step runs backwards, or a value is not a scalar.
      TypeError: a value is not a number.
    """
    if step < self._step:
      raise ValueError(
        f"step={step} is before step {self._step} of the last line: give lines in order, and after "
        "a resume a new Monitor the lines that are left, by replay()"
      )
    line = {name: _number(name, value) for name, value in values.items()}
    if "D_x" in line and "D_G_z1" in line:
      # The only thing that scores without a zero tell.
      line["D_x - D_G_z1"] = line["D_x"] - line["D_G_z1"]
    self._step = step
    for name, value in line.items():
      self._curves[name] = self._curves.get(name, Curve()).append(step, value)
    return [verdict for check in self._checks if (verdict := self._run(check, step, line))]

  def replay(self, lines: Iterable[Mapping[str, object]]) -> None:
    """Takes the lines of an earlier log, without a word; what is not a number is passed over.

    Args:
      lines: mappings with a "step", such as `map(json.loads, open("metrics.jsonl"))`.

    Raises:
      ValueError: a line has no step, or steps run backwards.
    """
    for line in lines:
      step = line.get("step")
      if not isinstance(step, int):
        raise ValueError(f"line {dict(line)} has no whole number as its 'step'")
      self.update(
        step, {k: float(v) for k, v in line.items() if k != "step" and isinstance(v, int | float)}
      )

  def _run(self, check: Check, step: int, line: Mapping[str, float]) -> Verdict | None:
    if check.reads and not line.keys() & set(check.reads):
      return None
    finding = check.find(self._curves, self._setting)
    if finding is None:
      if check.name in self._quiet:
        self._quiet[check.name] += 1
        if self._quiet[check.name] >= check.ends_after:
          del self._quiet[check.name]
      return None
    stands = check.name in self._quiet
    self._quiet[check.name] = 0
    return None if stands else Verdict(check.name, step, *finding)


def diagnose(
  curves: Mapping[str, Sequence[tuple[int, float]]],
  *,
  probabilities: bool = True,
  classes: int | None = None,
  warmup: int = 500,
  checks: Sequence[Check] = CHECKS,
) -> list[Verdict]:
  """All verdicts that started in the course of a run, in order.

  Args:
    curves: name to points `(step, value)`, each in order.
    probabilities: as `Monitor`.
    classes: as `Monitor`.
    warmup: as `Monitor`.
    checks: as `Monitor`.

  Returns:
    Verdicts as `Monitor.update` gives them, all values of a step taken at once.

  Raises:
    ValueError: as `Monitor`.

  >>> [verdict.name for verdict in diagnose({"loss_D": [(50, 0.7), (100, float("nan"))]})]
  ['not_finite']
  """
  monitor = Monitor(probabilities=probabilities, classes=classes, warmup=warmup, checks=checks)
  lines: dict[int, dict[str, float]] = collections.defaultdict(dict)
  for name, points in curves.items():
    for step, value in points:
      lines[step][name] = value
  return [verdict for step in sorted(lines) for verdict in monitor.update(step, lines[step])]


def _number(name: str, value: object) -> float:
  if isinstance(value, numbers.Real):
    return float(value)
  array = np.asarray(value)
  if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
    raise TypeError(f"{name}={value!r} must be a number, not {type(value).__name__}")
  if array.ndim:
    raise ValueError(f"{name} must be a scalar, got shape {array.shape}: take its mean")
  return float(array)
