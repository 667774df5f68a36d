"""Layers that generators and discriminators are made of."""

from jaxgan.layers.convolution import Conv, ConvTranspose, conv, conv_transpose, kernel_gradient

__all__ = ["Conv", "ConvTranspose", "conv", "conv_transpose", "kernel_gradient"]
