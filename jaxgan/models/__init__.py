"""Flax linen generators and discriminators, one file a family."""

from jaxgan.models import (
  acgan,
  autoencoder,
  cgan,
  dcgan,
  fgan,
  gan,
  improved,
  infogan,
  mlp,
  resnet,
  wgan_gp,
)

__all__ = [
  "acgan",
  "autoencoder",
  "cgan",
  "dcgan",
  "fgan",
  "gan",
  "improved",
  "infogan",
  "mlp",
  "resnet",
  "wgan_gp",
]
