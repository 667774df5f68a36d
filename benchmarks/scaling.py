"""What a step sends between chips and what it costs on many: `python -m benchmarks.scaling`.

Reductions and FLOP are read off the traced step at the papers' widths, with all that nothing reads
left out; the times are arithmetic on the assumptions that the flags name, and not measured. Nothing
is compiled.

Past 300 lines because what is counted, what is assumed and the tables made of it are one argument.
"""

import dataclasses
import importlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tyro

from benchmarks import flops
from benchmarks.table import rows
from benchmarks.timing import command_line

__all__ = ["CASES", "Case", "Chip", "Traffic", "held", "main", "measured", "price", "traced"]

KINDS = ("gradients", "statistics", "metrics")
_OTHERS = {"all_gather", "all_gather_invariant", "all_to_all", "pmax", "pmin", "ppermute"}
_OTHERS |= {"psum_scatter", "reduce_scatter"}


@dataclasses.dataclass(frozen=True)
class Chip:
  """Assumptions; by default TPU v5p as its documentation has it, in tori that it offers."""

  teraflops: float = 459.0
  """Peak of a chip, in bfloat16."""
  utilisation: float = 0.4
  """Share of the peak that the convolutions come to: a guess."""
  gigabytes: float = 100.0
  """Bytes a second over one link, one way: 1,200 GB/s a chip are six links, both ways."""
  hop_microseconds: float = 1.0
  """Latency of a message between neighbours: a guess."""


TORI = {8: (2, 2, 2), 64: (4, 4, 4), 1024: (8, 8, 16)}


class Case(NamedTuple):
  """A step to price.

  Attributes:
    system: of `jaxgan.training`.
    spec: of the pictures.
    batch_size: the paper's.
  """

  system: Any
  spec: Any
  batch_size: int


def _paper(experiment: str, shape: tuple[int, int, int], classes: int = 1) -> Case:
  """`python -m experiments.<experiment> --preset=paper`."""
  from jaxgan.types import ImageSpec

  module = importlib.import_module(f"experiments.{experiment}")
  config = module.Config(workdir="", **module.PRESETS["paper"])
  spec = ImageSpec(shape, tuple(map(str, range(classes))))
  return Case(module.build(config, spec), spec, config.batch_size)


def _biggan_128() -> Case:
  """The networks of Brock et al. 2018 for ImageNet, whose widths grow with depth."""
  import optax

  from experiments import biggan, choices
  from jaxgan import latents, losses, models, training
  from jaxgan.training import objectives
  from jaxgan.types import ImageSpec

  spec = ImageSpec((128, 128, 3), tuple(map(str, range(1000))))
  z, conditions = choices.labelled(latents.normal(120), spec)
  narrow = 96
  widths = tuple(narrow * k for k in (16, 16, 8, 4, 2, 1))
  options = dict(shared=128, hierarchical=True, axis_name=training.AXIS)
  objective = objectives.adversarial(
    losses.hinge(),
    z,
    conditions=conditions,
    g_regularizers=[lambda params: biggan.orthogonality(1e-4, params)],
    axis_name=training.AXIS,
  )
  system = training.system(
    models.biggan.Generator(1000, 128, widths=widths, attention=64, **options),
    models.biggan.Discriminator(1000, 128, widths=(*widths[:0:-1], widths[0]), attention=64),
    optax.adam(5e-5, b1=0.0),
    optax.adam(2e-4, b1=0.0),
    objective,
    latents=z,
    conditions=conditions,
    spec=spec,
    d_steps=2,
  )
  return Case(system, spec, 2048)


CASES: dict[str, Callable[[], Case]] = {
  "DCGAN 64": lambda: _paper("dcgan", (64, 64, 3)),
  "SNGAN 32": lambda: _paper("sngan", (32, 32, 3)),
  "BigGAN 32": lambda: _paper("biggan", (32, 32, 3), 10),
  "BigGAN 128": _biggan_128,
}


@dataclasses.dataclass(frozen=True)
class Traffic:
  """What a step reduces over the devices, whatever their number.

  Attributes:
    sizes: bytes of each kind.
    counts: reductions of each kind: of gradients one for each update of a player, which the
      compiler joins; of the others one for all that do not wait for each other.
    rounds: reductions in a row, of all kinds.
  """

  sizes: dict[str, int]
  counts: dict[str, int]
  rounds: int


