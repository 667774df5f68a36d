"""Checkpoints that somebody made on purpose: none runs code, fills the memory or ends in a trace.

All are opened by one process of little memory, as a run that resumes does and as a reader does.
"""

import functools
import json
import os
import pathlib
import pickle
import re
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest

from experiments import dcgan, sample
from jaxgan import run
from jaxgan.run.checkpoints import Checkpoints, Note, Ranked
from tests.run.test_checkpoints import abstract, game

ROOT = pathlib.Path(__file__).parents[2]
KERNEL = "discriminator.params.Dense_0.kernel"  # float32 [2, 3]
HEADROOM = 300  # MB above what the libraries take


def database(folder, **options):
  import tensorstore

  base = {"driver": "file", "path": f"{folder / 'default'}/"}
  return tensorstore.KvStore.open({"driver": "ocdbt", "base": base, **options}).result()


def stores(key, value):
  """Replaces a value in the arrays' database."""
  return lambda folder: database(folder).write(key, value).result()


def claims(**changes):
  """Another description of one array."""

  def damage(folder):
    store, key = database(folder), f"{KERNEL}/.zarray"
    described = json.loads(store.read(key).result().value)
    store.write(key, json.dumps({**described, **changes}).encode()).result()

  return damage


@functools.cache
def packed():
  """Some kilobytes that unpack to half a gigabyte."""
  import tensorstore

  spec = {
    "driver": "zarr",
    "kvstore": {"driver": "memory"},
    "metadata": {
      "shape": [1 << 29],
      "chunks": [1 << 29],
      "dtype": "|u1",
      "compressor": {"id": "zstd", "level": 1},
    },
  }
  array = tensorstore.open(spec, create=True).result()
  array[(1 << 29) - 1].write(np.uint8(1)).result()
  content = bytes(array.kvstore.read("0").result().value)
  assert len(content) < 1 << 20
  return content


def unpacks(folder):
  """For a chunk of 24 bytes."""
  store = database(folder)
  described = json.loads(store.read(f"{KERNEL}/.zarray").result().value)
  assert described["compressor"]["id"] == "zstd"
  store.write(f"{KERNEL}/0.0", packed()).result()


def unpacks_early(folder):
  """For the list of all files of the database."""
  size = (4 + 8 + 2 + len(packed()) + 4).to_bytes(8, "little")
  manifest = b"\x0c\xdb:*" + size + b"\0\1" + packed() + b"\0" * 4
  (folder / "default" / "manifest.ocdbt").write_bytes(sealed(manifest))


def writes(name, content):
  def damage(folder):
    path = folder / name
    if path.is_dir():
      shutil.rmtree(path)
    path.write_bytes(content)

  return damage


def grows(name):
  """To a terabyte that takes no room on the disk."""
  return lambda folder: os.truncate(folder / name, 1 << 40)


def pipes(name):
  def damage(folder):
    (folder / name).unlink()
    os.mkfifo(folder / name)

  return damage


def links(name, target=None):
  """To a copy outside, or elsewhere."""

  def damage(folder):
    path, away = folder / name, folder.parents[1] / "elsewhere"
    path.rename(away)
    path.symlink_to(target or away)

  return damage


def says(name, change):
  """Changes the JSON of a file; its checksum is left out, as whoever forges would."""

  def damage(folder):
    path = folder / name
    content = json.loads(path.read_text())
    if name == "_CHECKPOINT_METADATA":
      del content["custom_metadata"]["crc32"]
    path.write_text(json.dumps(change(content) or content))

  return damage


def notes(**changes):
  return says("_CHECKPOINT_METADATA", lambda c: c["custom_metadata"]["note"].update(changes))


def tree(change):
  return says("default/_METADATA", lambda c: change(c["tree_metadata"]))


