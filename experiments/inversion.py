"""Inversion: pictures as styles of a trained StyleGAN2, and edits of them.

    python -m experiments.inversion --workdir=/tmp/w --generator=/tmp/run --images=emoji64/test

Styles of held-out pictures by optimisation in W (Karras et al. 2019, arXiv 1912.04958) and W+
(Abdal et al. 2019, arXiv 1904.03189), and by an encoder (Tov et al. 2021, arXiv 2102.02766) that is
trained on the generator's samples and on the run's own pictures. Each way is scored by how far what
the generator makes of the styles is from the pictures, and then the styles are moved along the
principal directions of W (Härkönen et al. 2020, arXiv 2004.02546). The workdir gets the figures
(`inversion.json`), `reconstructions.png` (the pictures, then a row a way), `edits_*.png` (a row for
each direction and picture), `styles.npz` and `encoder.msgpack`, from which a later start with the
same settings goes on, wherever the encoder's training was stopped.

Past 300 lines because of its flags and pictures; the encoder is a module of its own.
"""

import dataclasses
import hashlib
import json
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
import tyro

from experiments.restored import positive
from experiments.style_encoder import (
  Frozen,
  Settings,
  begin,
  encode,
  encoder_of,
  resume,
  save,
  train_encoder,
)
from jaxgan import compilation, run, sampling
from jaxgan._files import replacing
from jaxgan.run.interruption import Interruption
from jaxgan.run.networks import features_named, smooth
from jaxgan.run.state import Restored
from jaxgan.training import Game
from jaxgan.types import Array, PyTree

METHODS = ("w", "w_plus", "encoder")
_LATENTS = 10_000  # that tell where styles lie
_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Options(Settings):
  """Inverts pictures by a run of a style-based generator."""

  workdir: str = tyro.MISSING
  """Folder of what is found."""
  generator: str = tyro.MISSING
  """Workdir of the run, such as one of experiments.stylegan2."""
  images: str = tyro.MISSING
  """Held-out pictures: a folder, an .npz, or any data set that training takes."""
  split: str = "train"
  """Split of that data set; of a set that the run learns from, another than the run's."""
  num: int = 16
  """Most pictures to take."""
  methods: str = "w,w_plus,encoder"
  """List of w (one style a picture), w_plus (a style a layer), encoder."""
  steps: int = 1000
  """Of the optimisation."""
  learning_rate: float = 0.1
  """Of its Adam, at its peak; 0.01 for small networks."""
  noise: bool = False
  """Optimise the noise of the generator too."""
  noise_weight: float = 1e5
  """Of the term that keeps noise noise."""
  encoder_save_every: int = 500
  """Steps of the encoder's training between two savings of it."""
  features: str = "pixels"
  """What is compared, and scored beside pixels: pixels (at three sizes), or the features of lite0
  (EfficientNet-Lite0), inception (of the published FID) or a classifier's .npz file."""
  directions: int = 4
  """Principal directions of W to move along, 0 for no edits."""
  edited: int = 4
  """Pictures to edit."""
  reach: float = 2.0
  """From minus so many standard deviations to plus so many."""
  columns: int = 7
  """Pictures in a row of the edits."""
  checkpoint: Literal["latest", "best"] | int = "latest"
  """Which checkpoint of the run: latest, best or a step."""
  ema: bool = True
  """Take the moving average of the generator."""
  seed: int = 0
  """Of perturbations, latents and the encoder's training."""


