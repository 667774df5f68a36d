"""`jaxgan.data.prepare`; long, because each kind of file and of error is one short test."""

import errno
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

from experiments import dcgan
from jaxgan import data
from jaxgan.data import prepare
from jaxgan.data.prepare import __main__ as program
from jaxgan.data.prepare import records

image = pytest.importorskip("PIL.Image")
tfds = pytest.importorskip("tensorflow_datasets")

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def draw(path, height=12, width=12, channels=3, **options):
  """Saves a picture of noise."""
  pixels = RNG.integers(0, 256, [height, width, channels], np.uint8)
  path.parent.mkdir(parents=True, exist_ok=True)
  image.fromarray(pixels.squeeze()).save(path, **options)
  return pixels


def make(source, out, **flags):
  return prepare.prepare(prepare.Options(str(source), str(out), **{"resolution": 8, **flags}))


def stored(out, split="train"):
  """What TFDS reads: picture, and name of its class if any, by file."""
  builder = tfds.builder_from_directory(out)
  label = dict(builder.info.features.items()).get("label")
  return {
    each["file"].decode(): (each["image"], None if label is None else label.int2str(each["label"]))
    for each in builder.as_data_source(split=split)
  }


def files_of(out):
  return {path.name: path.read_bytes() for path in out.iterdir()}


def left_out(findings):
  return {each.file: each.kind for each in findings.left_out}


@pytest.fixture
def folder(tmp_path):
  """Six pictures in two classes."""
  for number in range(6):
    draw(tmp_path / "source" / ("cat", "dog")[number % 2] / f"{number}.png")
  return tmp_path / "source"


# What is written


def test_pictures_are_cropped_and_resized_as_by_pillow(tmp_path):
  source, sizes = tmp_path / "Mes photos é", {"wide.png": (16, 30), "high.bmp": (31, 9)}
  for name, (height, width) in sizes.items():
    draw(source / name, height, width)
  draw(source / "deep" / "er" / "same size.png", 8, 8)
  out = tmp_path / "pr épaired [1]"
  findings = make(source, out)
  assert (findings.files, findings.splits, findings.left_out) == (3, {"train": 3}, [])
  found = stored(out)
  assert set(found) == {*sizes, "deep/er/same size.png"}
  for name, (picture, label) in found.items():
    with image.open(source / name) as drawn:
      side = min(drawn.size)
      left, top = (drawn.width - side) // 2, (drawn.height - side) // 2
      square = drawn.crop((left, top, left + side, top + side))
      expected = np.asarray(square.resize((8, 8), image.Resampling.LANCZOS))
    np.testing.assert_array_equal(picture, expected)
    assert label is None


def test_padding_keeps_the_whole_picture(tmp_path):
  pixels = draw(tmp_path / "source" / "a.png", 16, 32)
  make(tmp_path / "source", tmp_path / "out", crop="pad")
  ((picture, _),) = stored(tmp_path / "out").values()
  shrunk = image.fromarray(pixels).resize((8, 4), image.Resampling.LANCZOS)
  np.testing.assert_array_equal(picture[2:6], shrunk)
  assert (picture[[0, 1, 6, 7]] == 255).all()


def test_upright_on_white_and_of_one_frame(tmp_path):
  source = tmp_path / "source"
  source.mkdir()
  exif = image.Exif()
  exif[0x0112] = 3  # upside down
  half = np.zeros([16, 16, 3], np.uint8)
  half[:8] = 255
  image.fromarray(half).save(source / "turned.png", exif=exif)
  image.new("RGBA", (8, 8), (9, 9, 9, 0)).save(source / "clear.png")
  frames = [image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (90, 200)]
  frames[0].save(source / "moving.gif", save_all=True, append_images=frames[1:])
  make(source, tmp_path / "out")
  found = stored(tmp_path / "out")
  assert found["turned.png"][0][0].max() < 20  # white was above
  assert found["turned.png"][0][-1].min() > 235
  assert (found["clear.png"][0] == 255).all()
  assert (found["moving.gif"][0] == [90, 0, 0]).all()


