"""What an exported generator takes, in words and as Python, for its card."""

import json
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments import gigagan
from jaxgan._files import replacing
from jaxgan.run.latent_laws import Latents, Law, latents_of
from jaxgan.run.state import Restored

__all__ = ["Given", "of_latents", "of_network", "of_program", "quoted"]


class Given(NamedTuple):
  """What a program or a network takes, and the Python of its card that makes some.

  Attributes:
    row: shape and dtype of one.
    words: what it is.
    making: Python that makes some.
    name: of the variable that holds them.
    imports: lines that import packages beside jax for it.
    standard: names of modules of Python for it.
  """

  row: jax.ShapeDtypeStruct
  words: str
  making: str
  name: str = "z"
  imports: str = ""
  standard: frozenset[str] = frozenset()

  def code(self, own: str, before: str, after: str, standard: Iterable[str] = ()) -> str:
    """All of the card's Python: imports, what is loaded, what it is given, and the call."""
    modules = sorted({*standard, *self.standard})
    return "\n".join(
      [
        *(f"import {module}" for module in modules),
        *([""] if modules else []),
        "import jax",
        *self.imports.splitlines(),
        own,
        "",
        before,
        *([""] if "\n\n" in self.making else []),
        self.making,
        after,
      ]
    )


def quoted(name: str) -> str:
  """A text as Python has it, in double quotes."""
  return json.dumps(name, ensure_ascii=False)


def of_latents(found: Latents, n: int) -> Given:
  """Latents, and code that draws n of them."""
  return Given(found.row, f"latents, {found.in_words()}", found.as_code(n))


def of_program(whole: Restored, out: pathlib.Path, batch: int | None) -> Given:
  """Latents, or pictures to translate; writes the words of texts beside the program."""
  if whole.system.inputs is not None:
    return _of_pictures(whole, batch or 1)
  n = batch or 16
  if not isinstance(whole.config, gigagan.Config):
    return of_latents(latents_of(whole.system.latents), n)
  texts = gigagan.Texts(whole.config, whole.record.spec)
  path = out.with_suffix(".words.json")
  with replacing(path) as temporary:
    content = {"length": texts.length, "words": texts.vocabulary.words}
    temporary.write_text(json.dumps(content, indent=0) + "\n")
  example = whole.record.spec.captions[0]
  law = Law(
    f"numbers of words, their places in {path.name}, with 2 at the end and 0 after it",
    f'jax.numpy.array({{n}} * [encode({quoted(example)})], "float32")',
  )
  found = latents_of(whole.system.latents, text=law)
  given = of_latents(found, n)
  encoding = _ENCODE.format(path=quoted(path.name))
  modules = frozenset({"json", "re"})
  return given._replace(making=f"{encoding}\n\n\n{given.making}", standard=modules)


# What `jaxgan.data.captions.Vocabulary.encode` does, without it.
_ENCODE = r"""known = json.loads(pathlib.Path({path}).read_text())
numbers = {{word: number for number, word in enumerate(known["words"])}}


def encode(text):
  words = re.findall(r"\w+(?:['\u2019-]\w+)*|[#*&+!?]", text.replace("_", " ").lower())
  row = [numbers.get(word, 1) for word in words][: known["length"] - 1] + [2]
  return row + (known["length"] - len(row)) * [0]"""


def of_network(whole: Restored) -> Given:
  """Latents, or pictures to translate, of a network that has been loaded as `model`."""
  if whole.system.inputs is not None:
    return _of_pictures(whole, 1)
  drawing = "z = model.system.latents(jax.random.key(0), 16)"
  if not isinstance(whole.config, gigagan.Config):
    return of_latents(latents_of(whole.system.latents), 16)._replace(making=drawing)
  given = of_latents(latents_of(whole.system.latents, text=Law("numbers of words", "")), 16)
  example = quoted(whole.record.spec.captions[0])
  making = (
    f"{drawing}\n"
    "texts = gigagan.Texts(model.config, model.record.spec)\n"
    f"tokens = texts.vocabulary.encode(16 * [{example}], texts.length)\n"
    "z = z.at[:, -texts.length :].set(tokens)"
  )
  return given._replace(making=making, imports="from experiments import gigagan")


def _of_pictures(whole: Restored, n: int) -> Given:
  """Pictures of the set that is translated; no data are read."""
  assert whole.record.spec.inputs is not None
  height, width, channels = shape = whole.record.spec.inputs
  mode = "L" if channels == 1 else "RGB"
  making = (
    f'names = {n} * ["picture.png"]\n'
    f'opened = [Image.open(name).convert("{mode}") for name in names]\n'
    f"fitted = [ImageOps.fit(each, ({width}, {height}), Image.Resampling.LANCZOS) for each in "
    "opened]\n"
    f'levels = np.stack([np.asarray(each, "float32") for each in fitted])\n'
    f"pictures = levels.reshape(-1, {height}, {width}, {channels}) / 127.5 - 1.0"
  )
  return Given(
    jax.ShapeDtypeStruct(shape, jnp.float32),
    f"pictures of A to translate, float32 [n, {height}, {width}, {channels}] in [-1, 1]",
    making,
    "pictures",
    "import numpy as np\nfrom PIL import Image, ImageOps",
  )
