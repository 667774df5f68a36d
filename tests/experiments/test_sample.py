"""The commands of `experiments.sample`, on a tiny run; plain samples are tested with the DCGAN."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import dcgan, sample
from experiments.restored import Source
from jaxgan import data, latents, run, sampling
from jaxgan.metrics import features
from jaxgan.run.checkpoints import Checkpoints
from jaxgan.run.networks import smooth
from jaxgan.types import ImageSpec

SIDE = 8 + 2  # of a picture in a grid, with its gap


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A run of untrained networks, with kernels large enough for pictures of full contrast."""
  folder = tmp_path_factory.mktemp("run")
  config = dcgan.Config(workdir=str(folder), resolution=8, width=2, latent_dim=8, limit=40)
  spec = ImageSpec((8, 8, 1), tuple("0123456789"))
  system = dcgan.build(config, spec)
  with Checkpoints(folder) as checkpoints:
    game = jax.jit(system.init)(jax.random.key(0))
    params = jax.tree.map(lambda x: x * 20.0 if x.ndim > 1 else x, game.generator.params)
    average = {**game.generator.average, "params": params}
    player = game.generator.replace(params=params, average=average)
    checkpoints.save(game.replace(generator=player), None)
  run.Record("experiments.dcgan", dataclasses.asdict(config), spec, 40).save(folder)
  return folder


@pytest.fixture(scope="module")
def restored(workdir):
  """The run, read once, so that programs that several tests run are compiled once."""
  restored = run.restore(str(workdir))
  real = run.restore
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(run, "restore", lambda w, *_: restored if w == str(workdir) else real(w, *_))
    yield restored


@pytest.fixture
def command(workdir, restored, tmp_path, capsys):
  """Runs a command line; gives what was written to a .png or .npz, and what was printed."""

  def call(*argv, out="a.npz"):
    sample.command([*argv, f"--workdir={workdir}", f"--out={tmp_path / out}"])
    printed = capsys.readouterr().out
    if out.endswith(".npz"):
      return dict(np.load(tmp_path / out)), printed
    with Image.open(tmp_path / out) as file:
      return np.asarray(file), printed

  return call


def pictures(restored, z):
  """What the run's generator makes of latents."""
  generate = jax.jit(restored.system.generate)
  return sampling.to_uint8(generate(restored.game.generator.evaluated(), jnp.asarray(z)))


def assert_shown(restored, made):
  """The pictures are those of the latents beside them, up to rounding in another order."""
  difference = made["images"].astype(int) - pictures(restored, made["latents"])
  assert np.abs(difference).max() <= 1


def refused(call, *argv):
  with pytest.raises(run.RunError) as error:
    call(*argv)
  return str(error.value)


def test_without_a_command_samples_are_drawn_as_before(command, restored):
  made, _ = command("--num=5", "--seed=3")
  np.testing.assert_array_equal(made["latents"], restored.system.latents(jax.random.key(3), 5))
  assert_shown(restored, made)
  grid, _ = command("--num=6", "--interpolate=3", out="a.png")
  assert grid.shape == (2 * SIDE + 2, 3 * SIDE + 2)


def test_walks_lead_from_latent_to_latent(command, restored):
  made, _ = command("walk", "--paths=2", "--steps=5")
  z = made["latents"].reshape(2, 5, 8)
  ends = restored.system.latents(jax.random.key(0), 4)
  np.testing.assert_allclose(z[:, [0, -1]].transpose(1, 0, 2).reshape(4, 8), ends, atol=1e-5)
  assert_shown(restored, made)
  straight, _ = command("walk", "--paths=2", "--steps=5", "--linear")
  middle = straight["latents"].reshape(2, 5, 8)[:, 2]
  np.testing.assert_allclose(middle, (ends[:2] + ends[2:]) / 2, atol=1e-6)


