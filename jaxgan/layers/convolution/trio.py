"""Convolution and its adjoints in the image and in the kernel, closed under differentiation.

The three are the partial derivatives of one trilinear form
`<conv(x, w), y> = <x, conv_transpose(y, w)> = <w, kernel_gradient(x, y)>`, so that the derivative
of each is made of the other two, to any order. Automatic differentiation would instead reach XLA's
convolution with a dilated left side that contracts over the batch, which is 30 to 100 times slower
than its arithmetic on a CPU and slow on a GPU.

On a CPU each is computed as matrix products (`forms.py`, `grouped.py`), or as `direct.py` chooses
where the program is compiled for XLA's convolutions, elsewhere by XLA's convolutions.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxgan.compilation import direct_convolutions
from jaxgan.layers.convolution import direct, forms, grouped, xla
from jaxgan.layers.convolution.geometry import Geometry, Padding, explicit, pair, resolve

__all__ = ["conv", "conv_transpose", "kernel_gradient"]


class _Plan(NamedTuple):
  """What decides the form of a member beside its arrays."""

  geometry: Geometry
  groups: int
  directly: bool


def _planned(geometry: Geometry, groups: int = 1) -> _Plan:
  return _Plan(geometry, groups, direct_convolutions())


def _member(name: str) -> jax.custom_vjp:
  """One of the trio, by its forms on a CPU and on other platforms."""

  @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
  @functools.partial(jax.jit, static_argnums=0)  # one compilation where it is called eagerly
  def member(plan: _Plan, a: Array, b: Array) -> Array:
    geometry, groups, directly = plan
    cpu = functools.partial(getattr(forms, name), geometry)
    if directly:
      cpu = functools.partial(getattr(direct, name), geometry, groups)
    elif groups > 1:
      cpu = functools.partial(getattr(grouped, name), geometry, groups)
    default = functools.partial(getattr(xla, name), geometry, groups=groups)
    return lax.platform_dependent(a, b, cpu=cpu, default=default)

  return member


_conv = _member("conv")
_conv_transpose = _member("conv_transpose")
_kernel_gradient = _member("kernel_gradient")

_conv.defvjp(
  lambda plan, x, w: (_conv(plan, x, w), (x, w)),
  lambda plan, saved, g: (
    _conv_transpose(plan, g, saved[1]),
    _kernel_gradient(plan, saved[0], g),
  ),
)
_conv_transpose.defvjp(
  lambda plan, y, w: (_conv_transpose(plan, y, w), (y, w)),
  lambda plan, saved, g: (
    _conv(plan, g, saved[1]),
    _kernel_gradient(plan, g, saved[0]),
  ),
)
_kernel_gradient.defvjp(
  lambda plan, x, y: (_kernel_gradient(plan, x, y), (x, y)),
  lambda plan, saved, g: (
    _conv_transpose(plan, saved[1], g),
    _conv(plan, saved[0], g),
  ),
)


def _varying(x: Array) -> frozenset[str]:
  aval = jax.typeof(x)
  kind = getattr(aval, "manual_axis_type", None)  # `vma` before jax 0.10
  return aval.vma if kind is None else kind.varying


def _aligned(a: Array, b: Array) -> tuple[Array, Array]:
  """Both arguments varying over the same axes of a `shard_map`, as a `custom_vjp` needs."""
  axes = _varying(a), _varying(b)
  a, b = (
    lax.pcast(x, tuple(sorted((axes[0] | axes[1]) - own)), to="varying")
    for x, own in zip((a, b), axes, strict=True)
  )
  return a, b


def _check(**arrays: Array) -> None:
  dtypes = {name: array.dtype for name, array in arrays.items()}
  for name, array in arrays.items():
    if array.ndim != 4:
      raise ValueError(f"{name} has shape {array.shape}: four axes are needed.")
    if not jnp.issubdtype(array.dtype, jnp.floating):
      raise ValueError(f"{name} is {array.dtype}: cast it to a floating type.")
  if len(set(dtypes.values())) > 1:
    raise ValueError(f"{' and '.join(dtypes)} differ in dtype: {dtypes}; cast one.")


def conv(
  x: Float[Array, "n H W c"],
  w: Float[Array, "kh kw c/groups o"],
  *,
  strides: int | Sequence[int] = 1,
  padding: Padding = "SAME",
  groups: int = 1,
) -> Float[Array, "n h w o"]:
  """Convolution of images by a kernel (a correlation, as everywhere in deep learning).

  Args:
    x: images.
    w: kernel.
    strides: one or two positive integers.
    padding: "SAME", "VALID", an integer, or an integer or `(low, high)` pair an axis.
    groups: equal parts of the channels; each part of the result is a convolution of its own part of
      the images alone (lax's `feature_group_count`).

  Returns:
    `sum_{i,j,c} x[n, s h + i - low, s w + j - low, c] w[i, j, c, o]` for one group, of the dtype of
    `x`.

  Raises:
    ValueError: if shapes or dtypes do not fit.

  >>> import jax
  >>> x, w = jax.numpy.ones([1, 8, 8, 3]), jax.numpy.ones([4, 4, 3, 5])
  >>> conv(x, w, strides=2).shape
  (1, 4, 4, 5)
  """
  x, w = jnp.asarray(x), jnp.asarray(w)
  _check(x=x, w=w)
  if groups < 1 or x.shape[3] != groups * w.shape[2] or w.shape[3] % groups:
    raise ValueError(
      f"x of shape {x.shape} and w of shape {w.shape} differ in channels with groups={groups}: "
      "[n, h, w, c] and [kh, kw, c / groups, o] are needed, o a multiple of groups."
    )
  geometry = resolve(x.shape[1:3], w.shape[:2], pair("strides", strides), padding)
  return _conv(_planned(geometry, groups), *_aligned(x, w))


def conv_transpose(
  y: Float[Array, "n h w o"],
  w: Float[Array, "kh kw c o"],
  *,
  strides: int | Sequence[int] = 1,
  padding: Padding = "SAME",
  size: tuple[int, int] | None = None,
) -> Float[Array, "n H W c"]:
  """The adjoint of `conv` in its images: a transposed convolution.

  Args:
    y: what `conv` would return.
    w: the kernel that `conv` would take (`flax.linen.ConvTranspose` keeps it mirrored).
    strides: as in `conv`.
    padding: as in `conv`, of which this is the adjoint.
    size: height and width of the result. By default those that leave `conv` no remainder:
      `strides` times those of `y` for "SAME".

  Returns:
    Images of the dtype of `y`.

  Raises:
    ValueError: if shapes or dtypes do not fit.

  >>> import jax
  >>> y, w = jax.numpy.ones([1, 4, 4, 5]), jax.numpy.ones([4, 4, 3, 5])
  >>> conv_transpose(y, w, strides=2).shape
  (1, 8, 8, 3)
  """
  y, w = jnp.asarray(y), jnp.asarray(w)
  _check(y=y, w=w)
  if y.shape[3] != w.shape[3]:
    raise ValueError(f"y of shape {y.shape} and w of shape {w.shape} differ in channels.")
  kernel, strides = w.shape[:2], pair("strides", strides)
  if size is None:
    steps = zip(y.shape[1:3], strides, kernel, strict=True)
    if padding == "SAME":
      height, width = (n * s for n, s, _ in steps)
    else:
      pads = explicit(padding)
      height, width = ((n - 1) * s + k - sum(p) for (n, s, k), p in zip(steps, pads, strict=True))
    size = height, width
  geometry = resolve(size, kernel, strides, padding)
  if geometry.output != y.shape[1:3]:
    raise ValueError(f"size={size}: conv would give {geometry.output}, but y has shape {y.shape}.")
  return _conv_transpose(_planned(geometry), *_aligned(y, w))


def kernel_gradient(
  x: Float[Array, "n H W c"],
  y: Float[Array, "n h w o"],
  *,
  kernel_size: tuple[int, int],
  strides: int | Sequence[int] = 1,
  padding: Padding = "SAME",
) -> Float[Array, "kh kw c o"]:
  """The adjoint of `conv` in its kernel.

  Args:
    x: the images that `conv` would take.
    y: what it would return.
    kernel_size: height and width of the kernel.
    strides: as in `conv`.
    padding: as in `conv`.

  Returns:
    A kernel of the dtype of `x`, summed over the batch.

  Raises:
    ValueError: if shapes or dtypes do not fit.

  >>> import jax
  >>> x, y = jax.numpy.ones([2, 8, 8, 3]), jax.numpy.ones([2, 4, 4, 5])
  >>> kernel_gradient(x, y, kernel_size=(4, 4), strides=2).shape
  (4, 4, 3, 5)
  """
  x, y = jnp.asarray(x), jnp.asarray(y)
  _check(x=x, y=y)
  geometry = resolve(
    x.shape[1:3], pair("kernel_size", kernel_size), pair("strides", strides), padding
  )
  if (x.shape[0], *geometry.output) != y.shape[:3]:
    raise ValueError(
      f"x of shape {x.shape} gives {(x.shape[0], *geometry.output)}, but y has shape {y.shape}."
    )
  return _kernel_gradient(_planned(geometry), *_aligned(x, y))


# The module reaches the trio by geometry: Flax's paddings of a transposed convolution may crop.
def conv_transpose_by_geometry(geometry: Geometry, y: Array, w: Array) -> Array:
  """`conv_transpose` of a known geometry."""
  return _conv_transpose(_planned(geometry), *_aligned(y, w))
