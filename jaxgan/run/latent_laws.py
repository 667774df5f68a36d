"""What a generator's latents are, in words and as Python, for those who get it as a file."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan import latents, sampling
from jaxgan.types import Array

__all__ = ["Latents", "Law", "latents_of"]

_DRAWN = 2000  # latents that tell their distribution
_ZEROS = "jax.numpy.zeros([{n}, {k}])"


class Law(NamedTuple):
  """A distribution.

  Attributes:
    words: what it is.
    code: an expression of Python that draws from it, with `{key}` for a key, `{n}` for the number
      of rows and `{k}` for that of entries; zeros where the law is not known.
  """

  words: str
  code: str


class Latents(NamedTuple):
  """What the latents of a generator are.

  Attributes:
    row: shape and dtype of one.
    laws: name, entries and law of each part; one without a name for a latent in one piece, none
      where a latent is not one row of numbers.
  """

  row: jax.ShapeDtypeStruct
  laws: tuple[tuple[str, int, Law], ...]

  def in_words(self) -> str:
    """Shape, dtype, and part by part what they are."""
    head = f"{self.row.dtype} [{', '.join(['n', *map(str, self.row.shape)])}]"
    said = [f"{f'{name}, {k} entries, ' if name else ''}{law.words}" for name, k, law in self.laws]
    return f"{head}: {'; '.join(said)}" if said else head

  def as_code(self, n: int | str) -> str:
    """Python that makes so many, `z`, where jax has been imported."""
    note = "# In place of zeros: latents as above.\n"
    if not self.laws:
      return f"{note}z = jax.numpy.zeros([{', '.join(map(str, (n, *self.row.shape)))}])"
    note = note if any(law.code == _ZEROS for _, _, law in self.laws) else ""
    if len(self.laws) == 1:
      ((_, k, law),) = self.laws
      return f"{note}z = {_filled(law.code, 'jax.random.key(0)', n, k)}"
    parts = [
      f"  {_filled(law.code, f'keys[{place}]', n, k)},  # {name}"
      for place, (name, k, law) in enumerate(self.laws)
    ]
    return "\n".join(
      [
        f"{note}keys = jax.random.split(jax.random.key(0), {len(parts)})",
        "z = jax.numpy.concatenate([",
        *parts,
        "], 1)",
      ]
    )


def latents_of(sampler: Callable[..., Array], **known: Law) -> Latents:
  """What a generator's latents are, part by part, as far as 2,000 draws tell.

  Args:
    sampler: of `jaxgan.latents`, or any `(key, n) -> [n, ...]`.
    **known: laws of parts by name, which draws would not tell.

  >>> found = latents_of(latents.mixed(noise=latents.normal(3), label=latents.categorical(10)))
  >>> found.in_words()
  'float32 [n, 13]: noise, 3 entries, normal; label, 10 entries, one-hot'
  >>> print(latents_of(latents.normal(3)).as_code(16))
  z = jax.random.normal(jax.random.key(0), [16, 3])
  """
  z = np.asarray(jax.jit(lambda key: sampler(key, _DRAWN))(jax.random.key(0)))
  row = jax.ShapeDtypeStruct(z.shape[1:], z.dtype)
  if z.ndim != 2:
    return Latents(row, ())
  if not isinstance(sampler, latents.Mixed):
    return Latents(row, (("", z.shape[1], _law(z)),))
  split: Any = sampler.split  # of numbers on the host
  return Latents(
    row,
    tuple((name, part.shape[1], known.get(name) or _law(part)) for name, part in split(z).items()),
  )


def _filled(code: str, key: str, n: int | str, k: int) -> str:
  for name, value in (("{key}", key), ("{n}", str(n)), ("{k}", str(k))):
    code = code.replace(name, value)
  return code


def _law(z: np.ndarray) -> Law:
  if np.isin(z, (0.0, 1.0)).all() and (z.sum(1) == 1.0).all():
    return Law("one-hot", "jax.nn.one_hot(jax.random.randint({key}, [{n}], 0, {k}), {k})")
  if sampling.normal_coordinates(z).all():
    return Law("normal", "jax.random.normal({key}, [{n}, {k}])")
  low, high = float(z.min()), float(z.max())
  for bounds in ((-1.0, 1.0), (0.0, 1.0)):
    near = 0.01 * (bounds[1] - bounds[0])
    if bounds[0] <= low < bounds[0] + near and bounds[1] - near < high <= bounds[1]:
      low, high = bounds
  words = f"from {low:.3g} to {high:.3g}"
  if abs(z.std() / max(high - low, 1e-9) - 12**-0.5) > 0.02:  # of a uniform
    return Law(words, _ZEROS)
  drawn = f"jax.random.uniform({{key}}, [{{n}}, {{k}}], minval={low:.3g}, maxval={high:.3g})"
  return Law(f"uniform in [{low:.3g}, {high:.3g}]", drawn)