def test_truncated_latents_keep_their_seed_and_their_codes(command, restored, monkeypatch):
  made, _ = command("--num=5", "--truncation=0.5")
  assert np.abs(made["latents"]).max() <= 0.5
  whole = restored.system.latents(jax.random.key(0), 5)
  np.testing.assert_array_equal(np.sign(made["latents"]), np.sign(whole))
  swap_latents(monkeypatch, restored, noise=normal(5), label=classes(3))
  made, _ = command("--num=50", "--truncation=0.5")
  assert np.abs(made["latents"][:, :5]).max() <= 0.5
  np.testing.assert_array_equal(made["latents"][:, 5:].sum(1), 1.0)


def normal(dimension):
  return lambda key, n, **_: jax.random.normal(key, [n, dimension])


def uniform(dimension):
  return lambda key, n, **_: jax.random.uniform(key, [n, dimension])


def classes(number):
  return lambda key, n, **_: jax.nn.one_hot(jnp.arange(n) % number, number)


def swap_latents(monkeypatch, restored, **parts):
  """The same networks with latents of another kind, as an InfoGAN would have."""
  system = restored.system._replace(latents=latents.mixed(**parts))
  monkeypatch.setattr(run, "restore", lambda *_: restored._replace(system=system))


def test_arithmetic_shows_exemplars_their_means_and_the_result(command, restored):
  flags = ["--plus=0,5", "--minus=3,4", "--plus2=7,9", "--num=10"]
  made, _ = command("arithmetic", *flags)
  z = np.asarray(restored.system.latents(jax.random.key(0), 10))
  rows = made["latents"].reshape(4, 3, 8)
  for row, (a, b) in zip(rows[:3], ((0, 5), (3, 4), (7, 9)), strict=True):
    np.testing.assert_allclose(row, [z[a], z[b], (z[a] + z[b]) / 2], atol=1e-6)
  result = rows[0, 2] - rows[1, 2] + rows[2, 2]
  np.testing.assert_allclose(rows[3, 2], result, atol=1e-6)
  noise = rows[3, :2] - result
  assert np.abs(noise).max() <= 0.25
  assert np.abs(noise).min() > 0.0
  assert_shown(restored, made)
  grid, _ = command("arithmetic", *flags, out="a.png")
  assert grid.shape == (4 * SIDE + 2, 3 * SIDE + 2)


def test_coordinates_are_swept_one_a_row(command, restored):
  made, _ = command("sweep", "--coordinates=1,6:8", "--steps=3", "--low=-1", "--first=2")
  z = np.asarray(restored.system.latents(jax.random.key(0), 3))[2]
  rows = made["latents"].reshape(3, 3, 8)
  for row, index in zip(rows, (1, 6, 7), strict=True):
    np.testing.assert_allclose(row[:, index], [-1.0, 0.5, 2.0])
    np.testing.assert_array_equal(np.delete(row, index, 1), np.delete(z, index)[None].repeat(3, 0))
  assert_shown(restored, made)
  one, _ = command("sweep", "--coordinates=4", "--rows=5", "--steps=2", out="a.png")
  assert one.shape == (5 * SIDE + 2, 2 * SIDE + 2)


def test_codes_are_swept_by_name(command, restored, monkeypatch):
  swap_latents(monkeypatch, restored, noise=uniform(3), digit=classes(3), tilt=uniform(2))
  made, _ = command("sweep", "--code=digit", "--rows=2")
  codes = made["latents"].reshape(2, 3, 8)[:, :, 3:6]
  np.testing.assert_array_equal(codes, np.eye(3)[None].repeat(2, 0))
  same, _ = command("sweep", "--classes=3:6", "--rows=2")
  np.testing.assert_array_equal(same["latents"], made["latents"])
  assert "are no classes of a one-hot code: give --code=digit" in refused(
    command, "sweep", "--classes=0:2"
  )
  made, _ = command("sweep", "--code=tilt", "--steps=2")
  np.testing.assert_array_equal(made["latents"].reshape(2, 2, 8)[1, :, 7], [-2.0, 2.0])
  assert "noise, digit, tilt" in refused(command, "sweep", "--code=size")
  assert "not normal" in refused(command, "--truncation=0.5")


