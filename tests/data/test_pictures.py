import io

import numpy as np
import pytest

from jaxgan import data
from jaxgan.data import pictures

image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, [6, 6, 3], np.uint8)
GREY = COLOUR[..., 0]


@pytest.mark.parametrize(
  ("drawn", "suffix", "expected"),
  [
    (image.fromarray(COLOUR), "png", COLOUR),
    (image.fromarray(COLOUR), "bmp", COLOUR),
    (image.fromarray(GREY), "png", GREY[..., None]),
    (image.fromarray(GREY > 99), "png", (GREY > 99)[..., None] * 255),
    (image.fromarray(GREY.astype(np.uint16) * 257), "png", GREY[..., None]),
    (image.fromarray(np.dstack([COLOUR, 0 * GREY])), "png", np.full_like(COLOUR, 255)),
    (
      image.fromarray(np.dstack([COLOUR, GREY])),
      "webp",
      np.rint(255 + (COLOUR - 255.0) * (GREY[..., None] / 255)),
    ),
    (image.fromarray(np.dstack([GREY, 0 * GREY])), "png", np.full([6, 6, 1], 255)),
    (image.fromarray(COLOUR).quantize(200), "png", COLOUR),
    (image.fromarray(COLOUR).quantize(200), "gif", COLOUR),
  ],
  ids=["rgb", "bmp", "grey", "bits", "16-bit", "clear", "alpha", "grey clear", "palette", "gif"],
)
def test_files_become_grey_or_colour_on_white(tmp_path, drawn, suffix, expected):
  path = tmp_path / f"picture.{suffix}"
  drawn.save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
  got = pictures.read(path)
  assert got.dtype == np.uint8
  np.testing.assert_array_equal(got, expected)
  assert pictures.survey(path) == ((6, 6), expected.shape[-1])


def test_a_transparent_colour_of_a_palette_shows_white(tmp_path):
  drawn = image.new("P", (4, 4), 1)
  drawn.putpalette([0, 0, 0, 9, 99, 199])
  drawn.putpixel((0, 0), 0)
  drawn.save(tmp_path / "a.png", transparency=0)
  got = pictures.read(tmp_path / "a.png")
  assert got[0, 0].tolist() == [255, 255, 255]
  assert got[1, 1].tolist() == [9, 99, 199]


def test_a_photograph_is_turned_upright(tmp_path):
  exif = image.Exif()
  exif[0x0112] = 6  # the camera lay on its side
  drawn = image.fromarray(np.tile(np.array([0, 255], np.uint8), [16, 8]).reshape(16, 16))
  drawn.paste(0, (0, 0, 16, 8))
  drawn.paste(255, (0, 8, 16, 16))
  drawn.save(tmp_path / "a.jpg", exif=exif, quality=95)
  got = pictures.read(tmp_path / "a.jpg")[..., 0]
  assert got[:, :6].min() > 200
  assert got[:, 10:].max() < 50


@pytest.mark.parametrize("content", [b"no picture", b""], ids=["text", "empty"])
def test_a_damaged_file_is_named(tmp_path, content):
  path = tmp_path / "bad.png"
  path.write_bytes(content)
  for function in (pictures.read, pictures.survey):
    with pytest.raises(data.DataError, match=r"bad\.png.*Replace it"):
      function(path)


def test_a_file_cut_short_is_named(tmp_path):
  whole = io.BytesIO()
  image.fromarray(RNG.integers(0, 256, [64, 64, 3], np.uint8)).save(whole, "jpeg")
  path = tmp_path / "short.jpg"
  path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
  with pytest.raises(data.DataError, match=r"short\.jpg"):
    pictures.read(path)


@pytest.mark.parametrize(("height", "width"), [(6, 10), (10, 6), (7, 10)])
def test_the_centre_is_kept(height, width):
  picture = RNG.integers(0, 256, [height, width, 3], np.uint8)
  side = min(height, width)
  top, left = (height - side) // 2, (width - side) // 2
  expected = picture[top : top + side, left : left + side]
  np.testing.assert_array_equal(pictures.fit(picture), expected)
  np.testing.assert_array_equal(pictures.fit(picture, side), expected)


def test_shrinking_does_not_alias():
  stripes = np.tile(np.array([0, 255], np.uint8), [64, 32])[..., None]
  shrunk = pictures.fit(stripes, 16)
  assert shrunk.shape == (16, 16, 1)
  assert abs(shrunk.astype(int) - 127)[:, 2:-2].max() <= 1


def test_channels_are_converted():
  grey = pictures.fit(COLOUR, channels=1)
  np.testing.assert_allclose(grey[..., 0], COLOUR @ [0.299, 0.587, 0.114], atol=1)
  np.testing.assert_array_equal(
    pictures.fit(GREY[..., None], channels=3), np.dstack([GREY, GREY, GREY])
  )


def test_wider_types_are_scaled_and_floats_refused():
  wide = np.array([0, 128, 129, 65535], np.uint16).reshape(2, 2, 1)
  assert pictures.fit(wide).ravel().tolist() == [0, 0, 1, 255]
  with pytest.raises(data.DataError, match=r"got float32.*uint8"):
    pictures.fit(np.zeros([2, 2, 1], np.float32))
