"""Data parallelism around any step: the only `shard_map` of the library."""

from collections.abc import Callable

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgan.training.state import Game
from jaxgan.training.step import Step
from jaxgan.types import Batch, Metrics, PyTree

__all__ = ["AXIS", "batch_sharding", "data_mesh", "data_parallel", "replicated", "scanned"]

AXIS = "data"


def data_mesh(devices: list[jax.Device] | None = None) -> Mesh:
  """A mesh with the one axis `"data"` over the given devices, by default over all.

  >>> data_mesh(jax.devices()[:1]).axis_names
  ('data',)
  """
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
  """Sharding of the state: a copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Sharding of batches `[d_steps, B, ...]`: the second axis over the devices."""
  return NamedSharding(mesh, PartitionSpec(None, AXIS))


def data_parallel(step: Step, mesh: Mesh, *, donate: bool = True) -> Step:
  """Compiles a step that splits its batch over the devices of a mesh.

  Args:
    step: from `make_train_step(..., axis_name=AXIS)`, with objectives that know the axis too.
    mesh: from `data_mesh`.
    donate: reuse the memory of the state that is handed in, which then must not be read again.

  Returns:
    The jitted step, from a replicated state and a batch `[d_steps, B, ...]` whose B is divisible
    by the number of devices, to a replicated state and metrics.
  """
  return _mapped(step, mesh, (PartitionSpec(), PartitionSpec(None, AXIS)), donate)


def scanned(
  step: Step,
  mesh: Mesh,
  assemble: Callable[[PyTree, PyTree], Batch] = lambda source, rows: rows,
  *,
  donate: bool = True,
) -> Callable[[Game, PyTree, PyTree], tuple[Game, Metrics]]:
  """Compiles k steps into one program, which fetches each step's batch on the device.

  One dispatch then serves k steps, which pays where a step takes less than the host needs to start
  it. The steps are those of `data_parallel` up to rounding.

  Args:
    step: as `data_parallel` takes it.
    mesh: from `data_mesh`.
    assemble: from `source` and one step's `rows` to a batch `[d_steps, B, ...]`, such as
      `jaxgan.data.Batches.assemble`; by default the rows are the batch.
    donate: reuse the memory of the state that is handed in, which then must not be read again.

  Returns:
    The jitted `(game, source, rows) -> (game, metrics)`: `source`, replicated, is what all steps
    pick from (None if nothing), the leaves of `rows` are `[k, d_steps, B, ...]`, and metrics `[k]`.
    It compiles once for each k.
  """

  def steps(game: Game, source: PyTree, rows: PyTree) -> tuple[Game, Metrics]:
    return jax.lax.scan(lambda game, row: step(game, assemble(source, row)), game, rows)

  specs = (PartitionSpec(), PartitionSpec(), PartitionSpec(None, None, AXIS))
  return _mapped(steps, mesh, specs, donate)


def _mapped(
  function: Callable[..., PyTree], mesh: Mesh, specs: tuple[PartitionSpec, ...], donate: bool
) -> Callable[..., PyTree]:
  mapped = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
  return jax.jit(mapped, donate_argnums=(0,) if donate else ())