def test_semantic_factors_are_walked_in_deviations(command, restored):
  made, printed = command("sefa", "--directions=2", "--steps=5", "--reach=2", "--sample=1")
  z = np.asarray(restored.system.latents(jax.random.key(0), 2))[1]
  points = made["latents"].reshape(2, 5, 8)
  np.testing.assert_allclose(points[:, 2], [z, z], atol=1e-6)
  # 2,000 standard normal draws have a deviation of 1 up to 5% in any direction
  lengths = np.linalg.norm(points[:, 4] - points[:, 2], axis=1)
  np.testing.assert_allclose(lengths, 2.0, rtol=0.05)
  _, weight = sampling.input_kernel(restored.game.generator.evaluated()["params"], 8)
  found = sampling.semantic_factorisation(weight, 2)
  np.testing.assert_allclose(made["directions"] / lengths[:, None] * 2, found.vectors, atol=1e-4)
  assert "shares: " in printed
  assert_shown(restored, made)


def test_principal_directions_of_any_layer_are_walked(command, restored):
  flags = ["--directions=2", "--steps=3", "--num=400"]
  first, _ = command("pca", *flags)
  found = first["directions"]
  _, weight = sampling.input_kernel(restored.game.generator.evaluated()["params"], 8)
  # the first layer is linear: PCA of 400 samples finds what its weights say, roughly
  exact = sampling.semantic_factorisation(weight, 8).vectors @ found[0] / np.linalg.norm(found[0])
  assert np.linalg.norm(exact[:3]) > 0.9
  deeper, _ = command("pca", *flags, "--layer=BatchNorm_0")
  assert not np.allclose(deeper["directions"], found)
  assert_shown(restored, deeper)


def test_pictures_of_the_generator_are_found_again(command, restored, tmp_path, monkeypatch):
  z = np.asarray(restored.system.latents(jax.random.key(7), 2))
  for i, image in enumerate(pictures(restored, z)):
    sampling.save_png(tmp_path / "in" / f"{i}.png", image)
  flags = ["--steps=20", "--restarts=2", "--learning-rate=0.2"]
  made, printed = command("invert", f"--images={tmp_path / 'in'}", *flags, "--scales=2")
  np.testing.assert_array_equal(made["targets"], pictures(restored, z))
  assert made["losses"].shape == (2, 21)
  assert_shown(restored, made)
  mean = float(printed.split("mean PSNR ")[1].split()[0])
  variables = restored.game.generator.evaluated()
  exact = jax.jit(restored.system.generate)(variables, jnp.asarray(made["latents"]))
  apart = np.asarray(exact) - (made["targets"] / 127.5 - 1.0)
  assert abs(mean - np.mean(10 * np.log10(4.0 / (apart**2).mean((1, 2, 3))))) < 0.02
  assert (made["losses"][:, -1] < 0.5 * made["losses"][:, 0]).all()
  found = sampling.Inversion(made["latents"][1:], exact[1:], made["losses"][1:])
  monkeypatch.setattr(sampling, "invert", lambda *_, **__: found)
  one, _ = command("invert", f"--images={tmp_path / 'in' / '1.png'}", out="b.png")
  assert one.shape == (2 * SIDE + 2, SIDE + 2)
  np.testing.assert_array_equal(one[2:10, 2:10], made["targets"][1, ..., 0])
  np.testing.assert_array_equal(one[12:20, 2:10], made["images"][1, ..., 0])
  assert "--scales=5" in refused(command, "invert", f"--images={tmp_path / 'in'}", "--scales=5")
  with pytest.raises(data.DataError, match="nowhere"):
    command("invert", "--images=nowhere")


