"""Pictures from a trained run, by its workdir: samples, and what they tell of the latent space.

    python -m experiments.sample [command] --workdir=/tmp/run

Without a command it draws samples: a grid, a folder of PNGs or an array. `COMMANDS` lists the
others; `reject` and `neighbours` read the run's data set besides. Past 300 lines because each of
nine commands has its flags with their help, and a function of 10 to 40 lines that hands them to
`jaxgan.sampling`, where the work is done.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
import tyro

from jaxgan import data, latents, metrics, run, sampling
from jaxgan._files import replacing
from jaxgan.data import pictures
from jaxgan.run.state import Restored
from jaxgan.types import Array, PyTree

_TESTED = 2000  # latents that tell which coordinates are normal
_CHUNK = 20_000  # real pictures among which neighbours are searched at a time


@dataclasses.dataclass(frozen=True)
class Source:
  """What every command is told."""

  workdir: str
  """Folder of the run."""
  out: str = "samples.png"
  """A .png for one grid, an .npz for the array `images` in uint8, anything else is a folder."""
  seed: int = 0
  """Of the latents."""
  ema: bool = True
  """Sample from the moving average of the generator."""
  checkpoint: Literal["latest", "best"] | int = "latest"
  """Which checkpoint: latest, best or a step."""
  batch_size: int = 256
  """Most samples at a time."""
  truncation: float | None = None
  """Keep normal latents within this threshold, as if drawn again until they are (Brock et al.
  2018): less variety, more of the typical. Codes and labels beside them stay. Generators with batch
  norm, whose statistics are those of training, turn pale with it: 1 to 2 is enough for them."""


@dataclasses.dataclass(frozen=True)
class Options(Source):
  """Draws samples from the generator of a run."""

  num: int = 64
  """Number of samples."""
  interpolate: int | None = None
  """Steps of a latent walk: each row of the grid goes from one latent to another."""


def main(options: Options) -> None:
  """Draws independent samples, or walks where `--interpolate` asks for them."""
  _positive(options, "num")
  steps = options.interpolate
  if steps is not None and (steps < 2 or options.num % steps):
    raise run.RunError(f"--interpolate={steps} must be at least 2 and divide --num={options.num}")
  drawn = Generator.restore(options)
  if steps is None:
    z = drawn.latents(options.num)
  else:
    z = _paths(drawn, options.num // steps, steps, sampling.spherical)
  write(options.out, drawn.pictures(z), steps, latents=z)
  drawn.say(f"{options.num} samples")


@dataclasses.dataclass(frozen=True)
class Walk(Source):
  """Walks between latents: a row of the grid from one latent to another."""

  paths: int = 8
  """Number of rows."""
  steps: int = 8
  """Pictures in a row, both ends included."""
  linear: bool = False
  """Along straight lines instead of great circles, which normal latents want (White 2016)."""


def walk(options: Walk) -> None:
  """Draws paths."""
  _positive(options, "paths")
  if options.steps < 2:
    raise run.RunError(f"--steps={options.steps} must be at least 2: both ends are shown")
  drawn = Generator.restore(options)
  path = sampling.linear if options.linear else sampling.spherical
  z = _paths(drawn, options.paths, options.steps, path)
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


def arithmetic(options: Arithmetic) -> None:
  """Draws the equation."""
  _positive(options, "num")
  flags = {"plus": options.plus, "minus": options.minus, "plus2": options.plus2}
  places = {
    name: _integers(f"--{name}", text, options.num)
    for name, text in flags.items()
    if text is not None
  }
  if len({len(exemplars) for exemplars in places.values()}) > 1:
    raise run.RunError("give the same number of exemplars of each concept, so that rows are equal")
  drawn = Generator.restore(options)
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
  _positive(options, "steps", "rows")
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


def _swept(options: Sweep, drawn: "Generator") -> tuple[bool, list[int]]:
  """Whether classes are swept, and the coordinates."""
  if options.classes is not None:
    coordinates = _integers("--classes", options.classes, drawn.dimension)
    if len(coordinates) < 2 or coordinates != list(range(coordinates[0], coordinates[-1] + 1)):
      raise run.RunError(f"--classes={options.classes} must be like 62:72, of two at least")
    return True, coordinates
  if options.code is None:
    text = options.coordinates or f"0:{min(8, drawn.dimension)}"
    return False, _integers("--coordinates", text, drawn.dimension)
  sampler = drawn.restored.system.latents
  names = list(sampler.parts) if isinstance(sampler, latents.Mixed) else []
  if options.code not in names:
    raise run.RunError(
      f"--code={options.code} must be a part of the run's latents: {', '.join(names) or 'no parts'}"
    )
  assert isinstance(sampler, latents.Mixed)
  index = sampler.split(jnp.arange(drawn.dimension))[options.code]
  values = np.asarray(drawn.draw(8))[:, np.asarray(index)]
  one_hot = len(index) > 1 and bool((np.sort(values, 1)[:, -2:] == [0.0, 1.0]).all())
  return one_hot, [int(i) for i in index]


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
  spread = (np.asarray(drawn.draw(_TESTED)) @ found.vectors.T).std(0)
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
  _positive(options, "directions", "steps", "reach")
  if options.sample < 0:
    raise run.RunError(f"--sample={options.sample} must be 0 or more")


def _draw_directions(
  options: Directions, drawn: "Generator", name: str, found: sampling.Directions
) -> None:
  z = drawn.latents(options.sample + 1)[options.sample :]
  steps = jnp.linspace(-options.reach, options.reach, options.steps)
  vectors = jnp.asarray(found.vectors, z.dtype)
  z = sampling.traverse(z, vectors, steps).reshape(-1, z.shape[-1])
  write(options.out, drawn.pictures(z), options.steps, latents=z, directions=found.vectors)
  print("shares: " + ", ".join(f"{share:.1%}" for share in found.shares))
  drawn.say(f"{len(vectors)} directions of {name}")


@dataclasses.dataclass(frozen=True)
class Invert(Source):
  """Finds latents of given pictures, and draws each picture above its reconstruction."""

  images: str = tyro.MISSING
  """A picture, a folder of pictures, an .npz, or any data set that training takes."""
  num: int = 16
  """Most pictures to take."""
  restarts: int = 4
  """Latents that every picture is tried from."""
  steps: int = 500
  """Of the optimisation."""
  learning_rate: float = 0.1
  """Of Adam, at its peak."""
  scales: int = 1
  """Compare pictures at so many sizes, each half of the one before; 1 is pixels only."""
  prior: float = 0.0
  """Weight of a term that keeps latents as long as normal ones are; 0.001 is a gentle one."""


def invert(options: Invert) -> None:
  """Projects the pictures."""
  _positive(options, "num", "restarts", "steps", "learning_rate", "scales")
  drawn = Generator.restore(options)
  targets = _read(options, drawn)
  if drawn.restored.record.spec.shape[0] % 2 ** (options.scales - 1):
    raise run.RunError(f"--scales={options.scales}: the pictures cannot be halved so often")
  n = len(targets)
  start = drawn.latents(n * options.restarts).reshape(n, options.restarts, -1)
  with tqdm.tqdm(total=options.steps, unit="step", leave=False, disable=None) as bar:

    def progress(step: int, losses: Array) -> None:
      bar.update()
      if step % 50 == 0 and not bar.disable:
        bar.set_postfix(loss=float(losses.min(1).mean()))

    found = sampling.invert(
      drawn.generate,
      jnp.asarray(targets, jnp.float32) / 127.5 - 1.0,
      start,
      features=sampling.multi_scale(options.scales),
      prior=sampling.normal_prior(options.prior) if options.prior else None,
      steps=options.steps,
      learning_rate=options.learning_rate,
      progress=progress,
    )
  images = sampling.to_uint8(np.asarray(found.images))
  values = sampling.psnr(found.images, jnp.asarray(targets, jnp.float32) / 127.5 - 1.0)
  if pathlib.Path(options.out).suffix.lower() == ".png":
    sampling.save_png(options.out, sampling.pair_grid(targets, images))
  else:
    write(options.out, images, None, targets=targets, latents=found.latents, losses=found.losses)
  print("PSNR, dB: " + ", ".join(f"{value:.2f}" for value in values))
  print(f"mean PSNR {float(values.mean()):.2f} dB")
  drawn.say(f"{n} pictures and their reconstructions")


@dataclasses.dataclass(frozen=True)
class Reject(Source):
  """Keeps the samples that the run's discriminator takes for real.

  Its logits are read as log p_data / p_generator, which holds for losses of the logistic kind
  (minimax, non-saturating); calibration brings others nearer to it.
  """

  method: Literal["drs", "mh"] = "drs"
  """Discriminator rejection sampling (Azadi et al. 2018), or Metropolis-Hastings chains (Turner et
  al. 2018)."""
  num: int = 64
  """Number of samples to keep."""
  percentile: float = 95.0
  """drs: share of samples, in percent, with less than an even chance; higher is stricter."""
  exact: bool = False
  """drs: no percentile, but rejection with the estimated maximum alone; few are accepted."""
  burn_in: int = 10_000
  """drs: samples that estimate the largest logit."""
  chain: int = 640
  """mh: proposals for each sample."""
  calibrate: Literal["none", "logistic", "isotonic"] | None = None
  """How logits are calibrated; by default logistic for mh and none for drs."""
  split: str | None = None
  """Real pictures to calibrate on, best of a split that the run has not seen: `test`. By default
  the run's own."""
  real: int = 1000
  """Most real pictures, and as many samples, for calibration."""