def test_grey_stays_grey_unless_there_is_colour(tmp_path):
  grey = draw(tmp_path / "grey" / "a.png", 8, 8, 1)
  assert make(tmp_path / "grey", tmp_path / "one").channels == 1
  np.testing.assert_array_equal(stored(tmp_path / "one")["a.png"][0], grey)
  colour = draw(tmp_path / "grey" / "b.png", 8, 8)
  assert make(tmp_path / "grey", tmp_path / "both").channels == 3
  found = stored(tmp_path / "both")
  np.testing.assert_array_equal(found["a.png"][0], grey.repeat(3, -1))
  np.testing.assert_array_equal(found["b.png"][0], colour)
  make(tmp_path / "grey", tmp_path / "made grey", channels=1)
  expected = np.asarray(image.fromarray(colour).convert("L"))
  np.testing.assert_array_equal(stored(tmp_path / "made grey")["b.png"][0][..., 0], expected)


def test_sub_folders_are_classes(folder, tmp_path):
  findings = make(folder, tmp_path / "out")
  assert findings.classes == {"cat": 3, "dog": 3}
  found = stored(tmp_path / "out")
  assert {name: label for name, (_, label) in found.items()} == {name: name[:3] for name in found}
  assert make(folder, tmp_path / "plain", labels="none").classes == {}
  assert {label for _, label in stored(tmp_path / "plain").values()} == {None}
  draw(folder / "beside.png")
  findings = make(folder, tmp_path / "mixed")
  assert findings.classes == {}
  assert "as pictures lie beside sub-folders (1: beside.png ...)" in str(findings)


def test_sub_folders_named_as_splits_are_splits(tmp_path):
  for split, count in {"train": 4, "val": 2, "test": 1}.items():
    for number in range(count):
      draw(tmp_path / "source" / split / str(number % 2) / f"{number}.png")
  shutil.copy(tmp_path / "source/train/0/0.png", tmp_path / "source/test/0/copy.png")
  draw(tmp_path / "source" / "other" / "0.png")
  findings = make(tmp_path / "source", tmp_path / "out")
  assert findings.splits == {"train": 3, "validation": 2, "test": 2}
  assert findings.classes == {"0": 4, "1": 3}
  assert left_out(findings) == {
    "other/0.png": "outside of the splits",
    "train/0/0.png": "duplicate",  # what is tested on is not trained on
  }
  assert set(stored(tmp_path / "out", "validation")) == {"val/0/0.png", "val/1/1.png"}
  with pytest.raises(data.DataError, match=r"--validation=0\.5 .* has a folder for that"):
    make(tmp_path / "source", tmp_path / "again", validation=0.5)


def test_a_share_is_set_apart_the_same_every_time(tmp_path):
  for number in range(20):
    draw(tmp_path / "source" / f"{number}.png")
  findings = make(tmp_path / "source", tmp_path / "out", validation=0.25)
  assert findings.splits == {"train": 15, "validation": 5}
  apart, rest = (set(stored(tmp_path / "out", split)) for split in ("validation", "train"))
  assert not apart & rest
  assert len(apart | rest) == 20
  (tmp_path / "source" / "0.png").rename(tmp_path / "source" / "renamed.png")
  make(tmp_path / "source", tmp_path / "again", validation=0.25)
  again = set(stored(tmp_path / "again", "validation"))
  assert again - {"renamed.png"} == apart - {"0.png"}
  with pytest.raises(data.DataError, match=r"--validation=0\.01 of 20 pictures are none"):
    make(tmp_path / "source", tmp_path / "third", validation=0.01)


@pytest.mark.parametrize("workers", [1, 7])
def test_the_same_files_however_many_workers(folder, tmp_path, workers):
  shutil.copy(folder / "dog" / "1.png", folder / "cat" / "copy.png")
  make(folder, tmp_path / "reference", validation=0.2, shards=3, workers=2)
  make(folder, tmp_path / "out", validation=0.2, shards=3, workers=workers, name="reference")
  assert files_of(tmp_path / "out") == files_of(tmp_path / "reference")
  names = sorted(path.name for path in (tmp_path / "out").glob("*array_record*"))
  kinds = [name.partition(".")[0] for name in names]
  assert kinds == ["reference-train"] * 3 + ["reference-validation"]


def test_an_archive_gives_what_its_folder_gives(folder, tmp_path):
  make(folder, tmp_path / "one" / "out")
  one = files_of(tmp_path / "one" / "out")
  report = json.loads(one.pop(prepare.REPORT))
  shutil.make_archive(str(tmp_path / "two"), "zip", folder)
  shutil.make_archive(str(tmp_path / "three"), "zip", folder.parent, folder.name)
  for name in ("two", "three"):
    make(tmp_path / f"{name}.zip", tmp_path / name / "out")
    other = files_of(tmp_path / name / "out")
    source = {"source": str(tmp_path / f"{name}.zip")}
    assert json.loads(other.pop(prepare.REPORT)) == report | source
    assert other == one


