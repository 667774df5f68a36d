"""Measures of samples: pure functions over samples or features."""

from jaxgan.metrics.sliced_wasserstein import sliced_wasserstein

__all__ = ["sliced_wasserstein"]