def reject(options: Reject) -> None:
  """Draws accepted samples."""
  _positive(options, "num", "burn_in", "chain", "real")
  if not 0.0 <= options.percentile <= 100.0:
    raise run.RunError(f"--percentile={options.percentile} must be from 0 to 100")
  if options.real < 4:
    raise run.RunError(f"--real={options.real} must be at least 4")
  how = options.calibrate or ("logistic" if options.method == "mh" else "none")
  drawn = Generator.restore(options)
  logit = drawn.discriminator()
  real_logits, calibrate = np.zeros(0), None
  if options.method == "mh" or how != "none":
    real_logits, calibrate = _calibration(options, how, drawn, logit)

  @jax.jit
  def score(z: Array) -> Array:
    logits = logit(drawn.generate(z))
    return logits if calibrate is None else calibrate(logits)

  try:
    if options.method == "drs":
      percentile = None if options.exact else options.percentile
      kept = sampling.rejection_sample(
        drawn.sampler,
        score,
        drawn.key(2),
        options.num,
        percentile=percentile,
        burn_in=options.burn_in,
        batch_size=options.batch_size,
      )
    else:
      kept = sampling.metropolis_hastings_sample(
        drawn.sampler,
        score,
        real_logits,
        drawn.key(2),
        options.num,
        length=options.chain,
        batch_size=options.batch_size,
      )
  except RuntimeError as error:
    raise run.RunError(f"{error}; lower --percentile, or leave out --exact") from error
  all_logits = sampling.in_batches(score, drawn.draw(1000), options.batch_size)
  write(options.out, drawn.pictures(jnp.asarray(kept.proposals)), None, latents=kept.proposals)
  print(f"acceptance rate {kept.rate:.2%}")
  print(f"mean logit {kept.logits.mean():.3f}, of all samples {all_logits.mean():.3f}")
  drawn.say(f"{options.num} accepted samples")


