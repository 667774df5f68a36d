"""Pictures from a trained run, by its workdir: samples, and what they tell of the latent space.

    python -m experiments.sample [command] --workdir=/tmp/run

Without a command it draws samples: a grid, a folder of PNGs or an array. `COMMANDS` lists the
others; `reject` and `neighbours` read the run's data set besides. Past 300 lines because each
command has its flags with their help; the work is done in `jaxgan.sampling`.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
import tyro

from experiments import latent_space, style_space
from experiments.restored import Generator, Source, positive, write
from jaxgan import data, metrics, run, sampling
from jaxgan.data import pictures
from jaxgan.metrics import features
from jaxgan.metrics.features import Features
from jaxgan.run.evidence import outputs_of
from jaxgan.run.networks import features_named, pixels, smooth
from jaxgan.types import Array

_CHUNK = 20_000  # real pictures among which neighbours are searched at a time


@dataclasses.dataclass(frozen=True)
class Options(Source):
  """Draws samples from the generator of a run."""

  num: int = 64
  """Number of samples."""
  interpolate: int | None = None
  """Steps of a latent walk: each row of the grid goes from one latent to another."""


def main(options: Options) -> None:
  """Draws independent samples, or walks where `--interpolate` asks for them."""
  positive(options, "num")
  steps = options.interpolate
  if steps is not None and (steps < 2 or options.num % steps):
    raise run.RunError(f"--interpolate={steps} must be at least 2 and divide --num={options.num}")
  drawn = Generator.restore(options)
  inputs = drawn.restored.system.inputs
  if inputs is not None and steps is None:
    z = drawn.sampler(jax.random.key(options.seed), options.num)
    _write_pairs(options.out, sampling.to_uint8(np.asarray(inputs(z))), drawn.pictures(z))
    drawn.say(f"{options.num} held-out pictures and their translations")
    return
  if steps is None:
    z = drawn.latents(options.num)
  else:
    z = latent_space.paths(drawn, options.num // steps, steps, sampling.spherical)
  write(options.out, drawn.pictures(z), steps, latents=z)
  drawn.say(f"{options.num} samples")


def _write_pairs(out: str, above: np.ndarray, below: np.ndarray) -> None:
  """One picture above the other in a grid, or the latter ones with the former beside them."""
  if pathlib.Path(out).suffix.lower() == ".png":
    above, below = sampling.same_channels(above, below)
    sampling.save_png(out, sampling.pair_grid(above, below))
  else:
    write(out, below, None, inputs=above)


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
  features: str = "pixels"
  """What is compared: pixels, or the features of lite0 (EfficientNet-Lite0), inception (of the
  published FID) or a classifier's .npz file. PSNR is of pixels all the same."""
  prior: float = 0.0
  """Weight of a term that keeps latents as long as normal ones are; 0.001 is a gentle one."""


def invert(options: Invert) -> None:
  """Projects the pictures."""
  positive(options, "num", "restarts", "steps", "learning_rate", "scales")
  by_pixels = options.features == "pixels"
  if options.scales > 1 and not by_pixels:
    raise run.RunError(f"--scales={options.scales} is of pixels: leave it out with --features")
  compared = sampling.multi_scale(options.scales)
  if not by_pixels:
    network = features_named(options.features, "--features")
    compared = smooth(network, f"--features={options.features}")
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
      features=compared,
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
  positive(options, "num", "burn_in", "chain", "real")
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
  except sampling.RejectionError as error:
    remedy = "lower --percentile, or leave out --exact"
    raise run.RunError(f"{error}".replace("lower percentile", remedy)) from error
  all_logits = sampling.in_batches(score, drawn.draw(1000), options.batch_size)
  write(options.out, drawn.pictures(jnp.asarray(kept.proposals)), None, latents=kept.proposals)
  print(f"acceptance rate {kept.rate:.2%}")
  print(f"mean logit {kept.logits.mean():.3f}, of all samples {all_logits.mean():.3f}")
  drawn.say(f"{options.num} accepted samples")


