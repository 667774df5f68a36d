"""Layers that generators and discriminators are made of."""

from jaxgan.layers.adaptive import AdaptiveConv, adaptive_conv
from jaxgan.layers.attention import SelfAttention, attention
from jaxgan.layers.batch_norm import BatchNorm
from jaxgan.layers.conditional import append_condition
from jaxgan.layers.conditional_batch_norm import ConditionalBatchNorm
from jaxgan.layers.convolution import Conv, ConvTranspose, conv, conv_transpose, kernel_gradient
from jaxgan.layers.dropout import Dropout, GaussianNoise
from jaxgan.layers.equalized import EqualizedConv, EqualizedDense, scaled_leaky_relu
from jaxgan.layers.instance_norm import InstanceNorm
from jaxgan.layers.layer_norm import LayerNorm
from jaxgan.layers.maxout import Maxout
from jaxgan.layers.minibatch import MinibatchDiscrimination, MinibatchStdDev, minibatch_stddev
from jaxgan.layers.modulated import ModulatedConv, modulated_conv, resampled_conv
from jaxgan.layers.packing import Packed, pack
from jaxgan.layers.padding import reflection_pad
from jaxgan.layers.projection import ProjectionHead
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
from jaxgan.layers.spectral_norm import (
  SNConv,
  SNConvTranspose,
  SNDense,
  SNEmbed,
  SpectrallyNormalized,
  spectral_norm,
)
from jaxgan.layers.styles import (
  AdaIN,
  MappingNetwork,
  NoiseInput,
  adaptive_instance_norm,
  pixel_norm,
)
from jaxgan.layers.text_attention import CrossAttention, DistanceAttention, distance_attention
from jaxgan.layers.virtual_batch_norm import VirtualBatchNorm

__all__ = [
  "BINOMIAL",
  "AdaIN",
  "AdaptiveConv",
  "BatchNorm",
  "ConditionalBatchNorm",
  "Conv",
  "ConvTranspose",
  "CrossAttention",
  "DistanceAttention",
  "Dropout",
  "EqualizedConv",
  "EqualizedDense",
  "GaussianNoise",
  "InstanceNorm",
  "LayerNorm",
  "MappingNetwork",
  "Maxout",
  "MinibatchDiscrimination",
  "MinibatchStdDev",
  "ModulatedConv",
  "NoiseInput",
  "Packed",
  "ProjectionHead",
  "SNConv",
  "SNConvTranspose",
  "SNDense",
  "SNEmbed",
  "SelfAttention",
  "SpectrallyNormalized",
  "VirtualBatchNorm",
  "adaptive_conv",
  "adaptive_instance_norm",
  "append_condition",
  "attention",
  "average_downsample",
  "bilinear_downsample",
  "bilinear_upsample",
  "blur",
  "blur_downsample",
  "blur_upsample",
  "conv",
  "conv_transpose",
  "distance_attention",
  "kernel_gradient",
  "minibatch_stddev",
  "modulated_conv",
  "nearest_upsample",
  "pack",
  "pixel_norm",
  "reflection_pad",
  "resampled_conv",
  "scaled_leaky_relu",
  "spectral_norm",
  "upfirdn",
]
