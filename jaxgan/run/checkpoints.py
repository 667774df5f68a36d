"""Checkpoints of a game: asynchronous, the latest two and the best are kept.

Each carries a checksum of its leaves, since the format itself does not notice every flipped bit.
Past 300 lines because what may stand in the folder of a stranger is checked where it is opened.
"""

import itertools
import json
import os
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxgan._files import read_json, replacing
from jaxgan.run.config import RunError
from jaxgan.run.ending import is_loss
from jaxgan.run.processes import gather, is_first, wait
from jaxgan.run.stored import DamagedError, Note, check, metadata, note_of, read, storable
from jaxgan.run.writing import writing
from jaxgan.training import Game

__all__ = ["PIXELS", "Checkpoints", "Note", "Ranked", "Which"]

Which = int | Literal["latest", "best"]
_SCORE, _NAME = "score", "name"
PIXELS = "sliced_wasserstein"  # what ranks where nothing is evaluated


class Ranked(NamedTuple):
  """What checkpoints are ranked by.

  Attributes:
    name: of the measure; scores of other names are not compared.
    value: lower is better.
  """

  name: str
  value: float


class Checkpoints:
  """The `checkpoints` folder of a workdir; a context manager that waits for pending writes.

  Args:
    workdir: folder of the run.
    read_only: leave everything in place, also what a run is writing at this moment.
  """

  def __init__(self, workdir: str | os.PathLike[str], *, read_only: bool = False) -> None:
    folder = pathlib.Path(workdir).absolute() / "checkpoints"
    if read_only and not folder.is_dir():
      raise RunError(f"no checkpoints in {workdir}: the run has not come to its first one")
    self._folder, self._read_only = folder, read_only
    _check_names(folder, read_only)
    _check_scores(folder, read_only)
    self._scores = _scores(folder)
    self._manager = self._open()

  def _open(self) -> ocp.CheckpointManager:
    with writing(self._folder):
      return ocp.CheckpointManager(
        self._folder,
        item_handlers=ocp.StandardCheckpointHandler(),
        options=ocp.CheckpointManagerOptions(
          preservation_policy=policies.AnyPreservationPolicy(
            [policies.LatestN(2), _Best(self._scores)]
          ),
          best_fn=lambda metrics: metrics[_SCORE],  # has scores stored; `_best` ranks them
          best_mode="min",
          step_prefix="step",
          cleanup_tmp_directories=not self._read_only,
          read_only=self._read_only,
          lightweight_initialize=True,  # else it reads what each checkpoint has, of any size
        ),
      )

  def _reopen(self) -> None:
    """After a change by hand; orbax's own `reload` reads what each checkpoint has."""
    self._manager.close()
    self._manager = self._open()

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
    if not is_loss(error):  # whoever is gone would be waited for
      with writing(self._folder):
        self._manager.close()

  @property
  def steps(self) -> list[int]:
    """Steps of all checkpoints that are kept."""
    return sorted(self._manager.all_steps())

  @property
  def latest(self) -> int | None:
    """Step of the newest checkpoint, None before the first."""
    return self._manager.latest_step()

  @property
  def best(self) -> int | None:
    """Step of the lowest score among those of the newest score's name, None if none has one."""
    return _best({step: self._scores.get(step) for step in self.steps})

  def note(self, step: int) -> Note:
    """What was noted with a checkpoint."""
    return note_of(self._folder / f"step_{step}")

  def save(self, game: Game, score: Ranked | None, note: Note | None = None) -> None:
    """Starts to write the game under its step; the state is copied before this returns.

    Args:
      game: state; must not have been donated.
      score: None leaves the checkpoint out of the ranking.
      note: what goes with it.

    Raises:
      RunError: it, or the one before, cannot be written.
    """
    step = int(game.step)
    if step == self.latest:
      return
    stored = storable(game)
    if score is not None:
      self._scores[step] = _metrics(score)
    with writing(self._folder):
      self._manager.save(
        step,
        args=ocp.args.StandardSave(stored),
        metrics=None if score is None else _metrics(score),
        custom_metadata=metadata(stored, note or Note()),
      )

  def rank(self, step: int, score: Ranked) -> None:
    """Gives a checkpoint that was saved without one its score."""
    path = self._folder / f"step_{step}" / "metrics" / "metrics"
    if is_first():
      with writing(path), replacing(path) as temporary:
        temporary.write_text(json.dumps(_metrics(score)))
    wait("score")
    self._scores[step] = _metrics(score)

  def restore_newest(self, like: Game) -> Game:
    """Reads the newest checkpoint that is whole; damaged ones are said and put aside.

    Of several processes, all take the same one: the newest that is whole for each of them.

    Args:
      like: a game of the same structure, of arrays or `ShapeDtypeStruct` with shardings.

    Raises:
      RunError: none is whole, or the newest holds another structure or cannot be read now.
    """
    damaged: list[int] = []
    steps = [int(step) for step in gather(" ".join(map(str, self.steps)))[0].split()]
    for step in reversed(steps):
      try:
        game = self._restore(like, step)
      except DamagedError as error:
        if step == steps[0]:
          raise
        if is_first():
          print(str(error), file=sys.stderr)
        damaged.append(step)
        continue
      for bad in damaged:
        self._put_aside(bad)
      return game
    raise RunError(f"no checkpoint in {self._folder}")

  def _put_aside(self, step: int) -> None:
    wait("damaged checkpoint")
    if is_first():
      folder = self._folder / f"step_{step}"
      with writing(self._folder.parent / "damaged"):
        aside = _set_aside(folder, self._folder.parent, folder.name)
      print(f"checkpoint {step} is now in {aside}; going on from an earlier one", file=sys.stderr)
    wait("put aside")
    self._scores.pop(step, None)
    self._reopen()

  def restore(self, like: Game, which: Which = "latest") -> Game:
    """Reads a checkpoint.

    Args:
      like: a game of the same structure, of arrays or `ShapeDtypeStruct` with shardings.
      which: a step, `"latest"` or `"best"`.

    Raises:
      DamagedError: it is not what was written.
      RunError: there is no such checkpoint, it holds another structure, or cannot be read now.
    """
    step = {"latest": self.latest, "best": self.best}.get(cast(str, which), which)
    if step is None or step not in self.steps:
      found = ", ".join(map(str, self.steps)) or "none"
      raise RunError(f"no checkpoint {which!r} in {self._folder}; found: {found}")
    return self._restore(like, cast(int, step))

  def _restore(self, like: Game, step: int) -> Game:
    self._manager.wait_until_finished()
    # Looked at by each process for itself, before all of them read it together.
    found = ["", ""]
    try:
      check(self._folder / f"step_{step}", storable(like))
    except RunError as error:
      found = ["damaged" if isinstance(error, DamagedError) else "refused", str(error)]
    kinds, texts = zip(*map(json.loads, gather(json.dumps(found))), strict=True)
    if set(kinds) == {"damaged"}:
      others = ", ".join(str(each) for each in self.steps if each != step)
      remedy = f"another, {others}, may be whole" if others else "there is no other: start anew"
      raise DamagedError(f"{texts[0]}; {remedy}")
    if set(kinds) != {""}:  # also what one process finds damaged, and another whole
      raise RunError(next(text for text in texts if text))
    stored = read(self._folder / f"step_{step}", storable(like))
    return stored.replace(key=jax.random.wrap_key_data(stored.key))


