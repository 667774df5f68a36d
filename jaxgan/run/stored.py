"""What of a game is stored, and whether what is in a checkpoint is what was written.

A checkpoint is looked at leaf by leaf, by each process for itself, before any takes it. It may be
anybody's: sizes, shapes and kinds of files are compared with what is expected before a byte of an
array is read, names in it are looked up and never imported, and nothing outside its folder is read.

Past 300 lines because these checks and what they compare with belong together.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import stat
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

import jaxgan
from jaxgan._files import read_json
from jaxgan.run.config import RunError
from jaxgan.run.flags import flag
from jaxgan.run.formats import FORMAT, NAME, check_format, format_of, sealed
from jaxgan.run.processes import local
from jaxgan.training import Game
from jaxgan.types import Array

__all__ = [
  "DamagedError",
  "Note",
  "check",
  "checksum",
  "leaves_of",
  "metadata",
  "note_of",
  "read",
  "reading",
  "storable",
]

_CHECKSUM, _FORMS, _NOTE, _WRITER = "crc32", "forms", "note", "jaxgan"
# Bytes of what describes a checkpoint, and of what it may have beside its arrays.
_LARGEST = 1 << 26
_MOST = 100_000  # files, and leaves
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
    logged: lines of each member's log.
  """

  pending: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
  lines: int | None = None
  owed: bool = False
  lost: list[int] = dataclasses.field(default_factory=list)
  logged: list[int] = dataclasses.field(default_factory=list)

  def check(self, row: tuple[int, ...] | None = None) -> None:
    """Raises ValueError for what no run has noted.

    Args:
      row: shape of a step's figure, if it is known: one number, or one of each member.
    """
    counts = [*self.lost, *self.logged, *([] if self.lines is None else [self.lines])]
    if not all(type(x) is int and x >= 0 for x in counts) or type(self.owed) is not bool:
      raise ValueError("its note counts with what is no number")
    for column in self.pending.values():
      found = np.array(column)
      if found.dtype not in (float, int) or found.ndim not in (1, 2) or not found.size:
        raise ValueError("its note has figures that are no numbers")
      if row is not None and found.shape[1:] != row:
        raise ValueError(f"its note has figures of {found.shape[1:]}, and not {row}")
    if row is not None and self.logged and len(self.logged) != math.prod(row):
      raise ValueError(f"its note has {len(self.logged)} members' logs, and not {row}")


def metadata(stored: Game, note: Note) -> dict[str, Any]:
  """What is written beside the leaves of a checkpoint: JSON.

  Raises:
    RunError: it is more than is read again.
  """
  written, number = dataclasses.asdict(note), sealed(FORMAT)
  if len(json.dumps(written)) > _LARGEST - 1024:
    raise RunError(
      f"the figures of the steps since the last line of the log have more than {_LARGEST >> 20} "
      f"MB, too many for a checkpoint: give a smaller {flag('log_every')}"
    )
  return {
    NAME: number,
    _WRITER: jaxgan.__version__,
    _CHECKSUM: checksum(map(local, jax.tree.leaves(stored)), written, number),
    _FORMS: _digest(_forms(_named(stored))),
    _NOTE: written,
  }


def checksum(leaves: Any, note: dict[str, Any] | None, number: str | None = None) -> str:
  """Of all bytes of leaves in their order, then of the JSON and the format beside them."""
  total = 0
  for leaf in leaves:
    # Bytes where they lie; bfloat16 has no buffer of its own.
    total = zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data, total)
  if note is not None:  # older checkpoints have none
    total = zlib.crc32(json.dumps(note, sort_keys=True).encode(), total)
  if number is not None:
    total = zlib.crc32(number.encode(), total)
  return f"{total:08x}"


def note_of(folder: pathlib.Path) -> Note:
  """What was noted with the checkpoint of a folder.

  Raises:
    DamagedError: it is no note.
  """
  with reading(folder):
    return _note(_metadata(folder))


def _note(written: Mapping[str, Any], row: tuple[int, ...] | None = None) -> Note:
  note = Note(**(written.get(_NOTE) or {}))
  note.check(row)
  return note


