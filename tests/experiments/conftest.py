"""What tests that start a command twice share."""

import jax
import pytest


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
  """The second start of each command finds the first one's programs."""
  from jax.experimental.compilation_cache import compilation_cache

  options = {
    "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
  }
  before = {name: getattr(jax.config, name) for name in options}
  for name, value in options.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
