"""Each measure by name, on generators of which the value is known."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import data, latents, metrics, run
from jaxgan.metrics import features
from jaxgan.run import evidence as evidences
from jaxgan.run import measures, networks
from jaxgan.run.evaluation import Evaluator
from jaxgan.run.evidence import Reference
from jaxgan.training import Style, System

CLASSES = ("ant", "bee", "cat", "dog")
SHAPE = (8, 8, 1)
GAME = types.SimpleNamespace(
  generator=types.SimpleNamespace(evaluated=lambda average=True: None, average=None)
)
LABELLED = latents.mixed(noise=latents.uniform(3), label=latents.categorical(4))


def by_brightness(images):
  """Four numbers, and a classifier of four brightnesses; of JAX operations."""
  x = images.astype(jnp.float32).mean((1, 2, 3))
  apart = jnp.abs(x[:, None] - 85.0 * jnp.arange(4)[None])
  quarters = images.astype(jnp.float32).reshape(len(images), 4, -1).mean(-1)
  return features.Outputs(quarters, jax.nn.one_hot(apart.argmin(1), 4))


NETWORK = features.of_function("brightness", by_brightness, dimension=4, classes=4)


def dataset_of(seed, n=64):
  """Pictures whose brightness is that of their class, with noise."""
  rng = np.random.default_rng(seed)
  labels = (np.arange(n) % 4).astype(np.int32)
  images = labels[:, None, None, None] * 85 + rng.integers(-20, 21, [n, *SHAPE])
  return data.Dataset("animals", images.clip(0, 255).astype(np.uint8), labels, CLASSES)


TRAINED, HELD_OUT = dataset_of(0), dataset_of(1)


def shows(*brightness):
  """A generator that shows a brightness for each label, with a little of its noise."""

  def generate(variables, z):
    parts = LABELLED.split(z)
    level = parts["label"] @ jnp.asarray(brightness) / 127.5 - 1.0
    tilt = jnp.linspace(-0.1, 0.1, 64)[None] * parts["noise"][:, :1]
    return (level[:, None] + tilt).reshape(-1, *SHAPE)

  return generate


def copies(dataset, brighter=0.0):
  """A generator of a set's pictures, by chance."""

  def generate(variables, z):
    index = (jnp.abs(z[:, 0]) * 1e4).astype(int) % len(dataset)
    return jnp.asarray(dataset.images)[index] / 127.5 - 1.0 + brighter

  return generate


OBEYS = shows(0.0, 85.0, 170.0, 255.0)


def reference(num=64, network=NETWORK, **more):
  more = {"classes": CLASSES, "held_out": HELD_OUT, "held_out_split": "test", **more}
  dataset = more.pop("dataset", TRAINED)
  config = run.Config(workdir="", dataset="animals", **more.pop("config", {}))
  return Reference(config, dataset, network, num, **more)


def evaluator(names, generate=OBEYS, sampler=LABELLED, seed=0, **more):
  system = System(None, None, sampler, generate, 1)
  chosen = measures.measures_named(names, "--metrics")
  return Evaluator(system, reference(**more), chosen, seed=seed)


def scored(names, generate=OBEYS, **more):
  return {score.name: score for score in evaluator(names, generate, **more)(GAME)}


def value(name, generate=OBEYS, **more):
  return next(iter(scored(name, generate, **more).values())).value


def samples(generate, num=64, sampler=LABELLED):
  """The samples of seed 0, uint8, without the evaluator."""
  z = sampler(jax.random.fold_in(jax.random.key(0), 0), 256)[:num]
  return np.asarray(features.preprocessing.to_uint8(generate(None, z)))


def test_labels_are_read_off_the_samples():
  score = scored("labels")["label accuracy (brightness)"]
  assert (score.value, score.standard_error) == (1.0, 0.0)
  mixed = scored("labels", shows(0.0, 85.0, 170.0, 85.0), num=400)["label accuracy (brightness)"]
  shown = LABELLED(jax.random.fold_in(jax.random.key(0), 0), 256)[:, 3:].argmax(1)
  assert abs(mixed.value - float((shown < 3).mean())) < 0.05
  assert mixed.standard_error == pytest.approx(np.sqrt(mixed.value * (1 - mixed.value) / 400))


