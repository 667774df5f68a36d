"""What of a game is stored, and whether what is in a checkpoint is what was written.

A checkpoint is looked at leaf by leaf, by one process for itself, before orbax reads it for all: a
reading of all leaves at once prints traces of its own where one is damaged.
"""

import contextlib
import dataclasses
import json
import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxgan.run.config import RunError
from jaxgan.run.processes import local
from jaxgan.training import Game

__all__ = [
  "DamagedError",
  "Note",
  "check",
  "checksum",
  "leaves_of",
  "metadata",
  "note_of",
  "reading",
  "storable",
]

_CHECKSUM, _FORMS, _NOTE = "crc32", "forms", "note"
# Begins of tensorstore's errors that prove other content, where others may pass.
_PROOF = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")


class DamagedError(RunError):
  """A checkpoint is not what was written."""


def storable(game: Game) -> Game:
  """Typed keys become their uint32 data, which every version of the format can hold."""
  if not isinstance(game.key, jax.ShapeDtypeStruct):
    return game.replace(key=jax.random.key_data(game.key))
  data = jax.eval_shape(jax.random.key_data, game.key)
  sharding = game.key.sharding
  return game.replace(key=jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=sharding))


@dataclasses.dataclass(frozen=True)
class Note:
  """What else of a run belongs to a step, so that it goes on as if it had never stopped.

  Attributes:
    pending: figures of steps that are not in the log yet, by name; of a population a list each.
    lines: of the log; None where it is not known.
    owed: the step's score has not been taken.
    lost: members of a population that have diverged.
  """

  pending: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
  lines: int | None = None
  owed: bool = False
  lost: list[int] = dataclasses.field(default_factory=list)


def metadata(stored: Game, note: Note) -> dict[str, Any]:
  """What is written beside the leaves of a checkpoint: JSON."""
  written = dataclasses.asdict(note)
  return {
    _CHECKSUM: checksum(map(local, jax.tree.leaves(stored)), written),
    _FORMS: _digest(_forms(_named(stored))),
    _NOTE: written,
  }


def checksum(leaves: Any, note: dict[str, Any] | None) -> str:
  """Of all bytes of leaves in their order, then of the JSON beside them."""
  total = 0
  for leaf in leaves:
    # Bytes where they lie; bfloat16 has no buffer of its own.
    total = zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data, total)
  if note is not None:  # older checkpoints have none
    total = zlib.crc32(json.dumps(note, sort_keys=True).encode(), total)
  return f"{total:08x}"


def note_of(folder: pathlib.Path) -> Note:
  """What was noted with the checkpoint of a folder."""
  return Note(**(_metadata(folder).get(_NOTE) or {}))


@contextlib.contextmanager
def reading(folder: pathlib.Path) -> Iterator[None]:
  """Around what reads the checkpoint of a folder.

  Raises:
    DamagedError: what failed proves that it is another than was written.
    RunError: it may be whole, but cannot be read at this moment.
  """
  try:
    yield
  except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
    said = f"checkpoint {folder.name.removeprefix('step_')} in {folder.parent}"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if _proves(error):
      raise DamagedError(f"{said} is damaged ({reason})") from error
    raise RunError(
      f"{said} cannot be read now ({reason}): it stays where it is; mend that and give the same "
      "command again"
    ) from error


def check(folder: pathlib.Path, like: Game) -> None:
  """Reads a checkpoint and compares it with its checksum.

  Args:
    folder: of the checkpoint.
    like: a stored game of the same structure, of arrays or `ShapeDtypeStruct`.

  Raises:
    DamagedError: it is proved to be another than was written.
    RunError: it holds another structure, or cannot be read at this moment.
  """
  with reading(folder):
    written, saved = _metadata(folder), leaves_of(folder)
    there, here = _forms(saved), _forms(_named(like))
    if there == here:
      leaves = (saved[name].read().result() for name in here)
      found = checksum(leaves, written.get(_NOTE))
      if written.get(_CHECKSUM, found) not in (found, None):
        raise ValueError("its checksum is another")
      return
    if written.get(_FORMS, _digest(there)) != _digest(there):
      raise ValueError("the description of its leaves is another")
  name = next(n for n in sorted(there.keys() | here) if there.get(n) != here.get(n))
  raise RunError(
    f"checkpoint {folder.name.removeprefix('step_')} in {folder.parent} does not fit the networks "
    f"of this config: {name} is {there.get(name)} there and {here.get(name)} here; give the flags "
    "of the run that wrote it, or another --workdir"
  )


def _proves(error: Exception) -> bool:
  """Whether an error is of what is there, or is not, and cannot pass."""
  if isinstance(error, OSError):
    return isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
  status = str(error).split(":", 1)[0]
  return not (status.isupper() and status.replace("_", "").isalpha()) or status in _PROOF


def _metadata(folder: pathlib.Path) -> dict[str, Any]:
  return json.loads((folder / "_CHECKPOINT_METADATA").read_text())["custom_metadata"] or {}


def leaves_of(folder: pathlib.Path) -> dict[str, Any]:
  """The arrays of a checkpoint, opened but not read."""
  import tensorstore

  base = folder / "default"
  content = json.loads((base / "_METADATA").read_text())
  driver = "zarr3" if content.get("use_zarr3") else "zarr"
  context = tensorstore.Context()  # one cache of the database for all leaves
  opened = {}
  for each in content["tree_metadata"].values():
    if each["value_metadata"].get("skip_deserialize"):
      continue  # empty nodes of the tree
    name = ".".join(str(part["key"]) for part in each["key_metadata"])
    store = {"driver": "ocdbt", "base": f"file://{base}/", "path": f"{name}/"}
    spec = {"driver": driver, "kvstore": store}
    opened[name] = tensorstore.open(spec, open=True, read=True, context=context)
  return {name: each.result() for name, each in opened.items()}


def _named(tree: Game) -> dict[str, Any]:
  """The leaves of a state by the names that they have in a checkpoint."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _forms(leaves: Mapping[str, Any]) -> dict[str, str]:
  """Dtypes and shapes as a message shows them."""

  def form(leaf: Any) -> str:
    dtype = leaf.dtype
    return f"{getattr(dtype, 'numpy_dtype', dtype)}{list(leaf.shape)}"

  return {name: form(leaf) for name, leaf in leaves.items()}


def _digest(described: dict[str, str]) -> str:
  return f"{zlib.crc32(json.dumps(described, sort_keys=True).encode()):08x}"
