"""Data parallelism around any step, and members over devices: here alone stands `shard_map`."""

import math
from collections.abc import Callable

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgan.training.population import apart, joined, population
from jaxgan.training.state import Game
from jaxgan.training.step import Step
from jaxgan.types import Batch, Metrics, PyTree

__all__ = [
  "AXIS",
  "MEMBERS",
  "batch_sharding",
  "data_mesh",
  "data_parallel",
  "population_mesh",
  "population_parallel",
  "population_sharding",
  "replicated",
  "scanned",
]

AXIS = "data"
MEMBERS = "members"


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


def population_mesh(n: int, devices: list[jax.Device] | None = None) -> Mesh:
  """A mesh that spreads n members over as many devices as divide n, and batches over the rest.

  Args:
    n: members of a population.
    devices: by default all.

  >>> population_mesh(6, jax.devices()[:4]).shape["members"]
  2
  """
  devices = jax.devices() if devices is None else devices
  spread = math.gcd(n, len(devices))
  shape = (spread, len(devices) // spread)
  return jax.make_mesh(shape, (MEMBERS, AXIS), (AxisType.Auto,) * 2, devices=devices)


def population_sharding(game: Game, mesh: Mesh) -> Game:
  """How a population lies on the devices of `population_mesh`: members over their axis."""
  counters, rest = apart(game)
  spread = jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec(MEMBERS)), rest)
  return joined((replicated(mesh),) * len(counters), spread)


def population_parallel(
  step: Step,
  n: int,
  mesh: Mesh,
  assemble: Callable[[PyTree, PyTree], Batch] = lambda source, rows: rows,
  *,
  donate: bool = True,
) -> Callable[[Game, PyTree, PyTree], tuple[Game, Metrics]]:
  """Compiles k steps of n members into one program.

  Args:
    step: of one member, as `data_parallel` takes it.
    n: members.
    mesh: from `population_mesh(n)`. A member's batch is split over the axis that `data_parallel`
      has; members do not speak with each other.
    assemble: as `scanned` takes it, of one member's rows.
    donate: reuse the memory of the state that is handed in, which then must not be read again.

  Returns:
    The jitted `(game, source, rows) -> (game, metrics)`: the game is from `stack`, `source` is what
    all members pick from, the leaves of `rows` are `[k, n, d_steps, B, ...]`, and metrics `[k, n]`.
    It compiles once for each k.
  """
  together = population(step, n // mesh.shape[MEMBERS])

  def steps(
    counters: PyTree, rest: Game, source: PyTree, rows: PyTree
  ) -> tuple[tuple[PyTree, Game], Metrics]:
    def one(game: Game, row: PyTree) -> tuple[Game, Metrics]:
      return together(game, jax.vmap(assemble, (None, 0))(source, row))

    game = joined(counters, rest)
    if len(jax.tree.leaves(rows)[0]) == 1:  # XLA's convolutions are slow in loops on a CPU
      game, metrics = one(game, jax.tree.map(lambda x: x[0], rows))
      metrics = jax.tree.map(lambda x: x[None], metrics)
    else:
      game, metrics = jax.lax.scan(one, game, rows)
    return apart(game), metrics

  members, shared = PartitionSpec(MEMBERS), PartitionSpec()
  mapped = jax.shard_map(
    steps,
    mesh=mesh,
    in_specs=(shared, members, shared, PartitionSpec(None, MEMBERS, None, AXIS)),
    out_specs=((shared, members), PartitionSpec(None, MEMBERS)),
  )

  def call(game: Game, source: PyTree, rows: PyTree) -> tuple[Game, Metrics]:
    (counters, rest), metrics = mapped(*apart(game), source, rows)
    return joined(counters, rest), metrics

  return jax.jit(call, donate_argnums=(0,) if donate else ())
