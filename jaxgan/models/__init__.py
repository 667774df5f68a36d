"""Flax linen generators and discriminators, one file a family."""

from jaxgan.models import (
  acgan,
  autoencoder,
  biggan,
  cgan,
  dcgan,
  fgan,
  gan,
  improved,
  infogan,
  mlp,
  r3gan,
  resnet,
  sagan,
  sngan,
  stylegan2,
  wgan_gp,
)

__all__ = [
  "acgan",
  "autoencoder",
  "biggan",
  "cgan",
  "dcgan",
  "fgan",
  "gan",
  "improved",
  "infogan",
  "mlp",
  "r3gan",
  "resnet",
  "sagan",
  "sngan",
  "stylegan2",
  "wgan_gp",
]
