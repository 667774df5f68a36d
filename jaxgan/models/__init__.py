"""Flax linen generators and discriminators, one file a family."""

from jaxgan.models import dcgan

__all__ = ["dcgan"]