def _calibration(
  options: Reject, how: str, drawn: "Generator", logit: Callable[[Array], Array]
) -> tuple[np.ndarray, Callable[[Array], Array] | None]:
  """Calibrated logits of real pictures and the calibration, fitted on half of them."""
  config = drawn.restored.config
  dataset = run.load_data(dataclasses.replace(config, split=options.split or config.split))
  order = np.random.default_rng(options.seed).permutation(len(dataset))[: options.real]
  if len(order) < 4:
    raise run.RunError(f"the data set has {len(dataset)} pictures, too few to calibrate on")
  scaled = np.stack([dataset[int(i)]["image"] for i in order]).astype(np.float32) / 127.5 - 1.0
  real = sampling.in_batches(logit, jnp.asarray(scaled), options.batch_size)
  z = drawn.sampler(drawn.key(3), len(real))
  fake = sampling.in_batches(jax.jit(lambda z: logit(drawn.generate(z))), z, options.batch_size)
  fits = {"logistic": sampling.logistic_calibration, "isotonic": sampling.isotonic_calibration}
  half = len(real) // 2
  fitting, testing = (real[:half], fake[:half]), (real[half:], fake[half:])
  print(f"calibration Z of the logits {sampling.calibration_statistic(*testing):.1f}")
  if how == "none":
    return real, None
  calibrate = fits[how](*fitting)
  after = [np.asarray(calibrate(jnp.asarray(x))) for x in testing]
  print(f"after {how} calibration {sampling.calibration_statistic(*after):.1f}")
  return np.asarray(calibrate(jnp.asarray(real))), calibrate


