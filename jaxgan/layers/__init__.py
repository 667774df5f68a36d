"""Layers that generators and discriminators are made of."""

from jaxgan.layers.attention import SelfAttention, attention
from jaxgan.layers.batch_norm import BatchNorm
from jaxgan.layers.convolution import Conv, ConvTranspose, conv, conv_transpose, kernel_gradient
from jaxgan.layers.modulated import ModulatedConv, modulated_conv, resampled_conv
from jaxgan.layers.resampling import (
  BINOMIAL,
  average_downsample,
  bilinear_downsample,
  bilinear_upsample,
  blur,
  blur_downsample,
  blur_upsample,
  nearest_upsample,
  upfirdn,
)

__all__ = [
  "BINOMIAL",
  "BatchNorm",
  "Conv",
  "ConvTranspose",
  "ModulatedConv",
  "SelfAttention",
  "attention",
  "average_downsample",
  "bilinear_downsample",
  "bilinear_upsample",
  "blur",
  "blur_downsample",
  "blur_upsample",
  "conv",
  "conv_transpose",
  "kernel_gradient",
  "modulated_conv",
  "nearest_upsample",
  "resampled_conv",
  "upfirdn",
]