def test_no_tensorflow_is_needed(folder, tmp_path):
  code = f"""
import sys
from jaxgan import data
from jaxgan.data.prepare.__main__ import command_line, main
with command_line():
  main(["--source={folder}", "--out={tmp_path / "out"}", "--resolution=8"])
print(len(data.load("{tmp_path / "out"}", resolution=8)), "tensorflow" in sys.modules)
"""
  root = pathlib.Path(prepare.__file__).parents[3]
  run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
  assert (run.returncode, run.stderr) == (0, "")
  assert run.stdout.endswith("\n6 False\n")


# Labels from a table


def test_labels_from_a_table(folder, tmp_path):
  table = folder / "labels.csv"
  table.write_text(
    "\ufeffwho,Label,file_name\nme, 10 ,cat/0.png\n\nme,9,./dog/1.png\n"
    'me,9,"dog\\3.png"\nme,9,gone.png\n',
    encoding="utf-8",
  )
  findings = make(folder, tmp_path / "out", labels=str(table))
  assert findings.classes == {"9": 2, "10": 1}
  assert {name: label for name, (_, label) in stored(tmp_path / "out").items()} == {
    "cat/0.png": "10",
    "dog/1.png": "9",
    "dog/3.png": "9",
  }
  assert set(left_out(findings).values()) == {"unlabelled"}
  assert findings.missing == ["gone.png"]
  assert "not in the source, such as gone.png" in str(findings)
  assert len(findings.left_out) == 3


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("file_name,label\ncat/0.png\n", r"line 2: has 1 of 2 columns"),
    ("file_name,label\ncat/0.png,a\ncat/2.png,\n", r"line 3: the label is empty"),
    ("file_name,label\n,a\n", r"line 2: the file is empty"),
    ("file_name,label\ncat/0.png,a\ncat/0.png,b\n", r"line 3: 'cat/0.png' is 'b', and was 'a'"),
    ("file_name,label\n0.png,a\n", r"line 2 names '0.png', and the source holds 'cat/0.png'"),
    ("name,label\n", r"no column 'file_name' in its first line, only name, label"),
    ("", r"no column 'file_name' in its first line, only nothing"),
    (b"\xff\xfe\x00", r"cannot read --labels=.*CSV in UTF-8"),
    ("file_name,label\ncat/0.png,a\x07\n", r"'a\\x07' cannot be the name of a class"),
  ],
)
def test_tables_that_are_wrong(folder, tmp_path, content, message):
  table = tmp_path / "labels.csv"
  table.write_bytes(content if isinstance(content, bytes) else content.encode())
  with pytest.raises(data.DataError, match=message):
    make(folder, tmp_path / "out", labels=str(table))


# What is left out


