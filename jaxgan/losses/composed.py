"""Losses made of another: relativistic, semi-supervised, matching-aware."""

import jax
from jax.scipy.special import logsumexp
from jaxtyping import Float

from jaxgan._arrays import at_least_float32, same_shape
from jaxgan.latents import AxisName
from jaxgan.losses.adversarial import minimax, non_saturating
from jaxgan.types import AdversarialLoss, Array


def relativistic(base: AdversarialLoss | None = None) -> AdversarialLoss:
  """Each real logit against the fake one beside it, paired by position.

  RGAN, Jolicoeur-Martineau 2018 (arXiv 1807.00734), section 4, with the roles exchanged for the
  generator; over `non_saturating`, RSGAN and the RpGAN of R3GAN (arXiv 2501.05441). With `L` the
  base loss of the discriminator:

    discriminator  L(D(x) - D(G(z)), D(G(z)) - D(x)) / 2
    generator      L(D(G(z)) - D(x), D(x) - D(G(z))) / 2

  The half makes the two mirrored terms one: over `non_saturating`, `-log sigmoid(D(x) - D(G(z)))`.

  Args:
    base: the loss of the differences, by default `non_saturating()`; its generator is not used.
      Over least squares the symmetric targets of the paper are `least_squares(a=-1.0, b=1.0)`.

  Returns:
    The pair of losses; each takes logits `[...]` and returns the loss of each pair, `[...]`. The
    generator reads `real_logits` too, those of the current real batch.

  Raises:
    TypeError: `base` is not a pair of losses.

  >>> loss = relativistic()
  >>> real_logits, fake_logits = jax.numpy.array([1.0, -3.0]), jax.numpy.array([-1.0, 4.0])
  >>> loss.discriminator(real_logits, fake_logits).round(4)
  Array([0.1269, 7.0009], dtype=float32)
  >>> loss.generator(real_logits, fake_logits).round(4)
  Array([2.1269e+00, 9.0000e-04], dtype=float32)
  """
  loss = _pair(base, default=non_saturating()).discriminator

  def discriminator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return 0.5 * loss(real - fake, fake - real)

  def generator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return 0.5 * loss(fake - real, real - fake)

  return AdversarialLoss(discriminator, generator)


def relativistic_average(
  base: AdversarialLoss | None = None, *, axis_name: AxisName | None = None
) -> AdversarialLoss:
  """Each logit against the mean logit of the other side.

  RaGAN, Jolicoeur-Martineau 2018 (arXiv 1807.00734), section 4: RaSGAN, RaLSGAN, RaHinge. With `L`
  the base loss of the discriminator:

    discriminator  L(D(x) - mean D(G(z)), D(G(z)) - mean D(x)) / 2
    generator      L(D(G(z)) - mean D(x), D(x) - mean D(G(z))) / 2

  The half is that of the author's code; the paper leaves it out.

  Args:
    base: the loss of the differences, by default `non_saturating()`; its generator is not used.
      Over least squares the symmetric targets of the paper are `least_squares(a=-1.0, b=1.0)`.
    axis_name: the mapped axis over which the batch is split; the means are then the global ones.

  Returns:
    The pair of losses; each takes logits `[...]` and returns the loss of each, `[...]`. The
    generator reads `real_logits` too, those of the current real batch.

  Raises:
    TypeError: `base` is not a pair of losses.

  >>> from jaxgan import losses
  >>> loss = losses.relativistic_average(losses.hinge())
  >>> loss.discriminator(jax.numpy.array([1.0, 3.0]), jax.numpy.array([0.0, 2.0]))
  Array([0.5, 0.5], dtype=float32)
  """
  loss = _pair(base, default=non_saturating()).discriminator

  def mean(logits):
    local = logits.mean()
    return local if axis_name is None else jax.lax.pmean(local, axis_name)

  def discriminator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return 0.5 * loss(real - mean(fake), fake - mean(real))

  def generator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return 0.5 * loss(fake - mean(real), real - mean(fake))

  return AdversarialLoss(discriminator, generator)


def semi_supervised(base: AdversarialLoss | None = None) -> AdversarialLoss:
  """The unsupervised half of a classifier with K real classes and one of fakes.

  Salimans et al. 2016 (arXiv 1606.03498), section 5: with the logit of the fake class fixed at 0,
  `D(x) = Z / (Z + 1)` with `Z = sum_k exp(l_k)`, so that `logsumexp(l)` is the logit of "real" and
  any adversarial loss applies to it. The supervised half is `auxiliary_classifier(l, labels)`.

  Args:
    base: the loss of the logit of "real", by default the paper's, `minimax()` (whose released code
      takes half of it).

  Returns:
    The pair of losses; each takes class logits `[..., K]` and returns the loss of each example,
    `[...]`.

  Raises:
    TypeError: `base` is not a pair of losses; in the losses, ValueError: logits without an axis.

  >>> loss = semi_supervised()
  >>> loss.discriminator(jax.numpy.zeros([2, 3]), jax.numpy.zeros([2, 3])).round(2)  # D = 3/4
  Array([1.67, 1.67], dtype=float32)
  """
  loss = _pair(base, default=minimax())

  def real_logit(class_logits: Array) -> Array:
    class_logits = at_least_float32(class_logits)
    if not class_logits.ndim:
      raise ValueError(
        "class logits must have shape [..., K], got []: their last axis is the class"
      )
    return logsumexp(class_logits, axis=-1)

  def discriminator(real_logits, fake_logits):
    real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return loss.discriminator(real_logit(real), real_logit(fake))

  def generator(real_logits, fake_logits):
    real = None if real_logits is None else real_logit(real_logits)
    return loss.generator(real, real_logit(fake_logits))

  return AdversarialLoss(discriminator, generator)


def matching_aware(
  real_logits: Float[Array, "..."],
  mismatched_logits: Float[Array, "..."],
  fake_logits: Float[Array, "..."],
  *,
  base: AdversarialLoss | None = None,
) -> Float[Array, "..."]:
  """The discriminator's loss where a real image with the wrong text counts as a fake.

  Reed et al. 2016 (arXiv 1605.05396), algorithm 1, over any base loss `L` of the discriminator:
  `(L(D(x, t), D(x, t')) + L(D(x, t), D(G(z, t), t))) / 2`, so that the two kinds of fakes weigh
  half each. The generator's loss is the base's. GigaGAN (Kang et al. 2023, arXiv 2303.05511)
  instead adds `softplus(D(x, t')) + softplus(D(G(z, t), t'))` to the ordinary loss.

  Args:
    real_logits: of real images with their own text.
    mismatched_logits: of real images with another's text (roll the texts of a shuffled batch by one
      place or more).
    fake_logits: of fakes with the text they were made from.
    base: by default `non_saturating()`.

  Returns:
    The shape of the logits.

  Raises:
    ValueError: the shapes differ.
    TypeError: `base` is not a pair of losses.

  >>> matching_aware(jax.numpy.zeros([2]), jax.numpy.zeros([2]), jax.numpy.zeros([2])).round(4)
  Array([1.3863, 1.3863], dtype=float32)
  """
  real, mismatched, fake = same_shape(
    real_logits=real_logits, mismatched_logits=mismatched_logits, fake_logits=fake_logits
  )
  loss = _pair(base, default=non_saturating()).discriminator
  return 0.5 * (loss(real, mismatched) + loss(real, fake))


def _pair(base: AdversarialLoss | None, *, default: AdversarialLoss) -> AdversarialLoss:
  if base is None:
    return default
  if not isinstance(base, AdversarialLoss):
    raise TypeError(f"base must be a pair of losses such as hinge(), got {base!r}: call it first")
  return base
