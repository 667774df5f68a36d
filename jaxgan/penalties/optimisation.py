"""What penalties ask of the optimiser: lazy terms, Adam's correction for them, weight clipping."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgan.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class Lazy:
  """A penalty taken at every k-th step only, and k times then; made by `lazily`.

  Attributes:
    penalty: any function of arrays and closures to a pytree of arrays.
    every: k.
  """

  penalty: Callable[..., Any]
  every: int

  def __call__(self, step: int | Array, *args: Any, **kwargs: Any) -> Any:
    """`every * penalty(*args, **kwargs)` where `step` is a multiple of `every`, else zeros.

    Args:
      step: an array, and the choice is a `jax.lax.cond`, which runs one branch; or a Python int,
        and the choice is made in tracing, for a host that keeps one compiled step for each. On CPU
        prefer that: XLA runs the kernel gradients of convolutions slowly inside `cond`.
      *args: those of the penalty.
      **kwargs: those of the penalty.

    Returns:
      What the penalty returns.
    """

    def due() -> Any:
      return jax.tree.map(lambda x: self.every * x, self.penalty(*args, **kwargs))

    def skipped() -> Any:
      return jax.tree.map(jnp.zeros_like, jax.eval_shape(due))

    if isinstance(step, int):
      return due() if step % self.every == 0 else skipped()
    return jax.lax.cond(step % self.every == 0, due, skipped)


def lazily(penalty: Callable[..., Any], *, every: int) -> Lazy:
  """Takes a penalty at every k-th step only, scaled by k, so that its mean over steps stays.

  StyleGAN2, Karras et al. 2019 (arXiv 1912.04958), appendix B: R1 every 16 discriminator steps,
  path length every 4 generator steps. Here the penalty is part of a loss whose step is taken
  anyway, with plain Adam; an update of its own, as the paper has it, is `penalties_every=` of
  `training.objectives.adversarial`. (R3GAN fails with lazy penalties.)

  Args:
    penalty: such as `r1`.
    every: k, 1 or more.

  Returns:
    A function of the step and then the penalty's own arguments; skipped steps do not compute it.

  Raises:
    ValueError: `every` is below 1.

  >>> from jaxgan import penalties
  >>> lazy_r1 = lazily(penalties.r1, every=16)
  >>> for step in jnp.arange(2):
  ...   print(lazy_r1(step, lambda x: x.sum(-1), jnp.ones([2, 4])))
  [64. 64.]
  [0. 0.]
  """
  if every < 1:
    raise ValueError(f"every must be 1 or more, got {every}: 16 takes the penalty each 16th step")
  return Lazy(penalty, every)


def lazy_adam(
  learning_rate: optax.ScalarOrSchedule, b1: float, b2: float, *, every: int, eps: float = 1e-8
) -> optax.GradientTransformation:
  """Adam, corrected for a penalty that has an update of its own at every k-th step.

  StyleGAN2, Karras et al. 2019 (arXiv 1912.04958), appendix B: with `c = k / (k + 1)` the
  learning rate becomes `c` times itself and the decays `b1^c` and `b2^c`, so that `k + 1` updates
  do the work of `k`. It goes with `penalties_every=k` of `training.objectives.adversarial`, or
  with `d_lazy` of `training.make_train_step`. A penalty that `lazily` adds to the loss of a step
  that is taken anyway wants plain `optax.adam`.

  Args:
    learning_rate: of the uncorrected optimiser; a number or a schedule.
    b1: its decay of the first moment, in [0, 1).
    b2: its decay of the second moment, in [0, 1).
    every: k, the steps between two updates of the penalty.
    eps: added to the root of the second moment.

  Returns:
    `optax.adam` with the corrected values.

  Raises:
    ValueError: `every` is below 1.

  >>> adam = lazy_adam(0.002, 0.0, 0.99, every=16)  # optax.adam(0.00188235, 0.0, 0.990585)
  """
  if isinstance(every, int) and every < 1:
    raise ValueError(f"every must be 1 or more, got {every}: StyleGAN2 takes 16 and 4")
  c = every / (every + 1)
  schedule = learning_rate
  corrected = (lambda count: c * schedule(count)) if callable(schedule) else c * schedule
  return optax.adam(corrected, b1=b1**c, b2=b2**c, eps=eps)


def clip_weights(params: PyTree, bound: float) -> PyTree:
  """Projects every parameter onto `[-bound, bound]`.

  WGAN, Arjovsky et al. 2017 (arXiv 1701.07875), algorithm 1; see `weight_clipping`.

  Args:
    params: any pytree of arrays.
    bound: above 0.

  Returns:
    The clipped parameters.

  >>> clip_weights({"kernel": jnp.array([-1.0, 0.005, 1.0])}, 0.01)
  {'kernel': Array([-0.01 ,  0.005,  0.01 ], dtype=float32)}
  """
  return jax.tree.map(lambda p: jnp.clip(p, -bound, bound), params)


def weight_clipping(bound: float = 0.01) -> optax.GradientTransformation:
  """Keeps every parameter in `[-bound, bound]` after the update; the last of an `optax.chain`.

  WGAN, Arjovsky et al. 2017 (arXiv 1701.07875), algorithm 1, which clips all parameters of the
  critic, gains included. Its first step already sees clipped weights: start from
  `clip_weights(params, bound)`.

  Args:
    bound: above 0; the paper's value is 0.01.

  Returns:
    A transformation of the update `u` into `clip(params + u) - params`.

  Raises:
    ValueError: `bound` is not above 0; in the update, that `params` were not given.

  >>> critic_optimizer = optax.chain(optax.rmsprop(5e-5), weight_clipping(0.01))
  """
  if isinstance(bound, int | float) and not bound > 0:
    raise ValueError(f"bound must be above 0, got {bound}: WGAN takes 0.01")

  def update(updates: PyTree, params: PyTree | None) -> PyTree:
    if params is None:
      raise ValueError("params must be given, got None: call update(gradients, state, params)")
    return jax.tree.map(lambda p, u: jnp.clip(p + u, -bound, bound) - p, params, updates)

  return optax.stateless(update)
