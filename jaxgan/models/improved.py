"""Improved techniques: Salimans et al. 2016 (arXiv 1606.03498).

- `Generator` and `Discriminator` for pictures on DCGAN's plan, with virtual batch norm (section
  3.5) and minibatch discrimination (3.2).
- `DenseGenerator` and `DenseClassifier`, those of the semi-supervised MNIST runs (section 5).

The dense pair computes on pictures in [0, 1], as the paper does: its noise has that scale.

Past 300 lines because it holds two pairs of networks; half of the file is their documentation.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Float

from jaxgan import layers
from jaxgan._arrays import at_least_float32
from jaxgan.models._common import batch_norm, check_images, normal_gain, stages
from jaxgan.types import Array

__all__ = [
  "DenseClassifier",
  "DenseGenerator",
  "DenseOutputs",
  "Discriminator",
  "Generator",
  "Outputs",
]

_weights = nn.initializers.normal(0.05)


class Outputs(NamedTuple):
  """What the discriminator tells of pictures.

  Attributes:
    logit: real or fake, `[batch]`.
    features: of the last hidden layer, for feature matching, `[batch, features]`.
  """

  logit: Float[Array, " batch"]
  features: Float[Array, "batch features"]


class DenseOutputs(NamedTuple):
  """What the classifier tells of pictures.

  Attributes:
    class_logits: of the classes, `[batch, classes]`; that of "fake" is fixed to 0.
    features: of the last hidden layer, for feature matching, `[batch, features]`.
  """

  class_logits: Float[Array, "batch classes"]
  features: Float[Array, "batch features"]


class Generator(nn.Module):
  """A dense layer and transposed 5x5 convolutions from a latent to a picture.

  With virtual batch norm it keeps the latents of its reference batch, drawn once from the rng of
  the parameters, in the collection "reference". They pass through it in front of every batch, so
  that pictures depend on their own latents only, in training as in use. Layers that a norm follows
  have no bias, which that would take away.

  Attributes:
    resolution: height and width of the pictures, 8, 16, 32, 64 ...
    channels: of the pictures.
    width: features at half the resolution; they double towards 4x4.
    reference_size: number of reference latents; 0 for batch norm.
    reference_init: draws them; they should be distributed as the latents are.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> g = Generator(resolution=16, width=2, reference_size=5)
  >>> z = jnp.zeros([2, 100])
  >>> x, variables = jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))
  >>> x.shape, variables["reference"]["latents"].shape
  ((2, 16, 16, 3), (5, 100))
  """

  resolution: int = 32
  channels: int = 3
  width: int = 128
  reference_size: int = 0
  reference_init: nn.initializers.Initializer = nn.initializers.normal(1.0)
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents to pictures in [-1, 1], float32 at least."""
    count, size = stages(self.resolution), self.reference_size
    x = z
    if size:
      shape = (size, z.shape[1])
      latents = self.variable(
        "reference", "latents", lambda: self.reference_init(self.make_rng("params"), shape)
      )
      x = jnp.concatenate([latents.value.astype(z.dtype), z])

    def activate(x: Array) -> Array:
      if size:
        virtual = dict(epsilon=1e-5, scale_init=normal_gain, dtype=self.dtype)
        return nn.relu(layers.VirtualBatchNorm(size, **virtual)(x))
      return nn.relu(batch_norm(train, axis_name=self.axis_name, dtype=self.dtype)(x))

    deconvolution = partial(
      layers.ConvTranspose,
      kernel_size=(5, 5),
      strides=(2, 2),
      kernel_init=_weights,
      dtype=self.dtype,
    )
    features = self.width << (count - 1)
    x = nn.Dense(16 * features, use_bias=False, kernel_init=_weights, dtype=self.dtype)(x)
    # The norm comes before the reshape, as in the code: each pixel has statistics of its own.
    x = activate(x).reshape(-1, 4, 4, features)
    for stage in reversed(range(count - 1)):
      x = activate(deconvolution(self.width << stage, use_bias=False)(x))
    x = deconvolution(self.channels)(x[size:])  # no norm follows: the reference has done its work
    return jnp.tanh(at_least_float32(x))


class Discriminator(nn.Module):
  """Strided 4x4 convolutions, the mean over the pixels and minibatch discrimination, to a logit.

  Batch norm follows all convolutions but the first; those that it follows have no bias. In
  training it draws from the rng stream "dropout", if there is noise.

  Attributes:
    resolution: height and width of the pictures, 8, 16, 32, 64 ...
    width: features at half the resolution; they double towards 4x4.
    noise: deviation of the normal noise that training adds to pictures in [-1, 1]; 0 for none.
    kernels: of the minibatch discrimination, B in the paper; 0 for none.
    dimensions: of the rows that it compares, C in the paper.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics and minibatch discrimination reach.

  >>> d = Discriminator(resolution=16, width=4)
  >>> x = jnp.zeros([2, 16, 16, 3])
  >>> out, _ = jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))
  >>> out.logit.shape, out.features.shape
  ((2,), (2, 8))
  """

  resolution: int = 32
  width: int = 64
  noise: float = 0.2
  kernels: int = 100
  dimensions: int = 5
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Outputs:
    """Maps pictures in [-1, 1] to `Outputs`, float32 at least."""
    check_images(images, self.resolution)
    x = layers.GaussianNoise(self.noise, axis_name=self.axis_name)(images, train=train)
    for stage in range(stages(self.resolution)):
      x = layers.Conv(
        self.width << stage,
        (4, 4),
        strides=(2, 2),
        use_bias=stage == 0,
        kernel_init=_weights,
        dtype=self.dtype,
      )(x)
      if stage:
        x = batch_norm(train, axis_name=self.axis_name, dtype=self.dtype)(x)
      x = nn.leaky_relu(x, 0.2)
    features = at_least_float32(x).mean((1, 2))
    x = features
    if self.kernels:
      x = layers.MinibatchDiscrimination(
        self.kernels, self.dimensions, axis_name=self.axis_name, dtype=self.dtype
      )(x)
    logit = nn.Dense(1, kernel_init=_weights, dtype=self.dtype)(x)[:, 0]
    return Outputs(at_least_float32(logit), features)