def test_samples_teach_a_classifier():
  assert value("cas") == 1.0
  # the brightnesses of two classes are swapped, so that half of the real pictures is named wrongly
  assert value("cas", shows(0.0, 255.0, 170.0, 85.0)) == 0.5


def test_copies_are_told_from_new_pictures():
  options = dict(network=networks.pixels(SHAPE), num=40)
  (share, z) = scored("memorisation", copies(TRAINED), **options).values()
  assert (share.name, z.name) == ("memorisation (pixels)", "memorisation z (pixels)")
  assert share.value > 0.99
  assert z.value < -5
  assert dict(share.protocol.settings) == {
    "held_out": "test",
    "held_out_pictures": 40,
    "training_pictures": 64,
  }
  new = value("memorisation", copies(dataset_of(2)), **options)
  assert 0.3 < new < 0.7
  # the pictures that are compared may be others than those that are learned from
  assert value("memorisation", copies(TRAINED), dataset=dataset_of(3), **options) < 0.7
  other = dict(dataset=dataset_of(3), trained_on=TRAINED, **options)
  assert value("memorisation", copies(TRAINED), **other) > 0.99


def test_parzen_chooses_on_one_half_and_tests_on_the_other():
  found = scored("parzen", copies(TRAINED))
  estimate = found["Parzen log-likelihood (pixels)"]
  order = np.random.default_rng(1).permutation(64)
  held_out = HELD_OUT.images.reshape(64, -1)[order] / 255
  centres = samples(copies(TRAINED)).reshape(64, -1) / 255
  sigma = metrics.parzen_bandwidth(centres, held_out[:32]).sigma
  wanted = metrics.parzen_log_likelihood(centres, held_out[32:], sigma)
  assert estimate.value == pytest.approx(wanted.mean, rel=1e-4)
  assert estimate.standard_error == pytest.approx(wanted.standard_error, rel=1e-3)
  assert found["Parzen bandwidth (pixels)"].value == sigma
  assert estimate.protocol.features == "pixels"
  assert value("parzen", copies(TRAINED, 0.5)) < estimate.value - 10


def test_distances_of_pixels():
  made = samples(copies(TRAINED, 0.2)) / 127.5 - 1
  wanted = metrics.sliced_wasserstein(
    jnp.asarray(TRAINED.images / 127.5 - 1, jnp.float32),
    jnp.asarray(made, jnp.float32),
    jax.random.fold_in(jax.random.key(0), 2**31 + 2),
  )
  assert value("swd", copies(TRAINED, 0.2)) == pytest.approx(float(wanted), rel=1e-5)
  assert value("swd", copies(TRAINED, 0.5)) > value("swd", copies(TRAINED, 0.2))


def test_one_picture_again_and_again_is_like_itself():
  same, real = scored("ms_ssim", lambda variables, z: jnp.zeros([len(z), *SHAPE])).values()
  assert (same.name, real.name) == ("MS-SSIM (pixels)", "MS-SSIM of real pictures (pixels)")
  assert same.value == pytest.approx(1.0, abs=1e-6)
  assert real.value < 0.5
  varied = value("ms_ssim", copies(TRAINED), num=200)
  assert abs(varied - real.value) < 5 * real.standard_error


def test_the_bias_of_few_samples_is_taken_off():
  found = scored("fd,fd_inf", copies(dataset_of(2)), num=40)
  wanted = metrics.frechet_distance_infinity(
    np.asarray(NETWORK.apply(TRAINED.images[_chosen(40)]).features),
    np.asarray(NETWORK.apply(samples(copies(dataset_of(2)), 40)).features),
    key=jax.random.fold_in(jax.random.key(0), 2**31),
  )
  assert found["FD-infinity (brightness)"].value == pytest.approx(wanted.value, rel=1e-4)
  assert found["FD (brightness)"].value == pytest.approx(wanted.distances[-1], rel=1e-4)


