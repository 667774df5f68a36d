"""The control of ADA's probability: Karras et al. 2020 (arXiv 2006.06676), section 3."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxgan.latents import AxisName

__all__ = ["AdaState", "ada_init", "ada_update"]


class AdaState(NamedTuple):
  """ADA's probability and what was seen since it last changed; all scalars.

  Attributes:
    p: the probability of each transform.
    sign_sum: sum of the signs of D(real) over the images seen since.
    images: real images seen since.
    batches: batches seen since.
  """

  p: Float[Array, ""]
  sign_sum: Float[Array, ""]
  images: Float[Array, ""]
  batches: Int[Array, ""]


def ada_init(p: float = 0.0) -> AdaState:
  """The state before training, of `ada_update`.

  Karras et al. 2020 (arXiv 2006.06676), section 3.

  Args:
    p: the first probability, in [0, 1].

  Returns:
    An `AdaState`.

  Raises:
    ValueError: if `p` is outside [0, 1].

  >>> float(ada_init().p)
  0.0
  """
  if not 0 <= p <= 1:
    raise ValueError(f"p must be in [0, 1], got {p}")
  zero = jnp.zeros([], jnp.float32)
  return AdaState(jnp.float32(p), zero, zero, jnp.zeros([], jnp.int32))


def ada_update(
  state: AdaState,
  real_logits: Float[Array, "..."],
  *,
  target: float = 0.6,
  speed: float = 500_000,
  every: int = 4,
  axis_name: AxisName | None = None,
) -> AdaState:
  """Steers p towards `r_t = E[sign(D(real))] = target`, once in `every` batches.

  Karras et al. 2020 (arXiv 2006.06676), section 3: r_t is 0 without overfitting and 1 where D has
  learnt its data by heart. Over the batches since the last change, p rises by (images / speed) if
  r_t is above the target, falls by as much if it is below, and stays within [0, 1].

  Args:
    state: from `ada_init` or the last update.
    real_logits: D's logits of this step's augmented real images, any shape.
    target: the r_t that is kept, in (0, 1).
    speed: images in which p goes from 0 to 1; the paper takes 500,000, and 100,000 for fine-tuning.
    every: batches between changes of p.
    axis_name: the mapped axis that the batch is split over, if any; counts the images of all
      devices.

  Returns:
    The next state; equal on all devices.

  >>> state = ada_init()
  >>> for _ in range(4):
  ...   state = ada_update(state, jnp.ones([50]))  # 200 images, all thought real
  >>> round(float(state.p) * 500_000)
  200
  """
  sign_sum = jnp.sign(real_logits.astype(jnp.float32)).sum()
  images = jnp.float32(real_logits.size)
  if axis_name is not None:
    sign_sum, images = jax.lax.psum((sign_sum, images), axis_name)
  sign_sum, images = state.sign_sum + sign_sum, state.images + images
  batches = state.batches + 1
  moved = state.p + jnp.sign(sign_sum / images - target) * images / speed
  is_due = batches >= every
  return AdaState(
    p=jnp.where(is_due, jnp.clip(moved, 0, 1), state.p),
    sign_sum=jnp.where(is_due, 0, sign_sum),
    images=jnp.where(is_due, 0, images),
    batches=jnp.where(is_due, 0, batches),
  )
