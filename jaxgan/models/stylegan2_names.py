"""Weights of StyleGAN2 by the names of NVlabs' PyTorch code for ADA (arXiv 2006.06676).

Their files are pickles, which execute what they hold, and are not read here. Where their code runs,
`numpy.savez(path, **{k: v.numpy() for k, v in G_ema.state_dict().items()})` writes an array a name;
`numpy.load(path)` reads them without executing anything. The names, with R a resolution:

  of theirs                                        here
  mapping.embed, mapping.fcN                       mapping/embed, mapping/fcN
  mapping.w_avg                                    w of the collection "averages"
  synthesis.b4.const                               synthesis/b4/constant
  synthesis.bR.convN.weight, .bias                 synthesis/bR/convN/conv/kernel, bias
  synthesis.bR.convN.affine.weight, .bias          synthesis/bR/convN/conv/style_kernel, style_bias
  synthesis.bR.convN.noise_strength                synthesis/bR/convN/noise/strength
  synthesis.bR.convN.noise_const                   synthesis/bR/convN/noise/fixed of "noise"
  synthesis.bR.torgb                               synthesis/bR/to_image
  bR.fromrgb                                       from_image
  bR.convN, bR.skip                                bR/convN, bR/skip
  b4.conv, b4.fc, b4.out                           conv, fc, out
  *.resample_filter                                none: it has to be that of (1, 3, 3, 1)

Kernels `[out, in, h, w]` become `[h, w, in, out]`, matrices are transposed, and `b4.fc` takes its
features by pixel here and by channel there.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.typing import ArrayLike

from jaxgan.layers import BINOMIAL
from jaxgan.models.stylegan2 import Discriminator, Generator
from jaxgan.types import PyTree

__all__ = ["from_torch_names"]

_LEAVES = {
  "kernel": "weight",
  "bias": "bias",
  "style_kernel": "affine.weight",
  "style_bias": "affine.bias",
  "strength": "noise_strength",
  "fixed": "noise_const",
  "constant": "const",
}
_FILTER = ".resample_filter"


def from_torch_names(
  state: Mapping[str, ArrayLike], network: Generator | Discriminator, *, latent_dim: int = 512
) -> PyTree:
  """The variables of a network from the state dict of its counterpart in NVlabs' PyTorch code.

  Args:
    state: arrays by name; see the module for where from.
    network: of the same sizes. ADA's `--cfg=auto` and `stylegan2` have `depth` 2 and 8, `cifar` a
      discriminator with `residual=False`.
    latent_dim: dimensions of the noise, of a generator.

  Returns:
    Variables for `network.apply`, of the dtypes of the state.

  Raises:
    ValueError: names are missing or unknown, or an array has another shape or is another filter.

  >>> g = Generator(resolution=8, width=2, max_width=2, style_dim=4, depth=1)
  >>> from_torch_names({"mapping.fc0.bias": np.zeros(4), "b": 0.0}, g, latent_dim=4)
  Traceback (most recent call last):
  ...
  ValueError: the state does not fit Generator(resolution=8, ...): missing mapping.fc0.weight,
  mapping.w_avg, synthesis.b4.const, synthesis.b4.conv1.affine.bias,
  synthesis.b4.conv1.affine.weight and 24 more; unknown b
  """
  expected = _expected(network, latent_dim, state)
  names = {path: _their_name(path, network) for path in expected}
  filters = [name for name in state if name.endswith(_FILTER)]
  missing = sorted(set(names.values()) - set(state))
  unknown = sorted(set(state) - set(names.values()) - set(filters))
  if missing or unknown:
    raise ValueError(
      f"the state does not fit {type(network).__name__}(resolution={network.resolution}, ...): "
      f"missing {_listed(missing)}; unknown {_listed(unknown)}"
    )
  taps = np.outer(BINOMIAL, BINOMIAL)
  for name in filters:
    found = np.asarray(state[name])
    if found.shape != taps.shape or not np.allclose(found, taps / taps.sum(), atol=1e-6):
      raise ValueError(f"state[{name!r}] is not the filter of (1, 3, 3, 1), the only one there is")
  variables = {}
  for path, shape in expected.items():
    value = np.asarray(state[names[path]])
    converted = _converted(value, path, shape)
    if converted is None:
      raise ValueError(
        f"state[{names[path]!r}] of shape {list(value.shape)} does not make {'/'.join(path)} of "
        f"shape {list(shape)}: the network has other sizes"
      )
    variables[path] = jnp.asarray(converted)
  return traverse_util.unflatten_dict(variables)


def _expected(
  network: Generator | Discriminator, latent_dim: int, state: Mapping[str, ArrayLike]
) -> dict[tuple[str, ...], tuple[int, ...]]:
  """Shapes of the network's variables, by path."""
  classes = network.classes or 0
  inputs: list[Any]
  if isinstance(network, Generator):
    inputs = [jnp.zeros([1, latent_dim + classes])]
  else:
    side = network.resolution
    first = f"b{side}.fromrgb.weight"
    if first not in state or np.ndim(state[first]) != 4:
      raise ValueError(f"the state has no kernel {first!r}: resolution={side} does not fit")
    inputs = [jnp.zeros([1, side, side, np.shape(state[first])[1]])]
    inputs += [jnp.zeros([1, classes])] if classes else []
  variables = jax.eval_shape(
    lambda: network.init(jax.random.key(0), *inputs, train=False)  # type: ignore[arg-type]
  )
  return {path: x.shape for path, x in traverse_util.flatten_dict(variables).items()}


def _their_name(path: tuple[str, ...], network: Generator | Discriminator) -> str:
  collection, *parts, leaf = path
  if collection == "averages":
    return "mapping.w_avg"
  if isinstance(network, Generator):
    if len(parts) == 4:  # synthesis, block, layer, and what the layer is made of
      parts = parts[:-1]
    parts = ["torgb" if part == "to_image" else part for part in parts]
  elif parts[0] == "from_image":
    parts = [f"b{network.resolution}", "fromrgb"]
  elif parts[0] in ("conv", "fc", "out"):
    parts = ["b4", *parts]
  return ".".join([*parts, _LEAVES[leaf]])


def _converted(
  value: np.ndarray, path: tuple[str, ...], shape: tuple[int, ...]
) -> np.ndarray | None:
  """An array in the layout of this library, or None if it cannot have the shape."""
  if path[-1] == "constant" and value.ndim == 3:
    value = value.transpose(1, 2, 0)
  elif path[-1] in ("kernel", "style_kernel"):
    if path[-2] == "fc" and value.ndim == 2 and value.shape[1] % 16 == 0:
      value = value.reshape(len(value), -1, 16).transpose(0, 2, 1).reshape(value.shape)
    value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
  return value if value.shape == shape else None


def _listed(names: list[str]) -> str:
  if not names:
    return "none"
  return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
