"""Files that lie: nothing is run, no memory is taken on their word, and the error names them."""

import gzip
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from jaxgan import _archives, data
from jaxgan.data import pictures

image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def sparing():
  """Fails where more than 8 MB are taken at a time."""
  tracemalloc.start()
  yield
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 8e6


# Archives


def npy(shape, body=b"", dtype="|u1", version=1):
  """An array's file, opened by what its header says and not by what it holds."""
  header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
  length = struct.pack("<H" if version == 1 else "<I", len(header))
  return b"\x93NUMPY" + bytes([version, 0]) + length + header + body


def archive(path, compression=zipfile.ZIP_DEFLATED, **members):
  with zipfile.ZipFile(path, "w", compression) as file:
    for name, content in members.items():
      file.writestr(f"{name}.npy", content)
  return path


@pytest.mark.usefixtures("sparing")
@pytest.mark.parametrize(
  "images",
  [
    npy((10**6, 1000, 1000), bytes(100)),
    npy((2**40, 2**20, 2**20), bytes(100)),
    npy((-2, 8, -8), bytes(128)),
    npy((2.5, 8, 8), bytes(128)),
    npy((2, 8, 8), bytes(127)),
    npy((2, 8, 8), bytes(129)),
    npy(5, bytes(5)),
    npy("(" * 9000),
    npy("__import__('os').system('false')"),
    npy((2, 8, 8), bytes(128), dtype="|u1', 'descr"),
    npy((2, 8, 8), bytes(128), version=3),
    b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(100),
    b"\x80\x04cos\nsystem\n",
    b"",
  ],
  ids=lambda content: repr(content[10:50]),
)
def test_headers_that_lie(tmp_path, images):
  with pytest.raises(data.DataError, match=r"a\.npz' as a NumPy archive .*\. Save it again"):
    data.load(archive(tmp_path / "a.npz", images=images))


@pytest.mark.usefixtures("sparing")
def test_an_archive_that_would_unpack_to_far_more(tmp_path):
  path = tmp_path / "a.npz"
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
    file.writestr("images.npy", npy((2**11, 2**10, 2**10), bytes(10**6)))
    header = len(npy((2**11, 2**10, 2**10)))
    file.filelist[0].file_size = 2**31 + header  # as if the rest were there too
  with pytest.raises(data.DataError, match=r"unpack to 2\.1 GB; if that is meant, save it uncomp"):
    data.load(path)


@pytest.mark.usefixtures("sparing")
def test_the_bound_is_on_what_is_unpacked_to_what_is_stored(tmp_path, monkeypatch):
  monkeypatch.setattr(_archives, "_ALWAYS", 1000)
  blank = np.zeros([100, 8, 8], np.uint8)
  np.savez(tmp_path / "plain.npz", images=blank)
  assert len(data.load(tmp_path / "plain.npz", resolution=8)) == 100
  np.savez_compressed(tmp_path / "dense.npz", images=np.zeros([1000, 8, 8], np.uint8))
  with pytest.raises(data.DataError, match="would unpack to"):
    data.load(tmp_path / "dense.npz", resolution=8)


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_compressions_whose_memory_the_file_chooses_are_refused(tmp_path, compression):
  path = archive(tmp_path / "a.npz", compression, images=npy((2, 8, 8), bytes(128)))
  with pytest.raises(data.DataError, match="compressed as NumPy does not"):
    data.load(path)


@pytest.mark.parametrize("place", [6, 8], ids=["encrypted", "method"])
def test_archives_that_cannot_be_unpacked(tmp_path, place):
  path = archive(tmp_path / "a.npz", zipfile.ZIP_STORED, images=npy((2, 8, 8), bytes(128)))
  content = bytearray(path.read_bytes())
  directory = content.find(b"PK\x01\x02")
  for at in (place, directory + place + 2):
    content[at] = 1 if place == 6 else 99
  path.write_bytes(content)
  with pytest.raises(data.DataError, match=r"a\.npz' as a NumPy archive"):
    data.load(path)


def test_names_of_members_write_nothing(tmp_path):
  (tmp_path / "in").mkdir()
  path = tmp_path / "in" / "a.npz"
  pixels = RNG.integers(0, 256, [2, 8, 8], np.uint8)
  members = {"../../evil": npy((2, 8, 8), pixels.tobytes()), "/tmp/jaxgan-evil": npy((1,), b"x")}
  archive(path, **members)
  with zipfile.ZipFile(path, "a") as file:
    file.writestr("README", "no array")
  before = sorted(tmp_path.rglob("*"))
  dataset = data.load(path, resolution=8, cache_limit=0)
  np.testing.assert_array_equal(dataset[1]["image"][..., 0], pixels[1])
  assert sorted(tmp_path.rglob("*")) == before
  assert not os.path.exists("/tmp/jaxgan-evil.npy")