def _metrics(score: Ranked) -> dict[str, Any]:
  return {_SCORE: score.value, _NAME: score.name}


class _Best(policies.PreservationPolicy):
  def __init__(self, scores: Mapping[int, Any]) -> None:
    self._scores = scores

  def should_preserve(self, checkpoints: Sequence[Any], *, context: object) -> list[bool]:
    best = _best({each.step: self._scores.get(each.step) for each in checkpoints})
    return [each.step == best for each in checkpoints]


def _best(scores: Mapping[int, Any]) -> int | None:
  """The step of the lowest score, the later of equals, among those of the newest one's name."""
  scored = {step: metrics for step, metrics in scores.items() if metrics}
  if not scored:
    return None
  name = scored[max(scored)].get(_NAME)
  alike = [step for step, metrics in scored.items() if metrics.get(_NAME) == name]
  return min(alike, key=lambda step: (scored[step][_SCORE], -step))


def _check_names(folder: pathlib.Path, read_only: bool) -> None:
  """Puts what is in the place of a checkpoint, and none, aside; orbax would count it as one."""
  if is_first() and folder.is_dir():
    for path in list(folder.iterdir()):
      if not path.name.startswith("step_") or "tmp" in path.name:
        continue
      if not (_step_of(path) and path.is_dir()):
        if read_only:
          raise RunError(f"{path} is no checkpoint: move it to another place")
        aside = _set_aside(path, folder.parent, path.name[:99])
        print(f"{path} is no checkpoint and now in {aside}", file=sys.stderr)
  wait("names")


def _step_of(path: pathlib.Path) -> str:
  """The number of a folder that orbax could have made, or ""."""
  found = re.fullmatch(r"step_(0|[1-9]\d{0,9})", path.name, re.ASCII)
  return found[1] if found and int(found[1]) < 1 << 31 else ""


def _scores(folder: pathlib.Path) -> dict[int, Any]:
  return {
    int(path.parts[-3].removeprefix("step_")): _score_in(path)
    for path in folder.glob("step_*/metrics/metrics")
    if _step_of(path.parents[1])
  }


def _score_in(path: pathlib.Path) -> dict[str, Any]:
  """Raises ValueError and its like for what is no score."""
  score = read_json(path, 1 << 16)
  value, name = score[_SCORE], score.get(_NAME)
  if type(value) not in (int, float) or not isinstance(name, str | None):
    raise ValueError("no score")
  return {_SCORE: float(value), _NAME: name}


def _check_scores(folder: pathlib.Path, read_only: bool) -> None:
  """Puts scores that cannot be read aside; their checkpoints stay."""
  if is_first():
    for path in folder.glob("step_*/metrics/metrics"):
      try:
        _score_in(path)
      except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
      except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        if read_only:
          raise RunError(f"{path} is damaged: delete its folder, {path.parent}") from error
        aside = _set_aside(path.parent, folder.parent, f"{path.parent.parent.name}_metrics")
        print(f"{path} is damaged and now in {aside}: that score is lost", file=sys.stderr)
  wait("scores")


def _set_aside(path: pathlib.Path, workdir: pathlib.Path, name: str) -> pathlib.Path:
  aside = workdir / "damaged"
  aside.mkdir(exist_ok=True)
  free = (aside / f"{name}_{number}" for number in itertools.count())
  path.rename(next(each for each in free if not os.path.lexists(each)))
  return aside
