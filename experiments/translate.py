"""Translates pictures by a trained run of `experiments.pix2pix`, `cyclegan` or `unit`.

python -m experiments.translate --workdir=/tmp/run --input=drawings --out=coloured
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np

from experiments import choices, translation
from experiments.restored import averaged_if, positive
from jaxgan import compilation, run, sampling
from jaxgan.data import pictures
from jaxgan.run.state import Restored
from jaxgan.types import Array


@dataclasses.dataclass(frozen=True)
class Options:
  """Translates a picture, or all pictures of a folder."""

  workdir: str
  """Folder of the run."""
  input: Annotated[str, choices.also("--images")]
  """A picture, or a folder of them. They are cropped to their middle square, and made as large and
  as colourful as those that the run has learnt from."""
  out: str = "translated.png"
  """A folder for one .png each, under the name of its input. A .png for the translation itself of
  one picture, or for a grid with each translation below its input."""
  backward: bool = False
  """The other way, from b to a for a run from a to b: cyclegan and unit alone."""
  checkpoint: Literal["latest", "best"] | int = "latest"
  """Which checkpoint: latest, best or a step."""
  ema: bool = True
  """Translate by the moving average of the generator."""
  batch_size: int = 64
  """Most pictures at a time."""


def main(options: Options) -> np.ndarray:
  """Reads, translates and writes."""
  positive(options, "batch_size")
  found = paths(options.input)
  out = pathlib.Path(options.out).expanduser()
  one = out.suffix.lower() == ".png"
  if not one and (out.suffix or out.is_file()):
    raise run.RunError(f"--out={options.out} must end in .png, or be a folder")
  written = [out] if one else [out / name for name in _names(found)]
  lost = {path.resolve() for path in written} & {path.resolve() for path in found}
  if lost:
    raise run.RunError(f"--out={options.out} would replace {min(lost)}, which is translated")
  restored = run.restore(options.workdir, options.checkpoint)
  translate, (size, _, channels) = translator(restored, backward=options.backward, ema=options.ema)
  given = np.stack([pictures.fit(pictures.read(path), size, channels) for path in found])
  made = translated(translate, given, options.batch_size)
  if not one:
    for path, picture in zip(written, made, strict=True):
      sampling.save_png(path, picture)
  elif len(made) == 1:
    sampling.save_png(out, made[0])
  else:
    above, below = sampling.same_channels(given, made)
    sampling.save_png(out, sampling.pair_grid(above, below))
  step = int(restored.game.step)
  print(f"{len(made)} pictures translated by step {step}, in {options.out}", file=sys.stderr)
  return made


def translator(
  restored: Restored, *, backward: bool, ema: bool
) -> tuple[Callable[[Array], Array], tuple[int, int, int]]:
  """What a run translates by, and the shape of the pictures that it takes.

  Raises:
    RunError: the run translates nothing, or not that way.
  """
  name, spec, player = restored.record.experiment, restored.record.spec, restored.game.generator
  if restored.system.inputs is None or spec.inputs is None:
    raise run.RunError(
      f"a run of {name} translates no pictures: take one of experiments.pix2pix, "
      "experiments.cyclegan or experiments.unit"
    )
  variables = averaged_if(restored, ema=ema)
  if not backward:
    forward = compilation.jit(restored.system.generate)
    return lambda inputs: forward(variables, inputs), spec.inputs
  network: Any = player.apply_fn
  if not hasattr(network.__self__, "backward"):
    raise run.RunError(
      f"--backward: a run of {name} translates one way; train another with the other --direction"
    )
  back = compilation.jit(lambda variables, x: network(variables, x, train=False, method="backward"))
  return lambda inputs: back(variables, inputs), spec.shape


def translated(
  translate: Callable[[Array], Array], given: np.ndarray, batch_size: int
) -> np.ndarray:
  """Translations of uint8 pictures, uint8."""
  rows: Any = given  # they stay on the host but for a batch
  made = sampling.in_batches(lambda x: translate(translation.scaled(x)), rows, batch_size)
  return sampling.to_uint8(made)


def paths(given: str) -> list[pathlib.Path]:
  """The picture, or those in the folder, by name.

  Raises:
    RunError: there is none.
  """
  path = pathlib.Path(given).expanduser()
  if path.is_file():
    return [path]
  found = sorted(each for each in path.glob("*") if each.suffix.lower() in pictures.SUFFIXES)
  if not found:
    kinds = ", ".join(sorted(pictures.SUFFIXES))
    raise run.RunError(f"--input={given} is no picture, and no folder that holds some ({kinds})")
  return found


def _names(found: list[pathlib.Path]) -> list[str]:
  """A .png for each, apart where two differ in their endings alone."""
  stems = [path.stem for path in found]
  return [f"{path.stem if stems.count(path.stem) == 1 else path.name}.png" for path in found]


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
