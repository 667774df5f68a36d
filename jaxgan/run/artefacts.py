"""A generator's weights as a safetensors file with a model card, and back; no pickles anywhere.

Past 300 lines because what is written and what is checked when it is read stand beside each other.
"""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxgan
from jaxgan._files import read_json, replacing
from jaxgan.metrics import Score
from jaxgan.run.config import Config, Record, RunError, read_config
from jaxgan.run.evaluation import read_scores
from jaxgan.run.state import built, module_of
from jaxgan.training import System
from jaxgan.types import PyTree

__all__ = [
  "LoadedGenerator",
  "Origin",
  "load_generator",
  "model_card",
  "read_weights",
  "save_weights",
  "scores_at",
]

_FORM = "jaxgan.generator 1"
# Of a machine, and nobody else's affair.
_LOCAL = {
  "workdir": "",
  "data_dir": None,
  "cache_dir": None,
  "captions": None,
  "coordinator": None,
}
_DTYPES = {
  "float64": "F64",
  "float32": "F32",
  "float16": "F16",
  "bfloat16": "BF16",
  "int64": "I64",
  "int32": "I32",
  "uint32": "U32",
  "uint8": "U8",
  "bool": "BOOL",
}


class Origin(NamedTuple):
  """Where a generator comes from.

  Attributes:
    record: experiment, config and shape of the pictures.
    step: of the checkpoint.
    average: the weights are the moving average.
    license: of the weights, an identifier such as `cc0-1.0`; their data may have a say in it.
    scores: of that step.
    notes: what else was done to them, such as statistics that were estimated anew.
  """

  record: Record
  step: int
  average: bool
  license: str = "other"
  scores: Sequence[Score] = ()
  notes: str = ""


class LoadedGenerator(NamedTuple):
  """A generator that `load_generator` has built from a file.

  Attributes:
    record: of the run that it comes from.
    config: the same as the experiment's dataclass.
    system: of the experiment: `system.generate(variables, z)`, `system.latents(key, n)`, and
      `system.style` where there is one.
    variables: of the generator.
    step: of the checkpoint.
  """

  record: Record
  config: Config
  system: System
  variables: PyTree
  step: int


def save_weights(path: str | os.PathLike[str], variables: PyTree, origin: Origin) -> int:
  """Writes variables under flat names, `params.Dense_0.kernel`, with what builds their network.

  Args:
    path: the file, `.safetensors`.
    variables: of the generator: `{"params": ..., **collections}`, arrays.
    origin: goes into the file's metadata, without what is of this machine alone.

  Returns:
    Bytes that were written.

  Raises:
    RunError: names are not unique, or a dtype has no place in such files.
  """
  library = _library()
  arrays = {name: np.asarray(array, order="C") for name, array in _flat(variables).items()}
  for name, array in arrays.items():
    if array.dtype.name not in _DTYPES:
      raise RunError(f"{path}: {name} is {array.dtype}, which safetensors files do not hold")
  content = library.numpy.save(arrays, _metadata(origin))
  with replacing(path) as temporary:
    temporary.write_bytes(content)
  return len(content)


def read_weights(path: str | os.PathLike[str], like: PyTree) -> PyTree:
  """Reads what `save_weights` wrote into the variables of a network that has been built.

  Args:
    path: the file.
    like: variables of the same names, shapes and dtypes: arrays or `ShapeDtypeStruct`.

  Returns:
    The variables, arrays on the default device.

  Raises:
    RunError: the file cannot be read, or a name, shape or dtype differs; nothing is read then.
  """
  wanted = {name: (tuple(x.shape), x.dtype.name) for name, x in _flat(like).items()}
  names = {there: ours for ours, there in _DTYPES.items()}
  with _opened(path) as file:
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # no dict
    found = {
      name: (tuple(x.get_shape()), names.get(x.get_dtype(), x.get_dtype()))
      for name, x in slices.items()
    }
    for name in sorted(found.keys() | wanted.keys()):
      if found.get(name) != wanted.get(name):
        raise RunError(
          f"{path} does not fit the network: {name} is {_form(found.get(name))} there and "
          f"{_form(wanted.get(name))} here; build the network with the config of the file's run"
        )
    leaves = [jnp.asarray(file.get_tensor(name)) for name in wanted]
  return jax.tree.unflatten(jax.tree.structure(like), leaves)


def load_generator(path: str | os.PathLike[str]) -> LoadedGenerator:
  """Builds the generator that a file of `save_weights` describes, and reads its weights.

  The file may be a stranger's: its experiment is looked up among the modules that are installed,
  and nothing in it is executed.

  Args:
    path: the file.

  Raises:
    RunError: it cannot be read, names no experiment or another config than this version's, or does
      not fit the network.
  """
  with _opened(path) as file:
    metadata = file.metadata() or {}
  if re.fullmatch(r"jaxgan\.generator ([2-9]|[1-9]\d+)", str(metadata.get("format")), re.ASCII):
    raise RunError(
      f"{path} is of the form {metadata['format']!r}, and jaxgan {jaxgan.__version__} reads "
      f"{_FORM!r}: install a newer one"
    )
  if metadata.get("format") != _FORM:
    raise RunError(
      f"{path} is of the form {metadata.get('format')!r} and not {_FORM!r}: weights of other "
      "programs are read into a network by jaxgan.run.read_weights"
    )
  try:
    record, step = Record.of(json.loads(metadata["record"])), int(metadata["step"])
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise RunError(f"{path} is damaged: its metadata tell no run ({error})") from error
  module = module_of(record.experiment, pathlib.Path(path).resolve().parent, pathlib.Path(path))
  config = read_config(record, module.Config)
  system = built(module.build, config, record.spec)
  like = jax.eval_shape(system.init, jax.random.key(0)).generator.variables
  return LoadedGenerator(record, config, system, read_weights(path, like), step)


