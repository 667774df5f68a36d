"""The critic of a penalty: its gradient in its input, and whether that is of one example each."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgan._arrays import at_least_float32, per_example, safe_sqrt
from jaxgan.types import Array, Critic


def check_per_example(critic: Critic, x: Float[Array, "batch ..."]) -> None:
  """Raises if the critic mixes examples, which would make an input-gradient penalty another one.

  Batch norm mixes; layer, instance and spectral norm do not. Minibatch standard deviation mixes too
  and is yet used under penalties on purpose (ProGAN, StyleGAN2): check such a critic without it.

  Args:
    critic: as given to the penalty.
    x: two examples or more, as many as any groups need. Call it outside `jit`: it looks at values
      and costs one backward pass an example.

  Raises:
    ValueError: an output depends on another example, `x` holds one example only, or the critic does
      not return `[batch]`.

  >>> check_per_example(lambda x: x.sum(-1), jnp.ones([2, 4]))
  >>> check_per_example(lambda x: (x - x.mean(0, keepdims=True)).sum(-1), jnp.ones([2, 4]))
  Traceback (most recent call last):
    ...
  ValueError: critic mixes examples: output 0 depends on example 1 (gradient norm 1)...
  """
  x = jnp.asarray(x)
  if not x.ndim or len(x) < 2:
    raise ValueError(f"x must hold 2 examples or more, got shape {list(x.shape)}")

  @jax.jit
  def influences(x: Array) -> Array:
    """Norms of the gradient of each output (row) in each other example (column)."""
    logits, pull_back = jax.vjp(lambda x: logits_of(critic, x), x)

    def of_output(one_hot: Array) -> Array:
      return jnp.where(one_hot > 0, 0.0, l2_norm(pull_back(one_hot)[0]))

    return jax.lax.map(of_output, jnp.eye(len(x), dtype=logits.dtype))

  norms = np.asarray(influences(x))
  output, example = np.unravel_index(norms.argmax(), norms.shape)
  if np.isnan(worst := norms[output, example]):
    raise ValueError("critic's gradient at x is not a number: look at its weights and at x first")
  if worst != 0.0:
    raise ValueError(
      f"critic mixes examples: output {output} depends on example {example} (gradient norm "
      f"{worst:.3g}); take layer, instance or spectral norm instead of batch norm"
    )


def l2_norm(x: Float[Array, "batch ..."]) -> Float[Array, "batch"]:
  """Euclidean norm of each example, over all axes but the first, with gradient 0 at 0.

  Args:
    x: any shape with a batch axis.

  Returns:
    Non-negative, float32 at least.

  >>> l2_norm(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
  Array([5., 0.], dtype=float32)
  """
  return safe_sqrt(sum_squares(x))


@dataclasses.dataclass(frozen=True)
class _Mixing:
  """A critic that is known to mix examples, and the message for who needs one that does not."""

  critic: Critic
  message: str

  def __call__(self, x: Array) -> Array:
    return self.critic(x)


def mixing(critic: Critic, message: str) -> Critic:
  """A critic that penalties on its input gradient refuse, with this message."""
  return _Mixing(critic, message)


def refuse_mixing(critic: Critic) -> None:
  """Raises for a critic that was made by `mixing`."""
  if isinstance(critic, _Mixing):
    raise ValueError(critic.message)


def logits_of(critic: Critic, x: Array) -> Array:
  """`critic(x)`, checked to be one logit an example."""
  logits = critic(x)
  if logits.shape != x.shape[:1]:
    raise ValueError(
      f"critic must map {list(x.shape)} to logits {list(x.shape[:1])}, got {list(logits.shape)}: "
      "squeeze them, or average a map of patches, inside the closure"
    )
  return at_least_float32(logits)


def input_gradient(critic: Critic, x: Array) -> Array:
  """The gradient of each example's logit in that example."""
  refuse_mixing(critic)
  # The cast comes before any square: those of half-precision gradients overflow.
  return at_least_float32(jax.grad(lambda x: logits_of(critic, x).sum())(x))


def sum_squares(x: Array) -> Array:
  """Sum of squares of each example, over all axes but the first."""
  return (per_example(at_least_float32(x)) ** 2).sum(-1)
