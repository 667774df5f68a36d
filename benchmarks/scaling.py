"""What a step sends between chips and what it costs on many: `python -m benchmarks.scaling`.

Reductions and FLOP are read off the traced step at the papers' widths, with all that nothing reads
left out; the times are arithmetic on the assumptions that the flags name, and not measured. Nothing
is compiled.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tyro

from benchmarks import flops
from benchmarks.table import rows
from benchmarks.timing import command_line

__all__ = ["CASES", "Case", "Chip", "Traffic", "main", "price", "traced"]

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


@dataclasses.dataclass(frozen=True)
class Case:
  """A step to price.

  Attributes:
    experiment: module of `experiments`.
    options: of its config.
    shape: of the pictures.
    classes: of the data.
  """

  experiment: str
  options: dict[str, Any]
  shape: tuple[int, int, int]
  classes: int = 1


CASES = {
  "DCGAN 64": Case("dcgan", {}, (64, 64, 3)),
  "SNGAN 32": Case("sngan", {}, (32, 32, 3)),
  "BigGAN 32": Case("biggan", {}, (32, 32, 3), 10),
  # Brock et al. 2018: width 96, two updates of D, batches of 2048.
  "BigGAN 128": Case(
    "biggan",
    dict(
      resolution=128, width=96, batch_size=2048, n_dis=2, latent_dim=120, shared=128,
      hierarchical=True, attention=64, orthogonal_weight=1e-4,
    ),
    (128, 128, 3),
    1000,
  ),
}  # fmt: skip


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


def case(which: Case) -> tuple[Traffic, Callable[[float], float], int, int]:
  """Traffic, FLOP by the pictures of a chip, batch of the paper, parameters."""
  import importlib

  import jax
  import jax.numpy as jnp

  from jaxgan.types import ImageSpec

  module = importlib.import_module(f"experiments.{which.experiment}")
  config = module.Config(workdir="", **{**module.PRESETS["paper"], **which.options})
  spec = ImageSpec(which.shape, tuple(map(str, range(which.classes))))
  system = module.build(config, spec)
  game = jax.eval_shape(system.init, jax.random.key(0))

  def at(pictures: int) -> tuple[Traffic, float]:
    lead = (system.d_steps, 8 * pictures)
    batch = {"image": jax.ShapeDtypeStruct((*lead, *which.shape), jnp.float32)}
    if which.classes > 1:
      batch["label"] = jax.ShapeDtypeStruct(lead, jnp.int32)
    return traced(system.step, game, batch)

  (traffic, one), (_, two) = at(1), at(2)
  size = sum(x.size for x in jax.tree.leaves((game.discriminator.params, game.generator.params)))
  return traffic, lambda pictures: one + (pictures - 1) * (two - one), config.batch_size, size


def tables(cases: dict[str, Case], chip: Chip) -> Iterator[str]:
  """Reductions of all cases, then their price with the paper's batch and with a growing one."""
  found = {name: case(which) for name, which in cases.items()}
  body = []
  for name, (traffic, work, batch, size) in found.items():
    cells = [f"{traffic.counts[k]}; {traffic.sizes[k] / 1e6:.3g}" for k in KINDS]
    teraflops = f"{work(batch) / 1e12:.3g}"
    body.append([name, f"{size / 1e6:.1f}", f"{batch:,}", teraflops, *cells, str(traffic.rounds)])
  head = ["step", "parameters, M", "batch", "TFLOP"]
  yield rows([*head, *(f"{kind}: reductions; MB" for kind in KINDS), "in a row"], body)

  for growing in (False, True):
    body = []
    for name, (traffic, work, batch, _) in found.items():
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
  titles = ("Reductions of a step:", "The paper's batch (strong):", "An eighth a chip (weak):")
  for title, table in zip(titles, tables(CASES, chip), strict=True):
    print(f"{title}\n\n{table}\n")


if __name__ == "__main__":
  with command_line():
    main(tyro.cli(Chip))