@contextlib.contextmanager
def reading(folder: pathlib.Path) -> Iterator[None]:
  """Around what reads the checkpoint of a folder.

  Raises:
    DamagedError: what failed proves that it is another than was written.
    RunError: it may be whole, but cannot be read at this moment, or by this version.
  """
  try:
    yield
  except RunError:
    raise
  except (ValueError, LookupError, TypeError, AttributeError, OverflowError, OSError) as error:
    said = _said(folder)
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    reason = reason.split(" [tensorstore_spec=")[0]
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
    _check_files(folder, sum(map(_size, jax.tree.leaves(like))))
    written = _metadata(folder)  # first, since it tells of which format the rest is
    saved = leaves_of(folder)
    there, here = _forms(saved), _forms(_named(like))
    if there == here:
      for name, leaf in saved.items():
        # Of a larger chunk the whole would be decoded.
        if any(a > max(b, 1) for a, b in zip(_chunk(leaf), leaf.shape, strict=True)):
          raise ValueError(f"{name} of {leaf.shape} comes in pieces of {_chunk(leaf)}")
      step = int(saved["step"].read().result())
      if folder.name != f"step_{step}":
        raise ValueError(f"it is of step {step}")
      leaves = (saved[name].read().result() for name in here)
      found = checksum(leaves, written.get(_NOTE), written.get(NAME))
      if written.get(_CHECKSUM, found) not in (found, None):
        raise ValueError("its checksum is another")
      _note(written, like.key.shape[:-1])  # each member of a population has a key
      return
    if written.get(_FORMS, _digest(there)) != _digest(there):
      raise ValueError("the description of its leaves is another")
  name = next(n for n in sorted(there.keys() | here) if there.get(n) != here.get(n))
  raise RunError(
    f"{_said(folder)} does not fit the networks of this config: {name} is {there.get(name)} there "
    f"and {here.get(name)} here; give the flags of the run that wrote it, or another --workdir"
  )


def read(folder: pathlib.Path, like: Game) -> Game:
  """The leaves of a checkpoint that `check` has passed, laid out as those of `like`.

  Orbax is not asked: it would follow descriptions beside those that were compared.

  Raises:
    RunError: as `check` raises it.
  """
  with reading(folder):
    saved = leaves_of(folder)
    arrays = [_laid_out(saved[name], leaf) for name, leaf in _named(like).items()]
  return jax.tree.unflatten(jax.tree.structure(like), arrays)


def _laid_out(saved: Any, like: Any) -> Array:
  def part(index: tuple[slice, ...] | None) -> np.ndarray:
    return saved[index].read().result()

  return jax.make_array_from_callback(like.shape, like.sharding, part)


def _check_files(folder: pathlib.Path, size: int) -> None:
  """Refuses what is no ordinary file, and files larger than a state of so many bytes needs.

  Raises:
    ValueError: there are links, pipes or devices.
    RunError: a file is too large, which may come of other networks.
  """
  waiting, count = [folder], 0
  while waiting:
    above = waiting.pop()
    if not stat.S_ISDIR(above.lstat().st_mode):
      raise ValueError(f"{above.name} is no folder of its own")
    with os.scandir(above) as entries:
      for entry in entries:
        count += 1
        if count > _MOST:
          raise ValueError(f"it has more than {_MOST:,} files")
        if entry.is_dir(follow_symlinks=False):
          waiting.append(pathlib.Path(entry.path))
          continue
        found = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
          raise ValueError(f"{entry.name} in it is a link, or another thing that is no file")
        if found.st_size > _LARGEST + 4 * size:
          raise RunError(
            f"{_said(folder)} has a file of {found.st_size / 1e6:,.0f} MB, {entry.path}, and the "
            f"state of this config has {size / 1e6:,.0f} MB: give the flags of the run that wrote "
            "it, or another --workdir"
          )


def _size(leaf: Any) -> int:
  return math.prod(leaf.shape) * leaf.dtype.itemsize


def _chunk(leaf: Any) -> tuple[int, ...]:
  """What is decoded at once of a stored array."""
  layout = leaf.chunk_layout
  shapes = [tuple(grid.shape or ()) for grid in (layout.read_chunk, layout.write_chunk)]
  return max(shapes, key=math.prod)


def _said(folder: pathlib.Path) -> str:
  return f"checkpoint {folder.name.removeprefix('step_')} in {folder.parent}"


def _proves(error: Exception) -> bool:
  """Whether an error is of what is there, or is not, and cannot pass."""
  if isinstance(error, OSError):
    return isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
  status = str(error).split(":", 1)[0]
  return not (status.isupper() and status.replace("_", "").isalpha()) or status in _PROOF


def _metadata(folder: pathlib.Path) -> dict[str, Any]:
  """What was written beside the leaves, by a version that is not later than this one."""
  written = read_json(folder / "_CHECKPOINT_METADATA", _LARGEST)["custom_metadata"] or {}
  check_format(format_of(written.get(NAME)), _said(folder), written.get(_WRITER))
  return written


def leaves_of(folder: pathlib.Path) -> dict[str, Any]:
  """The arrays of a checkpoint, opened but not read."""
  import tensorstore

  base = folder / "default"
  content = read_json(base / "_METADATA", _LARGEST)
  driver = "zarr3" if content.get("use_zarr3") else "zarr"
  if len(content["tree_metadata"]) > _MOST:
    raise ValueError(f"it has more than {_MOST:,} leaves")
  context = tensorstore.Context()  # one cache of the database for all leaves
  opened = {}
  for each in content["tree_metadata"].values():
    if each["value_metadata"].get("skip_deserialize"):
      continue  # empty nodes of the tree
    name = ".".join(str(part["key"]) for part in each["key_metadata"])
    files = {"driver": "file", "path": f"{base}/"}
    store = {"driver": "ocdbt", "base": files, "path": f"{name}/"}
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