def traced(step: Any, game: Any, batch: Any, shards: int = 8) -> tuple[Traffic, float]:
  """Reductions of a step, and the FLOP of one device.

  Args:
    step: of `training.System`.
    game: its state, or the shapes.
    batch: of all devices, or the shapes.
    shards: devices of the data axis.

  Raises:
    ValueError: the step has a collective over the data axis that is not a sum.
  """
  import jax
  from jax.interpreters import partial_eval

  from jaxgan import training

  mesh = jax.sharding.AbstractMesh((shards,), (training.AXIS,))
  closed = jax.make_jaxpr(training.data_parallel(step, mesh))(game, batch)
  jaxpr, _ = partial_eval.dce_jaxpr(
    closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True
  )
  walk = _Walk()
  levels = walk.visit(jaxpr, [0] * len(jaxpr.invars), 1)
  counts = {kind: sum(times for k, _, _, times in walk.places if k == kind) for kind in KINDS}
  players = {role: getattr(game, role).params for role in ("discriminator", "generator")}
  counts["gradients"] = sum(
    walk.leaves.get(role, 0) // len(jax.tree.leaves(params)) for role, params in players.items()
  )
  return Traffic(walk.sizes, counts, max(levels)), flops.jaxpr_flops(jaxpr)


class _Walk:
  """Adds up sums over devices; a value's level is how many of them it has waited for."""

  def __init__(self) -> None:
    self.sizes = dict.fromkeys(KINDS, 0)
    self.places: set[tuple[str, int, int, int]] = set()
    self.leaves: dict[str, int] = {}  # of the gradients, by player

  def visit(self, jaxpr: Any, levels: Sequence[int], times: int) -> list[int]:
    known = dict(zip(jaxpr.invars, levels, strict=True))

    def level(var: Any) -> int:
      return 0 if hasattr(var, "val") else known.get(var, 0)

    for equation in jaxpr.eqns:
      into = [level(var) for var in equation.invars]
      out = self._equation(equation, into, times, id(jaxpr))
      known.update(zip(equation.outvars, out, strict=True))
    return [level(var) for var in jaxpr.outvars]

  def _equation(self, equation: Any, into: list[int], times: int, place: int) -> list[int]:
    name, latest = equation.primitive.name, max(into, default=0)
    if name in _OTHERS:
      raise ValueError(f"the step has a {name}: its bytes are not counted here")
    if name in ("psum", "psum_invariant"):
      scope = str(equation.source_info.name_stack)
      kind = next((kind for kind in KINDS if f"reduce_{kind}" in scope), "statistics")
      if kind == "gradients":
        role = scope.rpartition("reduce_gradients_")[-1].partition("/")[0]
        self.leaves[role] = self.leaves.get(role, 0) + times
      size = sum(var.aval.size * var.aval.dtype.itemsize for var in equation.invars)
      self.sizes[kind] += times * size
      self.places.add((kind, place, latest + 1, times))
      return [latest + 1] * len(equation.outvars)
    inner = list(flops.inner_jaxprs(equation.params.values()))
    if not inner:
      return [latest] * len(equation.outvars)
    call = len(inner) == 1 and name not in ("scan", "while")
    if call and len(inner[0].invars) == len(into):
      return self.visit(inner[0], into, times)
    turns = equation.params.get("length", 1)
    outs = [self.visit(each, [latest] * len(each.invars), turns * times) for each in inner]
    deepest = max((level for out in outs for level in out), default=latest)
    return [latest + turns * (deepest - latest)] * len(equation.outvars)


def price(traffic: Traffic, work: float, chips: int, chip: Chip) -> dict[str, float]:
  """Milliseconds of a step in which nothing overlaps.

  Args:
    traffic: of the step.
    work: FLOP of one chip.
    chips: a key of `TORI`.
    chip: assumptions.

  Returns:
    The parts: `compute`; `bandwidth`, `2 (n - 1) / n` of the bytes over one link, as in a ring; and
    `latency`, the hops of a reduction and back along the axes of the torus, for each in a row.
  """
  sent = 2 * (chips - 1) / chips * sum(traffic.sizes.values())
  hops = 2 * sum(side - 1 for side in TORI[chips])
  return {
    "compute": 1e3 * work / (chip.utilisation * chip.teraflops * 1e12),
    "bandwidth": 1e3 * sent / (chip.gigabytes * 1e9),
    "latency": 1e-3 * traffic.rounds * hops * chip.hop_microseconds,
  }