def main(options: Options) -> dict[str, Any]:
  """Inverts, scores, edits and writes."""
  methods = check(options)
  features = compared(options)
  restored = run.restore(options.generator, options.checkpoint)
  if restored.system.style is None:
    raise run.RunError(
      f"--generator={options.generator} holds a run of {restored.record.experiment}, which has no "
      "styles: take one of experiments.stylegan2"
    )
  game = restored.game
  frozen = Frozen(
    restored.system.style,
    # Off the run's mesh, which would have all be compiled twice: for where things start, and stay.
    jax.tree.map(jnp.asarray, jax.device_get(game.generator.evaluated(average=options.ema))),
    restored.system.latents,
    features,
  )
  pictures = held_out(options, restored)
  targets = jnp.asarray(pictures, jnp.float32) / 127.5 - 1.0
  workdir = pathlib.Path(options.workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  mapping = compilation.jit(frozen.style.mapping)
  z = frozen.latents(jax.random.key(options.seed), _LATENTS)
  w = sampling.in_batches(lambda z: mapping(frozen.variables, z), z, _BATCH)
  places = sampling.style_statistics(lambda w: w, jnp.asarray(w))

  # The encoder first: it is what takes up a stopped training, and the rest is soon done again.
  params = trained(options, frozen, restored) if "encoder" in methods else None
  found: dict[str, Array] = {}
  images: dict[str, Array] = {}
  for method in methods:
    if method == "encoder":
      encoder = encoder_of(frozen, options, restored.record.spec.shape[0])
      found[method] = encode(encoder, params, frozen, targets)
      images[method] = compilation.jit(frozen.style.synthesis)(frozen.variables, found[method])
    else:
      result = optimised(options, frozen, method, targets, places)
      found[method], images[method] = result.styles, result.images
  rows = [score(method, images[method], targets, features) for method in methods]
  content = {
    "rows": rows,
    "protocol": dataclasses.asdict(options) | {"step": int(game.step), "pictures": len(pictures)},
  }
  with replacing(workdir / "inversion.json") as temporary:
    temporary.write_text(json.dumps(content, indent=2) + "\n")
  with replacing(workdir / "styles.npz") as temporary, temporary.open("wb") as file:
    arrays: dict[str, Any] = {name: np.asarray(x) for name, x in found.items()}
    np.savez_compressed(file, **arrays)
  shown = [pictures, *(sampling.to_uint8(np.asarray(images[method])) for method in methods)]
  grid = sampling.grid(np.concatenate(shown), len(pictures))
  sampling.save_png(workdir / "reconstructions.png", grid)
  if options.directions:
    directions = sampling.principal_components([np.asarray(w)], options.directions)
    for method in methods:
      edit(options, frozen, found[method], directions, workdir / f"edits_{method}.png")
  print(table(rows))
  print(f"{len(pictures)} pictures by step {int(game.step)}, in {workdir}", file=sys.stderr)
  return content


def check(options: Options) -> list[str]:
  """Refuses what cannot be; returns the methods."""
  positive(
    options, "num", "steps", "learning_rate", "encoder_steps", "encoder_batch", "encoder_rate"
  )
  positive(options, "edited", "reach", "encoder_width", "encoder_max_width", "style_rate")
  positive(options, "encoder_save_every")
  if not 0 <= options.pool <= 1 << 20:
    raise run.RunError(f"--pool={options.pool} must be 0, for none, or more, at most 1,048,576")
  if options.directions < 0 or options.columns < 2:
    raise run.RunError(
      f"--directions={options.directions} must be 0 or more, --columns={options.columns} 2 or more"
    )
  if not 0.0 <= options.unlock_from <= options.unlock_until <= 1.0:
    raise run.RunError(
      f"--unlock-from={options.unlock_from} and --unlock-until={options.unlock_until} must be "
      "shares in [0, 1], in this order"
    )
  methods = options.methods.split(",")
  if set(methods) - set(METHODS) or len(set(methods)) < len(methods):
    raise run.RunError(f"--methods={options.methods} must be a list of {', '.join(METHODS)}")
  return methods


def compared(options: Options) -> Callable[[Array], PyTree]:
  """What `--features` names."""
  if options.features == "pixels":
    return sampling.multi_scale(3)
  return smooth(features_named(options.features, "--features"), f"--features={options.features}")


def held_out(options: Options, restored: Restored) -> np.ndarray:
  """The pictures to invert, uint8 in the generator's shape."""
  size, _, channels = restored.record.spec.shape
  config = restored.config
  if (options.images, options.split) == (config.dataset, config.split):
    raise run.RunError(
      f"--images={options.images} --split={options.split} is what the run learnt from: name others"
    )
  flags: dict[str, Any] = {
    "dataset": options.images,
    "split": options.split,
    "limit": options.num,
    "resolution": size,
    "channels": channels,
    "cache_limit": 0.0,  # a handful of pictures is not worth keeping
  }
  dataset = run.load_data(dataclasses.replace(config, **flags))
  return np.stack([dataset[i]["image"] for i in range(len(dataset))])


def optimised(
  options: Options,
  frozen: Frozen,
  method: str,
  targets: Array,
  places: sampling.StyleStatistics,
) -> sampling.StyleInversion:
  """Styles in W or W+ by optimisation from the mean."""
  n, layers, variables = len(targets), frozen.style.layers, frozen.variables
  start = jnp.repeat(places.mean[None], n, 0)
  if method == "w_plus":
    start = jnp.repeat(start[:, None], layers, 1)
  noise = None
  if options.noise:
    noise = jax.tree.map(lambda x: jnp.repeat(x[None], n, 0), variables["noise"])

  def synthesize(styles: Array, noise: PyTree) -> Array:
    chosen = variables if noise is None else {**variables, "noise": noise}
    return frozen.style.synthesis(chosen, styles)

  with tqdm.tqdm(total=options.steps, desc=method, unit="step", leave=False, disable=None) as bar:

    def progress(step: int, losses: Array) -> None:
      bar.update()
      if step % 50 == 0 and not bar.disable:
        bar.set_postfix(loss=float(losses.mean()))

    return sampling.invert_styles(
      synthesize,
      targets,
      start,
      layers=layers,
      deviation=places.deviation,
      key=jax.random.key(options.seed),
      noise=noise,
      features=frozen.features,
      steps=options.steps,
      learning_rate=options.learning_rate,
      noise_weight=options.noise_weight,
      progress=progress,
    )


def trained(options: Options, frozen: Frozen, restored: Restored) -> PyTree:
  """Parameters of the workdir's encoder, after what is left of its training.

  Raises:
    SystemExit: a signal asked to stop; the training is saved.
  """
  path = pathlib.Path(options.workdir) / "encoder.msgpack"
  settings = determining(options, restored)
  game = begin(frozen, options, restored.record.spec.shape, options.seed)
  if path.exists():
    game, changed = resume(path, game, settings)
    if changed:
      names = ", ".join(changed)
      print(f"{path} is of other settings ({names}): trained anew", file=sys.stderr)
  done, last = int(game.step), options.encoder_steps
  if done == last:
    return game.generator.params
  if done:
    print(f"the encoder's training goes on at step {done} of {last}", file=sys.stderr)
  dataset = run.load_data(restored.config)
  pictures = np.stack([dataset[i]["image"] for i in range(len(dataset))])
  with (
    Interruption() as interruption,
    tqdm.tqdm(total=last, initial=done, desc="encoder", unit="step", disable=None) as bar,
  ):

    def after(step: int, game: Game, metrics: dict[str, Array]) -> None:
      bar.update()
      if step % 50 == 0 and not bar.disable:
        bar.set_postfix({name: float(metrics[name]) for name in ("pixels", "features", "loss_w")})
      asked = interruption.signal
      if asked is None and step % options.encoder_save_every and step < last:
        return
      if not all(math.isfinite(value) for value in jax.device_get(metrics).values()):
        raise run.RunError(
          f"the encoder has diverged by step {step}, and this is not saved: take a smaller "
          "--encoder-rate"
        )
      save(path, game, settings)
      if asked is not None:
        bar.close()
        said = (
          f"stopped and saved at step {step} of the encoder's training; the same command goes on"
        )
        print(said, file=sys.stderr)
        raise SystemExit(128 + asked)

    return train_encoder(frozen, options, game, pictures, options.seed, after).generator.params


def determining(options: Options, restored: Restored) -> dict[str, Any]:
  """All that an encoder depends on, by name."""
  names = [field.name for field in dataclasses.fields(Settings)]
  settings = {name: getattr(options, name) for name in [*names, "seed", "features", "ema"]}
  config = restored.config
  data = {name: getattr(config, name) for name in ("dataset", "split", "limit", "channels")}
  # A run of the same name may be another run.
  weights = digest_of(restored.game.generator.evaluated(average=options.ema))
  return settings | data | {"generator": weights}


def digest_of(variables: PyTree) -> str:
  """Of the values of variables."""
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(jax.device_get(variables)):
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()


def score(
  method: str, images: Array, targets: Array, features: Callable[[Array], PyTree]
) -> dict[str, Any]:
  """Mean errors of a method's pictures."""
  images = jnp.clip(images, -1.0, 1.0)
  apart = jax.tree.map(lambda a, b: jnp.square(a - b).mean(), features(images), features(targets))
  return {
    "method": method,
    "mse": float(jnp.square(images - targets).mean()),
    "psnr": float(sampling.psnr(images, targets).mean()),
    "features": float(jax.tree.reduce(jnp.add, apart)),
  }


def edit(
  options: Options,
  frozen: Frozen,
  styles: Array,
  directions: sampling.PrincipalComponents,
  path: pathlib.Path,
) -> None:
  """Draws the first pictures' styles moved along directions, in all layers alike."""
  steps = jnp.linspace(-options.reach, options.reach, options.columns)
  vectors = jnp.asarray(directions.deviations[:, None] * directions.vectors, styles.dtype)
  moves = steps[None, :, None] * vectors[:, None]  # [directions, columns, d]
  moved = styles[: options.edited, None, None] + moves[None, :, :, None]
  flat = moved.reshape(-1, *styles.shape[1:])
  synthesis = compilation.jit(frozen.style.synthesis)
  pictures = sampling.in_batches(lambda w: synthesis(frozen.variables, w), flat, _BATCH)
  sampling.save_png(path, sampling.grid(sampling.to_uint8(pictures), options.columns))


def table(rows: list[dict[str, Any]]) -> str:
  """The figures in Markdown."""
  lines = ["| method | pixel MSE | PSNR, dB | features |", "|---|---|---|---|"]
  for row in rows:
    lines.append(
      f"| {row['method']} | {row['mse']:.4f} | {row['psnr']:.2f} | {row['features']:.4f} |"
    )
  return "\n".join(lines)


if __name__ == "__main__":
  with run.command_line():
    run.use_compilation_cache()  # a start that goes on has compiled it all before
    main(run.read_flags(Options))
