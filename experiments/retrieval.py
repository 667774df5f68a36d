"""Do pictures fit their texts? The right one's rank among 20, of a text-conditioned GAN.

    python -m experiments.retrieval --workdir=/tmp/run

Each picture is offered its own text and 19 others of the data. The critic is the run's
discriminator, by its mean logit with each text: what it says of real pictures that it has not seen
is how far it can be trusted. Features compare a sample with a real picture of each text, and count
it where the nearest is that of its own; copies of training pictures fit best, so that texts that
were not trained on are the test. Chance is 1 in 20.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tyro

from experiments import gigagan
from experiments.restored import Generator, Source, positive
from experiments.text_to_picture import Painter, first_of, parts_of
from jaxgan import run
from jaxgan._files import replacing
from jaxgan.metrics import features
from jaxgan.metrics.features import Features
from jaxgan.run.networks import features_named


@dataclasses.dataclass(frozen=True)
class Options(Source):
  """Ranks the texts of pictures, real and painted."""

  out: tyro.conf.Suppress[str] = "retrieval.npz"
  num: int = 400
  """Most pictures of each kind."""
  candidates: int = 20
  """Texts that each picture is offered; all, where there are fewer."""
  features: str = "lite0"
  """What compares samples with real pictures: lite0 (EfficientNet-Lite0), inception or a
  classifier's .npz file; none for the critic alone."""
  data_dir: str | None = None
  """Where TFDS keeps its data sets, if not where the run found them."""


class Asked(NamedTuple):
  """Pictures and the texts they are offered.

  Attributes:
    kind: what they are.
    texts: their own.
    images: uint8.
    offered: `[n, candidates]`, rows of the list of all texts; the first is the right one.
  """

  kind: str
  texts: Sequence[str]
  images: np.ndarray
  offered: np.ndarray


def right_first(scores: np.ndarray) -> tuple[float, float]:
  """Share of the rows whose first entry is the largest, ties shared, and its standard error.

  >>> right_first(np.array([[3.0, 1.0], [0.0, 2.0], [1.0, 1.0], [2.0, 0.0]]))
  (0.625, 0.2072)
  """
  ties = (scores == scores.max(1, keepdims=True)).sum(1)
  hits = (scores[:, 0] == scores.max(1)) / ties
  return float(hits.mean()), round(float(hits.std() / np.sqrt(len(hits))), 4)


def offers(own: np.ndarray, count: int, candidates: int, rng: Any) -> np.ndarray:
  """For each text, itself and so many others of `count`, without repetition.

  >>> rows = offers(np.array([2, 0]), 3, 3, np.random.default_rng(0))
  >>> rows[:, 0].tolist(), np.sort(rows, 1).tolist()
  ([2, 0], [[0, 1, 2], [0, 1, 2]])
  """
  rows = []
  for text in own:
    others = rng.choice(count - 1, candidates - 1, replace=False)
    rows.append(np.concatenate([[text], others + (others >= text)]))
  return np.array(rows)


def main(options: Options) -> dict[str, Any]:
  """Restores the run, asks, prints and writes."""
  positive(options, "num")
  if options.candidates < 2:
    raise run.RunError(f"--candidates={options.candidates} must be at least 2")
  network = None
  if options.features != "none":
    network = features_named(options.features, "--features")
  painter = Painter(Generator.restore(options))
  trained, held_out = parts_of(painter.drawn.restored, options.data_dir)
  parts = {"trained on": trained} | ({} if held_out is None else {"held out": held_out})
  real = {
    text: part.dataset[index]["image"]
    for part in parts.values()
    for text, index in first_of(part).items()
  }
  texts = sorted(real)
  candidates = min(options.candidates, len(texts))
  rows = []
  for place, (name, part) in enumerate(parts.items()):
    rng = np.random.default_rng([options.seed, place])
    for asked in _asked(painter, name, part, texts, (options.num, candidates), rng):
      tokens = painter.encode(texts)[asked.offered]
      found = {"critic": right_first(painter.matches(asked.images, tokens))}
      if network is not None and asked.kind.startswith("samples"):
        found["features"] = right_first(_nearness(network, asked, texts, real))
      rows.append({"pictures": asked.kind, "count": len(asked.images), **found})
  step = int(painter.drawn.restored.game.step)
  content = {
    "step": step,
    "candidates": candidates,
    "seed": options.seed,
    "features": None if network is None else f"{network.name}, weights {network.weights_hash}",
    "rows": rows,
  }
  print(table(content))
  path = pathlib.Path(options.workdir) / f"retrieval_{step:06d}.json"
  with replacing(path) as temporary:
    temporary.write_text(json.dumps(content, indent=2) + "\n")
  print(f"written: {path}", file=sys.stderr)
  return content


def _asked(
  painter: Painter,
  name: str,
  part: gigagan.Captioned,
  texts: Sequence[str],
  sizes: tuple[int, int],
  rng: Any,
) -> list[Asked]:
  """Real pictures of a part of the data, and samples of the same texts."""
  num, candidates = sizes
  chosen = rng.permutation(len(part.dataset))[:num]
  own = [part.texts[index] for index in chosen]
  places = {text: row for row, text in enumerate(texts)}
  offered = offers(np.array([places[text] for text in own]), len(texts), candidates, rng)
  images = np.stack([part.dataset[int(index)]["image"] for index in chosen])
  return [
    Asked(f"real, {name}", own, images, offered),
    Asked(f"samples, {name}", own, painter.paint_each(own), offered),
  ]


def _nearness(
  network: Features, asked: Asked, texts: Sequence[str], real: dict[str, np.ndarray]
) -> np.ndarray:
  """`[n, candidates]`, minus the squared distance to a real picture of each text."""
  used, places = np.unique(asked.offered, return_inverse=True)
  pictures = np.stack([real[texts[int(row)]] for row in used])
  known, made = (
    features.extract_all(network, images).features for images in (pictures, asked.images)
  )
  beside = known[places.reshape(asked.offered.shape)]
  return -np.square(beside - made[:, None]).sum(-1)


def table(content: dict[str, Any]) -> str:
  """The shares in Markdown."""
  k = content["candidates"]
  lines = [
    f"step {content['step']}, the right text first of {k} (chance {1 / k:.0%}); features: "
    f"{content['features']}",
    "",
    "| pictures | number | critic | features |",
    "|---|---|---|---|",
  ]
  for row in content["rows"]:
    cells = [f"{row[x][0]:.1%} ± {row[x][1]:.1%}" if x in row else "" for x in _BY]
    lines.append(f"| {row['pictures']} | {row['count']} | {' | '.join(cells)} |")
  return "\n".join(lines)


_BY = ("critic", "features")

if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options))
