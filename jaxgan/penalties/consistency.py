"""Penalties on the discriminator's outputs: consistency under augmentation, and LeCam."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import relu
from jaxtyping import Float, Int

from jaxgan._arrays import at_least_float32, per_example, same_shape
from jaxgan.latents import AxisName
from jaxgan.types import Array, Critic


def consistency(
  critic: Critic, x: Float[Array, "batch ..."], augmented: Float[Array, "batch ..."]
) -> Float[Array, "batch"]:
  """`(D(x) - D(T(x)))^2`: the critic's output should not change under an augmentation.

  CR-GAN, Zhang et al. 2019 (arXiv 1910.12027), at real data, without its factor lambda = 10. At
  fakes and fakes of nearby latents, `consistency(critic, G(z), G(T(z)))`, it is the discriminator's
  half of zCR (Zhao et al. 2020, arXiv 2002.04724, algorithm 2).

  Args:
    critic: returns logits.
    x: images.
    augmented: the same images augmented (say, by `jaxgan.augment`), of the same shape.

  Returns:
    Non-negative, the shape of the critic's output.

  Raises:
    ValueError: `x` and `augmented`, or the critic's outputs for them, differ in shape.

  >>> consistency(lambda x: x.sum(-1), jnp.ones([2, 4]), jnp.zeros([2, 4]))
  Array([16., 16.], dtype=float32)
  """
  same_shape(x=x, augmented=augmented)
  before, after = same_shape(critic_of_x=critic(x), critic_of_augmented=critic(augmented))
  return (before - after) ** 2


def balanced_consistency(
  critic: Critic,
  real: Float[Array, "batch ..."],
  augmented_real: Float[Array, "batch ..."],
  fake: Float[Array, "batch ..."],
  augmented_fake: Float[Array, "batch ..."],
) -> Float[Array, "batch"]:
  """`(D(x) - D(T(x)))^2 + (D(G(z)) - D(T(G(z))))^2`, consistency at fakes as at real data.

  bCR, Zhao et al. 2020 (arXiv 2002.04724), algorithm 1, with its two weights equal and left out;
  compose `consistency` twice where they differ.

  Args:
    critic: returns logits.
    real: data.
    augmented_real: the same augmented.
    fake: as many generated images; it must not be detached if the generator shares the term.
    augmented_fake: the same augmented, by draws of their own.

  Returns:
    Non-negative, the shape of the critic's output.

  Raises:
    ValueError: shapes differ.

  >>> x = jnp.ones([2, 4])
  >>> balanced_consistency(lambda x: x.sum(-1), x, 0 * x, x, x)
  Array([16., 16.], dtype=float32)
  """
  at_real, at_fake = same_shape(
    at_real=consistency(critic, real, augmented_real),
    at_fake=consistency(critic, fake, augmented_fake),
  )
  return at_real + at_fake


def latent_consistency(
  fake: Float[Array, "batch ..."], perturbed: Float[Array, "batch ..."]
) -> Float[Array, "batch"]:
  """`|G(z) - G(T(z))|^2`, which the generator *subtracts*: nearby latents, different images.

  The generator's half of zCR, Zhao et al. 2020 (arXiv 2002.04724), algorithm 2, without its factor
  lambda_gen; `T` adds a little Gaussian noise. The discriminator's half is
  `consistency(critic, fake, perturbed)`.

  Args:
    fake: `G(z)`.
    perturbed: `G(T(z))`, of the same shape.

  Returns:
    Non-negative, the sum over all axes but the first.

  Raises:
    ValueError: the shapes differ.

  >>> latent_consistency(jnp.ones([2, 4]), jnp.zeros([2, 4]))
  Array([4., 4.], dtype=float32)
  """
  fake, perturbed = same_shape(fake=fake, perturbed=perturbed)
  return (per_example(fake - perturbed) ** 2).sum(-1)


class LeCamAverages(NamedTuple):
  """Moving averages of the discriminator's mean outputs, corrected for their start; see `lecam`.

  Attributes:
    updates: how many so far.
    real: the average for real data.
    fake: the average for fakes.
  """

  updates: Int[Array, ""]
  real: Float[Array, ""]
  fake: Float[Array, ""]


def lecam_averages() -> LeCamAverages:
  """The averages before their first update, for `lecam`.

  Returns:
    Zeros, which the first update replaces whole.

  >>> int(lecam_averages().updates)
  0
  """
  return LeCamAverages(jnp.zeros([], jnp.int32), jnp.zeros([]), jnp.zeros([]))


def lecam_update(
  averages: LeCamAverages,
  real_logits: Float[Array, "..."],
  fake_logits: Float[Array, "..."],
  *,
  decay: float = 0.99,
  axis_name: AxisName | None = None,
) -> LeCamAverages:
  """The averages after one more batch.

  The anchors of `lecam`, Tseng et al. 2021 (arXiv 2104.03310). After `t` updates the average is
  `sum_i decay^(t-i) m_i / sum_i decay^(t-i)`, which starts at the first batch's own mean.

  Args:
    averages: `lecam_averages()` to start with.
    real_logits: any shape.
    fake_logits: any shape.
    decay: in [0, 1).
    axis_name: the mapped axis over which the batch is split; the means are then the global ones.

  Returns:
    The new averages.

  >>> averages = lecam_update(lecam_averages(), jnp.array([1.0, 3.0]), jnp.array([-1.0, -1.0]),
  ...                         decay=0.5)
  >>> float(averages.real), float(averages.fake)
  (2.0, -1.0)
  """
  updates = averages.updates + 1
  weight = (1 - decay) / (1 - decay**updates)

  def moved(average: Array, logits: Array) -> Array:
    mean = at_least_float32(logits).mean()
    mean = mean if axis_name is None else jax.lax.pmean(mean, axis_name)
    return (average + weight * (mean - average)).astype(average.dtype)

  return LeCamAverages(
    updates, moved(averages.real, real_logits), moved(averages.fake, fake_logits)
  )


def lecam(
  real_logits: Float[Array, "..."],
  fake_logits: Float[Array, "..."],
  averages: LeCamAverages,
  *,
  one_sided: bool = False,
) -> Float[Array, "..."]:
  """Squared distance of each output from the moving average of the *other* side's.

  LeCam, Tseng et al. 2021 (arXiv 2104.03310), without its factor lambda:
  `(D(x) - a_F)^2 + (D(G(z)) - a_R)^2`.

  Args:
    real_logits: of real data.
    fake_logits: of fakes, of the same shape.
    averages: from `lecam_update`, at least one update old; they carry no gradient.
    one_sided: the released code's form, `max(0, D(x) - a_F)^2 + max(0, a_R - D(G(z)))^2`.

  Returns:
    Non-negative, the shape of the logits.

  Raises:
    ValueError: the shapes differ.

  >>> logits = jnp.array([1.0]), jnp.array([-1.0])
  >>> lecam(*logits, lecam_update(lecam_averages(), *logits, decay=0.5))
  Array([8.], dtype=float32)
  """
  real, fake = same_shape(real_logits=real_logits, fake_logits=fake_logits)
  average = jax.lax.stop_gradient(averages)
  above, below = real - average.fake, average.real - fake
  if one_sided:
    above, below = relu(above), relu(below)
  return above**2 + below**2
