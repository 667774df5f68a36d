"""Flax linen generators and discriminators, one file a family."""

from jaxgan.models import dcgan, mlp

__all__ = ["dcgan", "mlp"]
