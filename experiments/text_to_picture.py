"""Pictures of given texts, from a run of a text-conditioned GAN.

    python -m experiments.text_to_picture --workdir=/tmp/run --text="red heart" --text="cat face"
    python -m experiments.text_to_picture --workdir=/tmp/run --held-out=12 --out=unseen.png

Each text has a row of pictures with its words above; texts of the data begin with their real
picture, in a frame.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import tyro

from experiments import gigagan
from experiments.restored import Generator, Source, positive, write
from jaxgan import compilation, data, run, sampling
from jaxgan.run.state import Restored
from jaxgan.types import Array

_SIDE = 64  # pixels of a drawn picture, at least, so that words are legible
_WORDS = 16  # pixels of a line of words
_GAP = 4
_LISTED = 40  # words that a message names


@dataclasses.dataclass(frozen=True)
class Options(Source):
  """Draws pictures of texts."""

  out: str = "texts.png"
  """A .png for a grid with the words, an .npz for arrays `images` and `texts`, anything else is a
  folder."""
  text: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
  """A text; give it several times for several."""
  held_out: int = 0
  """So many texts of the data that were not trained on, though all their words were."""
  trained: int = 0
  """So many texts of the data that were trained on."""
  num: int = 8
  """Pictures of each text."""
  columns: int = 2
  """Texts beside each other."""
  data_dir: str | None = None
  """Where TFDS keeps its data sets, if not where the run found them."""


class Row(NamedTuple):
  """A text, and a real picture of it, `[H, W, C]` uint8, where the data have one."""

  text: str
  real: np.ndarray | None = None


class Painter:
  """A run's generator, from texts."""

  def __init__(self, drawn: Generator):
    config = drawn.restored.config
    if not isinstance(config, gigagan.Config):
      raise run.RunError(
        f"--workdir={drawn.options.workdir} holds a run of {drawn.restored.record.experiment}, "
        "which takes no texts: give one of experiments.gigagan"
      )
    self.drawn, self.config = drawn, config
    self.texts = gigagan.Texts(config, drawn.restored.record.spec)

  def encode(self, texts: Sequence[str]) -> np.ndarray:
    """Tokens of texts.

    Raises:
      RunError: a word is not known, or there are too many.
    """
    most = self.texts.length - 1
    for text in texts:
      unknown = self.texts.vocabulary.unknown(text)
      if unknown or not text.strip():
        near = "; ".join(
          f"{word!r} (known: {', '.join(found) or 'nothing like it'})"
          for word, found in unknown.items()
        )
        words = self.texts.vocabulary.known
        learned = f"{', '.join(words[:_LISTED])}{' ...' if words[_LISTED:] else ''}"
        raise run.RunError(
          f"--text={text!r} has words that the run has not learned: {near or 'it has none'}. It "
          f"knows {learned}"
        )
      if (count := len(data.captions.split_words(text))) > most:
        raise run.RunError(
          f"--text={text!r} has {count} words, and the run reads {most} at most: shorten it"
        )
    return self.texts.vocabulary.encode(texts, self.texts.length)

  def paint(self, texts: Sequence[str], num: int) -> np.ndarray:
    """Pictures `[texts, num, H, W, C]` in uint8; each column has the same noise.

    Raises:
      RunError: a word is not known.
    """
    tokens = jnp.asarray(self.encode(texts), jnp.float32)
    noise = self.drawn.latents(num)[:, : self.config.latent_dim]
    z = jnp.concatenate([jnp.tile(noise, (len(texts), 1)), jnp.repeat(tokens, num, 0)], 1)
    images = self.drawn.pictures(z)
    return images.reshape(len(texts), num, *images.shape[1:])

  def paint_each(self, texts: Sequence[str]) -> np.ndarray:
    """One picture `[texts, H, W, C]` in uint8 of each text, with noise of its own.

    Raises:
      RunError: a word is not known.
    """
    tokens = jnp.asarray(self.encode(texts), jnp.float32)
    noise = self.drawn.draw(len(texts))[:, : self.config.latent_dim]
    return self.drawn.pictures(jnp.concatenate([noise, tokens], 1))

  def matches(self, images: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """The discriminator's mean logit of pictures `[n, H, W, C]` with `[n, k]` texts each."""
    player = self.drawn.restored.game.discriminator
    group = self.config.group_size

    @compilation.jit
    def judge(variables: Any, x: Array, tokens: Array) -> Array:
      return player.apply_fn(variables, x, tokens, train=False).mean(1)

    # Whole groups of the standard deviation, the same ones for every text.
    n = len(images)
    size = -(-min(n, 128) // group) * group
    found = np.zeros(tokens.shape[:2], np.float32)
    for start in range(0, n, size):
      rows = np.arange(start, start + size) % n
      x = jnp.asarray(images[rows], jnp.float32) / 127.5 - 1.0
      for k in range(tokens.shape[1]):
        values = np.asarray(judge(player.variables, x, jnp.asarray(tokens[rows, k])))
        found[rows[: n - start], k] = values[: n - start]
    return found


def parts_of(
  restored: Restored, data_dir: str | None
) -> tuple[gigagan.Captioned, gigagan.Captioned | None]:
  """What a run was trained on, and what it held out."""
  config = restored.config
  assert isinstance(config, gigagan.Config)
  return dataclasses.replace(config, data_dir=data_dir or config.data_dir).load_parts()


def chosen(part: gigagan.Captioned | None, count: int, seed: int, flag: str) -> list[Row]:
  """So many different texts of a part of the data, with a picture each.

  Raises:
    RunError: there are not so many.
  """
  first = {} if part is None else first_of(part)
  have = len(first)
  if count > have:
    raise run.RunError(f"{flag}={count} must be at most {have}, the different texts that there are")
  if part is None:
    return []
  order = np.random.default_rng(seed).permutation(sorted(first))[:count]
  return [Row(text, part.dataset[first[text]]["image"]) for text in sorted(order.tolist())]


def first_of(part: gigagan.Captioned) -> dict[str, int]:
  """The first picture of each text."""
  return {text: index for index, text in reversed(list(enumerate(part.texts)))}


def draw(rows: Sequence[Row], images: np.ndarray, columns: int) -> np.ndarray:
  """A grid of texts with their pictures `[texts, num, H, W, C]`, the words above."""
  image = data.errors.require("PIL.Image", "drawing words")
  image_draw = data.errors.require("PIL.ImageDraw", "drawing words")
  font = data.errors.require("PIL.ImageFont", "drawing words").load_default(size=_WORDS - 4)
  scale = max(1, -(-_SIDE // images.shape[2]))
  side = images.shape[2] * scale
  framed = any(row.real is not None for row in rows)
  count = images.shape[1] + framed
  width, height = count * (side + _GAP) + 2 * _GAP, _WORDS + side + 2 * _GAP
  lines = -(-len(rows) // columns)
  canvas = image.new("RGB", (columns * width, lines * height + _GAP), "white")
  pen = image_draw.Draw(canvas)
  for place, (row, several) in enumerate(zip(rows, images, strict=True)):
    left, top = place % columns * width + _GAP, place // columns * height + _GAP
    pen.text((left, top), _fitted(row.text, font, width - 3 * _GAP), "black", font=font)
    top += _WORDS
    if row.real is not None:
      canvas.paste(_enlarged(image, row.real, scale), (left, top))
      pen.rectangle((left - 1, top - 1, left + side, top + side), outline="red")
    for i, picture in enumerate(several):
      canvas.paste(_enlarged(image, picture, scale), (left + (i + framed) * (side + _GAP), top))
  return np.asarray(canvas)


def _fitted(text: str, font: Any, width: int) -> str:
  if font.getlength(text) <= width:
    return text
  while text and font.getlength(f"{text}...") > width:
    text = text[:-1]
  return f"{text}..."


def _enlarged(image: Any, picture: np.ndarray, scale: int) -> Any:
  picture = np.repeat(picture, 3, -1) if picture.shape[-1] == 1 else picture
  return image.fromarray(picture.repeat(scale, 0).repeat(scale, 1))


def main(options: Options) -> None:
  """Restores the run, paints and writes."""
  positive(options, "num", "columns")
  drawn = Generator.restore(options)
  painter = Painter(drawn)
  rows = [Row(text) for text in options.text]
  if options.held_out or options.trained:
    trained, held_out = parts_of(drawn.restored, options.data_dir)
    rows += chosen(trained, options.trained, options.seed, "--trained")
    rows += chosen(held_out, options.held_out, options.seed, "--held-out")
  if not rows:
    raise run.RunError("nothing to paint: give --text, --held-out or --trained")
  images = painter.paint([row.text for row in rows], options.num)
  if pathlib.Path(options.out).suffix.lower() == ".png":
    sampling.save_png(options.out, draw(rows, images, min(options.columns, len(rows))))
  else:
    texts = np.repeat([row.text for row in rows], options.num)
    write(options.out, images.reshape(-1, *images.shape[2:]), options.num, texts=texts)
  drawn.say(f"{len(rows)} texts, {options.num} pictures each,")


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
