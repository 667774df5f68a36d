"""Data parallelism around any step: the only `shard_map` of the library."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgan.training.step import Step

__all__ = ["AXIS", "batch_sharding", "data_mesh", "data_parallel", "replicated"]

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
  mapped = jax.shard_map(
    step,
    mesh=mesh,
    in_specs=(PartitionSpec(), PartitionSpec(None, AXIS)),
    out_specs=PartitionSpec(),
  )
  return jax.jit(mapped, donate_argnums=(0,) if donate else ())
