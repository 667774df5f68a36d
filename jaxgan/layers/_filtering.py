"""Separable linear filters of images as sums of shifted images, closed under differentiation."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["Axis", "resample"]


class Axis(NamedTuple):
  """`out[j] = sum_k taps[k] z[down j + k - low]`, `z` being the input with `up - 1` zeros between.

  Outside the image `z` is zero.
  """

  size: int
  taps: tuple[float, ...]
  low: int
  up: int
  down: int
  output: int

  @property
  def adjoint(self) -> "Axis":
    low = len(self.taps) - 1 - self.low
    return Axis(self.output, self.taps[::-1], low, self.down, self.up, self.size)

  @property
  def stride(self) -> int:
    """Pixels of the input from one output of a phase to the next."""
    return self.down if self.up == 1 else 1

  @property
  def length(self) -> int:
    """Outputs of a phase, before any are dropped."""
    return self.output if self.up == 1 else -(-((self.output - 1) * self.down + 1) // self.up)

  @property
  def phases(self) -> list[dict[int, float]]:
    """Of each of the `up` interleaved outputs, its taps by their offset in pixels of the input."""
    phases: list[dict[int, float]] = [{} for _ in range(self.up)]
    for phase in range(self.up):
      for k, tap in enumerate(self.taps):
        offset, rest = divmod(phase + k - self.low, self.up)
        if not rest:
          phases[phase][offset] = tap
    return phases

  @property
  def reach(self) -> tuple[int, int]:
    """First pixel that is read, and the last one."""
    offsets = [offset for phase in self.phases for offset in phase]
    return min(offsets), (self.length - 1) * self.stride + max(offsets)


def _sums(x: Array, number: int, axis: Axis) -> list[Array]:
  """The weighted sums of strided views, by phase, of `x` from the first pixel that is read."""
  start, _ = axis.reach
  span = (axis.length - 1) * axis.stride + 1

  def view(begin: int) -> Array:
    return lax.slice_in_dim(x, begin, begin + span, axis.stride, number)

  return [
    functools.reduce(
      jnp.add,
      # A filter shorter than the enlargement leaves phases without taps.
      [tap * view(offset - start) for offset, tap in phase.items()] or [0.0 * view(0)],
    )
    for phase in axis.phases
  ]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
@functools.partial(jax.jit, static_argnums=0)  # one compilation where it is called eagerly
def resample(axes: tuple[Axis, Axis], x: Array) -> Array:
  """Filters `[n, h, w, c]` along both axes in one pass, in float32 at least."""
  dtype = x.dtype
  x = x.astype(jnp.promote_types(dtype, jnp.float32))
  borders = [(-axis.reach[0], axis.reach[1] + 1 - axis.size, 0) for axis in axes]
  x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *borders, (0, 0, 0)))
  grid = [_sums(rows, 2, axes[1]) for rows in _sums(x, 1, axes[0])]
  y = jnp.stack([jnp.stack(row, 3) for row in grid], 2)
  n, h, p, w, q, c = y.shape
  y = y.reshape(n, h * p, w * q, c)
  (height, i), (width, j) = ((axis.output, axis.down // axis.stride) for axis in axes)
  y = lax.slice(y, (0, 0, 0, 0), (n, (height - 1) * i + 1, (width - 1) * j + 1, c), (1, i, j, 1))
  return y.astype(dtype)


resample.defvjp(
  lambda axes, x: (resample(axes, x), None),
  lambda axes, _, g: (resample((axes[0].adjoint, axes[1].adjoint), g),),
)
