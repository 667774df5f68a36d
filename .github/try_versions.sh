#!/usr/bin/env bash
# Installs the lowest (lowest-direct) or newest (highest) versions that pyproject.toml allows, and runs the
# tests in which other packages have a say: losses by jax, layers by flax, steps by optax, checkpoints
# by orbax, data, command lines by tyro, TensorBoard, reports.
set -euo pipefail
resolution=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$(dirname "$0")/.."
uv venv -q "$folder/venv"
export VIRTUAL_ENV=$folder/venv XDG_CACHE_HOME=${XDG_CACHE_HOME:-$folder/cache}
uv pip install -q --resolution="$resolution" -e '.[test]'
uv pip freeze
"$VIRTUAL_ENV/bin/python" -m pytest \
  tests/test_losses.py \
  tests/test_penalties.py \
  tests/test_imports.py \
  tests/test_public_names.py \
  tests/layers/test_convolution_modules.py \
  tests/training/test_step.py \
  tests/data/test_dataset.py \
  tests/run/test_checkpoints.py \
  tests/run/test_formats.py \
  tests/run/test_profile.py \
  tests/run/page \
  tests/experiments/test_command_lines.py \
  tests/experiments/test_dcgan.py \
  tests/examples
