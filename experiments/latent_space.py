"""Commands of `experiments.sample` that show a latent space: paths, sums, sweeps, directions."""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.restored import Generator, Source, positive, write
from jaxgan import latents, run, sampling
from jaxgan.types import Array

_SPREAD = 2000  # latents that tell how far a run's latents spread along a direction


@dataclasses.dataclass(frozen=True)
class Walk(Source):
  """Walks between latents: a row of the grid from one latent to another."""

  paths: int = 8
  """Number of rows."""
  steps: int = 8
  """Pictures in a row, both ends included."""
  linear: bool = False
  """Along straight lines instead of great circles, which normal latents want (White 2016)."""
  in_styles: bool = False
  """Between styles w, along straight lines, of generators that have styles."""


def walk(options: Walk) -> None:
  """Draws paths."""
  positive(options, "paths")
  if options.steps < 2:
    raise run.RunError(f"--steps={options.steps} must be at least 2: both ends are shown")
  drawn = Generator.restore(options)
  if options.in_styles:
    drawn = drawn.in_styles()
  straight = options.linear or options.in_styles
  path = sampling.linear if straight else sampling.spherical
  z = paths(drawn, options.paths, options.steps, path)
  write(options.out, drawn.pictures(z), options.steps, latents=z)
  drawn.say(f"{options.paths} walks")


@dataclasses.dataclass(frozen=True)
class Arithmetic(Source):
  """Adds and subtracts concepts, each the mean of a few exemplars (Radford et al. 2015, figure 7).

  A row shows a concept's exemplars and, on the right, what the generator makes of their mean. The
  last row has the result on the right and beside it results with a little noise added.
  """

  plus: str = tyro.MISSING
  """Exemplars to add, by their places in the grid of the same seed, row by row from 0: `3,7,12`."""
  minus: str | None = None
  """Exemplars to take away."""
  plus2: str | None = None
  """More exemplars to add: (smiling woman) - (neutral woman) + (neutral man)."""
  num: int = 64
  """Number of samples in that grid."""
  noise: float = 0.25
  """Largest noise added to each coordinate of the result, as in the paper."""
  in_styles: bool = False
  """With styles w instead of latents, of generators that have styles."""


def arithmetic(options: Arithmetic) -> None:
  """Draws the equation."""
  positive(options, "num")
  flags = {"plus": options.plus, "minus": options.minus, "plus2": options.plus2}
  places = {
    name: _integers(f"--{name}", text, options.num)
    for name, text in flags.items()
    if text is not None
  }
  if len({len(exemplars) for exemplars in places.values()}) > 1:
    raise run.RunError("give the same number of exemplars of each concept, so that rows are equal")
  drawn = Generator.restore(options)
  if options.in_styles:
    drawn = drawn.in_styles()
  z = drawn.latents(options.num)
  exemplars = {name: z[jnp.asarray(rows)] for name, rows in places.items()}
  minus = [exemplars[name] for name in exemplars if name == "minus"]
  result = sampling.vector_arithmetic([x for n, x in exemplars.items() if n != "minus"], minus)
  count = len(places["plus"])
  noise = options.noise * jax.random.uniform(drawn.key(1), (count, len(result)), minval=-1.0)
  rows = [jnp.concatenate([x, x.mean(0)[None]]) for x in exemplars.values()]
  rows.append(jnp.concatenate([result[None] + noise, result[None]]))
  z = jnp.concatenate(rows)
  write(options.out, drawn.pictures(z), count + 1, latents=z)
  signs = {"plus": "+", "minus": "-", "plus2": "+"}
  drawn.say(" ".join(f"{signs[name]} mean({flags[name]})" for name in exemplars).removeprefix("+ "))


