"""Adversarial losses: constructors of pairs of pure functions from logits to per-example losses.

A function that reads both logits raises a `ValueError` where their shapes differ.
"""

from jax.nn import relu, softplus

from jaxgan._arrays import at_least_float32, same_shape
from jaxgan.types import AdversarialLoss


def minimax() -> AdversarialLoss:
  """The zero-sum game of the first GAN: the generator's loss is the value it can change.

  Goodfellow et al. 2014 (arXiv 1406.2661), section 3, with `D = sigmoid(logit)`:

    discriminator  -log D(x) - log(1 - D(G(z)))
    generator       log(1 - D(G(z)))

  At the best discriminator `D = p / (p + q)` the discriminator's mean loss is
  `log 4 - 2 JSD(p, q)`. The generator's gradient vanishes where the discriminator is sure of a
  fake, which `non_saturating` mends.

  Returns:
    The pair of losses; each takes logits `[...]` and returns the loss of each, `[...]`.

  >>> import jax.numpy as jnp
  >>> loss = minimax()
  >>> real_logits, fake_logits = jnp.array([1.0, -3.0]), jnp.array([-1.0, 4.0])
  >>> loss.discriminator(real_logits, fake_logits).round(4)
  Array([0.6265, 7.0667], dtype=float32)
  >>> loss.generator(None, jnp.zeros(2)).round(4)
  Array([-0.6931, -0.6931], dtype=float32)
  """

  def discriminator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return softplus(-real) + softplus(fake)

  def generator(real_logits, fake_logits):
    del real_logits
    return -softplus(at_least_float32(fake_logits))

  return AdversarialLoss(discriminator, generator)


def non_saturating(*, label_smoothing: float = 0.0) -> AdversarialLoss:
  """The first GAN as it is trained: the generator raises the logits of its fakes.

  Goodfellow et al. 2014 (arXiv 1406.2661), section 3; one-sided label smoothing by Salimans et
  al. 2016 (arXiv 1606.03498), section 3.4. With `D = sigmoid(logit)` and smoothing `s`:

    discriminator  -(1 - s) log D(x) - s log(1 - D(x)) - log(1 - D(G(z)))
    generator      -log D(G(z))

  Args:
    label_smoothing: `s` in [0, 1), how far the real target lies below 1; that of fakes stays 0.

  Returns:
    The pair of losses; each takes logits `[...]` and returns the loss of each, `[...]`.

  Raises:
    ValueError: `label_smoothing` lies outside [0, 1).

  >>> import jax.numpy as jnp
  >>> loss = non_saturating(label_smoothing=0.125)  # real target 0.875
  >>> loss.discriminator(jnp.array([0.0, 2.0]), jnp.array([0.0, 0.5])).round(4)
  Array([1.3863, 1.351 ], dtype=float32)
  >>> loss.generator(None, jnp.array([0.0, 0.5])).round(4)
  Array([0.6931, 0.4741], dtype=float32)
  """
  # An array or a tracer (a population's smoothing) has no value to check.
  if isinstance(label_smoothing, int | float) and not 0.0 <= label_smoothing < 1.0:
    raise ValueError(
      f"label_smoothing must lie in [0, 1), got {label_smoothing}: 0.1 puts the real target at 0.9"
    )

  def discriminator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return (
      (1 - label_smoothing) * softplus(-real) + label_smoothing * softplus(real) + softplus(fake)
    )

  def generator(real_logits, fake_logits):
    del real_logits
    return softplus(-at_least_float32(fake_logits))

  return AdversarialLoss(discriminator, generator)