def scores_at(workdir: str | os.PathLike[str], step: int) -> list[Score]:
  """The scores of a run's checkpoint: of its training's evaluations, and of `experiments.evaluate`.

  Raises:
    RunError: a file of scores is damaged.
  """
  found = [score for at, score in read_scores(workdir) if at == step]
  path = pathlib.Path(workdir) / f"evaluation_{step:06d}.json"
  if path.exists():
    try:
      rows = read_json(path, 1 << 24)["scores"]
      found += [Score.from_dict(row) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise RunError(f"{path} is damaged ({error}): delete it") from error
  return list({(score.name, str(score.protocol)): score for score in found}.values())


def model_card(origin: Origin, inputs: str, outputs: str, needs: str, loading: str) -> str:
  """A model card in Markdown, under the front matter that hubs of models read.

  Args:
    origin: of the generator.
    inputs: what it takes.
    outputs: what it gives.
    needs: what has to be installed, a sentence.
    loading: Python that loads it.
  """
  record, scores = origin.record, origin.scores
  name = record.experiment.rpartition(".")[2]
  config = {key: value for key, value in _portable(record).items() if key not in _LOCAL}
  height, width, channels = record.spec.shape
  classes = f", classes {', '.join(record.spec.classes)}" if record.spec.classes else ""
  lines = [
    "---",
    f"license: {origin.license}",
    "library_name: jaxgan",
    "tags: [jax, gan, image-generation]",
    "---",
    "",
    f"# {name} on {config.get('dataset')}",
    "",
    f"The generator of a run of `{record.experiment}` after {origin.step:,} steps, "
    f"{'moving average of its weights' if origin.average else 'its last weights'}"
    f"{f'; {origin.notes}' if origin.notes else ''}. Trained on {record.pictures:,} pictures, "
    f"{height}x{width}x{channels}{classes}.",
    "",
    f"- Takes {inputs}.",
    f"- Gives {outputs}.",
    f"- Licence of the weights: {origin.license}.",
    "",
    "## Load",
    "",
    needs,
    "",
    "```python",
    loading.strip(),
    "```",
    "",
    "## Scores",
    "",
    *(_score_table(scores) if scores else ["None were measured at this step."]),
    "",
    "## Config",
    "",
    "```json",
    json.dumps(config, indent=2),
    "```",
  ]
  return "\n".join(lines) + "\n"


def _score_table(scores: Sequence[Score]) -> list[str]:
  rows = ["| score | value | standard error | protocol |", "|---|---|---|---|"]
  for score in scores:
    error = "" if score.standard_error is None else f"{score.standard_error:.2g}"
    by = score.protocol
    protocol = (
      f"{by.features} {by.weights_hash}, {by.real:,} real ({by.split}), {by.fake:,} samples"
    )
    rows.append(f"| {score.name} | {score.value:.4g} | {error} | {protocol} |")
  return rows


def _metadata(origin: Origin) -> dict[str, str]:
  record = dataclasses.replace(origin.record, config=_portable(origin.record))
  return {
    "format": _FORM,
    "record": json.dumps(record.content()),
    "step": str(origin.step),
    "average": json.dumps(origin.average),
    "license": origin.license,
    "notes": origin.notes,
    "scores": json.dumps([score.to_dict() for score in origin.scores]),
  }


def _portable(record: Record) -> dict[str, Any]:
  """The config without the folders of a machine."""
  config = {**record.config, **{key: _LOCAL[key] for key in _LOCAL if key in record.config}}
  for name in ("dataset", "eval_features"):
    if pathlib.PurePath(str(config.get(name, ""))).is_absolute():
      config[name] = pathlib.PurePath(config[name]).name
  return config


def _flat(tree: PyTree) -> dict[str, Any]:
  """Leaves by the names on their way, in the tree's order."""
  paths = jax.tree_util.tree_leaves_with_path(tree)
  names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise RunError(f"two variables would both be called {', '.join(twice)}: rename a module")
  return {name: leaf for name, (_, leaf) in zip(names, paths, strict=True)}


def _form(found: tuple[tuple[int, ...], str] | None) -> str:
  return "missing" if found is None else f"{found[1]} {list(found[0])}"


def _library() -> Any:
  """Imported here, so that runs do without it."""
  try:
    import safetensors.numpy
  except ImportError as error:
    raise RunError("safetensors is not installed: pip install 'jaxgan[experiments]'") from error
  return safetensors


def _opened(path: str | os.PathLike[str]) -> Any:
  library, place = _library(), pathlib.Path(path)
  if place.is_dir() or place.suffix == ".jaxexport":
    kind = "a folder" if place.is_dir() else "a program"
    raise RunError(
      f"{path} is {kind} and not a file of weights: python -m experiments.export with "
      "--out=model.safetensors makes one of a run"
    )
  try:
    return library.safe_open(path, framework="numpy")
  except (OSError, library.SafetensorError) as error:
    reason = re.sub(r"\s+", " ", str(error)) or type(error).__name__
    raise RunError(f"{path} cannot be read as safetensors: {reason}") from error