def test_files_that_cannot_be_used_are_named_with_the_reason(tmp_path, capsys):
  source = tmp_path / "source"
  pixels = draw(source / "b.png")
  image.fromarray(pixels).save(source / "c.bmp")
  draw(source / "small.png", 5, 40)
  whole = io.BytesIO()
  image.fromarray(RNG.integers(0, 256, [64, 64, 3], np.uint8)).save(whole, "jpeg")
  (source / "cut.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
  (source / "text.png").write_bytes(b"no picture")
  (source / "notes.txt").write_text("x")
  (source / ".hidden").write_text("x")
  (source / "lost.png").symlink_to(tmp_path / "nowhere")
  (source / "loop").symlink_to(source)
  os.mkfifo(source / "pipe.png")
  with open(os.path.join(os.fsencode(source), b"caf\xe9.png"), "wb") as file:
    file.write(b"")
  program.main([f"--source={source}", f"--out={tmp_path / 'out'}", "--resolution=8"])
  kinds = {
    "unsupported": ["notes.txt"],
    "unreadable": ["lost.png"],
    "damaged": ["caf\\xe9.png", "cut.jpg", "text.png"],
    "too small": ["small.png"],
    "duplicate": ["c.bmp"],
  }
  report = json.loads((tmp_path / "out" / prepare.REPORT).read_text())
  assert {
    kind: sorted(each["file"] for each in found) for kind, found in report["left_out"].items()
  } == kinds
  assert report["left_out"]["duplicate"][0]["why"] == "as b.png"
  assert report["left_out"]["damaged"][2]["why"] == "its content is no picture"
  assert (report["files"], report["splits"]) == (8, {"train": 1})
  shown = capsys.readouterr().out
  assert all(name in shown for names in kinds.values() for name in names)
  assert re.search(r"too small +1  lower --min-size to enlarge them", shown)
  assert f"--dataset={tmp_path / 'out'}" in shown


def test_small_and_oblong_pictures_on_demand(tmp_path):
  draw(tmp_path / "source" / "small.png", 5, 6)
  draw(tmp_path / "source" / "square.png", 9, 9)
  findings = make(tmp_path / "source", tmp_path / "out", min_size=5)
  assert findings.splits == {"train": 2}
  findings = make(tmp_path / "source", tmp_path / "none", min_size=5, crop="none")
  assert left_out(findings) == {"small.png": "not square"}
  assert left_out(make(tmp_path / "source", tmp_path / "pad", min_size=6, crop="pad")) == {}


def test_duplicates_in_another_class_are_told_apart(folder, tmp_path):
  shutil.copy(folder / "cat" / "0.png", folder / "dog" / "copy.png")
  shutil.copy(folder / "cat" / "0.png", folder / "cat" / "copy.png")
  findings = make(folder, tmp_path / "out")
  assert left_out(findings) == {
    "cat/copy.png": "duplicate",
    "dog/copy.png": "duplicate of another class",
  }
  assert findings.left_out[-1].why == "as cat/0.png of class cat"


def test_nearly_the_same_pictures(tmp_path, shared_data):
  """Copies by JPEG and in another size are found, other pictures are not taken for copies."""
  source = tmp_path / "source"
  source.mkdir()
  names = sorted((shared_data / "emoji64" / "train").iterdir())[::100]
  for path in names:
    with image.open(path) as drawn:
      drawn.save(source / f"{path.stem}.png")
      drawn.save(source / f"{path.stem}_a.jpg", quality=85)
      drawn.resize((96, 96)).save(source / f"{path.stem}_b.png")
  flags = {"resolution": 32, "labels": "none"}
  assert make(source, tmp_path / "all", **flags).splits == {"train": 3 * len(names)}
  findings = make(source, tmp_path / "out", near_duplicates=True, **flags)
  kept = {path.stem for path in names}
  for each in findings.left_out:
    assert each.kind == "nearly duplicate"
    assert each.file.partition("_")[0] == each.why.removeprefix("as ").partition(".")[0]
  assert findings.splits["train"] == len(kept)


# Archives


def archive(path, **members):
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
    for name, content in members.items():
      file.writestr(name, content)
  return path


def png(side=8):
  file = io.BytesIO()
  image.fromarray(RNG.integers(0, 256, [side, side, 3], np.uint8)).save(file, "png")
  return file.getvalue()


def test_names_of_an_archive_write_nothing(tmp_path):
  (tmp_path / "in").mkdir()
  members = {"../../evil.png": png(), "/tmp/jaxgan-evil.png": png(), "C:\\deep\\evil.png": png()}
  members |= {"__MACOSX/._a.png": b"x", "a/.b.png": b"x", "inner.zip": b"PK", "a/": b""}
  path = archive(tmp_path / "in" / "a.zip", **members)
  findings = make(path, tmp_path / "out", labels="none")
  assert findings.splits == {"train": 3}
  assert left_out(findings) == {"inner.zip": "unsupported"}
  assert set(stored(tmp_path / "out")) == {
    "../../evil.png", "/tmp/jaxgan-evil.png", "C:/deep/evil.png"
  }  # fmt: skip
  assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
  assert not os.path.exists("/tmp/jaxgan-evil.png")


def test_members_that_lie_are_left_out(tmp_path):
  path = archive(tmp_path / "a.zip", good=b"", **{"good.png": png(), "bomb.bmp": bytes(1 << 20)})
  with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as file:
    file.writestr("lzma.png", png())
  with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as file:
    file.writestr("broken.png", png())
    for member in file.filelist:
      if member.filename == "bomb.bmp":
        member.file_size = 1 << 40
  content = bytearray(path.read_bytes())
  content[content.index(b"broken.png") + 60] ^= 1
  path.write_bytes(content)
  findings = make(path, tmp_path / "out")
  assert left_out(findings) == {
    "bomb.bmp": "damaged",
    "broken.png": "damaged",
    "good": "unsupported",
    "lzma.png": "damaged",
  }
  whys = {each.file: each.why for each in findings.left_out}
  assert "unpack to 1,099,511,627,776 bytes" in whys["bomb.bmp"]
  assert "uncommon" in whys["lzma.png"]
  assert "CRC" in whys["broken.png"]


# Its place


def test_what_is_there_is_not_replaced_unless_asked(folder, tmp_path):
  out = tmp_path / "deep" / "out"
  make(folder, out, name="first")
  before = files_of(out)
  with pytest.raises(data.DataError, match="is there already: give another, or --overwrite"):
    make(folder, out)
  assert files_of(out) == before
  make(folder, out, overwrite=True, name="second")
  assert all(b"first" not in name.encode() for name in files_of(out))
  assert sorted(path.name for path in out.parent.iterdir()) == ["out"]


def test_nothing_but_own_sets_is_replaced(folder, tmp_path):
  precious = tmp_path / "home"
  draw(precious / "wedding.png")
  with pytest.raises(data.DataError, match="--overwrite replaces data sets that this program made"):
    make(folder, precious, overwrite=True)
  for out in (folder, folder / "out", tmp_path):
    with pytest.raises(data.DataError, match="lie in each other: give another --out"):
      make(folder, out, overwrite=True)
  assert (precious / "wedding.png").exists()
  (tmp_path / "empty").mkdir()
  assert make(folder, tmp_path / "empty").splits == {"train": 6}


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, RuntimeError])
@pytest.mark.parametrize("place", ["decode", "write"])
def test_an_interrupted_run_leaves_nothing(folder, tmp_path, monkeypatch, fault, place):
  calls = []

  def fail(self, content):
    calls.append(content)
    if len(calls) == 3:
      raise fault
    return len(calls), 0

  if place == "decode":
    monkeypatch.setattr(records.Spool, "add", fail)
  else:
    monkeypatch.setattr(records, "_examples", lambda *_: (_ for _ in ()).throw(fault))
  (tmp_path / "place").mkdir()
  threads = threading.active_count()
  with pytest.raises(fault):
    make(folder, tmp_path / "place" / "out")
  assert list((tmp_path / "place").iterdir()) == []
  assert threading.active_count() == threads


