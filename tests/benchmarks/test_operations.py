"""The profile of one layer: its forms compute the same, and all are timed."""

import math

import pytest

from benchmarks import operations


def test_every_form_is_timed():
  times = operations.measure(operations.Options(features=8, resolution=8, batch_size=2, rounds=1))
  ours = {name for name in times if "torch" not in name}
  assert ours == {
    "floor",
    "forward, XLA's convolution",
    "forward, jaxgan",
    "gradient of the images, jaxgan",
    "gradient of the kernel, a product a tap",
    "gradient of the kernel, jaxgan",
    "matmul",
  }
  assert all(0.0 < value < math.inf for value in times.values())
  with pytest.raises(ValueError, match="--batch-size=0 must be positive"):
    operations.measure(operations.Options(batch_size=0))