class _WeightNormDense(nn.Module):
  """A dense layer whose columns have the norm `gain`, or a learned one that starts there.

  (`flax.linen.WeightNorm` keeps the norms apart from the layer, under names with slashes.)
  """

  features: int
  gain: float
  dtype: Any
  learned: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    kernel = self.param("kernel", _weights, (x.shape[-1], self.features), jnp.float32)
    scale: Any = self.gain
    if self.learned:
      gain = nn.initializers.constant(self.gain)
      scale = self.param("scale", gain, (self.features,), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
    factors = scale * jax.lax.rsqrt(jnp.square(kernel).sum(0) + 1e-12)
    x, kernel, bias = promote_dtype(x, kernel * factors.reshape(1, -1), bias, dtype=self.dtype)
    return x @ kernel + bias.reshape(1, -1)


class DenseGenerator(nn.Module):
  """Two hidden layers with batch norm and softplus from a latent to a picture.

  The paper's latents are uniform in [0, 1] of dimension 100. As in its code, batch norm has a bias
  but no gain and comes before the softplus; the last layer has weight norm.

  Attributes:
    resolution: height and width of the pictures, any.
    channels: of the pictures.
    width: of the hidden layers.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis over which batch statistics are shared.

  >>> g = DenseGenerator(width=8)
  >>> z = jnp.zeros([2, 100])
  >>> jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, train=False))[0].shape
  (2, 28, 28, 1)
  """

  resolution: int = 28
  channels: int = 1
  width: int = 500
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, z: Float[Array, "batch latent"], *, train: bool
  ) -> Float[Array, "batch height width channels"]:
    """Maps latents to pictures in [-1, 1], float32 at least."""
    x = z
    for _ in range(2):
      x = nn.Dense(self.width, use_bias=False, kernel_init=_weights, dtype=self.dtype)(x)
      x = layers.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        use_scale=False,
        axis_name=self.axis_name,
        dtype=self.dtype,
      )(x)
      x = nn.softplus(x)
    shape = (self.resolution, self.resolution, self.channels)
    x = at_least_float32(_WeightNormDense(math.prod(shape), 1.0, self.dtype)(x))
    return 2.0 * nn.sigmoid(x).reshape(-1, *shape) - 1.0


class DenseClassifier(nn.Module):
  """Hidden layers with weight norm, ReLU and noise from a picture to the logits of its class.

  Weight norm: Salimans and Kingma 2016 (arXiv 1602.07868). Those of
  hidden layers are fixed, as in the paper's code; it measures them on a batch of data, and here
  they are the root of 2, which keeps the variance under ReLU. In
  training it draws from the rng stream "dropout".

  Attributes:
    classes: number of classes, K; "fake" is not one of them.
    widths: of the hidden layers.
    input_noise: deviation of the normal noise that training adds to pictures in [0, 1].
    hidden_noise: of that which it adds to each hidden layer's features.
    dtype: of the computation; parameters stay float32.
    axis_name: mapped axis that the batch is split over.

  >>> d = DenseClassifier(widths=(16, 8))
  >>> x = jnp.zeros([2, 28, 28, 1])
  >>> out, _ = jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), x, train=False))
  >>> out.class_logits.shape, out.features.shape
  ((2, 10), (2, 8))
  """

  classes: int = 10
  widths: tuple[int, ...] = (1000, 500, 250, 250, 250)
  input_noise: float = 0.3
  hidden_noise: float = 0.5
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> DenseOutputs:
    """Maps pictures in [-1, 1] to `DenseOutputs`, float32 at least."""

    def noisy(x: Array, stddev: float) -> Array:
      return layers.GaussianNoise(stddev, axis_name=self.axis_name)(x, train=train)

    features = (images.reshape(images.shape[0], -1) + 1.0) / 2.0
    x = noisy(features, self.input_noise)
    for width in self.widths:
      features = nn.relu(_WeightNormDense(width, 2.0**0.5, self.dtype, learned=False)(x))
      x = noisy(features, self.hidden_noise)
    logits = _WeightNormDense(self.classes, 1.0, self.dtype)(x)
    return DenseOutputs(at_least_float32(logits), at_least_float32(features))