@dataclasses.dataclass(frozen=True)
class Neighbours(Source):
  """Draws samples, and beside each the nearest pictures of the run's data set, by their pixels."""

  num: int = 8
  """Number of samples, a row each."""
  k: int = 7
  """Neighbours of each."""


def neighbours(options: Neighbours) -> None:
  """Searches and draws."""
  _positive(options, "num", "k")
  drawn = Generator.restore(options)
  dataset = run.load_data(drawn.restored.config)
  if options.k > len(dataset):
    raise run.RunError(f"--k={options.k} must be at most the number of pictures, {len(dataset)}")
  images = drawn.pictures(drawn.latents(options.num))
  indices, distances = _nearest(images, dataset, options.k)
  used, places = np.unique(indices, return_inverse=True)
  real = np.stack([dataset[int(i)]["image"] for i in used])
  if pathlib.Path(options.out).suffix.lower() == ".png":
    grid = sampling.neighbour_grid(images, real, places.reshape(indices.shape))
    sampling.save_png(options.out, grid)
  else:
    beside = real[places.reshape(indices.shape)]
    rows = np.concatenate([images[:, None], beside], 1).reshape(-1, *images.shape[1:])
    write(options.out, rows, options.k + 1, indices=indices, distances=distances)
  root = np.sqrt(np.prod(images.shape[1:])) * 127.5  # to root mean squares in [-1, 1]
  print("RMS to the nearest: " + ", ".join(f"{d:.3f}" for d in distances[:, 0] / root))
  drawn.say(f"{options.num} samples and their {options.k} neighbours")


