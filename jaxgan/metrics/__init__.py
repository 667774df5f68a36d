"""Measures of samples: pure functions over samples or features."""

from jaxgan.metrics.mode_coverage import ModeCoverage, mode_coverage
from jaxgan.metrics.sliced_wasserstein import sliced_wasserstein

__all__ = ["ModeCoverage", "mode_coverage", "sliced_wasserstein"]
