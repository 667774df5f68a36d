"""What a result depends on beside the code: processor, versions, allocator, memory."""

import ctypes
import datetime
import importlib.metadata
import os
import pathlib
import platform
import resource
import shlex
import subprocess
import sys
from typing import Any

__all__ = ["cores", "describe", "keep_memory", "peak_bytes"]

_ROOT = pathlib.Path(__file__).parents[1]


def cores() -> int:
  """Processors that this process may use."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # not on macOS
    return os.cpu_count() or 1


def keep_memory() -> bool:
  """Has glibc keep freed memory, which otherwise costs page faults every step.

  To be called before threads start, and so before jax or torch is imported. False where the C
  library has no `mallopt`.
  """
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):
    return False
  m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8  # numbers of malloc.h
  settings = {m_mmap_max: 0, m_trim_threshold: -1, m_arena_max: 1}
  return all([mallopt(name, value) for name, value in settings.items()])


def peak_bytes() -> int:
  """Most memory that this process has had resident."""
  try:
    # Linux's ru_maxrss begins with that of the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
  except (OSError, IndexError):
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def describe(module: str) -> dict[str, Any]:
  """Command, date, processor and versions, for a file of results."""
  return {
    "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "revision": _revision(),
    "processor": _processor(),
    "cores": cores(),
    "load_before": round(os.getloadavg()[0], 2),
    "platform": platform.platform(),
    "versions": {
      "python": platform.python_version(),
      **{name: _version(name) for name in ("jaxgan", "jax", "jaxlib", "flax", "optax", "torch")},
    },
    "environment": {
      name: value
      for name, value in sorted(os.environ.items())
      if name.startswith(("XLA_", "JAX_", "OMP_", "MKL_", "TORCH", "GLIBC_", "MALLOC_"))
    },
  }


def _version(name: str) -> str | None:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None


def _revision() -> str | None:
  """Commit of the checkout, with a + if files differ from it."""
  command = ["git", "-C", str(_ROOT), "describe", "--always", "--abbrev=12", "--dirty=+"]
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout.strip()


def _processor() -> str:
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return platform.processor()
  names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
  return names[0] if names else platform.processor()