def _calibration(
  options: Reject, how: str, drawn: Generator, logit: Callable[[Array], Array]
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
  fake = sampling.in_batches(lambda z: logit(drawn.generate(z)), z, options.batch_size)
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
  """Draws samples, and beside each the nearest pictures of the run's data set."""

  num: int = 8
  """Number of samples, a row each."""
  k: int = 7
  """Neighbours of each."""
  features: str = "pixels"
  """What is compared: pixels, or the features of lite0 (EfficientNet-Lite0), inception (of the
  published FID) or a classifier's .npz file."""


def neighbours(options: Neighbours) -> None:
  """Searches and draws."""
  positive(options, "num", "k")
  named = options.features != "pixels"
  network = features_named(options.features, "--features") if named else None
  drawn = Generator.restore(options)
  dataset = run.load_data(drawn.restored.config)
  if options.k > len(dataset):
    raise run.RunError(f"--k={options.k} must be at most the number of pictures, {len(dataset)}")
  images = drawn.pictures(drawn.latents(options.num))
  network = network or pixels(dataset.shape)
  indices, distances = _nearest(images, dataset, network, options.k)
  used, places = np.unique(indices, return_inverse=True)
  real = np.stack([dataset[int(i)]["image"] for i in used])
  if pathlib.Path(options.out).suffix.lower() == ".png":
    grid = sampling.neighbour_grid(images, real, places.reshape(indices.shape))
    sampling.save_png(options.out, grid)
  else:
    beside = real[places.reshape(indices.shape)]
    rows = np.concatenate([images[:, None], beside], 1).reshape(-1, *images.shape[1:])
    write(options.out, rows, options.k + 1, indices=indices, distances=distances)
  nearest = distances[:, 0]
  if named:
    told = f"distance to the nearest by {network.name}"
  else:
    told = "RMS to the nearest"
    nearest = nearest / (np.sqrt(network.dimension) * 127.5)  # root mean squares in [-1, 1]
  print(f"{told}: " + ", ".join(f"{d:.3f}" for d in nearest))
  drawn.say(f"{options.num} samples and their {options.k} neighbours")


def _nearest(
  images: np.ndarray, dataset: data.Dataset, network: Features, k: int
) -> tuple[np.ndarray, np.ndarray]:
  """Indices and distances of the nearest pictures, searched chunk by chunk."""
  indices, distances = np.zeros((len(images), 0), int), np.zeros((len(images), 0))
  rows = jnp.asarray(features.extract_all(network, images).features)
  for start in range(0, len(dataset), _CHUNK):
    chunk = np.arange(start, min(start + _CHUNK, len(dataset)))
    real = jnp.asarray(outputs_of(dataset, chunk, network).features)
    found = metrics.nearest_neighbours(rows, real, k=min(k, len(chunk)))
    indices = np.concatenate([indices, start + found.indices], 1)
    distances = np.concatenate([distances, found.distances], 1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    indices = np.take_along_axis(indices, order, 1)
    distances = np.take_along_axis(distances, order, 1)
  return indices, distances


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


class Command(NamedTuple):
  """Flags of a command, and what it does with them."""

  options: Any
  run: Callable[[Any], None]


COMMANDS = {
  "walk": Command(latent_space.Walk, latent_space.walk),
  "arithmetic": Command(latent_space.Arithmetic, latent_space.arithmetic),
  "sweep": Command(latent_space.Sweep, latent_space.sweep),
  "sefa": Command(latent_space.Sefa, latent_space.sefa),
  "pca": Command(latent_space.Pca, latent_space.pca),
  "psi": Command(style_space.Psi, style_space.psi),
  "mixing": Command(style_space.Mixing, style_space.mixing),
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
    main(run.read_flags(Options, argv, description=description))
  elif argv[0] in COMMANDS:
    chosen = COMMANDS[argv[0]]
    chosen.run(run.read_flags(chosen.options, argv[1:], command=argv[0]))
  else:
    raise run.RunError(f"{argv[0]} must be one of {', '.join(COMMANDS)}, or a flag of the sampler")


if __name__ == "__main__":
  with run.command_line():
    command(sys.argv[1:])
