"""The steps that are timed and the frameworks that take them; imports neither jax nor torch.

To add a model: an entry in `MODELS`, a count of its FLOP in `flops.py`, and a function of its
family's name in the `STEPS` of the frameworks that have it (`jaxgan_steps.py`, `torch_steps.py`,
`linen_steps.py`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks import flops
from benchmarks.flops import Size

__all__ = ["FRAMEWORKS", "MODELS", "Framework", "Model", "Work", "lookup"]


class Work(NamedTuple):
  """A step ready to be taken.

  Attributes:
    step: takes one call's steps and returns when they are done.
    parameters: numbers that are trained, of both players.
  """

  step: Callable[[], None]
  parameters: int


Options = Mapping[str, Any]
Build = Callable[[Size, Options], Work]


@dataclasses.dataclass(frozen=True)
class Framework:
  """One way of taking steps, in a process of its own.

  Attributes:
    load: imports the framework; returns its `STEPS` and its matrix product, `n -> thunk`.
    keep_memory: whether the allocator is told to keep freed memory.
    options: what `STEPS` are given besides the size.
    candidates: other options to choose the fastest of, where there is a choice.
  """

  load: Callable[[], tuple[Mapping[str, Build], Callable[[int], Callable[[], None]]]]
  keep_memory: bool = True
  options: Options = dataclasses.field(default_factory=dict)
  candidates: tuple[Options, ...] = ()


def _jaxgan() -> Any:
  from benchmarks import jaxgan_steps, linen_steps

  return jaxgan_steps.STEPS, linen_steps.matmul


def _linen() -> Any:
  from benchmarks import linen_steps

  return linen_steps.STEPS, linen_steps.matmul


def _torch() -> Any:
  from benchmarks import torch_steps

  return torch_steps.STEPS, torch_steps.matmul


_TUNED = {"channels_last": True, "fused": True}
_CANDIDATES = tuple(
  {"channels_last": channels_last, "fused": fused}
  for channels_last in (True, False)
  for fused in (True, False)
)

FRAMEWORKS: dict[str, Framework] = {
  "jaxgan": Framework(_jaxgan),
  "torch": Framework(_torch, options=_TUNED, candidates=_CANDIDATES),
  "torch-official": Framework(
    _torch,
    keep_memory=False,
    options={"official": True, "channels_last": True, "fused": False},
  ),
  "torch-compile": Framework(_torch, options={**_TUNED, "compiled": True}),
  "linen": Framework(_linen),
}


@dataclasses.dataclass(frozen=True)
class Model:
  """A step that frameworks are timed on.

  Attributes:
    family: name in the frameworks' `STEPS`.
    size: as the targets have it.
    flops: useful FLOP of a step, by pass.
    frameworks: that have it, those of a comparison first.
  """

  family: str
  size: Size
  flops: Callable[[Size], flops.Passes]
  frameworks: tuple[str, ...] = ("jaxgan", "torch", "torch-compile", "linen")

  @property
  def compared(self) -> tuple[str, ...]:
    """Frameworks of a comparison; linen's steps take many times as long and are left to choice."""
    return tuple(name for name in self.frameworks if name != "linen")


_ALL = ("jaxgan", "torch", "torch-official", "torch-compile", "linen")
_dcgan64 = Model("dcgan", Size(64, 3, 64), flops.dcgan_step, _ALL)


def _residual(features: int, resolution: int) -> Model:
  return Model("residual", Size(resolution, features, features), flops.residual_step)


def _layer(family: str, features: int, resolution: int) -> Model:
  size = Size(resolution, features, features, 16)
  count = {"modulated": flops.modulated_step, "attention": flops.attention_step}[family]
  return Model(family, size, count, ("jaxgan", "torch", "torch-compile"))


MODELS: dict[str, Model] = {
  "dcgan": _dcgan64,
  "dcgan64": _dcgan64,
  "dcgan32": Model("dcgan", Size(32, 3, 64), flops.dcgan_step, _ALL),
  "dcgan32grey": Model("dcgan", Size(32, 1, 32), flops.dcgan_step, _ALL),
  "wgan_gp32": Model("wgan_gp", Size(32, 3, 64), flops.wgan_gp_step),
  # Half of the paper's features: its own take 0.9 TFLOP a step.
  "sngan32": Model(
    "sngan", Size(32, 3, 64), flops.sngan_step, ("jaxgan", "torch", "torch-compile")
  ),
  # A twelfth of the paper's features for CIFAR-10: its own take 16 TFLOP a step.
  "r3gan32": Model(
    "r3gan", Size(32, 3, 64), flops.r3gan_step, ("jaxgan", "torch", "torch-compile")
  ),
  "stylegan2_32": Model(
    "stylegan2", Size(32, 3, 64), flops.stylegan2_step, ("jaxgan", "torch", "torch-compile")
  ),
  "modulated128": _layer("modulated", 128, 32),
  "attention64": _layer("attention", 64, 32),
  "residual64": _residual(64, 32),
  "residual128": _residual(128, 16),
  "residual256": _residual(256, 8),
}


def lookup(table: Mapping[str, Any], name: str, flag: str) -> Any:
  """An entry by the name that a flag gave."""
  if name not in table:
    raise ValueError(f"{flag}={name} must be one of {', '.join(table)}")
  return table[name]