@pytest.mark.parametrize(
  "flags",
  [
    ["--burn-in=40"],
    ["--exact", "--burn-in=40", "--calibrate=isotonic"],
    ["--method=mh", "--chain=5"],
    ["--method=mh", "--chain=5", "--calibrate=none"],
  ],
  ids=["drs", "exact", "mh", "mh-uncalibrated"],
)
def test_the_discriminator_chooses(command, restored, flags):
  made, printed = command("reject", "--num=8", "--real=40", "--batch-size=40", *flags)
  assert made["latents"].shape == (8, 8)
  assert_shown(restored, made)
  rate = float(printed.split("acceptance rate ")[1].split("%")[0])
  assert 0.0 < rate <= 100.0
  assert ("calibration Z" in printed) == (flags != ["--burn-in=40"])
  kept, everything = (float(x.split()[0].strip(",")) for x in _after(printed))
  assert np.isfinite([kept, everything]).all()


def _after(printed):
  kept, everything = printed.split("mean logit ")[1].split(" of all samples ")
  return kept, everything


def test_neighbours_are_the_nearest_pictures_of_the_set(command, restored, monkeypatch):
  monkeypatch.setattr(sample, "_CHUNK", 17)  # of 40 pictures
  made, printed = command("neighbours", "--num=3", "--k=4")
  dataset = run.load_data(restored.config)
  real = np.stack([dataset[i]["image"] for i in range(40)]).astype(float)
  samples = pictures(restored, restored.system.latents(jax.random.key(0), 3))
  apart = ((samples[:, None].astype(float) - real[None]) ** 2).sum((2, 3, 4))
  rows = made["images"].reshape(3, 5, 8, 8, 1)
  assert np.abs(rows[:, 0].astype(int) - samples).max() <= 1
  np.testing.assert_allclose(made["distances"], np.sqrt(np.sort(apart, 1)[:, :4]), rtol=1e-2)
  np.testing.assert_array_equal(rows[:, 1:], real[made["indices"]])
  assert printed.startswith("RMS to the nearest: ")
  grid, _ = command("neighbours", "--num=3", "--k=4", out="a.png")
  assert grid.shape == (3 * SIDE + 2, 5 * SIDE + 4)
  assert "--k=41" in refused(command, "neighbours", "--k=41")


@pytest.fixture
def classifier(tmp_path):
  """A classifier's file; its weights are as they fell."""
  names = tuple("0123456789")
  description = features.classifier.Description("digits", (8, 8, 1), names, 0.1, {"width": 2})
  params = description.module().init(jax.random.key(0), jnp.zeros([1, 8, 8, 1]))["params"]
  features.classifier.save(tmp_path / "c.npz", description, params)
  return tmp_path / "c.npz"


def test_neighbours_are_the_nearest_by_the_features(
  command, restored, classifier, monkeypatch, tmp_path
):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  monkeypatch.setattr(sample, "_CHUNK", 17)
  made, printed = command("neighbours", "--num=3", "--k=4", f"--features={classifier}")
  network = features.classifier.features_of(*features.classifier.load(classifier))
  dataset = run.load_data(restored.config)
  real = np.stack([dataset[i]["image"] for i in range(40)])
  a, b = (np.asarray(network.apply(x).features) for x in (made["images"][::5], real))
  apart = np.linalg.norm(a[:, None] - b[None], axis=-1)
  np.testing.assert_array_equal(made["indices"], np.argsort(apart, 1)[:, :4])
  np.testing.assert_allclose(made["distances"], np.sort(apart, 1)[:, :4], rtol=1e-3)
  assert printed.startswith("distance to the nearest by classifier(digits 8): ")
  pixels, _ = command("neighbours", "--num=3", "--k=4")
  assert (pixels["indices"] != made["indices"]).any()