def _chosen(n):
  return np.sort(np.random.default_rng(0).permutation(64)[:n])


def test_paths_are_as_long_as_they_are_and_keep_their_label():
  """A linear generator: along a straight line the length is the squared distance of the ends."""

  def generate(variables, z):
    parts = LABELLED.split(z)
    level = 0.2 * parts["noise"].sum(1) + parts["label"] @ jnp.arange(4.0)
    return jnp.broadcast_to(level[:, None, None, None], (len(z), *SHAPE))

  z = np.asarray(LABELLED(jax.random.fold_in(jax.random.key(0), 0), 256)[:200, :3])
  apart = 4 * (0.2 * 127.5 * (z[100:] - z[:100]).sum(1)) ** 2  # in four features, of 0 to 255
  low, high = np.percentile(apart, 1, method="lower"), np.percentile(apart, 99, method="higher")
  kept = apart[(low <= apart) & (apart <= high)]
  score = scored("ppl", generate, num=200)["path length (brightness)"]
  assert score.value == pytest.approx(kept.mean(), rel=0.02)  # float32 at a step of 1e-4
  assert dict(score.protocol.settings)["paths"] == 100


def test_paths_of_styles_are_straight_in_w():
  """Latents of ever the same direction, which a mapping stretches: their ends tell the length."""

  def mapping(variables, z):
    return 2.0 * z[:, :3]  # and no label

  def paint(variables, styles):
    level = 0.2 * styles.mean(1).sum(1)
    return jnp.broadcast_to(level[:, None, None, None], (len(styles), *SHAPE))

  style = Style(mapping, paint, None, 5)
  system = System(None, None, LABELLED, OBEYS, 1, style=style)
  chosen = measures.measures_named("ppl_w", "--metrics")
  (score,) = Evaluator(system, reference(200), chosen)(GAME)
  z = np.asarray(LABELLED(jax.random.fold_in(jax.random.key(0), 0), 256)[:200, :3])
  apart = 4 * (2 * 0.2 * 127.5 * (z[100:] - z[:100]).sum(1)) ** 2
  low, high = np.percentile(apart, 1, method="lower"), np.percentile(apart, 99, method="higher")
  kept = apart[(low <= apart) & (apart <= high)]
  assert score.name == "path length in W (brightness)"
  assert score.value == pytest.approx(kept.mean(), rel=0.02)
  with pytest.raises(run.RunError, match="'ppl_w' needs a generator of styles"):
    evaluator("ppl_w")


def test_paths_of_normal_latents_are_round():
  paths = measures._paths(
    evidences.Evidence(reference(), OBEYS, latents.mixed(noise=latents.normal(4)), 0)
  )
  ends = jax.random.normal(jax.random.key(1), [2, 5, 4])
  t = jnp.full([5], 0.3)
  np.testing.assert_allclose(paths(*ends, t), metrics.slerp(*ends, t), atol=1e-6)


def test_nothing_is_made_that_no_measure_asks_for(monkeypatch):
  def never(images):
    raise AssertionError("the network was asked")

  silent = features.of_function("silent", never, dimension=4, compiled=False)
  assert scored("swd,ms_ssim", copies(TRAINED), network=silent)
  drawn = []

  def generate(variables, z):
    drawn.append(len(z))  # while it is traced
    jax.debug.callback(lambda: drawn.append("ran"))
    return OBEYS(variables, z)

  scored("kid,swd,labels,cas", generate, num=300)
  jax.effects_barrier()
  assert drawn == [256, "ran", "ran"]  # 300 samples in two batches, once
  # a set in which only pixels are kept gives the same features as one in which they pass by
  np.testing.assert_allclose(
    value("kid", num=300), list(scored("swd,kid", num=300).values())[1].value
  )


