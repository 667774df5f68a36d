"""A run's generator as a file of its own: a program, or weights with a model card.

  python -m experiments.export --workdir=/tmp/run --out=generator.jaxexport
  python -m experiments.export --workdir=/tmp/run --out=model.safetensors

A `.jaxexport` file is a program of `jax.export` with the weights inside, which runs where jax is
installed, without this library. A `.safetensors` file holds the weights by flat names, and
`jaxgan.run.load_generator` builds their network again. Beside each comes a model card, `.md`.
"""

import dataclasses
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import jax
import jax.numpy as jnp

from experiments import choices, restored
from jaxgan import run, sampling
from jaxgan._files import replacing
from jaxgan.run import artefacts
from jaxgan.types import Array

PROGRAM, WEIGHTS = ".jaxexport", ".safetensors"


@dataclasses.dataclass(frozen=True)
class Options:
  """Exports the generator of a run."""

  workdir: str
  """Folder of the run."""
  out: str = "generator.jaxexport"
  """A .jaxexport for a program, a .safetensors for weights."""
  part: Literal["generator", "seeds", "mapping", "synthesis"] = "generator"
  """Of a program. generator: from latents to pictures; seeds: from numbers to pictures, latents
  drawn inside; of generators that have styles, mapping: from latents to styles, and synthesis: from
  a style for each layer to pictures."""
  batch: Annotated[Literal["symbolic"] | int, choices.also("--batch-size")] = "symbolic"
  """Pictures that a call of the program makes: a number, or symbolic for as many as it is given."""
  platforms: str = ",".join(sampling.PLATFORMS)
  """List of what the program runs on: cpu, cuda, rocm, tpu."""
  checkpoint: Literal["latest", "best"] | int = "latest"
  """Which checkpoint: latest, best or a step."""
  ema: bool = True
  """Take the moving average of the weights."""
  truncation: float | None = None
  """Of --part=seeds: keep normal latents within this threshold."""
  truncation_psi: float | None = None
  """Of generators that have styles: pull styles towards their mean, in the program."""
  standing: int = 0
  """Estimate batch statistics anew from so many batches of 256 samples; 0 takes those that were
  averaged with the weights."""
  license: str = "other"
  """Of the weights, for the card: an identifier such as cc0-1.0. What they were trained on may have
  a say in it."""


def parse(argv: Sequence[str] | None = None) -> Options:
  """Reads the flags."""
  return run.read_flags(Options, argv, description=__doc__)


def main(options: Options) -> None:
  """Reads the run, and writes what the name of the file asks for."""
  out = pathlib.Path(options.out)
  _check(options, out)
  source = restored.Source(
    options.workdir,
    ema=options.ema,
    checkpoint=options.checkpoint,
    truncation=options.truncation,
    truncation_psi=options.truncation_psi,
    standing=options.standing,
  )
  drawn = restored.Generator.of(source, run.restore(options.workdir, options.checkpoint))
  game, record = drawn.restored.game, drawn.restored.record
  step = int(game.step)
  origin = artefacts.Origin(
    record,
    step,
    options.ema and game.generator.average is not None,
    options.license,
    artefacts.scores_at(options.workdir, step),
    _notes(options),
  )
  if out.suffix == WEIGHTS:
    size = artefacts.save_weights(out, drawn.variables, origin)
    inputs = f"latents, {artefacts.describe_latents(drawn.restored.system.latents)}"
    loading = (
      "import jax\nfrom jaxgan import run\n\n"
      f'model = run.load_generator("{out.name}")\n'
      "z = model.system.latents(jax.random.key(0), 16)\n"
      "images = jax.jit(model.system.generate)(model.variables, z)"
    )
    outputs = _pictures(drawn)
  else:
    function, example, inputs, outputs, call = _program(options, drawn)
    batch = None if options.batch == "symbolic" else options.batch
    platforms = options.platforms.split(",")
    try:
      size = sampling.save_exported(
        out, sampling.exported(function, example, batch=batch, platforms=platforms)
      )
    except jax.errors.JAXTypeError as error:
      raise run.RunError(
        f"--batch=symbolic: the generator of {record.experiment} decides by the number of latents "
        f"what it does ({str(error).splitlines()[0]}): give a number"
      ) from error
    n = 16 if batch is None else batch
    loading = (
      "import pathlib\nimport jax\nfrom jax import export\n\n"
      f'content = pathlib.Path("{out.name}").read_bytes()\n'
      "generator = export.deserialize(bytearray(content))\n"
      f"images = generator.call({call.format(n=n)})"
    )
    inputs += f", n = {'any' if batch is None else batch}; on {', '.join(platforms)}"
  card = out.with_suffix(".md")
  with replacing(card) as temporary:
    temporary.write_text(artefacts.model_card(origin, inputs, outputs, loading))
  print(f"{size / 1e6:.2f} MB of step {step} in {out}; its card is {card}", file=sys.stderr)