def least_squares(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> AdversarialLoss:
  """Least squares towards targets for the raw, linear output of the discriminator.

  LSGAN, Mao et al. 2016 (arXiv 1611.04076):

    discriminator  (D(x) - b)^2 / 2 + (D(G(z)) - a)^2 / 2
    generator      (D(G(z)) - c)^2 / 2

  With `b - c = 1` and `b - a = 2` (`a=-1, b=1, c=0`) the generator minimises Pearson's chi^2
  between `p + q` and `2 q`; the defaults are the 0-1 coding, which the paper and its followers use.

  Args:
    a: target for fakes in the discriminator.
    b: target for real data in the discriminator.
    c: target for fakes in the generator.

  Returns:
    The pair of losses; each takes raw outputs `[...]` and returns the loss of each, `[...]`.

  >>> import jax.numpy as jnp
  >>> loss = least_squares()
  >>> loss.discriminator(jnp.array([0.0, -3.0]), jnp.array([0.0, 4.0]))
  Array([ 0.5, 16. ], dtype=float32)
  >>> loss.generator(None, jnp.array([0.0, 4.0]))
  Array([0.5, 4.5], dtype=float32)
  """

  def discriminator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return 0.5 * (real - b) ** 2 + 0.5 * (fake - a) ** 2

  def generator(real_logits, fake_logits):
    del real_logits
    return 0.5 * (at_least_float32(fake_logits) - c) ** 2

  return AdversarialLoss(discriminator, generator)


def wasserstein() -> AdversarialLoss:
  """The critic's estimate of the earth mover's distance, for a critic kept Lipschitz.

  WGAN, Arjovsky et al. 2017 (arXiv 1701.07875), section 3:

    discriminator  -D(x) + D(G(z))
    generator      -D(G(z))

  The critic needs `penalties.gradient_penalty`, `penalties.weight_clipping` or spectral norm.

  Returns:
    The pair of losses; each takes critic values `[...]` and returns the loss of each, `[...]`.

  >>> import jax.numpy as jnp
  >>> wasserstein().discriminator(jnp.array([2.0]), jnp.array([0.5]))
  Array([-1.5], dtype=float32)
  """

  def discriminator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return fake - real

  def generator(real_logits, fake_logits):
    del real_logits
    return -at_least_float32(fake_logits)

  return AdversarialLoss(discriminator, generator)


def hinge() -> AdversarialLoss:
  """The hinge loss: the discriminator stops pushing once a margin of 1 is met.

  Lim and Ye 2017 (arXiv 1705.02894); Miyato et al. 2018 (arXiv 1802.05957), equations 16 and 17:

    discriminator  max(0, 1 - D(x)) + max(0, 1 + D(G(z)))
    generator      -D(G(z))

  Returns:
    The pair of losses; each takes logits `[...]` and returns the loss of each, `[...]`.

  >>> import jax.numpy as jnp
  >>> hinge().discriminator(jnp.array([0.0, 2.0]), jnp.array([0.0, 0.5]))
  Array([2. , 1.5], dtype=float32)
  """

  def discriminator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return relu(1.0 - real) + relu(1.0 + fake)

  def generator(real_logits, fake_logits):
    del real_logits
    return -at_least_float32(fake_logits)

  return AdversarialLoss(discriminator, generator)


def energy_based(margin: float) -> AdversarialLoss:
  """Low energy for data, and for fakes an energy of the margin or more.

  EBGAN, Zhao et al. 2016 (arXiv 1609.03126), section 2.1, for a non-negative energy `D`, such as an
  autoencoder's reconstruction error; here a low output means real:

    discriminator  D(x) + max(0, margin - D(G(z)))
    generator      D(G(z))

  Args:
    margin: above 0, in the unit of the energy and near that of data (a sum over pixels and a mean
      over pixels need different ones).

  Returns:
    The pair of losses; each takes energies `[...]` and returns the loss of each, `[...]`.

  Raises:
    ValueError: `margin` is not above 0.

  >>> import jax.numpy as jnp
  >>> energy_based(10.0).discriminator(jnp.array([1.0, 1.0]), jnp.array([3.0, 12.0]))
  Array([8., 1.], dtype=float32)
  """
  if isinstance(margin, int | float) and not margin > 0.0:
    raise ValueError(f"margin must be above 0, got {margin}: set it near the energy of real data")

  def discriminator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return real + relu(margin - fake)

  def generator(real_logits, fake_logits):
    del real_logits
    return at_least_float32(fake_logits)

  return AdversarialLoss(discriminator, generator)