def test_samples_beyond_those_kept_as_pictures_are_scored(monkeypatch):
  monkeypatch.setattr(evidences, "PICTURES", 256)
  found = scored("swd,labels", shows(0.0, 85.0, 170.0, 85.0), num=600)
  alone = value("labels", shows(0.0, 85.0, 170.0, 85.0), num=600)
  assert found["label accuracy (brightness)"].value == alone


def test_health_reads_the_scores_by_its_own_names():
  scores = evaluator("labels,memorisation,kid")(GAME)
  values = {score.name: score.value for score in scores}
  assert measures.curves(scores) == {
    "label_accuracy": values["label accuracy (brightness)"],
    "memorisation": values["memorisation (brightness)"],
  }


PLAIN = latents.normal(3)
NUMPY = features.of_function("numpy", lambda x: x, dimension=4, compiled=False)


@pytest.mark.parametrize(
  ("name", "change", "message"),
  [
    ("is", dict(network=NUMPY), "'is' needs a classifier; numpy has no classes"),
    ("labels", dict(sampler=PLAIN), "'labels' needs a generator that is told a label"),
    ("labels", dict(sampler=latents.mixed(category=latents.categorical(4))), "told a label"),
    ("labels", dict(network=NUMPY), "'labels' needs a classifier; numpy has no classes"),
    (
      "labels",
      dict(classes=()),
      r"classes \(ant, bee, cat, dog\).*brightness are others: give --f",
    ),
    ("labels", dict(classes=tuple("wxyz")), "are w, x, y, z: give --features an .npz"),
    ("cas", dict(sampler=PLAIN), "'cas' needs a generator that is told a label"),
    (
      "cas",
      dict(sampler=latents.mixed(label=latents.categorical(3))),
      "knows 3 labels, and animals has 4 classes",
    ),
    ("memorisation", dict(held_out=None), "'memorisation' needs pictures.*by --held-out=test"),
    ("parzen", dict(held_out=None, prefix="--eval-"), "by --eval-held-out=test"),
    ("memorisation", dict(held_out=dataset_of(1, 5)), "needs 8 held-out.*--held-out=test has 5"),
    ("memorisation", dict(held_out=TRAINED), "test is not held out: the run learns from 100%"),
    (
      "fd_inf",
      dict(num=22),
      "'fd_inf' needs 23 samples or more for the 4 dimensions of brightness",
    ),
    ("ppl", dict(network=NUMPY), "'ppl': the features of numpy are no JAX function"),
    ("ppl", dict(config=dict(dtype="bfloat16")), "a generator in --dtype=bfloat16 does not see"),
    ("ppl", dict(sampler=lambda key, n: jnp.zeros([n, 2, 3])), "one row each"),
    ("memorisation", dict(num=7), "needs 8 pictures or more, and there are 7"),
  ],
)
def test_what_is_missing_is_said_before_anything_is_made(name, change, message):
  def generate(variables, z):
    raise AssertionError("a sample was drawn")

  with pytest.raises(run.RunError, match=message) as error:
    evaluator(name, generate, **change)
  assert "\n" not in str(error.value)


def test_pictures_that_are_held_out():
  config = run.Config(workdir="", split="train[:100]", limit=50, resolution=8)
  part = evidences.held_out_data(config, "train[100:130]", SHAPE, "--held-out")
  assert len(part) == 30
  with pytest.raises(run.RunError, match=r"--held-out=train\[:100\] is what the run learns from"):
    evidences.held_out_data(config, "train[:100]", SHAPE, "--held-out")
  with pytest.raises(
    run.RunError, match=r"'digits' has no split 'test', only: train.*without a se"
  ):
    evidences.held_out_data(config, "test", SHAPE, "--held-out")


def test_samples_that_are_no_numbers_are_refused():
  with pytest.raises(run.RunError, match="the samples are not finite"):
    scored("swd", lambda variables, z: jnp.full([len(z), *SHAPE], jnp.nan))
