"""A run's generator and discriminator as the commands of `experiments.sample` see them."""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compilation, run, sampling, training
from jaxgan._files import replacing
from jaxgan.run.state import Restored
from jaxgan.types import Array, PyTree

_STANDING = 256  # samples in a batch that statistics are estimated from
_TESTED = 2000  # latents that tell which coordinates are normal


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
  norm, whose statistics are those of training, turn pale with it: 1 to 2 is enough for them, or
  give --standing too."""
  truncation_psi: float | None = None
  """Pull styles towards their mean, of generators that have styles (Karras et al. 2018): 1 changes
  nothing, 0 gives the mean picture, 0.7 is common."""
  standing: int = 0
  """Estimate batch statistics anew from so many batches of 256 samples (Brock et al. 2018), with
  the weights, and under the truncation, that are sampled; 0 takes those that were averaged with the
  weights."""


class Generator(NamedTuple):
  """A run's generator as the commands see it.

  Attributes:
    options: what the command was told.
    restored: the run.
    generate: jitted, from latents to pictures.
    sampler: jitted, `(key, n) -> latents`, truncated as the options say.
    variables: the generator's, as the options choose them.
  """

  options: Source
  restored: Restored
  generate: Callable[[Array], Array]
  sampler: Callable[..., Array]
  variables: PyTree

  @classmethod
  def restore(cls, options: Source) -> "Generator":
    """Checks what all commands share, and reads the run."""
    _check_out(options)
    return cls.of(options, run.restore(options.workdir, options.checkpoint))

  @classmethod
  def of(cls, options: Source, restored: Restored) -> "Generator":
    """The generator of a run that has been read, under other options than those of the reading."""
    sampler = _sampler(options, restored)
    variables = variables_of(
      restored, sampler, ema=options.ema, standing=options.standing, seed=options.seed
    )
    jitted = compilation.jit(painter_of(options.truncation_psi, restored))
    return cls(options, restored, lambda z: jitted(variables, z), sampler, variables)

  def in_styles(self) -> "Generator":
    """The same with styles w, truncated as the options say, in place of latents."""
    style, psi = styles_of(self.restored), self.options.truncation_psi
    mapping, paint = compilation.jit(mapping_of(style, psi)), compilation.jit(style.paint)
    return self._replace(
      generate=lambda w: paint(self.variables, w),
      sampler=lambda key, n: mapping(self.variables, self.sampler(key, n)),
    )

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
    jitted = compilation.jit(outputs)
    return lambda z: jitted(variables, z)

  def discriminator(self) -> Callable[[Array], Array]:
    """From pictures to the logits of the run's discriminator, in evaluation mode."""
    player = self.restored.game.discriminator
    variables = player.variables

    def logit(variables: PyTree, images: Array) -> Array:
      return player.apply_fn(variables, images, train=False)

    images = jax.ShapeDtypeStruct((2, *self.restored.record.spec.shape), jnp.float32)
    try:
      made = jax.eval_shape(logit, variables, images)
    except (TypeError, ValueError) as error:
      raise run.RunError(
        f"the run's discriminator does not take pictures alone ({error}): take a run whose "
        "discriminator is not told the class"
      ) from error
    if getattr(made, "shape", None) != (2,):
      raise run.RunError(f"the run's discriminator gives {made}, but one logit a picture is needed")
    jitted = compilation.jit(logit)
    return lambda images: jitted(variables, images)

  def say(self, what: str) -> None:
    """Tells what was done, of which step, where to."""
    step = int(self.restored.game.step)
    print(f"{what} of step {step} in {self.options.out}", file=sys.stderr)


def styles_of(restored: Restored) -> training.Style:
  """The parts of a run's generator of styles.

  Raises:
    RunError: it is none.
  """
  if restored.system.style is None:
    raise run.RunError(
      f"the generator of {restored.record.experiment} has no styles: take a run of "
      "experiments.stylegan or experiments.stylegan2"
    )
  return restored.system.style


def mapping_of(style: training.Style, psi: float | None) -> Callable[[PyTree, Array], Array]:
  """From variables and latents to styles, truncated if that is asked for."""

  def mapping(variables: PyTree, z: Array) -> Array:
    w = style.mapping(variables, z)
    return w if psi is None else sampling.truncate(w, style.mean(variables), psi)

  return mapping


def painter_of(psi: float | None, restored: Restored) -> Callable[[PyTree, Array], Array]:
  """From variables and latents to pictures, of truncated styles if that is asked for."""
  if psi is None:
    return restored.system.generate
  style = styles_of(restored)
  mapping = mapping_of(style, psi)
  return lambda variables, z: style.paint(variables, mapping(variables, z))


def variables_of(
  restored: Restored, sampler: Callable[..., Array], *, ema: bool, standing: int, seed: int
) -> PyTree:
  """The generator's variables, with statistics estimated anew from so many batches of samples."""
  variables = averaged_if(restored, ema=ema)
  if not standing:
    return variables
  key = jax.random.fold_in(jax.random.key(seed), 2**31 - 1)
  return sampling.standing_statistics(
    functools.partial(restored.game.generator.apply_fn, rngs={"dropout": key}),
    variables,
    lambda key: sampler(key, _STANDING),
    key,
    batches=standing,
    axis_name=training.AXIS,
  )


def averaged_if(restored: Restored, *, ema: bool) -> PyTree:
  """The generator's variables, with a word on averages that still hold much of the start."""
  player, config, step = restored.game.generator, restored.config, int(restored.game.step)
  ramped = getattr(config, "ema_half_life", 0.0)
  if ema and player.average is not None and not ramped and 0.0 < config.ema_decay < 1.0:
    memory = round(1.0 / (1.0 - config.ema_decay))
    if step < memory:
      print(
        f"the average of the weights goes over about {memory:,} steps and has seen {step:,}: "
        "--no-ema takes the last weights",
        file=sys.stderr,
      )
  return player.evaluated(average=ema)


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
  positive(options, "batch_size")
  out = pathlib.Path(options.out)
  if out.suffix.lower() in {".jpg", ".jpeg", ".gif", ".webp", ".npy"}:
    raise run.RunError(f"--out={out} must end in .png or .npz, or name a folder")
  if out.suffix.lower() not in {".png", ".npz"} and out.is_file():
    raise run.RunError(f"--out={out} is a file: name a folder, or a .png or .npz")
  if options.standing < 0:
    raise run.RunError(f"--standing={options.standing} must be 0 or more")
  if options.truncation is not None and not options.truncation > 0.0:
    raise run.RunError(f"--truncation={options.truncation} must be positive")


def _sampler(options: Source, restored: Restored) -> Callable[..., Array]:
  """The run's sampler, with its normal coordinates truncated if that is asked for."""
  whole = compilation.jit(lambda key, n: restored.system.latents(key, n), static_argnums=1)
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

  return compilation.jit(sampler, static_argnums=1)


def positive(options: Any, *names: str) -> None:
  """Raises where an option of these names is not positive; the message names the flag."""
  for name in names:
    if not getattr(options, name) > 0:
      flag = name.replace("_", "-")
      raise run.RunError(f"--{flag}={getattr(options, name)} must be positive")
