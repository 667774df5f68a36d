"""Convolutions closed under differentiation, and the Flax modules made of them."""

from jaxgan.layers.convolution.modules import Conv, ConvTranspose
from jaxgan.layers.convolution.trio import conv, conv_transpose, kernel_gradient

__all__ = ["Conv", "ConvTranspose", "conv", "conv_transpose", "kernel_gradient"]