def held(game: Any, model: int) -> int:
  """Bytes of a state that a device holds where so many share it."""
  import jax

  from jaxgan import training

  mesh = jax.sharding.AbstractMesh((1, model), (training.AXIS, training.MODEL_AXIS))
  arrays = [
    x for x in jax.tree.leaves(game) if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended)
  ]
  shardings = training.state_sharding(arrays, mesh)
  return sum(
    math.prod(sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x, sharding in zip(arrays, shardings, strict=True)
  )


def measured(case: Case) -> tuple[Traffic, Callable[[float], float], Any]:
  """Traffic, FLOP by the pictures of a chip, and the shapes of the state."""
  import jax
  import jax.numpy as jnp

  system, spec, _ = case
  game = jax.eval_shape(system.init, jax.random.key(0))

  def at(pictures: int) -> tuple[Traffic, float]:
    lead = (system.d_steps, 8 * pictures)
    batch = {"image": jax.ShapeDtypeStruct((*lead, *spec.shape), jnp.float32)}
    if len(spec.classes) > 1:
      batch["label"] = jax.ShapeDtypeStruct(lead, jnp.int32)
    return traced(system.step, game, batch)

  (traffic, one), (_, two) = at(1), at(2)
  return traffic, lambda pictures: one + (pictures - 1) * (two - one), game


def tables(cases: dict[str, Callable[[], Case]], chip: Chip) -> Iterator[str]:
  """Reductions of all cases, the bytes of their states, and their price, strong and weak."""
  import jax

  found = {}
  for name, build in cases.items():
    case = build()
    found[name] = *measured(case), case.batch_size
  body = []
  for name, (traffic, work, game, batch) in found.items():
    size = sum(x.size for x in jax.tree.leaves((game.discriminator.params, game.generator.params)))
    cells = [f"{traffic.counts[k]}; {traffic.sizes[k] / 1e6:.3g}" for k in KINDS]
    teraflops = f"{work(batch) / 1e12:.3g}"
    body.append([name, f"{size / 1e6:.1f}", f"{batch:,}", teraflops, *cells, str(traffic.rounds)])
  head = ["step", "parameters, M", "batch", "TFLOP"]
  yield rows([*head, *(f"{kind}: reductions; MB" for kind in KINDS), "in a row"], body)

  body = []
  for name, (_, _, game, _) in found.items():
    body.append([name, *(f"{held(game, model) / 1e6:.4g}" for model in (1, 2, 4, 8))])
  yield rows(["state of", *(f"model={model}: MB a device" for model in (1, 2, 4, 8))], body)

  for growing in (False, True):
    body = []
    for name, (traffic, work, _, batch) in found.items():
      for chips in TORI:
        pictures = batch / 8 if growing else batch / chips
        if pictures < 1:
          continue
        parts = price(traffic, work(pictures), chips, chip)
        total = sum(parts.values())
        cells = [f"{value:.3g}" for value in (*parts.values(), total)]
        share = f"{parts['compute'] / total:.0%}"
        body.append([name, f"{chips:,}", f"{pictures:g}", *cells, share])
    head = ["step", "chips", "pictures a chip", "compute, ms", "bytes, ms", "latency, ms"]
    yield rows([*head, "step, ms", "computing"], body)


def main(chip: Chip) -> None:
  os.environ["JAX_PLATFORMS"] = "cpu"
  titles = (
    "Reductions of a step:",
    "State, by the devices that share it:",
    "The paper's batch over all chips (strong scaling):",
    "An eighth of the paper's batch a chip (weak scaling):",
  )
  for title, table in zip(titles, tables(CASES, chip), strict=True):
    print(f"{title}\n\n{table}\n")


if __name__ == "__main__":
  with command_line():
    main(tyro.cli(Chip))