def test_a_failed_replacement_leaves_the_old_set(folder, tmp_path, monkeypatch):
  make(folder, tmp_path / "out")
  before = files_of(tmp_path / "out")
  rename = pathlib.Path.rename

  def fail(self, target):
    if self.name == "new":
      raise OSError(errno.ENOSPC, "No space left on device")
    return rename(self, target)

  monkeypatch.setattr(pathlib.Path, "rename", fail)
  with pytest.raises(data.DataError, match=r"cannot write --out=.*No space left.*free space"):
    make(folder, tmp_path / "out", overwrite=True)
  assert files_of(tmp_path / "out") == before
  assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_a_set_that_cannot_be_read_back_is_no_set(folder, tmp_path, monkeypatch):
  """As when the disk was full and the writer did not say so."""
  close = tfds.core.SequentialWriter.close_all

  def cut(writer):
    close(writer)
    for path in pathlib.Path(writer._data_dir).glob("*array_record*"):
      path.write_bytes(path.read_bytes()[:-100])

  def fail(writer):  # as array_record does
    raise RuntimeError("write() failed: File too large")

  for function, message in ((cut, "what was written cannot be read"), (fail, "File too large")):
    monkeypatch.setattr(tfds.core.SequentialWriter, "close_all", function)
    with pytest.raises(data.DataError, match=rf"cannot write --out=.*{message}.*free space"):
      make(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"resolution": 3}, "--resolution=3 must be from 4 to 4,096"),
    ({"resolution": 5000}, "--resolution=5000 must be from 4 to 4,096"),
    ({"min_size": 0}, "--min-size=0 must be from 1"),
    ({"shards": 0}, "--shards=0 must be from 1"),
    ({"workers": -1}, "--workers=-1 must be from 1"),
    ({"validation": 1.0}, r"--validation=1\.0 must be a share from 0 to 0\.9"),
    ({"validation": float("nan")}, "--validation=nan must be"),
    ({"crop": "left"}, "--crop=left must be one of center, pad, none"),
    ({"channels": 4}, "--channels=4 must be 1 or 3"),
    ({"name": "My set"}, "--name=My set must be of a-z"),
    ({"labels": "folder"}, "--labels=folder must be folders, none, or the path of a CSV"),
    ({"resolution": 64}, r"no usable picture: 6 too small \('cat/0\.png': 12x12 pixels\)"),
  ],
)
def test_flags_that_are_wrong(folder, tmp_path, flags, message):
  with pytest.raises(data.DataError, match=message):
    make(folder, tmp_path / "out", **flags)
  assert not (tmp_path / "out").exists()


