"""What the tests of pure functions share: numerical gradients, and eight devices."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P


def numerical_gradient(f: Callable[..., float], *args: np.ndarray, step=1e-6) -> list[np.ndarray]:
  """Central differences of a NumPy function in every entry of every argument."""
  gradients = []
  for i, x in enumerate(args):
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
      move = np.zeros_like(x)
      move[index] = step
      ahead = f(*args[:i], x + move, *args[i + 1 :])
      gradient[index] = (ahead - f(*args[:i], x - move, *args[i + 1 :])) / (2 * step)
    gradients.append(gradient)
  return gradients


def over_devices(f: Callable, parameter, *batches, check_vma: bool):
  """Runs `f(parameter, *batches) -> [batch]` over eight devices.

  Returns the values and the gradient of their mean by the recipe of data-parallel training: the
  parameter cast to varying, the gradient of the local mean, one average over devices.
  """
  mesh = Mesh(np.array(jax.devices()), ("data",))

  def local(parameter, *batches):
    if check_vma:
      parameter = jax.lax.pcast(parameter, ("data",), to="varying")

    def mean(parameter):
      values = f(parameter, *batches)
      return values.mean(), values

    gradient, values = jax.grad(mean, has_aux=True)(parameter)
    return values, jax.lax.pmean(gradient, "data")

  specs = (P(), *[P("data")] * len(batches))
  return jax.jit(
    jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=(P("data"), P()), check_vma=check_vma)
  )(parameter, *batches)
