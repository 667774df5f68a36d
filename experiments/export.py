"""A run's generator as a file of its own: a program, or weights with a model card.

  python -m experiments.export --workdir=/tmp/run --out=generator.jaxexport
  python -m experiments.export --workdir=/tmp/run --out=model.safetensors

A `.jaxexport` file is a program of `jax.export` with the weights inside, which runs where jax and
flatbuffers are installed, without this library. A `.safetensors` file holds the weights by flat
names, and `jaxgan.run.load_generator` builds their network again. Beside each comes a model card
of its name and `.md`, and beside programs that read texts the words that they know, `.words.json`.
"""

import dataclasses
import importlib.util
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp

from experiments import choices, restored
from experiments.exported_inputs import Given, of_latents, of_network, of_program, quoted
from jaxgan import run, sampling
from jaxgan._files import replacing
from jaxgan.run import artefacts
from jaxgan.run.latent_laws import latents_of
from jaxgan.run.state import Restored
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
  whole = run.restore(options.workdir, options.checkpoint)
  if options.part == "seeds" and whole.system.inputs is not None:
    raise run.RunError(
      f"--part=seeds: {whole.record.experiment} translates pictures, which no seed draws; leave it "
      "out for a program that takes them"
    )
  drawn = restored.Generator.of(source, whole)
  game, record = whole.game, whole.record
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
    given, outputs = of_network(whole), _pictures(whole)
    inputs = given.words
    needs = (
      "It takes jaxgan (`pip install 'jaxgan[experiments]'`), in a folder where "
      f"`{record.experiment}` can be imported, such as the root of a checkout."
    )
    loading = given.code(
      "from jaxgan import run",
      f"model = run.load_generator({quoted(out.name)})",
      f"images = jax.jit(model.system.generate)(model.variables, {given.name})",
    )
  else:
    program = _program(options, drawn, out)
    given, outputs = program.given, program.outputs
    batch = None if options.batch == "symbolic" else options.batch
    platforms = options.platforms.split(",")
    try:
      size = sampling.save_exported(
        out, sampling.exported(program.function, given.row, batch=batch, platforms=platforms)
      )
    except jax.errors.JAXTypeError as error:
      raise run.RunError(
        f"--batch=symbolic: the generator of {record.experiment} decides by the number of latents "
        f"what it does ({str(error).splitlines()[0]}): give a number"
      ) from error
    inputs = f"{given.words}, n = {batch or 'any'}; on {', '.join(platforms)}"
    pillow = " pillow" if "PIL" in given.imports else ""
    needs = (
      "It takes jax and flatbuffers, and neither jaxgan nor Flax: `pip install jax flatbuffers"
      f"{pillow}`."
    )
    loading = given.code(
      "from jax import export",
      f"content = pathlib.Path({quoted(out.name)}).read_bytes()\n"
      "generator = export.deserialize(bytearray(content))",
      f"{'styles' if options.part == 'mapping' else 'images'} = generator.call({given.name})",
      standard={"pathlib"},
    )
  card = out.with_name(f"{out.name}.md")
  with replacing(card) as temporary:
    temporary.write_text(artefacts.model_card(origin, inputs, outputs, needs, loading))
  print(f"{size / 1e6:.2f} MB of step {step} in {out}; its card is {card}", file=sys.stderr)


class _Program(NamedTuple):
  """A function that is exported, what it takes, and in words what it gives."""

  function: Callable[[Array], Array]
  given: Given
  outputs: str


def _program(options: Options, drawn: restored.Generator, out: pathlib.Path) -> _Program:
  whole, variables, psi = drawn.restored, drawn.variables, options.truncation_psi
  batch = None if options.batch == "symbolic" else options.batch
  n = batch or 16
  paint = restored.painter_of(psi, whole)
  if options.part == "generator":
    given = of_program(whole, out, batch)
    return _Program(lambda z: paint(variables, z), given, _pictures(whole))
  if options.part == "seeds":
    seeds = Given(
      jax.ShapeDtypeStruct((), jnp.uint32),
      "seeds, uint32 [n]; a seed gives the same picture in any company",
      f'seeds = jax.numpy.arange({n}, dtype="uint32")',
      "seeds",
    )
    function = sampling.by_seed(lambda z: paint(variables, z), drawn.sampler)
    return _Program(function, seeds, _pictures(whole))
  style = restored.styles_of(whole)
  mapping = restored.mapping_of(style, psi)
  latents = of_latents(latents_of(whole.system.latents), n)
  z = jax.ShapeDtypeStruct((1, *latents.row.shape), latents.row.dtype)
  w = jax.eval_shape(lambda z: mapping(variables, z), z)
  if options.part == "mapping":
    styles = f"styles w, {w.dtype} {['n', *w.shape[1:]]}".replace("'", "")
    return _Program(lambda z: mapping(variables, z), latents, styles)
  row = jax.ShapeDtypeStruct((style.layers, *w.shape[1:]), w.dtype)
  given = Given(
    row,
    f"a style for each layer, {w.dtype} {['n', *row.shape]}".replace("'", ""),
    "# In place of zeros: styles that a program of --part=mapping makes.\n"
    f"w = jax.numpy.zeros([{n}, {w.shape[1]}])\n"
    f"w = jax.numpy.repeat(w[:, None], {style.layers}, 1)",
    "w",
  )
  return _Program(lambda w: style.synthesis(variables, w), given, _pictures(whole))


def _pictures(whole: Restored) -> str:
  shape = ", ".join(map(str, whole.record.spec.shape))
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
  if out.suffix == PROGRAM and importlib.util.find_spec("flatbuffers") is None:
    raise run.RunError(
      f"--out={out}: programs are written with flatbuffers, which is not installed: pip install "
      "'jaxgan[experiments]'"
    )
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
  card = out.with_name(f"{out.name}.md")
  if card.exists() and not card.read_text(errors="replace").startswith("---\nlicense: "):
    raise run.RunError(f"--out={out}: its card would replace {card}, which is none: rename one")


if __name__ == "__main__":
  with run.command_line():
    main(parse())