def test_sources_that_are_none(tmp_path):
  with pytest.raises(data.DataError, match=r"nothing lies at --source=.*gone"):
    make(tmp_path / "gone", tmp_path / "out")
  (tmp_path / "a.tar").write_bytes(b"x" * 99)
  with pytest.raises(data.DataError, match="neither a folder nor a zip archive: unpack it"):
    make(tmp_path / "a.tar", tmp_path / "out")
  path = archive(tmp_path / "a.zip", **{"a.png": png()})
  content = path.read_bytes()
  path.write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x03"))
  with pytest.raises(data.DataError, match=r"cannot read --source=.*fetch it again"):
    make(path, tmp_path / "out")
  for place in ("a\0b", "~nobody-of-this-name/x", "a" * 300):
    with pytest.raises(data.DataError, match=r"is no path|nothing lies at|cannot (read|write)"):
      make(place, tmp_path / "out")
    with pytest.raises(data.DataError, match=r"is no path|nothing lies at|cannot (read|write)"):
      make(path, place)
  (tmp_path / "empty").mkdir()
  with pytest.raises(data.DataError, match="has no usable picture: it is empty"):
    make(tmp_path / "empty", tmp_path / "out")


def test_the_command_line_ends_with_a_line(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(program.signal, "signal", lambda *_: None)
  monkeypatch.setattr(program.logging, "disable", lambda *_: None)
  with pytest.raises(SystemExit) as end, program.command_line():
    program.main([f"--source={tmp_path / 'gone'}", f"--out={tmp_path / 'out'}", "--resolution=8"])
  assert end.value.code == 2
  error = capsys.readouterr().err
  assert error.startswith("error: nothing lies at --source=")
  assert error.count("\n") == 1


# How it is read


def test_an_experiment_takes_the_folder(folder, tmp_path):
  make(folder, tmp_path / "out", validation=0.2)
  flags = {"workdir": str(tmp_path / "run"), "dataset": str(tmp_path / "out"), "resolution": 8}
  cached = dcgan.Config(**flags).load()
  assert (cached.name, len(cached), cached.shape) == ("out", 5, (8, 8, 3))
  assert cached.classes == ("cat", "dog")
  streamed = dcgan.Config(**flags, cache_limit=0.0).load()
  found = stored(tmp_path / "out")
  by_pixels = {picture.tobytes(): label for picture, label in found.values()}
  for dataset in (cached, streamed):
    labels = [dataset.classes[dataset[index]["label"]] for index in range(5)]
    assert labels == [by_pixels[dataset[index]["image"].tobytes()] for index in range(5)]
  assert len(dcgan.Config(**flags, split="validation").load()) == 1
  assert len(dcgan.Config(**flags, split="train[:40%]+validation").load()) == 3
  with pytest.raises(data.DataError, match="no split 'test', only: train, validation"):
    dcgan.Config(**flags, split="test").load()


def test_prepared_folders_that_are_damaged(folder, tmp_path):
  out = tmp_path / "out"
  make(folder, out)
  (path,) = out.glob("*array_record*")
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(data.DataError, match=r"cannot read 'out' from .*Prepare it anew"):
    data.load(out, resolution=8)
  (out / "dataset_info.json").write_text("{}")
  with pytest.raises(data.DataError, match=r"cannot read the description.*Prepare it anew"):
    data.load(out, resolution=8)


def test_a_real_set_by_its_path(shared_data):
  path = shared_data / "tfds" / "fashion_mnist" / "3.0.1"
  dataset = data.load(path, split="test[:1%]")
  assert (dataset.name, len(dataset), dataset.shape) == ("fashion_mnist", 100, (32, 32, 1))
