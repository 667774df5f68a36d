"""Where the latents of a conditional generator hold what it is told."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan import latents

__all__ = ["Condition", "condition_of"]


class Condition(NamedTuple):
  """A one-hot part of the latents.

  Attributes:
    name: `label`, a class of the data, or `category`, a code that found its own meaning.
    columns: of the latents, int `[classes]`.
  """

  name: str
  columns: np.ndarray


def condition_of(sampler: Callable[..., Any]) -> Condition | None:
  """The label or, without one, the categorical code of latents; None where there is neither.

  >>> z = latents.mixed(noise=latents.normal(3), label=latents.categorical(2))
  >>> condition_of(z)
  Condition(name='label', columns=array([3, 4]))
  """
  if not isinstance(sampler, latents.Mixed):
    return None
  for name in ("label", "category"):
    if name in sampler.parts:
      (_, dimension) = jax.eval_shape(lambda key: sampler(key, 1), jax.random.key(0)).shape
      split: Any = sampler.split  # of numbers on the host, so that nothing is compiled
      return Condition(name, np.asarray(split(np.arange(dimension))[name]))
  return None