@dataclasses.dataclass(frozen=True)
class Sweep(Source):
  """Varies a coordinate of the latent along a row, or a one-hot code (Chen et al. 2016, figure 2).

  With one coordinate or code a row is a sample; with several a row is one of them, all of the same
  sample.
  """

  coordinates: str | None = None
  """Coordinates to vary: `0,5,9`, or `62:64` for 62 and 63. By default the first eight."""
  classes: str | None = None
  """Coordinates of a one-hot code or label whose classes to go through: `62:72`."""
  code: str | None = None
  """Instead of either: name of a part of the latent, where the run's latents have such."""
  low: float = -2.0
  """First value of a coordinate."""
  high: float = 2.0
  """Last value of a coordinate."""
  steps: int = 9
  """Number of values."""
  rows: int = 8
  """Samples to vary, where one coordinate or code varies."""
  first: int = 0
  """The first of them, by its place in the grid of the same seed."""


def sweep(options: Sweep) -> None:
  """Draws the rows."""
  positive(options, "steps", "rows")
  if options.first < 0:
    raise run.RunError(f"--first={options.first} must be 0 or more")
  if sum(x is not None for x in (options.coordinates, options.classes, options.code)) > 1:
    raise run.RunError("give one of --coordinates, --classes and --code")
  drawn = Generator.restore(options)
  classes, coordinates = _swept(options, drawn)
  rows = options.rows if classes or len(coordinates) == 1 else 1
  z = drawn.latents(options.first + rows)[options.first :]
  if classes:
    z = sampling.sweep_classes(z, coordinates[0], len(coordinates))
  else:
    values = jnp.linspace(options.low, options.high, options.steps)
    z = jnp.concatenate([sampling.sweep(z, index, values) for index in coordinates])
  columns = z.shape[1]
  z = z.reshape(-1, z.shape[-1])
  write(options.out, drawn.pictures(z), columns, latents=z)
  named = f"{coordinates[0]}:{coordinates[-1] + 1}" if classes else ", ".join(map(str, coordinates))
  drawn.say(f"{'classes' if classes else 'coordinates'} {named}")


def _swept(options: Sweep, drawn: Generator) -> tuple[bool, list[int]]:
  """Whether classes are swept, and the coordinates."""
  if options.classes is not None:
    coordinates = _integers("--classes", options.classes, drawn.dimension)
    if len(coordinates) < 2 or coordinates != list(range(coordinates[0], coordinates[-1] + 1)):
      raise run.RunError(f"--classes={options.classes} must be like 62:72, of two at least")
    if not _one_hot(drawn, coordinates):
      names = [name for name in _parts(drawn) if _one_hot(drawn, _place(drawn, name))]
      advice = f"give --code={names[0]}" if names else "its latents have no classes"
      raise run.RunError(f"--classes={options.classes} are no classes of a one-hot code: {advice}")
    return True, coordinates
  if options.code is None:
    text = options.coordinates or f"0:{min(8, drawn.dimension)}"
    return False, _integers("--coordinates", text, drawn.dimension)
  names = _parts(drawn)
  if options.code not in names:
    raise run.RunError(
      f"--code={options.code} must be a part of the run's latents: {', '.join(names) or 'no parts'}"
    )
  coordinates = _place(drawn, options.code)
  return _one_hot(drawn, coordinates), coordinates


def _parts(drawn: Generator) -> list[str]:
  sampler = drawn.restored.system.latents
  return list(sampler.parts) if isinstance(sampler, latents.Mixed) else []


def _place(drawn: Generator, part: str) -> list[int]:
  """Coordinates of a part of the latents."""
  sampler = drawn.restored.system.latents
  assert isinstance(sampler, latents.Mixed)
  return [int(i) for i in sampler.split(jnp.arange(drawn.dimension))[part]]


def _one_hot(drawn: Generator, coordinates: list[int]) -> bool:
  values = np.asarray(drawn.draw(8))[:, coordinates]
  return len(coordinates) > 1 and bool((np.sort(values, 1)[:, -2:] == [0.0, 1.0]).all())


