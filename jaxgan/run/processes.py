"""Runs of several processes: how they find each other, and what one of them does for all.

Every process runs the same program. All take part in steps and checkpoints; the first alone writes
logs and pictures and speaks. What is computed beside the steps (samples, scores) each process
computes for itself, on a device of its own, so that all come to the same decisions.
"""

import itertools
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxgan.run.config import Config, RunError
from jaxgan.types import Array, PyTree

__all__ = ["agree", "connect", "gather", "is_first", "local", "wait"]

_PATIENCE = 300  # seconds until a process that others wait for is given up, at start and end
_HEARTBEAT = 60  # seconds without a sign of life after which a process counts as gone
_gathered = itertools.count()


def connect(config: Config) -> None:
  """Joins the processes of a run, before anything else asks JAX for its devices.

  Args:
    config: `coordinator` is an address and port, with `num_processes` and `process_id`, or `auto`
      where JAX knows the environment (Slurm, Open MPI, Cloud TPU, GKE); None for one process.

  Raises:
    RunError: the flags do not fit together, or the others cannot be reached.
  """
  count, index = config.num_processes, config.process_id
  if config.coordinator is None:
    if count is not None or index is not None:
      flag = "--process-id" if count is None else "--num-processes"
      raise RunError(f"{flag} needs --coordinator=HOST:PORT, the same for all processes")
    return
  if jax.distributed.is_initialized():
    return
  address = None if config.coordinator == "auto" else config.coordinator
  if address is not None:
    if count is None or index is None or ":" not in address:
      raise RunError(
        f"--coordinator={address} must be HOST:PORT, beside --num-processes and --process-id; or "
        "auto, where Slurm, Open MPI, GKE or Cloud TPU tell them"
      )
    if not 0 <= index < count:
      raise RunError(
        f"--process-id={index} must be from 0 to one less than --num-processes={count}"
      )
  try:
    jax.distributed.initialize(
      address,
      count,
      index,
      # Told by hand, a process has all devices of its host, also where Slurm would give it one.
      cluster_detection_method=None if address is None else "deactivate",
      initialization_timeout=_PATIENCE,
      heartbeat_timeout_seconds=_HEARTBEAT,
      shutdown_timeout_seconds=_PATIENCE,
    )
  except (RuntimeError, ValueError, LookupError, OSError, ImportError) as error:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, LookupError):
      reason = f"{reason} is not set, which should be here"
    if address is None and "should be defined" in reason:
      reason = (
        "nothing here tells of other processes: Slurm does in tasks of srun, Open MPI up to "
        "version 4 in those of mpirun; give HOST:PORT, --num-processes and --process-id"
      )
    if "DEADLINE_EXCEEDED" in reason:
      reason = f"not all processes came within {_PATIENCE} s; see what the others said"
    raise RunError(f"--coordinator={config.coordinator}: {reason}") from error


def is_first() -> bool:
  """Whether this process writes and speaks for all."""
  return jax.process_index() == 0


def local(tree: PyTree) -> PyTree:
  """Arrays whole and as this process's own, for what it computes alone; all must ask at once."""

  def whole(x: Array) -> Array:
    if isinstance(x.sharding, NamedSharding) and not x.is_fully_replicated:
      x = jax.device_put(x, NamedSharding(x.sharding.mesh, PartitionSpec()))
    return x if jax.process_count() == 1 else x.addressable_data(0)

  return jax.tree.map(whole, tree)


def agree(flag: bool) -> bool:
  """Whether any process says so; all must ask at the same step."""
  if jax.process_count() == 1:
    return flag
  from jax.experimental import multihost_utils

  return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def gather(text: str) -> list[str]:
  """What every process says, in their order; all must ask, and as often.

  It needs no device, so that a process may fail beside it without spoiling a collective.
  """
  if jax.process_count() == 1:
    return [text]
  from jax._src import distributed

  client: Any = distributed.global_state.client
  folder = f"jaxgan/gathered/{next(_gathered)}"
  client.key_value_set(f"{folder}/{jax.process_index()}", text)
  names = (f"{folder}/{index}" for index in range(jax.process_count()))
  return [client.blocking_key_value_get(name, 1000 * _PATIENCE) for name in names]


def wait(name: str) -> None:
  """Until all processes are here."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)
