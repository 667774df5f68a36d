"""Scores of runs: while they train, and afterwards by the command."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import dcgan, evaluate
from jaxgan import metrics, run, sampling, training
from jaxgan.metrics import features
from jaxgan.run import evaluation
from jaxgan.run.checkpoints import Checkpoints

FLAGS = [
  "--resolution=16",
  "--width=4",
  "--batch-size=8",
  "--limit=60",
  "--log-every=2",
  "--sample-every=4",
  "--checkpoint-every=4",
  "--eval-every=2",
  "--eval-samples=40",
  "--eval-metrics=fd,kid,pr,dc,is",
  "--no-compilation-cache",
]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
  """A classifier's file; its weights are as they fell."""
  names = tuple("0123456789")
  description = features.classifier.Description("digits", (16, 16, 1), names, 0.1, {"width": 4})
  network = description.module()
  params = network.init(jax.random.key(0), jnp.zeros([1, 16, 16, 1]))["params"]
  path = tmp_path_factory.mktemp("classifier") / "classifier.npz"
  features.classifier.save(path, description, params)
  return path


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, classifier):
  folder = tmp_path_factory.mktemp("run")
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    main(folder, classifier, "--steps=4")
  return folder


def main(folder, classifier, *argv):
  flags = [f"--workdir={folder}", *FLAGS, f"--eval-features={classifier}", *argv]
  with pytest.raises(SystemExit) as end:
    run.main(dcgan.build, dcgan.Config, dcgan.PRESETS, flags)
  assert end.value.code == 0


def options(workdir, classifier, **more):
  return evaluate.Options(str(workdir), features=str(classifier), num=40, **more)


def test_a_run_keeps_its_scores_with_their_protocol(workdir, classifier):
  rows = evaluation.read_scores(workdir)
  assert sorted({step for step, _ in rows}) == [2, 4]
  names = [score.name for step, score in rows if step == 4]
  assert names == [
    f"{name} (classifier(digits 16))"
    for name in ("FD", "KD", "precision", "recall", "density", "coverage", "classifier score")
  ]
  protocol = rows[0][1].protocol
  assert (protocol.real, protocol.fake, protocol.ema) == (40, 40, True)
  assert (protocol.dataset, protocol.resolution, protocol.dtype) == ("digits", 16, "float32")
  network = features.classifier.features_of(*features.classifier.load(classifier))
  assert protocol.weights_hash == network.weights_hash
  logged = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  values = {line["step"]: line[names[0]] for line in logged if names[0] in line}
  assert values == {step: score.value for step, score in rows if score.name == names[0]}


def test_the_best_checkpoint_is_the_best_by_the_first_metric(workdir):
  rows = evaluation.read_scores(workdir)
  best = min((s.value, step) for step, s in rows if s.name.startswith("FD"))[1]
  assert int(run.restore(str(workdir), "best").game.step) == best
  with Checkpoints(workdir, read_only=True) as saved:
    assert saved.latest == 4


def test_the_command_gives_the_score_of_training(workdir, classifier, capsys):
  scores = evaluate.main(options(workdir, classifier, metrics="fd"))
  trained = next(s for step, s in evaluation.read_scores(workdir) if step == 4)
  # The same protocol, so the comparison is allowed; the restored weights are the same.
  assert abs(scores[0].compare(trained).value) <= 1e-5 * trained.value
  assert "| FD (classifier(digits 16)) |" in capsys.readouterr().out
  content = json.loads((workdir / "evaluation_000004.json").read_text())
  assert metrics.Score.from_dict(content["scores"][0]) == scores[0]
  assert (workdir / "scores.png").stat().st_size > 1000


@pytest.mark.parametrize("statistics", ["averaged", "raw", "standing"])
def test_the_score_is_that_of_the_samples(workdir, classifier, statistics):
  """Against samples and features made here, without the evaluator."""
  restored = run.restore(str(workdir))
  variables = dict(restored.game.generator.evaluated())
  chosen_by = {"statistics": "averaged"}
  if statistics == "raw":
    chosen_by = {"statistics": "raw"}
    variables["batch_stats"] = restored.game.generator.collections["batch_stats"]
  if statistics == "standing":
    chosen_by = {"standing": 2}
    key = jax.random.fold_in(jax.random.key(3), 2**31 - 1)
    variables = sampling.standing_statistics(
      restored.game.generator.apply_fn,
      variables,
      lambda key: restored.system.latents(key, 256),
      key,
      batches=2,
      axis_name=training.AXIS,
    )
  dataset = run.load_data(restored.config)
  network = features.classifier.features_of(*features.classifier.load(classifier))
  z = restored.system.latents(jax.random.fold_in(jax.random.key(3), 0), 256)[:40]
  fake = restored.system.generate(variables, z)
  chosen = np.sort(np.random.default_rng(0).permutation(len(dataset))[:40])
  real = np.stack([dataset[int(i)]["image"] for i in chosen])
  quantised = np.asarray(features.preprocessing.to_uint8(fake))
  a, b = (np.asarray(network.apply(jnp.asarray(x)).features) for x in (real, quantised))
  score = evaluate.main(options(workdir, classifier, metrics="fd", seed=3, **chosen_by))[0]
  np.testing.assert_allclose(score.value, metrics.frechet_distance(a, b), rtol=1e-3)
  told = dict(score.protocol.settings).get("statistics", "averaged")
  assert told.startswith(statistics)


def test_features_of_real_pictures_are_kept(workdir, classifier, monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  calls = []
  extract = features.extract_all

  def counted(network, images, **more):
    calls.append(network)
    return extract(network, images, **more)

  monkeypatch.setattr(features, "extract_all", counted)
  first = evaluate.main(options(workdir, classifier, metrics="kid"))
  assert len(calls) == 2  # of real pictures and of samples
  second = evaluate.main(options(workdir, classifier, metrics="kid"))
  assert first == second
  assert len(calls) == 3
  (path,) = (tmp_path / "jaxgan" / "features").iterdir()
  path.write_bytes(b"damaged")
  assert evaluate.main(options(workdir, classifier, metrics="kid")) == first


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      dict(metrics="kid,fdd"),
      "--metrics=kid,fdd must be a list like kid,fd of kid, fd, fd_inf, pr",
    ),
    (dict(metrics=""), "--metrics= must be a list"),
    (dict(features="vgg"), "--features=vgg must be lite0, inception or a classifier"),
    (dict(features="nowhere.npz"), "--features=nowhere.npz: cannot read the classifier"),
    (dict(standing=-1), "--standing=-1 must be 0 or more"),
    (dict(num=0), "--num=0 must be positive"),
    (dict(num=3), "the metric 'kid' needs 4 pictures"),
  ],
)
def test_what_cannot_be_scored_is_refused(workdir, classifier, change, message):
  settings = dict(features=str(classifier), num=40) | change
  with pytest.raises(run.RunError, match=message):
    evaluate.main(evaluate.Options(str(workdir), **settings))


def test_scores_of_steps_that_are_played_again_are_replaced(tmp_path):
  protocol = metrics.Protocol(features="net", real=4, fake=4)
  for step in (2, 4, 6, 4):
    evaluation.append_scores(tmp_path, step, [metrics.Score("FD (net)", step, None, protocol)])
  assert [step for step, _ in evaluation.read_scores(tmp_path)] == [2, 4]