def leads_out(folder):
  """The database refers to a file outside, whose content it would take for an array."""
  import tensorstore

  names = [path.name for path in (folder / "default").iterdir()]
  old = database(folder)
  values = {key: old.read(key).result().value for key in old.list().result()}
  for name in ("d", "manifest.ocdbt", *(x for x in names if x.startswith("ocdbt."))):
    path = folder / "default" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
  plain = {"config": {"compression": None, "max_inline_value_bytes": 0}}
  store, transaction = database(folder, **plain), tensorstore.Transaction()
  for key, value in values.items():
    store.with_transaction(transaction)[key.decode()] = value
  transaction.commit_async().result()
  files = sorted((folder / "default" / "d").iterdir(), key=lambda path: path.stat().st_size)
  outside = folder.parent / "secret"
  shutil.copytree(folder / "default" / "d", outside)
  target = b"d/" + files[-1].name.encode()
  # Of the same length: where a file lies, relative to the database.
  other = b"../../secret/" + files[-1].name.encode()[: len(target) - 13]
  (outside / files[-1].name).rename(outside / other.decode().split("/")[-1])
  changed = 0
  for path in [*files, folder / "default" / "manifest.ocdbt"]:
    content = path.read_bytes()
    if target in content:
      path.write_bytes(sealed(content.replace(target, other)))
      changed += 1
  files[-1].unlink()
  assert changed


def sealed(content):
  """With the checksums of the parts that were changed; each part ends with its own."""
  result, at = b"", 0
  for begin in [m.start() for m in re.finditer(rb"\x0c\xdb[: ][*\xde]", content)]:
    length = int.from_bytes(content[begin + 4 : begin + 12], "little")
    part = content[begin : begin + length - 4]
    result += content[at:begin] + part + crc32c(part).to_bytes(4, "little")
    at = begin + length
  return result + content[at:]


def crc32c(data):
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
  return crc ^ 0xFFFFFFFF


class Trap:
  def __reduce__(self):
    return print, ("executed",)


def objects(folder):
  """Arrays of objects, which are pickles, for the arrays."""
  shutil.rmtree(folder / "default")
  np.save(folder / "default.npy", np.array([Trap()]), allow_pickle=True)
  (folder / "default.npy").rename(folder / "default")


DEEP, NO_TEXT = b"[" * 1_000_000, b"\xff\xfe{}"
DAMAGED = {
  "metadata nested": writes("_CHECKPOINT_METADATA", DEEP),
  "metadata no text": writes("_CHECKPOINT_METADATA", NO_TEXT),
  "metadata a pipe": pipes("_CHECKPOINT_METADATA"),
  "metadata endless": links("_CHECKPOINT_METADATA", "/dev/zero"),
  "metadata a list": writes("_CHECKPOINT_METADATA", b'{"custom_metadata": [1]}'),
  "tree nested": writes("default/_METADATA", DEEP),
  "tree no text": writes("default/_METADATA", NO_TEXT),
  "tree a list": says("default/_METADATA", lambda c: {**c, "tree_metadata": [[]]}),
  "tree without end": tree(lambda t: t.update({str(i): {} for i in range(200_000)})),
  "tree of odd keys": tree(lambda t: t.update(x={"key_metadata": 1, "value_metadata": {}})),
  "tree up and out": tree(
    lambda t: t.update(x={"key_metadata": [{"key": "../../x"}], "value_metadata": {}})
  ),
  "note of odd fields": notes(run="os.system"),
  "note of text": notes(pending={"loss_D": "abc"}),
  "note of members": notes(pending={"loss_D": [[1.0], [2.0]]}),
  "note of no steps": notes(pending={"loss_D": []}),
  "note of lists": notes(pending={"loss_D": [[1.0], [1.0, 2.0]]}),
  "note of huge numbers": notes(pending={"loss_D": [10**400]}),
  "note of no lines": notes(lines="all"),
  "note of no members": notes(lost=[-1]),
  "note of other logs": notes(logged=[1, 2]),
  "array of 2^40": claims(shape=[1 << 20, 1 << 20]),
  "array of 2^40 in one chunk": claims(shape=[1 << 20, 1 << 20], chunks=[1 << 20, 1 << 20]),
  "chunk of 2^40": claims(chunks=[1 << 20, 1 << 20]),
  "chunk that unpacks": unpacks,
  "database that unpacks": unpacks_early,
  "array of objects": claims(dtype="|O"),
  "array of records": claims(dtype=[["a", "<f4"], ["b", "|O"]]),
  "array of doubles": claims(dtype="<f8"),
  "array of negative length": claims(shape=[-2, 3]),
  "array nested": stores(f"{KERNEL}/.zarray", DEEP),
  "array by no codec": claims(compressor={"id": "pickle", "module": "trap"}),
  "folder a link": links("default"),
  "database a link": links("default/manifest.ocdbt"),
  "database a pipe": pipes("default/manifest.ocdbt"),
  "database leads out": leads_out,
  "pickle": writes("default", pickle.dumps(Trap())),
  "objects": objects,
  "another step": lambda folder: (
    shutil.rmtree(folder),
    shutil.copytree(folder.with_name("step_2"), folder),
  ),
}
SAYS = {
  "chunk of 2^40": "(2, 3) comes in pieces of (1048576, 1048576)",
  "chunk that unpacks": "End of data expected",
  "database leads out": "Invalid key",
  "folder a link": "default in it is a link",
  "another step": "it is of step 2",
}
# What nothing reads, or what is checked elsewhere.
IGNORED = {
  "sharding nested": writes("default/_sharding", DEEP),
  "forms nested": writes("default/array_metadatas/process_0", DEEP),
  "classes": says(
    "_CHECKPOINT_METADATA", lambda c: c.update(item_handlers={"default": "trap.Handler"})
  ),
  "class of leaves": tree(lambda t: t["('step',)"]["value_metadata"].update(value_type="trap.X")),
  "pickles beside": writes("default/arrays.pkl", pickle.dumps(Trap())),
}
REFUSED = {
  "metadata of a terabyte": grows("_CHECKPOINT_METADATA"),
  "tree of a terabyte": grows("default/_METADATA"),
  "database of a terabyte": grows("default/manifest.ocdbt"),
}
SCORES = {
  "score nested": DEEP,
  "score no text": NO_TEXT,
  "score huge": b'{"score": 1' + b"0" * 4000 + b"}",
  "score text": b'{"score": "5", "name": "kid"}',
  "score of no name": b'{"score": 5, "name": [1]}',
  "score a list": b"[5]",
}


