"""Commands of `experiments.sample` for generators of styles: truncation and mixing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.restored import Generator, Source, positive, styles_of, write
from jaxgan import run, sampling


@dataclasses.dataclass(frozen=True)
class Psi(Source):
  """Truncates styles by several psi, a row of the grid a sample (Karras et al. 2018, figure 8)."""

  num: int = 6
  """Number of samples."""
  values: str = "1,0.7,0.5,0,-0.5,-1"
  """psi from left to right: 1 is the sample, 0 the mean picture, and below 0 the sample's opposite."""


def psi(options: Psi) -> None:
  """Draws the rows."""
  positive(options, "num")
  if options.truncation_psi is not None:
    raise run.RunError("--truncation-psi is what varies here: give --values=1,0.7,0")
  try:
    values = jnp.asarray([float(part) for part in options.values.split(",")])
  except ValueError as error:
    raise run.RunError(f"--values={options.values} must be numbers, like 1,0.7,0") from error
  drawn = Generator.restore(options)
  style, in_styles = styles_of(drawn.restored), drawn.in_styles()
  w, mean = in_styles.latents(options.num), style.mean(drawn.variables)
  pulled = jnp.stack([sampling.truncate(w, mean, value) for value in values], 1)
  w = pulled.reshape(-1, w.shape[-1])
  write(options.out, in_styles.pictures(w), len(values), styles=w)
  drawn.say(f"{options.num} samples at psi {options.values}")


@dataclasses.dataclass(frozen=True)
class Mixing(Source):
  """Mixes styles: pictures of the left with some layers' styles of the pictures on top.

  As Karras et al. 2018, figure 3, in which the first 4 layers are coarse styles (pose, shape), the
  next 4 middle ones and the others fine ones (colours).
  """

  layers: str = "0:4"
  """Layers whose styles are those of the pictures on top, from 0 and without the last."""
  rows: int = 4
  """Pictures on the left."""
  columns: int = 6
  """Pictures on top."""


def mixing(options: Mixing) -> None:
  """Draws the table."""
  positive(options, "rows", "columns")
  drawn = Generator.restore(options)
  style = styles_of(drawn.restored)
  try:
    first, last = (int(part) for part in options.layers.split(":"))
  except ValueError:
    first = last = 0
  if not 0 <= first < last <= style.layers:
    raise run.RunError(
      f"--layers={options.layers} must be like 0:4, of the generator's {style.layers} layers"
    )
  w = drawn.in_styles().latents(options.rows + options.columns)
  left, top = w[: options.rows], w[options.rows :]
  is_top = ((jnp.arange(style.layers) >= first) & (jnp.arange(style.layers) < last))[:, None]
  mixed = jnp.where(is_top[None, None], top[None, :, None], left[:, None, None])
  # The pictures themselves in the first column and row, and an empty corner.
  table = jnp.concatenate([jnp.repeat(left[:, None, None], style.layers, 2), mixed], 1)
  heads = jnp.repeat(top[:, None], style.layers, 1)
  styles = jnp.concatenate([heads, table.reshape(-1, *table.shape[2:])])
  jitted = jax.jit(style.synthesis)
  images = sampling.in_batches(lambda ws: jitted(drawn.variables, ws), styles, options.batch_size)
  corner = np.zeros((1, *images.shape[1:]), np.uint8)
  shown = np.concatenate([corner, sampling.to_uint8(images)])
  write(options.out, shown, options.columns + 1, styles=styles)
  drawn.say(f"styles of layers {options.layers} of {options.columns} in {options.rows} samples")