@pytest.mark.usefixtures("sparing")
@pytest.mark.parametrize(
  ("labels", "message"),
  [
    (npy((10**9,), bytes(10)), "'labels.npy' has"),
    (npy((10**7,), bytes(10**7)), r"2 pictures and labels uint8\[10000000\]"),
    (npy((2,), bytes(16), dtype="|O"), "Object arrays cannot be loaded"),
    (npy((2,), struct.pack("<2q", 0, 2**31 - 2), "<i8"), "labels from 0 to 2147483646"),
    (npy((2,), struct.pack("<2q", 0, -(2**63)), "<i8"), "labels from -9223372036854775808"),
    (npy((2,), struct.pack("<2d", 0, 1), "<f8"), "labels float64"),
  ],
  ids=["declared", "many", "pickle", "large", "negative", "float"],
)
def test_labels_that_lie(tmp_path, labels, message):
  path = archive(tmp_path / "a.npz", images=npy((2, 8, 8), bytes(128)), labels=labels)
  with pytest.raises(data.DataError, match=message):
    data.load(path, resolution=8)


def idx(*shape, body=b""):
  return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes() + body


@pytest.mark.usefixtures("sparing")
@pytest.mark.parametrize(
  ("suffix", "content"),
  [
    ("", idx(2**32 - 1, 2**32 - 1, 2**32 - 1, body=b"xx")),
    ("", idx(2, 8, 8, body=bytes(129))),
    (".gz", gzip.compress(idx(2**31, 8, 8, body=bytes(99)))),
    (".gz", gzip.compress(idx(2, 8, 8, body=bytes(3 * 10**7)))),
    (".gz", gzip.compress(idx(2, 8, 8, body=bytes(128)))[:-6]),
    (".gz", gzip.compress(idx(2, 8, 8))[:12] + b"\xff" * 99),
    (".gz", b"\x1f\x8b" + bytes(40)),
  ],
  ids=["declared", "longer", "declared gz", "bomb", "short", "damaged", "no gz"],
)
def test_idx_files_that_lie(tmp_path, suffix, content):
  path = tmp_path / f"train-images-idx3-ubyte{suffix}"
  path.write_bytes(content)
  with pytest.raises(data.DataError, match=r"train-images.* as an IDX file.*Fetch it again"):
    data.load(path, resolution=8)


def test_labels_beside_idx_files_that_lie(tmp_path):
  (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(2, 8, 8, body=bytes(128)))
  labels = tmp_path / "train-labels-idx1-ubyte"
  labels.write_bytes(idx(2**32 - 1, body=bytes(2)))
  with pytest.raises(data.DataError, match=r"train-labels.* as an IDX file"):
    data.load(tmp_path, resolution=8)
  labels.unlink()
  labels.mkdir()
  with pytest.raises(data.DataError, match=r"train-labels.* as an IDX file"):
    data.load(tmp_path, resolution=8)


# Pictures


def png(width, height, depth, colour, rows, *chunks):
  """A PNG by its parts; `rows` are the bytes of each row."""

  def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

  start = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
  pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
  parts = [(b"IHDR", start), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
  return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


WIDE = np.array([[0, 128, 129, 32768], [255, 256, 65279, 65535]])
BIG = WIDE.astype(">u2")
COLOUR = np.stack([WIDE, WIDE[::-1], WIDE[:, ::-1]], -1)


def odd(tmp_path):
  """Odd but valid files, with the pixels that they stand for; may differ by the number last."""
  narrow = np.rint(WIDE / 257)
  shown = np.where(WIDE == 32768, 255, narrow)
  alpha = np.stack([WIDE, WIDE[::-1]], -1).astype(">u2")
  over_white = 255 + (WIDE / 257 - 255) * (WIDE[::-1] / 65535)
  clear = (b"tRNS", struct.pack(">H", 32768))
  cmyk = RNG.integers(0, 256, [4, 4, 4], np.uint8).repeat(8, 0).repeat(8, 1)
  ink = cmyk.astype(float)
  yield png(4, 2, 16, 0, map(bytes, BIG)), narrow[..., None], 0
  yield png(4, 2, 16, 0, map(bytes, BIG), clear), shown[..., None], 0
  yield png(4, 2, 16, 2, map(bytes, COLOUR.astype(">u2"))), COLOUR / 257, 1
  yield png(4, 2, 16, 4, map(bytes, alpha)), over_white[..., None].repeat(3, -1), 2
  yield (
    png(4, 2, 2, 0, [b"\x1b", b"\xe4"]),
    np.array([[0, 85, 170, 255], [255, 170, 85, 0]])[..., None],
    0,
  )
  yield png(1, 1, 8, 0, [b"\x07"]), np.array([[[7]]]), 0
  image.fromarray(cmyk, "CMYK").save(tmp_path / "cmyk.jpg", quality=100, subsampling=0)
  rgb = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
  yield (tmp_path / "cmyk.jpg").read_bytes(), rgb, 9
  frames = [image.new("L", (3, 3), level) for level in (10, 200)]
  frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
  yield (tmp_path / "a.gif").read_bytes(), np.full([3, 3, 3], 10), 0  # by a palette


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
def test_odd_pictures_come_out_right_whatever_their_name(tmp_path):
  for number, (content, expected, tolerance) in enumerate(odd(tmp_path)):
    for suffix in ("png", "jpg"):
      path = tmp_path / f"{number}.{suffix}"
      path.write_bytes(content)
      got = pictures.read(path)
      assert got.dtype == np.uint8
      assert got.shape == expected.shape, number
      np.testing.assert_allclose(got, expected, atol=tolerance, err_msg=str(number))
      height, width, channels = expected.shape
      assert pictures.survey(path) == ((height, width), channels)
      np.testing.assert_array_equal(
        pictures.fit(got, 4, 3).shape, (4, 4, 3), err_msg="one pixel is enlarged too"
      )


@pytest.mark.usefixtures("sparing")
def test_a_picture_that_declares_to_be_huge(tmp_path):
  path = tmp_path / "a.png"
  for width, height in ((2**13, 2**13 + 1), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (0, 5)):
    path.write_bytes(png(width, height, 8, 2, [b""]))
    for function in (pictures.survey, pictures.read):
      with pytest.raises(data.DataError, match=r"a\.png.*Replace it"):
        function(path)


def test_every_truncation_of_a_picture_is_an_error(tmp_path):
  pixels = RNG.integers(0, 256, [24, 24, 3], np.uint8)
  for suffix in ("png", "jpg", "webp", "bmp", "gif"):
    path = tmp_path / f"a.{suffix}"
    image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole) * 3 // 4, max(len(whole) // 9, 1)):
      path.write_bytes(whole[:length])
      with pytest.raises(data.DataError, match=rf"a\.{suffix}"):
        pictures.read(path)


