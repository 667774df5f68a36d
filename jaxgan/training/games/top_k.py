"""Top-k training: the generator learns from the fakes that the discriminator likes best."""

import jax
import jax.numpy as jnp

from jaxgan.types import AdversarialLoss, Array


def top_k(
  loss: AdversarialLoss, k: int | Array, *, axis_name: str | None = None
) -> AdversarialLoss:
  """The generator's mean over the k fakes of a batch with the highest logits.

  Sinha et al. 2020 (arXiv 2002.06224), algorithm 1, where k falls from B to B / 2 in training. The
  discriminator's loss stays.

  Args:
    loss: a pair from `jaxgan.losses`.
    k: fakes to learn from, 1 to B, counted over all devices. An array for a k that changes, as in
      an objective that calls `objectives.adversarial(top_k(loss, schedule(game.step)), ...)`.
    axis_name: the mapped axis over which the batch is split, if any.

  Returns:
    The pair of losses of logits `[B]`. The generator's is `B / k` times the loss of a chosen fake
    and 0 of another, so that its mean over the batch is that of the chosen.

  Raises:
    ValueError: `k` is below 1; in the loss, that it is above B or the logits are not `[B]`.

  >>> from jaxgan import losses
  >>> loss = top_k(losses.wasserstein(), 2)
  >>> loss.generator(None, jnp.array([3.0, 1.0, 2.0, 0.0]))
  Array([-6., -0., -4., -0.], dtype=float32)
  """
  if isinstance(k, int) and k < 1:
    raise ValueError(f"k={k} must be 1 or more")

  def weights(logits: Array) -> Array:
    if logits.ndim != 1:
      raise ValueError(f"fake_logits must be of shape [B], got {list(logits.shape)}")
    n = logits.size
    start: int | Array = 0
    if axis_name is not None:
      start = n * jax.lax.axis_index(axis_name)
      logits = jax.lax.all_gather(logits, axis_name, tiled=True)
    if isinstance(k, int) and k > logits.size:
      raise ValueError(f"k={k} must be at most the batch, {logits.size} fakes")
    rank = jnp.argsort(jnp.argsort(logits, descending=True))
    weight = jnp.where(rank < k, logits.size / k, 0.0)
    return jax.lax.dynamic_slice_in_dim(weight, start, n)

  def generator(real_logits: Array | None, fake_logits: Array) -> Array:
    values = loss.generator(real_logits, fake_logits)
    return values * weights(jax.lax.stop_gradient(fake_logits)).astype(values.dtype)

  return AdversarialLoss(loss.discriminator, generator)
