"""Checkpoints of a game: asynchronous, the latest two and the best are kept."""

import os
import pathlib
from typing import Literal, cast

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxgan.run.config import RunError
from jaxgan.training import Game

__all__ = ["Checkpoints", "Which"]

Which = int | Literal["latest", "best"]
_SCORE = "score"


class Checkpoints:
  """The `checkpoints` folder of a workdir; a context manager that waits for pending writes."""

  def __init__(self, workdir: str | os.PathLike[str]) -> None:
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
    self._manager = ocp.CheckpointManager(
      pathlib.Path(workdir).absolute() / "checkpoints",
      options=ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        best_fn=lambda metrics: metrics[_SCORE],
        best_mode="min",
        step_prefix="step",
        cleanup_tmp_directories=True,
      ),
    )

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
    self._manager.close()

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
    self._manager.save(step, args=ocp.args.StandardSave(_storable(game)), metrics=metrics)

  def restore(self, like: Game, which: Which = "latest") -> Game:
    """Reads a checkpoint.

    Args:
      like: a game of the same structure, of arrays or `ShapeDtypeStruct` with shardings.
      which: a step, `"latest"` or `"best"`.

    Raises:
      RunError: there is no such checkpoint, or it holds another structure.
    """
    step = {"latest": self.latest, "best": self.best}.get(cast(str, which), which)
    if step is None or step not in self._manager.all_steps():
      found = ", ".join(map(str, self._manager.all_steps())) or "none"
      raise RunError(f"no checkpoint {which!r} in {self._manager.directory}; found: {found}")
    try:
      args = ocp.args.StandardRestore(_storable(like))
      stored = self._manager.restore(cast(int, step), args=args)
    except (ValueError, KeyError, TypeError) as error:
      reason = str(error).splitlines()[0] if str(error) else type(error).__name__
      raise RunError(
        f"checkpoint {step} in {self._manager.directory} does not fit the networks of this "
        f"config ({reason}); give the flags of the run that wrote it, or another --workdir"
      ) from error
    return stored.replace(key=jax.random.wrap_key_data(stored.key))


def _storable(game: Game) -> Game:
  """Typed keys become their uint32 data, which every version of the format can hold."""
  if not isinstance(game.key, jax.ShapeDtypeStruct):
    return game.replace(key=jax.random.key_data(game.key))
  data = jax.eval_shape(jax.random.key_data, game.key)
  sharding = game.key.sharding
  return game.replace(key=jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=sharding))
