"""Types of arrays inside `shard_map`, as far as a `custom_vjp` has to know them."""

import jax
from jax import Array, lax

__all__ = ["aligned", "varying_axes"]


def varying_axes(x: Array) -> frozenset[str]:
  """Mesh axes over which `x` is known to vary; none where they are not checked."""
  aval = jax.typeof(x)
  kind = getattr(aval, "manual_axis_type", None)  # `vma` before jax 0.10
  return aval.vma if kind is None else kind.varying


def aligned(*arrays: Array) -> tuple[Array, ...]:
  """All arguments varying over the same axes of a `shard_map`, as a `custom_vjp` needs."""
  axes = [varying_axes(x) for x in arrays]
  union = frozenset().union(*axes)
  return tuple(
    lax.pcast(x, tuple(sorted(union - own)), to="varying")
    for x, own in zip(arrays, axes, strict=True)
  )
