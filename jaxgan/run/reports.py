"""What is kept of one member of a population: a log, samples and scores, as a run has them."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from jaxgan.metrics.health import Monitor
from jaxgan.run.checkpoints import PIXELS, Ranked
from jaxgan.run.config import Config
from jaxgan.run.evaluation import Evaluator
from jaxgan.run.evidence import NotFiniteError
from jaxgan.run.judge import Judge
from jaxgan.run.logs import DivergedError, Log
from jaxgan.run.measures import curves
from jaxgan.run.members import Member, config_of
from jaxgan.run.preparation import Build, Plan
from jaxgan.training import Game

__all__ = ["Report", "folder_of"]


def folder_of(workdir: str, index: int) -> pathlib.Path:
  """Where a member's log and samples are."""
  return pathlib.Path(workdir) / "members" / str(index)


class Report(contextlib.AbstractContextManager["Report"]):
  """One member's; a context manager.

  Args:
    build: from config and shape of the pictures to the system.
    config: of the population.
    plan: what it is made of.
    member: which one.
    index: its number.
    step: completed steps.
    say: tells a person.
    lines: of its log at that step, if it is known.

  Attributes:
    index: the member's number.
    system: its own, which samples as it does.
    judge: draws its samples.
    evaluator: scores them, None for the sliced Wasserstein distance.
    alive: its figures are finite still.
  """

  def __init__(
    self,
    build: Build,
    config: Config,
    plan: Plan,
    member: Member,
    index: int,
    step: int,
    say: Callable[[str], None],
    lines: int | None = None,
  ) -> None:
    folder = folder_of(config.workdir, index)
    folder.mkdir(parents=True, exist_ok=True)
    single = dataclasses.replace(config_of(config, member), workdir=str(folder))
    self.index, self.alive = index, True
    # What varies decides how it samples, and its seed what it reports.
    own = member.values or plan.system.report is not None
    self.system = build(single, plan.spec) if own else plan.system
    self.evaluator: Evaluator | None = None
    self._name, self._say = f"member {index} ({member})", say
    classes = len(plan.spec.classes) if len(plan.spec.classes) > 1 else None
    monitor = Monitor(probabilities=plan.system.probabilities, classes=classes)
    self._log = Log(folder, step, monitor, lambda text: say(f"{self._name}: {text}"), lines)
    self._log.hyperparameters(dataclasses.asdict(single))
    self.judge = Judge(self.system, single, plan.dataset, self._log)

  def __exit__(self, *_: object) -> None:
    self._log.__exit__()

  @property
  def lines(self) -> int:
    """Of its log."""
    return self._log.lines

  def take(self, step: int, values: Mapping[str, float]) -> None:
    """Logs figures; a member that has any that is no number is given up."""
    bad = sorted(name for name, value in values.items() if not math.isfinite(value))
    if self.alive and bad:
      self._give_up(f"{', '.join(bad)} not finite by step {step}")
    elif self.alive:
      self._log.scalars(step, values)

  def check(self, step: int, values: Mapping[str, np.ndarray]) -> None:
    """Gives the member up if figures that are not in the log yet are no numbers."""
    bad = sorted(name for name, column in values.items() if not np.isfinite(column).all())
    if self.alive and bad:
      self._give_up(f"{', '.join(bad)} not finite by step {step}")

  def score(self, game: Game) -> Ranked | None:
    """What the best member has least of; None if its samples are no numbers."""
    step = int(game.step)
    try:
      if self.evaluator is None:
        return Ranked(PIXELS, self.judge.score(game))
      scores = self.evaluator(game)
      self._log.scores(step, scores)
      self.judge.watch(game, curves(scores))
      return self.evaluator.ranked(scores)
    except (DivergedError, NotFiniteError):
      self._give_up(f"samples not finite at step {step}")
      return None

  def figures(self, game: Game) -> None:
    """Logs what its system reports of a game, beside scores and at the end."""
    found = dict(self.system.report(game)) if self.system.report is not None else {}
    if found:
      self._log.scalars(int(game.step), found)
      self._say(f"{self._name}: " + ", ".join(f"{name} {x:.4g}" for name, x in found.items()))

  def _give_up(self, what: str) -> None:
    self.alive = False
    self._say(f"{self._name} has diverged: {what}; the others go on")
