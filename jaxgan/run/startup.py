"""What a program sets before its first compilation: the compilation cache and the C allocator."""

import ctypes
import os
import pathlib
import platform

import jax

from jaxgan._files import user_cache

__all__ = ["keep_freed_memory", "use_compilation_cache"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def use_compilation_cache(folder: str | os.PathLike[str] | None = None) -> pathlib.Path:
  """Keeps compiled programs on disk, so that the next start of the same run need not compile.

  Programs are found by their code, the compiler's version and options and the device, so a stale
  one is never taken. A folder that JAX was given already (`JAX_COMPILATION_CACHE_DIR`) stays.

  Args:
    folder: where; by default `$XDG_CACHE_HOME/jaxgan/compiled`, or below `~/.cache`. It may be
      deleted at any time.

  Returns:
    The folder in use.

  >>> import tempfile
  >>> before = jax.config.jax_compilation_cache_dir
  >>> jax.config.update("jax_compilation_cache_dir", None)
  >>> use_compilation_cache(tempfile.gettempdir()).name == pathlib.Path(tempfile.gettempdir()).name
  True
  >>> jax.config.update("jax_compilation_cache_dir", before)
  """
  chosen: str | None = getattr(jax.config, "jax_compilation_cache_dir", None)
  if not chosen:
    chosen = str(folder or user_cache("compiled"))
    jax.config.update("jax_compilation_cache_dir", chosen)
  # A start compiles a dozen small programs beside the step; together they take seconds.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  return pathlib.Path(chosen)


def keep_freed_memory() -> bool:
  """Lets the C allocator keep memory that XLA frees, instead of giving it back to the kernel.

  XLA's CPU client takes and frees its scratch memory in every step; glibc returns blocks of that
  size to the kernel, and each step pays for faulting its pages in again. The price is a resident
  memory that stays at its peak. Call it before JAX runs its first computation; it acts on the whole
  process, which is why the library never does so by itself (the experiments do).

  Returns:
    Whether it was done: on Linux with glibc, in a process whose allocator is not tuned already by
    `MALLOC_ARENA_MAX`, `MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_MAX_` or `GLIBC_TUNABLES`, and that
    does not preload another one.

  >>> keep_freed_memory() in (True, False)
  True
  """
  if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
    return False
  tuned = ("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_ARENA_MAX")
  if any(os.environ.get(name) for name in (*tuned, "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")):
    return False
  mallopt = ctypes.CDLL(None).mallopt
  wanted = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_ARENA_MAX: 1}
  return all([mallopt(name, value) == 1 for name, value in wanted.items()])