_Program = tuple[Callable[[Array], Array], jax.ShapeDtypeStruct, str, str, str]


def _program(options: Options, drawn: restored.Generator) -> _Program:
  """What is exported: the function, a row of its input, both in words, and how it is called."""
  whole, variables, psi = drawn.restored, drawn.variables, options.truncation_psi
  system = whole.system
  latent = jax.eval_shape(lambda key: system.latents(key, 1), jax.random.key(0))
  z = jax.ShapeDtypeStruct(latent.shape[1:], latent.dtype)
  told = artefacts.describe_latents(system.latents)
  normal = f"jax.random.normal(jax.random.key(0), [{{n}}, {', '.join(map(str, z.shape))}])"
  if not told.endswith(": normal"):
    normal = "z  # latents as above"
  paint = restored.painter_of(psi, whole)
  if options.part == "generator":
    return lambda z: paint(variables, z), z, f"latents, {told}", _pictures(drawn), normal
  if options.part == "seeds":
    function = sampling.by_seed(lambda z: paint(variables, z), drawn.sampler)
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    inputs = "seeds, uint32 [n]; a seed gives the same picture in any company"
    return function, seed, inputs, _pictures(drawn), "jax.numpy.arange({n}, dtype='uint32')"
  style = restored.styles_of(whole)
  mapping = restored.mapping_of(style, psi)
  w = jax.eval_shape(lambda z: mapping(variables, z), latent)
  if options.part == "mapping":
    styles = f"styles w, {w.dtype} {['n', *w.shape[1:]]}".replace("'", "")
    return lambda z: mapping(variables, z), z, f"latents, {told}", styles, normal
  row = jax.ShapeDtypeStruct((style.layers, *w.shape[1:]), w.dtype)
  inputs = f"a style for each layer, {w.dtype} {['n', *row.shape]}".replace("'", "")
  call = "w  # jax.numpy.repeat(styles[:, None], " + f"{style.layers}, 1)"
  return lambda w: style.synthesis(variables, w), row, inputs, _pictures(drawn), call


def _pictures(drawn: restored.Generator) -> str:
  shape = ", ".join(map(str, drawn.restored.record.spec.shape))
  return f"pictures, float32 [n, {shape}] in [-1, 1]"


def _notes(options: Options) -> str:
  given = {
    "truncation": options.truncation if options.part == "seeds" else None,
    "truncation psi": options.truncation_psi if options.out.endswith(PROGRAM) else None,
    "batches of standing statistics": options.standing or None,
  }
  return ", ".join(f"{name} {value:g}" for name, value in given.items() if value is not None)


def _check(options: Options, out: pathlib.Path) -> None:
  """Refuses what fits no file, before anything is read."""
  if out.suffix not in (PROGRAM, WEIGHTS):
    raise run.RunError(f"--out={out} must end in {PROGRAM} or {WEIGHTS}")
  if options.batch != "symbolic" and options.batch < 1:
    raise run.RunError(f"--batch={options.batch} must be at least 1, or symbolic")
  known = (*sampling.PLATFORMS, "rocm")
  if not set(options.platforms.split(",")) <= set(known):
    raise run.RunError(f"--platforms={options.platforms} must be a list of {', '.join(known)}")
  if options.truncation is not None and (options.part != "seeds" or options.truncation <= 0):
    raise run.RunError(
      f"--truncation={options.truncation} must be positive, and is of --part=seeds, where latents "
      "are drawn; other programs are given truncated latents"
    )
  if options.truncation_psi is not None and (out.suffix == WEIGHTS or options.part == "synthesis"):
    raise run.RunError(
      f"--truncation-psi={options.truncation_psi} is of programs that map latents to styles"
    )
  if out.suffix == WEIGHTS and (options.part != "generator" or options.batch != "symbolic"):
    raise run.RunError(f"--part and --batch are of {PROGRAM} files: leave them out")
  if options.standing < 0:
    raise run.RunError(f"--standing={options.standing} must be 0 or more")
  if not re.fullmatch(r"[\w.+-]+", options.license):
    raise run.RunError(f"--license={options.license!r} must be an identifier such as cc0-1.0")
  card = out.with_suffix(".md")
  if card.exists() and not card.read_text(errors="replace").startswith("---\nlicense: "):
    raise run.RunError(f"--out={out}: its card would replace {card}, which is none: rename one")


if __name__ == "__main__":
  with run.command_line():
    main(parse())