def test_pictures_are_found_by_their_features(command, restored, classifier, tmp_path):
  z = restored.system.latents(jax.random.key(7), 1)
  sampling.save_png(tmp_path / "in" / "0.png", pictures(restored, z)[0])
  flags = [f"--images={tmp_path / 'in'}", "--steps=10", "--restarts=2", f"--features={classifier}"]
  made, _ = command("invert", *flags)
  network = features.classifier.features_of(*features.classifier.load(classifier))
  look = smooth(network, "--features")
  generate = jax.jit(restored.system.generate)
  images = generate(restored.game.generator.evaluated(), jnp.asarray(made["latents"]))
  apart = look(images) - look(jnp.asarray(made["targets"], jnp.float32) / 127.5 - 1.0)
  np.testing.assert_allclose(made["losses"][0, -1], (apart**2).mean(), rtol=1e-2)
  assert made["losses"][0, -1] < 0.8 * made["losses"][0, 0]
  # what is not quantised has the features of what is, up to its rounding
  quantised = network.apply(sampling.to_uint8(np.asarray(images))).features
  np.testing.assert_allclose(look(images), quantised, atol=0.05)


def test_features_without_derivatives_invert_nothing(command, monkeypatch):
  plain = features.of_function("numpy", lambda x: x, dimension=1, compiled=False)
  monkeypatch.setattr(sample, "features_named", lambda *_: plain)
  error = refused(command, "invert", "--images=x", "--features=lite0")
  assert "--features=lite0: the features of numpy are no JAX function" in error


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["invert", "--images=x", "--features=vgg"], "--features=vgg must be lite0, inception or a"),
    (["invert", "--images=x", "--features=lite0", "--scales=2"], "--scales=2 is of pixels"),
    (["neighbours", "--features=nowhere.npz"], "--features=nowhere.npz: cannot read the cl"),
    (["fly"], "fly must be one of walk, arithmetic, sweep"),
    (["walk", "--steps=1"], "--steps=1"),
    (["walk", "--batch-size=0"], "--batch-size=0 must be positive"),
    (["--truncation=0"], "--truncation=0.0 must be positive"),
    (["arithmetic", "--plus=1,64"], "--plus=1,64: 64 is not from 0 to 63"),
    (["arithmetic", "--plus=one"], "--plus=one must be whole numbers"),
    (["arithmetic", "--plus=1,2", "--minus=3"], "same number of exemplars"),
    (["sweep", "--coordinates=8"], "--coordinates=8: 8 is not from 0 to 7"),
    (["sweep", "--classes=1,3"], "--classes=1,3 must be like 62:72"),
    (["sweep", "--classes=1:3", "--code=x"], "give one of"),
    (["sweep", "--code=x"], "no parts"),
    (["sefa", "--layer=x"], "--layer=x must name one of the kernels with 8 inputs"),
    (["sefa", "--directions=9"], "--directions=9: ConvTranspose_0.kernel has no more than 8"),
    (["sefa", "--sample=-1"], "--sample=-1"),
    (["pca", "--layer=x"], "--layer=x must be one of BatchNorm_0, ConvTranspose_0"),
    (["pca", "--num=3"], "--num=3 must be more than --directions=8"),
    (["invert", "--images=x", "--restarts=0"], "--restarts=0 must be positive"),
    (["reject", "--percentile=200"], "--percentile=200.0"),
    (["reject", "--real=2"], "--real=2"),
  ],
  ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_what_cannot_be_done_is_said_in_a_line(command, argv, message):
  error = refused(command, *argv)
  assert message in error
  assert "\n" not in error


def test_a_missing_run_is_said_in_a_line(tmp_path):
  for name in sample.COMMANDS:
    required = {"arithmetic": ["--plus=1"], "invert": ["--images=x"]}.get(name, [])
    assert "holds no run" in refused(sample.command, [name, f"--workdir={tmp_path}", *required])


def test_help_names_the_commands(capsys):
  with pytest.raises(SystemExit) as end:
    sample.command(["--help"])
  assert end.value.code == 0
  text = capsys.readouterr().out
  for name in sample.COMMANDS:
    assert name in text
  assert "--interpolate" in text


def test_flags_of_the_grid_have_the_same_defaults_everywhere():
  """So that places in the grid of a seed mean the same picture to every command."""
  shared = {f.name: f.default for f in dataclasses.fields(Source)}
  for chosen in sample.COMMANDS.values():
    assert shared.items() <= {f.name: f.default for f in dataclasses.fields(chosen.options)}.items()
