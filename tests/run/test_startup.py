import os
import subprocess
import sys

import jax
import pytest

from jaxgan import run

PROGRAM = """
from jaxgan import run
print(run.use_compilation_cache(), run.keep_freed_memory())
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.block_until_ready(jax.jit(lambda x: jax.numpy.linalg.svd(jax.numpy.sort(x)))(jax.numpy.eye(9)))
"""


def start(**environment):
  own = ("MALLOC_", "GLIBC_", "LD_P", "JAX_COMP")
  kept = {k: v for k, v in os.environ.items() if not k.startswith(own)}
  command = [sys.executable, "-c", PROGRAM]
  environment = {**kept, "JAX_PLATFORMS": "cpu", **environment}
  return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is tuned on Linux alone")
def test_programs_are_kept_in_the_cache_folder_and_the_allocator_is_told_once(tmp_path):
  assert start(XDG_CACHE_HOME=str(tmp_path)) == f"{tmp_path}/jaxgan/compiled True\n"
  assert list((tmp_path / "jaxgan" / "compiled").iterdir())
  told = start(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"), MALLOC_ARENA_MAX="2")
  assert told == f"{tmp_path}/mine False\n"  # what a person has set stays


def test_a_cache_that_jax_has_already_stays(tmp_path):
  names = ["jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"]
  before = {name: getattr(jax.config, name) for name in names}
  jax.config.update(names[0], str(tmp_path))
  try:
    assert run.use_compilation_cache(tmp_path / "other") == tmp_path
  finally:
    for name, value in before.items():
      jax.config.update(name, value)