@dataclasses.dataclass(frozen=True)
class Directions(Source):
  """Walks along directions of the latent space: a row a direction, a column a step.

  A step is as long as the spread of the run's latents along the direction.
  """

  directions: int = 8
  """Number of rows."""
  steps: int = 7
  """Pictures in a row."""
  reach: float = 3.0
  """From minus so many standard deviations to plus so many."""
  sample: int = 0
  """The sample to walk from, by its place in the grid of the same seed."""
  layer: str | None = None
  """The layer whose kernel or activations are analysed, as `ConvTranspose_0`; by default the one
  that the latent enters."""


@dataclasses.dataclass(frozen=True)
class Sefa(Directions):
  """Semantic factorisation (Shen and Zhou 2021): what the first layer's weights stretch most."""


def sefa(options: Sefa) -> None:
  """Draws eigenvectors of the first kernel."""
  _check_walks(options)
  drawn = Generator.restore(options)
  name, weight = drawn.kernel(options.layer)
  most = min(weight.shape)
  if options.directions > most:
    raise run.RunError(f"--directions={options.directions}: {name} has no more than {most}")
  found = sampling.semantic_factorisation(weight, options.directions)
  spread = (np.asarray(drawn.draw(_SPREAD)) @ found.vectors.T).std(0)
  _draw_directions(options, drawn, name, found._replace(vectors=spread[:, None] * found.vectors))


@dataclasses.dataclass(frozen=True)
class Pca(Directions):
  """GANSpace (Härkönen et al. 2020): principal components of a layer's activations."""

  num: int = 5000
  """Samples that are analysed."""


def pca(options: Pca) -> None:
  """Draws principal directions."""
  _check_walks(options)
  if options.num <= options.directions:
    raise run.RunError(f"--num={options.num} must be more than --directions={options.directions}")
  drawn = Generator.restore(options)
  layer = options.layer or drawn.kernel(None)[0].rpartition(".")[0]
  activations = drawn.activations(layer)
  z = drawn.draw(options.num)
  found = sampling.principal_directions(
    activations, z, options.directions, batch_size=options.batch_size
  )
  _draw_directions(options, drawn, layer, found)


def _check_walks(options: Directions) -> None:
  positive(options, "directions", "steps", "reach")
  if options.sample < 0:
    raise run.RunError(f"--sample={options.sample} must be 0 or more")


def _draw_directions(
  options: Directions, drawn: Generator, name: str, found: sampling.Directions
) -> None:
  z = drawn.latents(options.sample + 1)[options.sample :]
  steps = jnp.linspace(-options.reach, options.reach, options.steps)
  vectors = jnp.asarray(found.vectors, z.dtype)
  z = sampling.traverse(z, vectors, steps).reshape(-1, z.shape[-1])
  write(options.out, drawn.pictures(z), options.steps, latents=z, directions=found.vectors)
  print("shares: " + ", ".join(f"{share:.1%}" for share in found.shares))
  drawn.say(f"{len(vectors)} directions of {name}")


def paths(
  drawn: Generator, number: int, steps: int, path: Callable[[Array, Array, int], Array]
) -> Array:
  """Latents of that many paths, one after the other, between the seed's latents."""
  z = drawn.latents(2 * number)
  return path(z[:number], z[number:], steps).reshape(number * steps, -1)


def _integers(flag: str, text: str, limit: int) -> list[int]:
  """Reads `3,7,12` or `62:72`; each must be below the limit."""

  def parts() -> Iterator[int]:
    for part in text.split(","):
      start, colon, stop = part.partition(":")
      yield from range(int(start), int(stop)) if colon else [int(start)]

  try:
    numbers = list(parts())
  except ValueError:
    numbers = []
  if not numbers:
    raise run.RunError(f"{flag}={text} must be whole numbers, like 3,7,12 or 62:72")
  outside = [i for i in numbers if not 0 <= i < limit]
  if outside:
    raise run.RunError(f"{flag}={text}: {outside[0]} is not from 0 to {limit - 1}")
  return numbers