def test_other_formats_are_not_opened_by_a_pictures_name(tmp_path, monkeypatch):
  """Pillow would run Ghostscript on PostScript, whatever the file is called."""
  plugin = pytest.importorskip("PIL.EpsImagePlugin")
  monkeypatch.setattr(plugin, "Ghostscript", lambda *args: pytest.fail("PostScript was run"))
  (tmp_path / "a.png").write_bytes(
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"
  )
  image.new("L", (8, 8)).save(tmp_path / "b.tif")
  (tmp_path / "b.tif").rename(tmp_path / "b.png")
  for name in ("a.png", "b.png"):
    with pytest.raises(data.DataError, match=name):
      pictures.read(tmp_path / name)


# Folders and names


def test_folders_with_loops_pipes_and_links(tmp_path):
  folder = tmp_path / "set"
  (folder / "a" / "deep").mkdir(parents=True)
  (tmp_path / "elsewhere").mkdir()
  for number, place in enumerate(["set/a/0.png", "set/a/deep/1.png", "elsewhere/2.png"]):
    image.new("L", (8, 8), number).save(tmp_path / place)
  (folder / "a" / "loop").symlink_to(folder)
  (folder / "a" / "deep" / "loop").symlink_to(folder / "a")
  (folder / "b").symlink_to(tmp_path / "elsewhere")  # kept outside, as large sets often are
  (folder / "b" / "loop").symlink_to(folder / "b")
  os.mkfifo(folder / "a" / "pipe.png")
  os.mkfifo(tmp_path / "pipe.npz")
  dataset = data.load(folder, resolution=8)
  assert dataset.images[:, 0, 0, 0].tolist() == [0, 1, 2]
  assert dataset.classes == ("a", "b")
  with pytest.raises(data.DataError, match=r"pipe\.npz' is neither"):
    data.load(tmp_path / "pipe.npz")
  (folder / "broken.png").symlink_to(tmp_path / "nowhere.png")
  with pytest.raises(data.DataError, match=r"broken\.png"):
    data.load(folder)


def test_odd_names(tmp_path):
  folder = os.fsencode(tmp_path / "set")
  for name in (b"new\nline", b"caf\xe9", "\N{PILE OF POO}".encode()):
    os.makedirs(os.path.join(folder, name))
    image.new("L", (8, 8)).save(os.path.join(os.fsdecode(folder), os.fsdecode(name), "a.png"))
  dataset = data.load(tmp_path / "set", resolution=8)
  assert (len(dataset), len(dataset.classes)) == (3, 3)


@pytest.mark.parametrize("name", ["", "a" * 5000, "a\0b", "~nobody-of-this-name/x"])
def test_names_of_nothing(name):
  with pytest.raises(data.DataError):
    data.load(name)


@pytest.mark.parametrize("dataset", ["digits", "."])
def test_sizes_beyond_memory(dataset):
  with pytest.raises(data.DataError, match="resolution=1000000 is too large"):
    data.load(dataset, resolution=10**6)


@pytest.mark.usefixtures("sparing")
def test_a_cache_that_lies_is_made_again(tmp_path):
  pixels = RNG.integers(0, 256, [2, 8, 8], np.uint8)
  np.savez(tmp_path / "a.npz", images=pixels, labels=[0, 1])
  folder = os.path.dirname(data.load(tmp_path / "a.npz", resolution=8).images.filename)
  for name in ("images", "labels"):
    with open(os.path.join(folder, f"{name}.npy"), "wb") as file:
      file.write(npy((2**20, 2**20), bytes(64), dtype="<i4"))
    again = data.load(tmp_path / "a.npz", resolution=8)
    np.testing.assert_array_equal(again.images[..., 0], pixels)
    assert again.labels.tolist() == [0, 1]
