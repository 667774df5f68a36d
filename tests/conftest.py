"""One set-up for all tests: eight CPU devices, no accidental broadcasting, real data if named."""

import atexit
import os
import pathlib
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")
# Compilation is most of the tests' time; unoptimised code is compiled several times faster.
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
  ]
).strip()

# Starts and resumes of a run compile the same programs. One folder for all processes of the tests,
# which inherit its name.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  _compiled = tempfile.mkdtemp(prefix="jaxgan-tests-")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
  atexit.register(shutil.rmtree, _compiled, ignore_errors=True)

import hypothesis
import jax
import pytest

# The same examples in every run, however slow the machine, and no files left in the repository.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", f"{tempfile.gettempdir()}/hypothesis")
hypothesis.settings.register_profile("same", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("same")

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
  """Double precision for one test."""
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
  """The folder of real data sets, named by JAXGAN_TEST_DATA."""
  folder = os.environ.get("JAXGAN_TEST_DATA")
  if not folder or not pathlib.Path(folder).is_dir():
    pytest.skip("needs real data sets: set JAXGAN_TEST_DATA to their folder")
  return pathlib.Path(folder)
