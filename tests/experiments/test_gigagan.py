"""GigaGAN from its commands: a resume bit for bit, samples, pictures of texts and their ranks."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import gigagan, retrieval, sample, text_to_picture
from jaxgan import data, run
from jaxgan.models.gigagan import Judged
from jaxgan.run.networks import pixels
from jaxgan.training import objectives
from jaxgan.types import ImageSpec

FLAGS = [
  "--resolution=8",
  "--width=4",
  "--max-width=4",
  "--latent-dim=6",
  "--style-dim=4",
  "--depth=1",
  "--head-width=2",
  "--attention=0",  # of the layers' and the networks' tests
  "--attention-d=0",
  "--text-width=4",
  "--text-depth=1",
  "--text-heads=1",
  "--batch-size=16",
  "--group-size=2",
  "--r1-every=2",
  "--log-every=1",
  "--sample-every=20",
  "--checkpoint-every=10",
  "--no-compilation-cache",
]
NAMES = {
  "2764-fe0f": "red heart",
  "1f499": "blue heart",
  "1f534": "red circle",
  "1f535": "blue circle",
  "1f431": "cat face",
  "1f436": "dog face",
  "1f437": "pig face",
  "1f98a": "fox",
}

pytestmark = pytest.mark.usefixtures("compiled_once")


def main(workdir, *argv):
  with pytest.raises(SystemExit) as end:
    run.main(
      gigagan.build, gigagan.Config, gigagan.PRESETS, [f"--workdir={workdir}", *FLAGS, *argv]
    )
  return end.value.code


@pytest.fixture(scope="module")
def emoji(tmp_path_factory):
  """Eight of them, of which one is composed of the words of others and held out."""
  folder = tmp_path_factory.mktemp("emoji")
  rng = np.random.default_rng(0)
  for name in NAMES:
    Image.fromarray(rng.integers(0, 256, [8, 8, 3], np.uint8)).save(folder / f"{name}.png")
  return folder


@pytest.fixture(scope="module")
def flags(emoji, tmp_path_factory):
  return [f"--dataset={emoji}", "--hold-out=4", f"--cache-dir={tmp_path_factory.mktemp('cache')}"]


@pytest.fixture(scope="module")
def workdir(flags, tmp_path_factory):
  folder = tmp_path_factory.mktemp("run") / "parts"
  assert main(folder, "--steps=13", *flags) == 0
  assert main(folder, "--steps=20", *flags) == 0
  return folder


def test_a_resumed_run_is_the_uninterrupted_one(workdir, flags, tmp_path):
  assert main(tmp_path / "whole", "--steps=20", *flags) == 0
  games = [run.restore(str(folder)).game for folder in (workdir, tmp_path / "whole")]
  states = [
    jax.device_get((p.params, p.opt_state, p.average))
    for game in games
    for p in (game.generator, game.discriminator)
  ]
  jax.tree.map(np.testing.assert_array_equal, states[:2], states[2:])
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  logged = [line for line in lines if "loss_D" in line]
  assert len(logged) == 20
  assert all(np.isfinite(value) for line in lines for value in line.values())
  # Of the even steps, before which so many were played.
  assert [line["penalty"] > 0 for line in logged] == [True, False] * 10
  assert all(line["matching"] > 0 and 0 <= line["told_apart"] <= 1 for line in logged)


def test_samples_and_the_record_need_no_data(workdir, tmp_path):
  restored = run.restore(str(workdir))
  assert restored.record.spec.captions == tuple(sorted(set(NAMES.values()) - {"red heart"}))
  out = tmp_path / "samples.npz"
  sample.main(sample.Options(workdir=str(workdir), num=4, out=str(out)))
  with np.load(out) as file:
    assert file["images"].shape == (4, 8, 8, 3)
    tokens = file["latents"][:, 6:]
  vocabulary = data.captions.Vocabulary.of(restored.record.spec.captions)
  known = vocabulary.encode(restored.record.spec.captions, 3)
  assert {tuple(row) for row in tokens.tolist()} <= {tuple(row) for row in known.tolist()}


def test_pictures_of_texts(workdir, tmp_path):
  texts = ("red heart", "cat face")
  out = tmp_path / "texts.npz"
  text_to_picture.main(
    text_to_picture.Options(workdir=str(workdir), text=texts, num=3, out=str(out))
  )
  with np.load(out) as file:
    assert file["images"].shape == (6, 8, 8, 3)
    assert file["texts"].tolist() == ["red heart"] * 3 + ["cat face"] * 3
    assert (file["images"][:3] != file["images"][3:]).any()
  out = tmp_path / "texts.png"
  text_to_picture.main(
    text_to_picture.Options(
      workdir=str(workdir), text=texts, held_out=1, trained=2, num=3, out=str(out)
    )
  )
  # Two texts a line: a real picture and three samples of 64 pixels, with words and gaps.
  assert Image.open(out).size == (2 * (4 * 68 + 8), 3 * (16 + 64 + 8) + 4)


@pytest.mark.parametrize(
  ("options", "said"),
  [
    (dict(text=("reed heart",)), r"'reed' \(known: red\)"),
    (dict(text=("",)), "it has none"),
    (dict(text=("red heart fox",)), "has 3 words, and the run reads 2 at most: shorten it"),
    (dict(held_out=2), "--held-out=2 must be at most 1"),
    (dict(), "nothing to paint"),
    (dict(text=("fox",), num=0), "--num=0 must be positive"),
  ],
)
def test_texts_that_cannot_be_painted(options, said, workdir):
  with pytest.raises(run.RunError, match=said):
    text_to_picture.main(text_to_picture.Options(workdir=str(workdir), **options))


def test_ranks_of_the_right_texts(workdir, emoji, capsys, monkeypatch):
  """Of samples that are the real pictures, compared by their pixels."""
  files = {text: f"{name}.png" for name, text in NAMES.items()}

  def copied(self, texts):
    return np.stack([np.asarray(Image.open(emoji / files[text])) for text in texts])

  monkeypatch.setattr(text_to_picture.Painter, "paint_each", copied)
  monkeypatch.setattr(retrieval, "features_named", lambda *_: pixels((8, 8, 3)))
  content = retrieval.main(retrieval.Options(workdir=str(workdir), candidates=5, num=6))
  kinds = [(row["pictures"], row["count"]) for row in content["rows"]]
  assert kinds == [
    *(("real, trained on", 6), ("samples, trained on", 6)),
    *(("real, held out", 1), ("samples, held out", 1)),
  ]
  by_features = [row.get("features") for row in content["rows"]]
  assert by_features == [None, (1.0, 0.0), None, (1.0, 0.0)]
  printed = capsys.readouterr().out
  assert "right text first of 5 (chance 20%)" in printed
  assert printed.count("| 100.0% ± 0.0% |") == 2
  assert json.loads((workdir / "retrieval_000020.json").read_text())["rows"] is not None


def test_nearness_is_that_of_the_real_picture_of_each_text():
  rng = np.random.default_rng(0)
  texts = sorted(NAMES.values())
  real = {text: rng.integers(0, 256, [8, 8, 3], np.uint8) for text in reversed(texts)}
  own = np.array([5, 0, 7, 5])
  offered = retrieval.offers(own, len(texts), 4, rng)

  def shares(shown):
    """Where samples are the real pictures of the texts that are offered at these places."""
    images = np.stack([real[texts[row[place]]] for row, place in zip(offered, shown, strict=True)])
    asked = retrieval.Asked("samples", [texts[i] for i in own], images, offered)
    found = retrieval._nearness(pixels((8, 8, 3)), asked, texts, real)
    beside = np.stack([[real[texts[i]] for i in row] for row in offered]).astype(float)
    wanted = -np.square(beside - images[:, None]).sum((2, 3, 4))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)  # of sums in float32
    return retrieval.right_first(found)[0]

  assert shares([0, 0, 0, 0]) == 1.0
  assert shares([1, 2, 3, 1]) == 0.0
  assert shares([0, 2, 0, 1]) == 0.5


def test_a_picture_fits_its_text_whatever_is_asked_beside(workdir):
  """Groups of the standard deviation are the same for all texts."""
  painter = text_to_picture.Painter(
    text_to_picture.Generator.restore(text_to_picture.Options(workdir=str(workdir)))
  )
  images = np.random.default_rng(0).integers(0, 256, [5, 8, 8, 3], np.uint8)
  tokens = np.stack([painter.encode(["red heart", "fox", "red heart"])] * 5)
  found = painter.matches(images, tokens)
  np.testing.assert_array_equal(found[:, 0], found[:, 2])
  assert (found[:, 0] != found[:, 1]).all()


SPEC = ImageSpec((16, 16, 3), captions=("blue cat", "red dog", "sun"))


@pytest.fixture
def handed_over(monkeypatch):
  """What `build` gives to the objectives, by name."""
  found = {}
  adversarial = objectives.adversarial

  def caught(loss, latents, **options):
    found.update(options, loss=loss, latents=latents)
    return adversarial(loss, latents, **options)

  monkeypatch.setattr(objectives, "adversarial", caught)
  config = gigagan.Config(workdir="", width=4, max_width=4, latent_dim=5, matching_weight=0.5)
  gigagan.build(config, SPEC)
  return found


def test_texts_of_other_pictures_count_as_fake(handed_over):
  mismatched = np.array([[0.5, -1.0], [2.0, 3.0]], np.float32)
  counts = np.array([True, False])
  real, fake = (Judged(-x, x, counts) for x in (mismatched, 2.0 * mismatched))
  batch = {"real_output": real, "fake_output": fake}
  expected = sum(np.log1p(np.exp(x[0])).mean() for x in (mismatched, 2.0 * mismatched))
  term = handed_over["d_terms"]["matching"](batch, None)
  np.testing.assert_allclose(term, [0.5 * expected, 0.0], rtol=1e-6)
  np.testing.assert_array_equal(handed_over["logits"](real), -mismatched)
  told = handed_over["measures"]["told_apart"](batch, None)
  assert told.tolist() == [True, False]


def test_r1_is_of_the_mean_logit(handed_over):
  def critic(images):
    total = images.sum((1, 2, 3))
    return jnp.stack([3.0 * total, 1.0 * total], 1)

  (penalty,) = handed_over["penalties"]
  values = penalty(critic, {"image": jnp.ones([2, 4, 4, 3])}, None, None)
  np.testing.assert_allclose(values, 0.1 * 2.0**2 * 48, rtol=1e-6)
  assert handed_over["penalties_every"] == 16


def test_fakes_are_painted_to_the_texts_beside_them(handed_over):
  z = handed_over["latents"](jax.random.key(0), 2)
  assert z.shape == (2, 5 + 3)
  text = jnp.array([[4, 5, 2], [7, 2, 0]])
  matched = handed_over["match"](z, {"text": text})
  np.testing.assert_array_equal(matched[:, :5], z[:, :5])
  np.testing.assert_array_equal(handed_over["conditions"].fake(matched), text)
  np.testing.assert_array_equal(handed_over["conditions"].real({"text": text}), text)


@pytest.mark.parametrize(
  ("argv", "said"),
  [
    (["--dataset=plain"], "has no texts"),
    (["--text-heads=3"], "--text-heads=3"),
    (["--captions=/nowhere.csv"], "cannot read texts from '/nowhere.csv'"),
    (["--hold-out=-1"], "--hold-out=-1 must be 0 or more"),
  ],
)
def test_flags_that_no_run_can_have_are_refused(argv, said, emoji, tmp_path, capsys):
  if argv == ["--dataset=plain"]:
    np.savez(tmp_path / "plain.npz", images=np.zeros([9, 8, 8, 3], np.uint8))
    argv = [f"--dataset={tmp_path / 'plain.npz'}"]
  else:
    argv = [f"--dataset={emoji}", *argv]
  assert main(tmp_path / "run", "--steps=1", f"--cache-dir={tmp_path}", *argv) == 2
  assert said in capsys.readouterr().err
  assert not (tmp_path / "run" / "config.json").exists()