def main(folder):
  """What each says to a reader and to a run that resumes; for a process of its own."""
  like, said = abstract(game()), {}
  with Checkpoints(folder / "honest", read_only=True) as saved:
    saved.restore(like)  # takes what memory it takes
  if sys.platform == "linux":
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (HEADROOM << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
  for workdir in sorted(folder.iterdir()):
    row = []
    for read_only in (True, False):
      try:
        with Checkpoints(workdir, read_only=read_only) as saved:
          back = saved.restore(like) if read_only else saved.restore_newest(like)
          row.append(f"step {int(back.step)}, note {saved.note(int(back.step)).lines}")
      except run.RunError as error:
        row.append(f"error: {error}")
      except BaseException as error:
        row.append(f"{type(error).__name__}: {error}")
    said[workdir.name] = row
  print(json.dumps({"said": said, "trap": "trap" in sys.modules}))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
  folder = tmp_path_factory.mktemp("hostile")
  (folder / "runs").mkdir()
  with Checkpoints(folder / "runs" / "honest") as saved:
    for step in (2, 4):
      saved.save(game(step), Ranked("kid", float(step)), Note(lines=7))
  for name, damage in {**DAMAGED, **IGNORED, **REFUSED}.items():
    workdir = folder / "runs" / name
    shutil.copytree(folder / "runs" / "honest", workdir)
    damage(workdir / "checkpoints" / "step_4")
  for name, content in SCORES.items():
    shutil.copytree(folder / "runs" / "honest", folder / "runs" / name)
    writes("metrics/metrics", content)(folder / "runs" / name / "checkpoints" / "step_4")
  (folder / "trap.py").write_text("print('executed')\n")
  environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "JAX_PLATFORMS": "cpu"}
  done = subprocess.run(
    [sys.executable, "-m", "tests.run.test_hostile_checkpoints", str(folder / "runs")],
    cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert "executed" not in done.stdout
  assert "Traceback" not in done.stderr, done.stderr
  content = json.loads(done.stdout.splitlines()[-1])
  assert not content["trap"]
  return folder / "runs", content["said"]


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_forged_is_said_and_put_aside(opened, name):
  folder, said = opened
  reader, resumed = said[name]
  found = re.match(
    r"error: checkpoint 4 in .*/checkpoints is damaged \((.+)\); another, 2, may be whole$", reader
  )
  assert found, reader
  assert SAYS.get(name, "") in found[1]
  assert resumed == "step 2, note 7"
  assert os.path.lexists(folder / name / "damaged" / "step_4_0")


@pytest.mark.parametrize("name", IGNORED)
def test_what_nobody_needs_is_not_read(opened, name):
  assert opened[1][name] == ["step 4, note 7"] * 2


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_of_other_networks_stays(opened, name):
  folder, said = opened
  for text in said[name]:
    assert "has a file of 1,099,512 MB" in text
    assert "give the flags of the run that wrote it, or another --workdir" in text
  assert (folder / name / "checkpoints" / "step_4").exists()


@pytest.mark.parametrize("name", SCORES)
def test_a_forged_score_costs_that_score_alone(opened, name):
  said = opened[1]
  assert "metrics/metrics is damaged: delete its folder" in said[name][0]
  assert said[name][1] == "step 4, note 7"


def test_what_stands_in_the_place_of_checkpoints_is_put_aside(tmp_path, capsys):
  with Checkpoints(tmp_path) as saved:
    saved.save(game(4), None)
  folder = tmp_path / "checkpoints"
  names = ["step_6", "step_007", "step_99999999999", "step_5\n", "step_x", "step_²"]
  for name in names[1:]:
    (folder / name).mkdir()
  (folder / names[0]).write_bytes(pickle.dumps(Trap()))
  (folder / "step_8").symlink_to(folder / "step_4")
  with pytest.raises(run.RunError, match="is no checkpoint: move it to another place"):
    Checkpoints(tmp_path, read_only=True)
  with Checkpoints(tmp_path) as saved:
    assert saved.steps == [4, 8]
    assert int(saved.restore_newest(abstract(game())).step) == 4
    saved.save(game(6), None)
  said = capsys.readouterr().err
  assert said.count("is no checkpoint and now in") == len(names)
  assert "checkpoint 8 is now in" in said
  aside = sorted(path.name for path in (tmp_path / "damaged").iterdir())
  assert aside == sorted(f"{name}_0" for name in [*names, "step_8"])
  with Checkpoints(tmp_path, read_only=True) as saved:
    assert saved.steps == [4, 6]


def test_a_run_and_its_samples_meet_a_forged_checkpoint(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # which a command line sets
  small = dict(resolution=8, width=2, latent_dim=4, batch_size=8, limit=64, checkpoint_every=1)

  def train(steps):
    config = dcgan.Config(workdir=str(tmp_path / "run"), steps=steps, **small)
    return run.train(dcgan.build, config)

  def drawn():
    flags = [f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'out.png'}", "--num=4"]
    with pytest.raises(SystemExit) as ended, run.command_line():
      sample.command(flags)
    return ended.value.code, capsys.readouterr().err

  assert train(2) == 0
  name = "generator.params.ConvTranspose_1.kernel/.zarray"
  store = database(tmp_path / "run" / "checkpoints" / "step_2")
  described = {**json.loads(store.read(name).result().value), "chunks": [1 << 10] * 4}
  store.write(name, json.dumps(described).encode()).result()
  code, said = drawn()
  assert code == 2
  assert "error: checkpoint 2 in" in said
  assert "comes in pieces of (1024, 1024, 1024, 1024)" in said
  assert train(3) == 0
  assert "checkpoint 2 is now in" in capsys.readouterr().err
  grows("_CHECKPOINT_METADATA")(tmp_path / "run" / "checkpoints" / "step_3")
  code, said = drawn()
  assert code == 2
  assert "has a file of 1,099,512 MB" in said
  with pytest.raises(run.RunError, match="has a file of 1,099,512 MB"):
    train(4)


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
