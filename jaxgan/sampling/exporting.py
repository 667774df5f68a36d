"""Generators as programs of their own: StableHLO by `jax.export`, which runs without this library.

What is written is a program with the weights inside. A process that has jax and flatbuffers reads
it, `jax.export.deserialize(...)`, and calls it, on any platform that it was made for.
"""

import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Float, UInt32

from jaxgan._files import replacing
from jaxgan.types import Array

__all__ = ["PLATFORMS", "by_seed", "exported", "save_exported"]

PLATFORMS = ("cpu", "cuda", "tpu")


def exported(
  function: Callable[[Array], Array],
  example: jax.ShapeDtypeStruct,
  *,
  batch: int | None = None,
  platforms: Sequence[str] = PLATFORMS,
) -> export.Exported:
  """Compiles a function of a batch, such as a generator with its variables, to be written down.

  Args:
    function: from `[n, ...]` to pictures `[n, H, W, C]`, or other arrays of n rows; what it closes
      over, the weights, becomes a part of the program.
    example: shape and dtype of one row of its input, such as `ShapeDtypeStruct([100], "float32")`.
    batch: n, or None for a program that takes any n of 1 or more.
    platforms: that it runs on: of `cpu`, `cuda`, `rocm`, `tpu`. It is lowered for each, on this
      machine; none of them need be there.

  Returns:
    The program: `exported(...).call(rows)`; `save_exported` writes it.

  Raises:
    ValueError: `batch` is below 1, a platform is unknown, or there is none.
    TypeError: where `batch` is None, the function decides by the number of rows what it does.

  >>> double = exported(lambda z: 2.0 * z, jax.ShapeDtypeStruct([3], "float32"), platforms=["cpu"])
  >>> double.call(jnp.ones([2, 3])).shape, double.call(jnp.ones([5, 3])).shape
  ((2, 3), (5, 3))
  """
  if batch is not None and batch < 1:
    raise ValueError(f"batch={batch} must be at least 1, or None for any number of rows")
  known = (*PLATFORMS, "rocm")
  if not platforms or not set(platforms) <= set(known):
    raise ValueError(f"platforms={list(platforms)} must be some of {', '.join(known)}")
  rows = export.symbolic_shape("n")[0] if batch is None else batch
  argument = jax.ShapeDtypeStruct((rows, *example.shape), example.dtype)
  return export.export(jax.jit(function), platforms=list(dict.fromkeys(platforms)))(argument)


def save_exported(path: str | os.PathLike[str], program: export.Exported) -> int:
  """Writes a program, in the flatbuffers of `jax.export`; the file appears whole or not at all.

  Args:
    path: the file.
    program: of `exported`.

  Returns:
    Bytes that were written.

  Raises:
    ImportError: flatbuffers is not installed; the extra `experiments` has it.

  >>> import pathlib, tempfile
  >>> program = exported(lambda z: 2.0 * z, jax.ShapeDtypeStruct((3,), jnp.float32))
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   path = pathlib.Path(folder) / "double.jaxexport"
  ...   save_exported(path, program) == path.stat().st_size
  True
  """
  content = program.serialize()
  with replacing(path) as temporary:
    temporary.write_bytes(content)
  return len(content)


def by_seed(
  generate: Callable[[Array], Array], latents: Callable[..., Array]
) -> Callable[[UInt32[Array, " n"]], Float[Array, "n ..."]]:
  """A generator of seeds in place of latents, for those who cannot draw them.

  Args:
    generate: from latents `[n, ...]` to pictures.
    latents: a sampler `(key, n) -> [n, ...]`, such as `jaxgan.latents.normal(100)`.

  Returns:
    From seeds uint32 `[n]` to n pictures, each that of the first latent which the sampler draws
    with `jax.random.key(seed)`. Pictures do not depend on the seeds beside theirs.

  >>> from jaxgan import latents
  >>> of_seeds = by_seed(lambda z: z, latents.normal(3))
  >>> alone = of_seeds(jnp.array([7], jnp.uint32))
  >>> bool((of_seeds(jnp.arange(9, dtype=jnp.uint32))[7] == alone[0]).all())
  True
  """

  def one(seed: Array) -> Array:
    return latents(jax.random.key(seed), 1)[0]

  return lambda seeds: generate(jax.vmap(one)(jnp.asarray(seeds, jnp.uint32)))
