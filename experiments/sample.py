"""Samples of a trained run: a grid, a folder of PNGs or an array; needs neither data nor flags."""

import dataclasses
import pathlib
import sys
from typing import Literal

import jax
import numpy as np
import tyro

from jaxgan import run, sampling
from jaxgan._files import replacing


@dataclasses.dataclass(frozen=True)
class Options:
  """Draws samples from the generator of a run."""

  workdir: str
  """Folder of the run."""
  num: int = 64
  """Number of samples."""
  out: str = "samples.png"
  """A .png for one grid, an .npz for the array `images` in uint8, anything else is a folder."""
  seed: int = 0
  """Of the latents."""
  ema: bool = True
  """Sample from the moving average of the generator."""
  interpolate: int | None = None
  """Steps of a latent walk: each row of the grid goes from one latent to another."""
  checkpoint: Literal["latest", "best"] | int = "latest"
  """Which checkpoint: latest, best or a step."""
  batch_size: int = 256
  """Most samples at a time."""


def main(options: Options) -> None:
  """Restores the run, draws and writes."""
  if options.num < 1 or options.batch_size < 1:
    raise run.RunError(
      f"--num={options.num} and --batch-size={options.batch_size} must be positive"
    )
  walk = options.interpolate
  if walk is not None and (walk < 2 or options.num % walk):
    raise run.RunError(f"--interpolate={walk} must be at least 2 and divide --num={options.num}")
  out = pathlib.Path(options.out)
  if out.suffix.lower() in {".jpg", ".jpeg", ".gif", ".webp", ".npy"}:
    raise run.RunError(f"--out={out} must end in .png or .npz, or name a folder")
  if out.suffix.lower() not in {".png", ".npz"} and out.is_file():
    raise run.RunError(f"--out={out} is a file: name a folder, or a .png or .npz")

  restored = run.restore(options.workdir, options.checkpoint)
  latents = restored.system.latents
  key = jax.random.key(options.seed)
  if walk is None:
    z = latents(key, options.num)
  else:
    start, end = np.split(np.asarray(latents(key, 2 * (options.num // walk))), 2)
    z = sampling.spherical(jax.numpy.asarray(start), jax.numpy.asarray(end), walk)
    z = z.reshape(options.num, -1)
  variables = restored.game.generator.evaluated(average=options.ema)
  generate = jax.jit(restored.system.generate)
  images = sampling.in_batches(lambda z: generate(variables, z), z, options.batch_size)
  write(options.out, sampling.to_uint8(images), columns=walk)
  step = int(restored.game.step)
  print(f"{options.num} samples of step {step} in {options.out}", file=sys.stderr)


def write(out: str, images: np.ndarray, columns: int | None) -> None:
  """Writes pictures as the name asks: grid, array or folder."""
  path = pathlib.Path(out)
  if path.suffix.lower() == ".png":
    sampling.save_png(path, sampling.grid(images, columns))
  elif path.suffix.lower() == ".npz":
    with replacing(path) as temporary, temporary.open("wb") as file:
      np.savez_compressed(file, images=images)
  else:
    digits = len(str(len(images) - 1))
    for i, image in enumerate(images):
      sampling.save_png(path / f"{i:0{digits}d}.png", image)


if __name__ == "__main__":
  with run.command_line():
    main(tyro.cli(Options))
