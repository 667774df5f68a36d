"""Devices around any step: the only `shard_map` of the library.

A mesh has the axis `"data"`, over which batches are split, and optionally `"model"`, over which
wide kernels are. The step is written for the first alone: `shard_map` is manual over it, and the
compiler partitions over the second what the shardings of the state ask for. That of a population
has `"members"` instead.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgan import compilation
from jaxgan.training.population import apart, joined, population
from jaxgan.training.state import Game
from jaxgan.training.step import Step
from jaxgan.types import Batch, Metrics, PyTree

__all__ = [
  "AXIS",
  "MEMBERS",
  "MODEL_AXIS",
  "Layout",
  "batch_sharding",
  "data_mesh",
  "data_parallel",
  "population_mesh",
  "population_parallel",
  "population_sharding",
  "replicated",
  "scanned",
  "state_sharding",
]

AXIS = "data"
MODEL_AXIS = "model"
MEMBERS = "members"

Layout = Callable[[PyTree, Mesh], PyTree]


def data_mesh(devices: list[jax.Device] | None = None, *, model: int = 1) -> Mesh:
  """A mesh over the given devices, by default over all.

  Args:
    devices: of all processes.
    model: devices that share one copy of the state; neighbours, as they talk the most.

  Returns:
    The mesh with the one axis `"data"`, or, where `model` is above 1, with `"data"` and `"model"`.

  Raises:
    ValueError: `model` does not divide the number of devices.

  >>> data_mesh(jax.devices()[:1]).axis_names
  ('data',)
  """
  devices = jax.devices() if devices is None else devices
  if model < 1 or len(devices) % model:
    raise ValueError(f"model={model} must divide the number of devices, {len(devices)}")
  if model == 1:
    return jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)
  shape = (len(devices) // model, model)
  return jax.make_mesh(shape, (AXIS, MODEL_AXIS), (AxisType.Auto,) * 2, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
  """Sharding of what every device has a copy of."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Sharding of batches `[d_steps, B, ...]`: the second axis over `"data"`."""
  return NamedSharding(mesh, PartitionSpec(None, AXIS))


def state_sharding(state: PyTree, mesh: Mesh, *, narrowest: int = 16) -> PyTree:
  """How a state lies on a mesh: wide kernels in parts by their outputs, all else in copies.

  Moments of the optimiser and moving averages have the shapes of their kernels and lie as these do.

  Args:
    state: arrays, or their shapes.
    mesh: from `data_mesh`.
    narrowest: least features of a part; those of narrower ones save little for their messages.

  Returns:
    A sharding for each leaf: the last axis over `"model"` where the leaf has two axes or more and
    its last divides into parts of `narrowest` or more.

  >>> kernel = jax.ShapeDtypeStruct((3, 3, 256, 512), "float32")
  >>> state_sharding(kernel, data_mesh(jax.devices()[:1])).is_fully_replicated
  True
  """
  model = mesh.shape.get(MODEL_AXIS, 1)

  def of(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
    shape = leaf.shape
    if model == 1 or len(shape) < 2 or shape[-1] % model or shape[-1] // model < narrowest:
      return replicated(mesh)
    return NamedSharding(mesh, PartitionSpec(*[None] * (len(shape) - 1), MODEL_AXIS))

  return jax.tree.map(of, state)


def data_parallel(
  step: Step, mesh: Mesh, *, layout: Layout = state_sharding, donate: bool = True
) -> Step:
  """Compiles a step that splits its batch over the devices of a mesh.

  Args:
    step: from `make_train_step(..., axis_name=AXIS)`, with objectives that know the axis too.
    mesh: from `data_mesh`.
    layout: how the state lies on the mesh where it has an axis `"model"`.
    donate: reuse the memory of the state that is handed in, which then must not be read again.

  Returns:
    The jitted step, from a state and a batch `[d_steps, B, ...]` whose B is divisible by the axis
    `"data"` to a state in the layout and replicated metrics.
  """
  return _mapped(step, mesh, (PartitionSpec(), PartitionSpec(None, AXIS)), layout, donate)


def scanned(
  step: Step,
  mesh: Mesh,
  assemble: Callable[[PyTree, PyTree], Batch] = lambda source, rows: rows,
  *,
  layout: Layout = state_sharding,
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
    layout: how the state lies on the mesh where it has an axis `"model"`.
    donate: reuse the memory of the state that is handed in, which then must not be read again.

  Returns:
    The jitted `(game, source, rows) -> (game, metrics)`: `source`, replicated, is what all steps
    pick from (None if nothing), the leaves of `rows` are `[k, d_steps, B, ...]`, and metrics `[k]`.
    It compiles once for each k.
  """

  def steps(game: Game, source: PyTree, rows: PyTree) -> tuple[Game, Metrics]:
    return jax.lax.scan(lambda game, row: step(game, assemble(source, row)), game, rows)

  specs = (PartitionSpec(), PartitionSpec(), PartitionSpec(None, None, AXIS))
  return _mapped(steps, mesh, specs, layout, donate)


def _mapped(
  function: Callable[..., tuple[Game, Metrics]],
  mesh: Mesh,
  specs: tuple[PartitionSpec, ...],
  layout: Layout,
  donate: bool,
) -> Callable[..., tuple[Game, Metrics]]:
  if mesh.axis_names == (AXIS,):
    mapped = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
  else:
    mapped = _laid_out(_manual_over_data(function, mesh, specs), mesh, layout)
  return compilation.jit(mapped, platform=_platform(mesh), donate_argnums=(0,) if donate else ())


def _platform(mesh: Mesh) -> str | None:
  """That of the devices; an abstract mesh has none."""
  return mesh.devices.flat[0].platform if isinstance(mesh, Mesh) else None


def _manual_over_data(
  function: Callable[..., PyTree], mesh: Mesh, specs: tuple[PartitionSpec, ...]
) -> Callable[..., PyTree]:
  if mesh.shape[AXIS] > 1:
    return jax.shard_map(
      function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), axis_names={AXIS}
    )
  # XLA's partitioner stops at collectives over a manual axis of one device; `vmap` removes them.
  axes = tuple(tuple(spec).index(AXIS) if AXIS in spec else None for spec in specs)

  def alone(*args: PyTree) -> PyTree:
    expanded = (
      arg if axis is None else jax.tree.map(functools.partial(jnp.expand_dims, axis=axis), arg)
      for arg, axis in zip(args, axes, strict=True)
    )
    mapped = jax.vmap(function, in_axes=axes, out_axes=None, axis_name=AXIS, axis_size=1)
    return mapped(*expanded)

  return alone


def _laid_out(
  function: Callable[..., tuple[Game, Metrics]], mesh: Mesh, layout: Layout
) -> Callable[..., tuple[Game, Metrics]]:
  """The same, with a state that leaves as it came: what is donated fits, nothing compiles twice."""

  def laid_out(game: Game, *args: PyTree) -> tuple[Game, Metrics]:
    game, metrics = function(game, *args)
    constrain = jax.lax.with_sharding_constraint
    return constrain(game, layout(game, mesh)), constrain(metrics, replicated(mesh))

  return laid_out


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

  return compilation.jit(call, platform=_platform(mesh), donate_argnums=(0,) if donate else ())