def _nearest(images: np.ndarray, dataset: data.Dataset, k: int) -> tuple[np.ndarray, np.ndarray]:
  """Indices and distances of the nearest pictures, searched chunk by chunk."""
  indices, distances = np.zeros((len(images), 0), int), np.zeros((len(images), 0))
  rows = images.reshape(len(images), -1).astype(np.float32)
  for start in range(0, len(dataset), _CHUNK):
    stop = min(start + _CHUNK, len(dataset))
    if dataset.images is not None:
      chunk = np.asarray(dataset.images[start:stop])
    else:
      chunk = np.stack([dataset[i]["image"] for i in range(start, stop)])
    flat = jnp.asarray(chunk.reshape(len(chunk), -1), jnp.float32)
    found = metrics.nearest_neighbours(jnp.asarray(rows), flat, k=min(k, len(chunk)))
    indices = np.concatenate([indices, start + found.indices], 1)
    distances = np.concatenate([distances, found.distances], 1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    indices = np.take_along_axis(indices, order, 1)
    distances = np.take_along_axis(distances, order, 1)
  return indices, distances


class Generator(NamedTuple):
  """A run's generator as the commands see it.

  Attributes:
    options: what the command was told.
    restored: the run.
    generate: jitted, from latents to pictures.
    sampler: jitted, `(key, n) -> latents`, truncated as the options say.
  """

  options: Source
  restored: Restored
  generate: Callable[[Array], Array]
  sampler: Callable[..., Array]

  @classmethod
  def restore(cls, options: Source) -> "Generator":
    """Checks what all commands share, and reads the run."""
    _check_out(options)
    restored = run.restore(options.workdir, options.checkpoint)
    variables = restored.game.generator.evaluated(average=options.ema)
    jitted = jax.jit(restored.system.generate)
    return cls(options, restored, lambda z: jitted(variables, z), _sampler(options, restored))

  @property
  def dimension(self) -> int:
    """Of the latents; an error if a latent is not one row of numbers."""
    shape = jax.eval_shape(lambda key: self.sampler(key, 1), jax.random.key(0)).shape
    if len(shape) != 2:
      raise run.RunError(f"the run's latents have the shape {shape}, but a latent must be one row")
    return shape[1]

  def latents(self, n: int) -> Array:
    """The first n latents of the seed: those of its grid."""
    self.dimension  # noqa: B018  # raises where commands cannot go on
    return self.sampler(jax.random.key(self.options.seed), n)

  def draw(self, n: int) -> Array:
    """Other latents than the grid's, for what wants many."""
    return self.sampler(self.key(0), n)

  def key(self, use: int) -> Array:
    """Keys of the seed beside the one of the grid, one for each use."""
    return jax.random.fold_in(jax.random.key(self.options.seed), 2**31 + use)

  def pictures(self, z: Array) -> np.ndarray:
    """Pictures of latents `[n, d]`, uint8."""
    return sampling.to_uint8(sampling.in_batches(self.generate, z, self.options.batch_size))

  @property
  def variables(self) -> PyTree:
    """The generator's, as the options choose them."""
    return self.restored.game.generator.evaluated(average=self.options.ema)

  def kernel(self, layer: str | None) -> tuple[str, np.ndarray]:
    """Name and matrix of the kernel that the latent enters by."""
    try:
      return sampling.input_kernel(self.variables["params"], self.dimension, layer=layer)
    except ValueError as error:
      raise run.RunError(f"{error}".replace("layer=", "--layer=")) from error

  def activations(self, layer: str) -> Callable[[Array], Array]:
    """A layer's outputs, of the latent."""
    player, variables = self.restored.game.generator, self.variables
    z = jax.ShapeDtypeStruct((1, self.dimension), jnp.float32)
    try:
      outputs = sampling.layer_outputs(player.apply_fn, layer, variables, z, train=False)
    except ValueError as error:
      raise run.RunError(f"{error}".replace("layer=", "--layer=")) from error
    return jax.jit(lambda z: outputs(variables, z))

  def discriminator(self) -> Callable[[Array], Array]:
    """From pictures to the logits of the run's discriminator, in evaluation mode."""
    player = self.restored.game.discriminator
    variables = player.variables

    def logit(images: Array) -> Array:
      return player.apply_fn(variables, images, train=False)

    images = jax.ShapeDtypeStruct((2, *self.restored.record.spec.shape), jnp.float32)
    made = jax.eval_shape(logit, images)
    if getattr(made, "shape", None) != (2,):
      raise run.RunError(f"the run's discriminator gives {made}, but one logit a picture is needed")
    return jax.jit(logit)

  def say(self, what: str) -> None:
    """Tells what was done, of which step, where to."""
    step = int(self.restored.game.step)
    print(f"{what} of step {step} in {self.options.out}", file=sys.stderr)


def write(out: str, images: np.ndarray, columns: int | None, **arrays: Any) -> None:
  """Writes pictures as the name asks: grid, array (with the other arrays beside it) or folder."""
  path = pathlib.Path(out)
  if path.suffix.lower() == ".png":
    sampling.save_png(path, sampling.grid(images, columns))
  elif path.suffix.lower() == ".npz":
    with replacing(path) as temporary, temporary.open("wb") as file:
      named: dict[str, Any] = {"images": images} | {k: np.asarray(x) for k, x in arrays.items()}
      np.savez_compressed(file, **named)
  else:
    digits = len(str(len(images) - 1))
    for i, image in enumerate(images):
      sampling.save_png(path / f"{i:0{digits}d}.png", image)


def _check_out(options: Source) -> None:
  _positive(options, "batch_size")
  out = pathlib.Path(options.out)
  if out.suffix.lower() in {".jpg", ".jpeg", ".gif", ".webp", ".npy"}:
    raise run.RunError(f"--out={out} must end in .png or .npz, or name a folder")
  if out.suffix.lower() not in {".png", ".npz"} and out.is_file():
    raise run.RunError(f"--out={out} is a file: name a folder, or a .png or .npz")
  if options.truncation is not None and not options.truncation > 0.0:
    raise run.RunError(f"--truncation={options.truncation} must be positive")


def _sampler(options: Source, restored: Restored) -> Callable[..., Array]:
  """The run's sampler, with its normal coordinates truncated if that is asked for."""
  whole = jax.jit(lambda key, n: restored.system.latents(key, n), static_argnums=1)
  threshold = options.truncation
  if threshold is None:
    return whole
  z = np.asarray(whole(jax.random.key(0), _TESTED))
  normal = sampling.normal_coordinates(z) if z.ndim == 2 else np.zeros(1, bool)
  if not normal.any():
    raise run.RunError("--truncation: the latents of this run are not normal, so none is truncated")

  def sampler(key: Array, n: int) -> Array:
    z = whole(key, n)
    return jnp.where(normal[None], sampling.truncate_normal(z, threshold), z)

  return jax.jit(sampler, static_argnums=1)


def _paths(
  drawn: Generator, paths: int, steps: int, path: Callable[[Array, Array, int], Array]
) -> Array:
  z = drawn.latents(2 * paths)
  return path(z[:paths], z[paths:], steps).reshape(paths * steps, -1)


def _read(options: Invert, drawn: Generator) -> np.ndarray:
  """The pictures to invert, uint8 in the generator's shape."""
  size, _, channels = drawn.restored.record.spec.shape
  path = pathlib.Path(options.images).expanduser()
  if path.is_file() and path.suffix.lower() in pictures.SUFFIXES:
    return pictures.fit(pictures.read(path), size, channels)[None]
  flags: dict[str, Any] = {
    "dataset": options.images,
    "split": "train",
    "limit": options.num,
    "resolution": size,
    "channels": channels,
    "cache_limit": 0.0,  # a handful of pictures is not worth keeping
  }
  config = dataclasses.replace(drawn.restored.config, **flags)
  dataset = run.load_data(config)
  return np.stack([dataset[i]["image"] for i in range(len(dataset))])


def _positive(options: Any, *names: str) -> None:
  for name in names:
    if not getattr(options, name) > 0:
      flag = name.replace("_", "-")
      raise run.RunError(f"--{flag}={getattr(options, name)} must be positive")


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


class Command(NamedTuple):
  """Flags of a command, and what it does with them."""

  options: Any
  run: Callable[[Any], None]


COMMANDS = {
  "walk": Command(Walk, walk),
  "arithmetic": Command(Arithmetic, arithmetic),
  "sweep": Command(Sweep, sweep),
  "sefa": Command(Sefa, sefa),
  "pca": Command(Pca, pca),
  "invert": Command(Invert, invert),
  "reject": Command(Reject, reject),
  "neighbours": Command(Neighbours, neighbours),
}


def command(argv: Sequence[str]) -> None:
  """Runs the command that the first argument names, or draws samples if it is a flag.

  Raises:
    RunError: there is no such command, or what it was told cannot be done.
  """
  prog = "python -m experiments.sample"
  if not argv or argv[0].startswith("-"):
    listed = "\n".join(
      f"  {name:<12}{chosen.options.__doc__.splitlines()[0]}" for name, chosen in COMMANDS.items()
    )
    description = f"{Options.__doc__}\n\nOther commands, {prog} COMMAND --help:\n\n{listed}"
    main(tyro.cli(Options, prog=prog, description=description, args=argv))
  elif argv[0] in COMMANDS:
    chosen = COMMANDS[argv[0]]
    chosen.run(tyro.cli(chosen.options, prog=f"{prog} {argv[0]}", args=argv[1:]))
  else:
    raise run.RunError(f"{argv[0]} must be one of {', '.join(COMMANDS)}, or a flag of the sampler")


if __name__ == "__main__":
  with run.command_line():
    command(sys.argv[1:])
