"""Checkpoints of a game: asynchronous, the latest two and the best are kept.

Each carries a checksum of its leaves, since the format itself does not notice every flipped bit.
"""

import json
import os
import pathlib
import sys
import zlib
from typing import Literal, cast

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxgan.run.config import RunError
from jaxgan.run.processes import is_first, local, wait
from jaxgan.training import Game
from jaxgan.types import PyTree

__all__ = ["Checkpoints", "Which"]

Which = int | Literal["latest", "best"]
_SCORE = "score"
_CHECKSUM = "crc32"


class DamagedError(RunError):
  """A checkpoint is not what was written."""


class Checkpoints:
  """The `checkpoints` folder of a workdir; a context manager that waits for pending writes.

  Args:
    workdir: folder of the run.
    read_only: leave everything in place, also what a run is writing at this moment.
  """

  def __init__(self, workdir: str | os.PathLike[str], *, read_only: bool = False) -> None:
    policy = policies.AnyPreservationPolicy(
      [
        policies.LatestN(2),
        # The last of the sorted checkpoints is preserved: descending, for a score to minimise.
        policies.BestN(
          get_metric_fn=lambda metrics: metrics[_SCORE],
          reverse=True,
          n=1,
          keep_checkpoints_without_metrics=False,
        ),
      ]
    )
    folder = pathlib.Path(workdir).absolute() / "checkpoints"
    if read_only and not folder.is_dir():
      raise RunError(f"no checkpoints in {workdir}: the run has not come to its first one")
    _check_scores(folder, read_only)
    self._manager = ocp.CheckpointManager(
      folder,
      item_handlers=ocp.StandardCheckpointHandler(),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        best_fn=lambda metrics: metrics[_SCORE],
        best_mode="min",
        step_prefix="step",
        cleanup_tmp_directories=not read_only,
        read_only=read_only,
      ),
    )

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
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
    """Step of the checkpoint with the lowest score, None if none has a score."""
    return self._manager.best_step()

  def save(self, game: Game, score: float | None) -> None:
    """Starts to write the game under its step; the state is copied before this returns.

    Args:
      game: state; must not have been donated.
      score: lower is better; None leaves the checkpoint out of the ranking.
    """
    step = int(game.step)
    if step == self.latest:
      return
    metrics = None if score is None else {_SCORE: score}
    stored = _storable(game)
    self._manager.save(
      step,
      args=ocp.args.StandardSave(stored),
      metrics=metrics,
      custom_metadata={_CHECKSUM: _checksum(stored)},
    )

  def restore_newest(self, like: Game) -> Game:
    """Reads the newest checkpoint that is whole; damaged ones are said and put aside.

    Args:
      like: a game of the same structure, of arrays or `ShapeDtypeStruct` with shardings.

    Raises:
      RunError: none is whole, or the newest holds another structure.
    """
    damaged: list[int] = []
    for step in reversed(self.steps):
      try:
        game = self.restore(like, step)
      except DamagedError as error:
        if step == self.steps[0]:
          raise
        if is_first():
          print(str(error), file=sys.stderr)
        damaged.append(step)
        continue
      for bad in damaged:
        self._put_aside(bad)
      return game
    raise RunError(f"no checkpoint in {self._manager.directory}")

  def _put_aside(self, step: int) -> None:
    wait("damaged checkpoint")
    if is_first():
      folder = pathlib.Path(self._manager.directory)
      aside = folder.parent / "damaged"
      aside.mkdir(exist_ok=True)
      number = len(list(aside.iterdir()))
      (folder / f"step_{step}").rename(aside / f"step_{step}_{number}")
      print(f"checkpoint {step} is now in {aside}; going on from an earlier one", file=sys.stderr)
    wait("put aside")
    self._manager.reload()

  def restore(self, like: Game, which: Which = "latest") -> Game:
    """Reads a checkpoint.

    Args:
      like: a game of the same structure, of arrays or `ShapeDtypeStruct` with shardings.
      which: a step, `"latest"` or `"best"`.

    Raises:
      DamagedError: it is not what was written.
      RunError: there is no such checkpoint, or it holds another structure.
    """
    step = {"latest": self.latest, "best": self.best}.get(cast(str, which), which)
    if step is None or step not in self.steps:
      found = ", ".join(map(str, self.steps)) or "none"
      raise RunError(f"no checkpoint {which!r} in {self._manager.directory}; found: {found}")
    folder = self._manager.directory
    try:
      saved = _shapes(self._manager.item_metadata(cast(int, step)))
      expected = _shapes(_storable(like))
      if saved == expected:
        args = ocp.args.StandardRestore(_storable(like))
        stored = self._manager.restore(cast(int, step), args=args)
        written = (self._manager.metadata(cast(int, step)).custom_metadata or {}).get(_CHECKSUM)
        if written is not None and written != _checksum(stored):
          raise ValueError("its checksum is another")
        return stored.replace(key=jax.random.wrap_key_data(stored.key))
      if not saved:
        raise ValueError("it has no arrays")
    except (ValueError, KeyError, TypeError, OSError) as error:
      reason = str(error).splitlines()[0] if str(error) else type(error).__name__
      others = ", ".join(str(each) for each in self.steps if each != step) or "there is none"
      raise DamagedError(
        f"checkpoint {step} in {folder} is damaged ({reason}); another, {others}, may be whole"
      ) from error
    name = next(n for n in sorted(saved.keys() | expected) if saved.get(n) != expected.get(n))
    raise RunError(
      f"checkpoint {step} in {folder} does not fit the networks of this config: {name} is "
      f"{saved.get(name)} there and {expected.get(name)} here; give the flags of the run that "
      "wrote it, or another --workdir"
    )


def _check_scores(folder: pathlib.Path, read_only: bool) -> None:
  """Puts scores that cannot be read aside, since orbax stops at one; their checkpoints stay."""
  for path in folder.glob("step_*/metrics/metrics"):
    try:
      json.loads(path.read_text())
    except ValueError as error:
      if read_only:
        raise RunError(f"{path} is damaged: delete its folder, {path.parent}") from error
      if is_first():
        aside = folder.parent / "damaged"
        aside.mkdir(exist_ok=True)
        number = len(list(aside.iterdir()))
        path.parent.rename(aside / f"{path.parent.parent.name}_metrics_{number}")
        print(f"{path} is damaged and now in {aside}: that score is lost", file=sys.stderr)
  wait("scores")


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
  """Shapes of the leaves, by names that are the same for a state and what is stored of it."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="."): tuple(x.shape) for path, x in leaves
  }


def _checksum(stored: Game) -> str:
  """Of all leaves, whole, however they lie on the devices."""
  total = 0
  for leaf in map(local, jax.tree.leaves(stored)):
    total = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), total)
  return f"{total:08x}"


def _storable(game: Game) -> Game:
  """Typed keys become their uint32 data, which every version of the format can hold."""
  if not isinstance(game.key, jax.ShapeDtypeStruct):
    return game.replace(key=jax.random.key_data(game.key))
  data = jax.eval_shape(jax.random.key_data, game.key)
  sharding = game.key.sharding
  return game.replace(key=jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=sharding))
