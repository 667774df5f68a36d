"""Times the three convolutions of a layer, form by form: `python -m benchmarks.operations`.

The profile behind a training step: the forward pass, the gradient of the images and that of the
kernel of a 3x3 convolution that keeps its shape, by minimal filtering, by a product a tap, by XLA
and by torch, alternated in one process.
"""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable

import tyro

from benchmarks import machine

__all__ = ["Options", "main", "measure"]

Thunk = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Options:
  """Times the operations of a 3x3 convolution."""

  features: int = 64
  """Channels in and out."""
  resolution: int = 32
  """Height and width."""
  batch_size: int = 64
  """Images."""
  rounds: int = 12
  """Times that each is taken, in turn."""
  json: bool = False
  """Print JSON rather than a table."""


def measure(options: Options) -> dict[str, float]:
  """Median milliseconds by operation and form, and of the floor: the FLOP at the matmul peak."""
  for name in ("features", "resolution", "batch_size", "rounds"):
    if getattr(options, name) < 1:
      raise ValueError(f"--{name.replace('_', '-')}={getattr(options, name)} must be positive")
  thunks = {**_jax(options), **_torch(options)}
  times: dict[str, list[float]] = {name: [] for name in thunks}
  for thunk in thunks.values():  # compile
    thunk()
  for _ in range(options.rounds):
    for name, thunk in thunks.items():
      thunk()  # the caches are its own then
      start = time.perf_counter()
      thunk()
      times[name].append(1e3 * (time.perf_counter() - start))
  medians = {name: statistics.median(values) for name, values in times.items()}
  flops = 2.0 * options.batch_size * options.resolution**2 * 9 * options.features**2
  return {**medians, "floor": min(times["matmul"]) * flops / (2.0 * _MATMUL**3)}


_MATMUL = 2048


def _jax(options: Options) -> dict[str, Thunk]:
  import jax

  from benchmarks.linen_steps import matmul
  from jaxgan.layers.convolution import forms, xla
  from jaxgan.layers.convolution.geometry import resolve

  side, features = options.resolution, options.features
  geometry = resolve((side, side), (3, 3), (1, 1), "SAME")
  shape = (options.batch_size, side, side, features)
  x, y = jax.random.normal(jax.random.key(0), (2, *shape))
  w = jax.random.normal(jax.random.key(1), (3, 3, features, features))

  def by_taps(x: jax.Array, y: jax.Array) -> jax.Array:
    return forms._kernel_gradient(geometry, x, y, minimal=False)

  def timed(function: Callable[..., jax.Array], *args: jax.Array) -> Thunk:
    compiled = jax.jit(function)
    return lambda: compiled(*args).block_until_ready()

  def at(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    return lambda a, b: function(geometry, a, b)

  return {
    "forward, jaxgan": timed(at(forms.conv), x, w),
    "forward, XLA's convolution": timed(at(xla.conv), x, w),
    "gradient of the images, jaxgan": timed(at(forms.conv_transpose), y, w),
    "gradient of the kernel, jaxgan": timed(at(forms.kernel_gradient), x, y),
    "gradient of the kernel, a product a tap": timed(by_taps, x, y),
    "matmul": matmul(_MATMUL),
  }


def _torch(options: Options) -> dict[str, Thunk]:
  try:
    import torch
  except ImportError:
    return {}
  torch.set_num_threads(machine.cores())
  side, features = options.resolution, options.features
  shape = (options.batch_size, features, side, side)
  x, y = (torch.randn(shape).contiguous(memory_format=torch.channels_last) for _ in range(2))
  w = torch.randn(features, features, 3, 3).contiguous(memory_format=torch.channels_last)
  grad = torch.nn.grad
  return {
    "forward, torch": lambda: torch.nn.functional.conv2d(x, w, padding=1),
    "gradient of the images, torch": lambda: grad.conv2d_input(x.shape, w, y, padding=1),
    "gradient of the kernel, torch": lambda: grad.conv2d_weight(x, w.shape, y, padding=1),
  }


def main(options: Options) -> None:
  """Prints the table."""
  machine.keep_memory()
  times = measure(options)
  if options.json:
    print(json.dumps({"milliseconds": times, **machine.describe("benchmarks.operations")}))
    return
  for name in sorted(times):
    print(f"{name:42} {times[name]:8.1f} ms")


if __name__ == "__main__":
  main(tyro.cli(Options))
