"""Objectives beside the adversarial pair: features, classes and codes."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from jaxgan._arrays import at_least_float32, bounded_exp, same_shape
from jaxgan.latents import AxisName
from jaxgan.types import Array


def feature_matching(
  real_features: Float[Array, "real_batch *features"],
  fake_features: Float[Array, "fake_batch *features"],
  *,
  norm: Callable[[Array], Array] = lambda difference: jnp.sum(difference**2),
  axis_name: AxisName | None = None,
) -> Float[Array, ""]:
  """Distance between the mean features of real data and of fakes, the generator's whole loss.

  Salimans et al. 2016 (arXiv 1606.03498), section 3.1: `|E f(x) - E f(G(z))|^2`, where `f` are the
  discriminator's activations before its last layer. Their released code takes
  `norm=lambda difference: abs(difference).mean()`.

  Args:
    real_features: activations for real data.
    fake_features: activations for fakes; the batch may differ in size.
    norm: from the difference of the two means, of the shape of one example's features, to a scalar.
    axis_name: the mapped axis over which the batch is split; the means are then the global ones.

  Returns:
    A scalar, since means over the batch enter.

  Raises:
    ValueError: the features of one example differ in shape.

  >>> feature_matching(jnp.ones([8, 3]), jnp.zeros([4, 3]))
  Array(3., dtype=float32)
  """
  real, fake = at_least_float32(real_features), at_least_float32(fake_features)
  if real.shape[1:] != fake.shape[1:] or not real.ndim or not fake.ndim:
    raise ValueError(
      f"features must match beyond the batch axis, got real_features {list(real.shape)} and "
      f"fake_features {list(fake.shape)}: take both from one layer"
    )
  difference = real.mean(0) - fake.mean(0)
  return norm(difference if axis_name is None else jax.lax.pmean(difference, axis_name))


def pulling_away(
  features: Float[Array, "batch features"], *, axis_name: AxisName | None = None
) -> Float[Array, "batch"]:
  """Squared cosine of each fake's features with those of the others, averaged over the others.

  EBGAN, Zhao et al. 2016 (arXiv 1609.03126), section 2.4; the mean over the batch is the
  pulling-away term, `1 / (N (N - 1)) sum_{i != j} cos(S_i, S_j)^2`, which the generator adds at
  weight 0.1.

  Args:
    features: the autoencoder's code of each fake, two or more. A zero row is orthogonal to all.
    axis_name: the mapped axis over which the batch is split; the others are then those of all
      devices, and the mean of the local values averages to the global term.

  Returns:
    Values in [0, 1].

  Raises:
    ValueError: `features` is not a matrix, or holds one example only.

  >>> pulling_away(jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
  Array([0.5, 0.5, 0. ], dtype=float32)
  """
  features = at_least_float32(features)
  if features.ndim != 2:
    raise ValueError(f"features must be [batch, features], got {list(features.shape)}: flatten it")
  # The floor is far below any real norm, and high enough for the gradient's cube of it.
  unit = features * jax.lax.rsqrt(jnp.maximum((features**2).sum(-1, keepdims=True), 1e-12))
  everyone = unit if axis_name is None else jax.lax.all_gather(unit, axis_name, tiled=True)
  if len(everyone) < 2:
    raise ValueError("features must hold 2 examples or more to compare, got 1: enlarge the batch")
  with_itself = (unit**2).sum(-1) ** 2
  return (((unit @ everyone.T) ** 2).sum(-1) - with_itself) / (len(everyone) - 1)


def auxiliary_classifier(
  class_logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
  """Cross-entropy of the discriminator's class head, `-log P(c | x)`.

  AC-GAN, Odena et al. 2016 (arXiv 1610.09585), its `L_C` negated: both players add it, the
  discriminator on real data and on fakes (each with its own labels), the generator on fakes. It is
  also the supervised half of `semi_supervised`.

  Args:
    class_logits: one logit a class.
    labels: in [0, classes).

  Returns:
    Non-negative nats, one value an example.

  Raises:
    ValueError: `labels` lacks the shape of `class_logits` but for its last axis, or is not integer.

  >>> auxiliary_classifier(jnp.zeros([2, 10]), jnp.array([3, 7])).round(4)
  Array([2.3026, 2.3026], dtype=float32)
  """
  class_logits, labels = at_least_float32(class_logits), jnp.asarray(labels)
  if class_logits.shape[:-1] != labels.shape or not class_logits.ndim:
    raise ValueError(
      f"labels must match class_logits but for its last axis, got class_logits "
      f"{list(class_logits.shape)} and labels {list(labels.shape)}"
    )
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise ValueError(f"labels must be integers, got {labels.dtype}: take argmax of one-hot labels")
  return optax.softmax_cross_entropy_with_integer_labels(class_logits, labels)


def categorical_information(
  logits: Float[Array, "*batch categories"], code: Float[Array, "*batch categories"]
) -> Float[Array, "*batch"]:
  """`-log Q(c | G(z, c))` of a categorical code.

  InfoGAN, Chen et al. 2016 (arXiv 1606.03657), section 5: `I(c; G(z, c)) >= H(c) - E[-log Q]`,
  where `H(c)` is `log categories` for a uniform code. Both players add it, at weight lambda.

  Args:
    logits: the recognition head's, for fakes made from `code`.
    code: one-hot, or any probabilities.

  Returns:
    Non-negative nats, one value an example.

  Raises:
    ValueError: the shapes differ.

  >>> categorical_information(jnp.zeros([1, 4]), jnp.eye(4)[:1]).round(4)
  Array([1.3863], dtype=float32)
  """
  logits, code = same_shape(logits=logits, code=code)
  return optax.softmax_cross_entropy(logits, code)


def gaussian_information(
  mean: Float[Array, "*batch codes"],
  code: Float[Array, "*batch codes"],
  *,
  log_std: Float[Array, "*batch codes"] | None = None,
) -> Float[Array, "*batch"]:
  """`-log Q(c | G(z, c))` of continuous codes, under a factored Gaussian `Q`.

  InfoGAN, Chen et al. 2016 (arXiv 1606.03657), sections 5 and 6: the sum over the codes of
  `(c - mean)^2 / (2 std^2) + log std + log(2 pi) / 2`. The prior of the code enters by its entropy
  alone: `H(c)` is `log(high - low)` for each uniform code, `log(2 pi e) / 2` for each normal one.

  Args:
    mean: the recognition head's mean, for fakes made from `code`.
    code: the codes drawn.
    log_std: the head's log standard deviation; None fixes the deviation at 1, as the released code
      does. Below -15 its exponential is replaced by a tangent, so that values stay finite.

  Returns:
    Nats, summed over the codes; a density's, so it may be negative.

  Raises:
    ValueError: the shapes differ.

  >>> gaussian_information(jnp.zeros([1, 2]), jnp.ones([1, 2])).round(4)  # 1 + log(2 pi)
  Array([2.8379], dtype=float32)
  """
  mean, code, log_std = same_shape(
    mean=mean, code=code, log_std=jnp.zeros_like(mean) if log_std is None else log_std
  )
  squares = (code - mean) ** 2 * bounded_exp(-2 * log_std)
  return (0.5 * (squares + math.log(2 * math.pi)) + log_std).sum(-1)
