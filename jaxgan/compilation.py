"""How programs are compiled, so that their convolutions run fast on a CPU.

XLA's CPU backend hands convolutions to one of two libraries. The one that it prefers (YNNPACK)
takes twice as long in the forward pass and up to four times in the kernel gradient as the other
(Eigen), which a compiler option brings back: see `benchmarks/README.md`. `jit` gives the option,
and `jaxgan.layers.Conv` then hands XLA the convolutions that it otherwise writes as products.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax

__all__ = ["direct_convolutions", "jit", "traced_directly"]

_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}
_direct = contextvars.ContextVar("direct", default=False)


def jit(
  function: Callable[..., Any], *, platform: str | None = None, **options: Any
) -> Callable[..., Any]:
  """`jax.jit`, on a CPU with the compiler options under which convolutions are fastest.

  A function is traced, and compiled, as in `jax.jit`. Results agree with those of `jax.jit` up to
  rounding. Parts of a program that are compiled by `jax.jit` of their own are compiled with it, and
  a function of this `jit` may itself be part of another program.

  Args:
    function: to compile.
    platform: of the devices that it will run on, such as "cpu"; by default that of `jax.devices()`.
    **options: those of `jax.jit`; `compiler_options` wins over these.

  Returns:
    The compiled function; on other platforms, and where this jaxlib does not know the options, that
    of `jax.jit`.

  >>> import jax.numpy as jnp
  >>> jit(lambda x: x + 1)(jnp.ones([2]))
  Array([2., 2.], dtype=float32)
  """
  if (platform or jax.default_backend()) != "cpu" or not _known():
    return jax.jit(function, **options)
  given = options.pop("compiler_options", None) or {}

  @functools.wraps(function)
  def traced(*args: Any, **kwargs: Any) -> Any:
    with traced_directly():
      return function(*args, **kwargs)

  whole = jax.jit(traced, compiler_options={**_OPTIONS, **given}, **options)
  part = jax.jit(function, **options)  # of another program, which has the options or has not

  @functools.wraps(function)
  def call(*args: Any, **kwargs: Any) -> Any:
    inside = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((args, kwargs)))
    return (part if inside else whole)(*args, **kwargs)

  for name in ("lower", "eval_shape", "trace"):
    setattr(call, name, getattr(whole, name))
  return call


def direct_convolutions() -> bool:
  """Whether what is traced now will be compiled with those options."""
  return _direct.get()


@contextlib.contextmanager
def traced_directly(directly: bool = True) -> Iterator[None]:
  """Around the tracing of a program that will be compiled with those options.

  Args:
    directly: false around a part whose convolutions are not for XLA's library all the same, such as
      those with a kernel an example, which it takes for grouped ones and is slow at.
  """
  token = _direct.set(directly)
  try:
    yield
  finally:
    _direct.reset(token)


@functools.cache
def _known() -> bool:
  """Whether this jaxlib takes the options; an unknown one is an error."""
  with contextlib.suppress(Exception):
    device = jax.local_devices(backend="cpu")[0]
    with jax.default_device(device):
      jax.jit(lambda: 0.0, compiler_options=_OPTIONS).lower().compile()
    return True
  return False
