"""Generators as files: programs that run without the library, weights that are read back, cards.

Past 300 lines because the untrained runs that are exported serve all of them.
"""

import ast
import dataclasses
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from jax import export as jax_export

from experiments import __main__, dcgan, export, gigagan, pix2pix, stylegan2, translation
from jaxgan import data, run, sampling
from jaxgan.metrics import Protocol, Score
from jaxgan.run import evaluation
from jaxgan.run.checkpoints import Checkpoints
from jaxgan.types import ImageSpec

image = pytest.importorskip("PIL.Image")

SPEC = ImageSpec((8, 8, 1), ("ant", "bee", "cat"))


def scaled(params, factor):
  """Kernels large enough for pictures of some contrast."""
  return jax.tree.map(lambda x: x * factor if x.ndim > 1 else x, params)


def untrained(folder, module, spec=SPEC, **flags):
  """A run of untrained networks whose weights and average differ, and whose pictures do."""
  local = {"data_dir": "/secret", "eval_features": "/secret/net.npz"}
  config = module.Config(workdir=str(folder), **{"resolution": 8, "width": 8, **local, **flags})
  system = module.build(config, spec)
  quick = {"xla_backend_optimization_level": 0}  # to compile
  game = jax.jit(system.init, compiler_options=quick)(jax.random.key(0))
  params = scaled(game.generator.params, 10.0)
  average = {**game.generator.average, "params": scaled(params, 2.0)}
  player = game.generator.replace(params=params, average=average)
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(game.replace(generator=player), None)
  record = run.Record(module.__name__, dataclasses.asdict(config), spec, 40)
  record.save(folder)
  return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = untrained(tmp_path_factory.mktemp("run"), dcgan, width=2, latent_dim=6)
  protocol = Protocol(features="net", real=100, fake=50, weights_hash="abc")
  evaluation.append_scores(folder, 0, [Score("FD (net)", 3.25, 0.5, protocol)])
  return folder


@pytest.fixture(scope="module")
def styles(tmp_path_factory):
  folder = tmp_path_factory.mktemp("styles")
  return untrained(folder, stylegan2, width=4, style_dim=8, depth=2, latent_dim=8)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
  """Of a translator whose data are gone."""
  spec = ImageSpec((8, 8, 3), (), (8, 8, 1))
  folder = tmp_path_factory.mktemp("drawings")
  flags = {"dataset": "/secret/pairs.npz", "width": 2, "patch_layers": 1, "norm": "instance"}
  return untrained(folder, pix2pix, spec, **flags)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
  """Of a generator that reads texts."""
  spec = ImageSpec((8, 8, 3), captions=("Fox", "it's a well-known #1 cat_face", "red heart"))
  sizes = dict(max_width=4, latent_dim=6, style_dim=4, depth=1, head_width=2, text_width=4)
  flags = dict(sizes, text_depth=1, text_heads=1, attention=0, attention_d=0, group_size=2)
  folder = tmp_path_factory.mktemp("texts")
  return untrained(folder, gigagan, spec, width=4, captions="/secret/texts.csv", **flags)


def painted(workdir, z, *, average=True):
  """What the library makes of latents."""
  restored = run.restore(str(workdir))
  variables = restored.game.generator.evaluated(average=average)
  return np.asarray(jax.jit(restored.system.generate)(variables, jnp.asarray(z)))


def assert_same(made, wanted):
  """Up to rounding in another order, which is far below the pictures' own variety."""
  assert made.shape == wanted.shape
  assert made.dtype == np.float32
  assert wanted.std() > 1e-3
  np.testing.assert_allclose(made, wanted, rtol=0.0, atol=1e-4 * wanted.std())


def exported(workdir, out, *flags):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "argv", ["export", f"--workdir={workdir}", f"--out={out}", *flags])
    export.main(export.parse())
  return out


def loaded(path):
  return jax_export.deserialize(bytearray(path.read_bytes()))


def python_of(path):
  """What the card of a file says to do."""
  (block,) = re.findall(
    "```python\n(.*?)```", path.with_name(f"{path.name}.md").read_text(), re.DOTALL
  )
  ast.parse(block)
  return block


def followed(path, monkeypatch):
  """What is there after doing it, by name."""
  names = {}
  with monkeypatch.context() as patch:
    patch.chdir(path.parent)
    exec(compile(python_of(path), "card", "exec"), names)
  return names


ALONE = """
import importlib.abc, pathlib, sys

FEW = {"jax", "jaxlib", "flatbuffers", "ml_dtypes", "numpy", "opt_einsum", "scipy"}


class Few(importlib.abc.MetaPathFinder):
  def __init__(self, finder):
    self.finder = finder

  def find_spec(self, name, path, target=None):
    top = name.partition(".")[0]
    known = top in FEW | sys.stdlib_module_names or top.startswith("_")
    return self.finder.find_spec(name, path, target) if known else None


# As if what jax requires and flatbuffers were all there is.
sys.meta_path[:] = map(Few, sys.meta_path)
import jax
from jax import export
import numpy as np

program = export.deserialize(bytearray(pathlib.Path("generator.jaxexport").read_bytes()))
z = np.load("z.npy")
np.save("images.npy", program.call(z))
np.save("three.npy", program.call(z[:3]))
print(*sorted({"jaxgan", "flax", "optax", "experiments", "flatbuffers"} & set(sys.modules)))
"""


def test_a_process_with_jax_and_flatbuffers_alone_makes_the_same_pictures(workdir, tmp_path):
  exported(workdir, tmp_path / "generator.jaxexport")
  z = np.random.default_rng(0).normal(size=[5, 6]).astype(np.float32)
  np.save(tmp_path / "z.npy", z)
  environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
  result = subprocess.run(
    [sys.executable, "-c", ALONE], cwd=tmp_path, env=environment, capture_output=True, text=True
  )
  assert result.stdout.strip() == "flatbuffers", result.stdout + result.stderr
  wanted = painted(workdir, z)
  assert_same(np.load(tmp_path / "images.npy"), wanted)
  assert_same(np.load(tmp_path / "three.npy"), wanted[:3])
  assert np.abs(wanted - painted(workdir, z, average=False)).max() > 1e-3  # they are told apart


def test_seeds_in_place_of_latents(workdir, tmp_path, monkeypatch):
  program = loaded(exported(workdir, tmp_path / "a.jaxexport", "--part=seeds", "--platforms=cpu"))
  seeds = np.array([4, 0, 4], np.uint32)
  system = run.restore(str(workdir)).system
  z = np.concatenate([system.latents(jax.random.key(int(seed)), 1) for seed in seeds])
  made = np.asarray(program.call(seeds))
  assert_same(made, painted(workdir, z))
  np.testing.assert_array_equal(made[0], made[2])
  assert program.platforms == ("cpu",)
  images = followed(tmp_path / "a.jaxexport", monkeypatch)["images"]
  assert images.shape == (16, 8, 8, 1)
  np.testing.assert_allclose(images[4], made[0], atol=1e-5)


def test_a_fixed_batch_and_raw_weights(workdir, tmp_path, monkeypatch):
  flags = ["--batch=2", "--no-ema", "--platforms=tpu,cpu"]
  program = loaded(exported(workdir, tmp_path / "a.jaxexport", *flags))
  assert program.in_avals[0].shape == (2, 6)
  assert set(program.platforms) == {"cpu", "tpu"}
  z = np.random.default_rng(1).normal(size=[2, 6]).astype(np.float32)
  assert_same(np.asarray(program.call(z)), painted(workdir, z, average=False))
  with pytest.raises(ValueError, match="shape"):
    program.call(z[:1])
  card = (tmp_path / "a.jaxexport.md").read_text()
  assert "its last weights" in card
  assert "n = 2; on tpu, cpu" in card
  assert "`pip install jax flatbuffers`" in card
  names = followed(tmp_path / "a.jaxexport", monkeypatch)
  assert_same(np.asarray(names["images"]), painted(workdir, names["z"], average=False))


def test_the_parts_of_a_generator_of_styles(styles, tmp_path, monkeypatch):
  restored = run.restore(str(styles))
  variables, style = restored.game.generator.evaluated(), restored.system.style
  z = np.random.default_rng(0).normal(size=[3, *loaded_latents(restored)]).astype(np.float32)
  options = ["--platforms=cpu", "--truncation-psi=0.5"]
  mapping = loaded(exported(styles, tmp_path / "m.jaxexport", "--part=mapping", *options))
  w = style.mapping(variables, jnp.asarray(z))
  mean = style.mean(variables)[None]
  pulled = mean + 0.5 * (w - mean)
  assert_same(np.asarray(mapping.call(z)), np.asarray(pulled))

  flags = ["--part=synthesis", "--platforms=cpu"]
  synthesis = loaded(exported(styles, tmp_path / "s.jaxexport", *flags))
  mixed = np.random.default_rng(1).normal(size=[2, style.layers, w.shape[1]]).astype(np.float32)
  pictures = jax.jit(style.synthesis)(variables, jnp.asarray(mixed))
  assert_same(np.asarray(synthesis.call(mixed)), np.asarray(pictures))

  whole = loaded(exported(styles, tmp_path / "g.jaxexport", *options))
  assert_same(np.asarray(whole.call(z)), np.asarray(jax.jit(style.paint)(variables, pulled)))
  assert "truncation psi 0.5" in (tmp_path / "g.jaxexport.md").read_text()
  assert followed(tmp_path / "m.jaxexport", monkeypatch)["styles"].shape == (16, w.shape[1])
  for name in "sg":
    images = followed(tmp_path / f"{name}.jaxexport", monkeypatch)["images"]
    assert images.shape == (16, 8, 8, 1)


def loaded_latents(restored):
  return jax.eval_shape(lambda key: restored.system.latents(key, 1), jax.random.key(0)).shape[1:]


def test_weights_are_read_back_into_their_network(workdir, tmp_path, monkeypatch):
  path = exported(workdir, tmp_path / "model.safetensors", "--license=cc0-1.0")
  flat = safetensors.numpy.load_file(path)  # by somebody else's reader
  average = run.restore(str(workdir)).game.generator.average
  kernel = average["params"]["ConvTranspose_0"]["kernel"]
  np.testing.assert_array_equal(flat["params.ConvTranspose_0.kernel"], kernel)
  assert {name.partition(".")[0] for name in flat} == set(average)

  monkeypatch.chdir(tmp_path)
  model = run.load_generator("model.safetensors")
  jax.tree.map(np.testing.assert_array_equal, model.variables, average)
  assert jax.tree.structure(model.variables) == jax.tree.structure(average)
  z = model.system.latents(jax.random.key(3), 4)
  assert_same(np.asarray(jax.jit(model.system.generate)(model.variables, z)), painted(workdir, z))
  assert (model.step, model.config.latent_dim) == (0, 6)
  assert followed(path, monkeypatch)["images"].shape == (16, 8, 8, 1)


def test_weights_without_axes_are_read_back(styles, tmp_path):
  path = exported(styles, tmp_path / "model.safetensors")
  model = run.load_generator(path)
  average = run.restore(str(styles)).game.generator.average
  assert any(leaf.ndim == 0 for leaf in jax.tree.leaves(average))
  jax.tree.map(np.testing.assert_array_equal, model.variables, average)
  assert jax.tree.map(jnp.shape, model.variables) == jax.tree.map(jnp.shape, average)


def test_a_translator_is_exported_without_its_data(drawings, tmp_path, monkeypatch):
  levels = np.random.default_rng(0).integers(0, 256, [8, 8], np.uint8)
  image.fromarray(levels).save(tmp_path / "picture.png")
  wanted = painted(drawings, translation.scaled(levels[None, :, :, None]))
  for name in ("generator.jaxexport", "model.safetensors"):
    path = exported(drawings, tmp_path / name, "--platforms=cpu")
    assert_same(np.asarray(followed(path, monkeypatch)["images"]), wanted)
    card = path.with_name(f"{path.name}.md").read_text()
    assert "- Takes pictures of A to translate, float32 [n, 8, 8, 1] in [-1, 1]" in card
    assert "/secret" not in card
  for flags in ([], ["--truncation=1"]):
    with pytest.raises(run.RunError, match=r"--part=seeds: .*pix2pix translates pictures"):
      exported(drawings, tmp_path / "s.jaxexport", "--part=seeds", *flags)


def test_whoever_gets_a_file_can_ask_for_a_text(texts, tmp_path, monkeypatch):
  spec = run.restore(str(texts)).record.spec
  vocabulary, length = data.captions.Vocabulary.of(spec.captions), 8
  program = exported(texts, tmp_path / "generator.jaxexport", "--platforms=cpu")
  names = followed(program, monkeypatch)
  asked = [*spec.captions, "Red  HEART, fox?", "green cat", "a " * 9, "IT\u2019S a_well-known!", ""]
  tokens = [names["encode"](text) for text in asked]
  np.testing.assert_array_equal(tokens, vocabulary.encode(asked, length))
  own = vocabulary.encode(spec.captions[:1], length)
  assert (np.asarray(names["z"])[:, 6:] == own).all()
  assert names["images"].shape == (16, 8, 8, 3)
  card = (tmp_path / "generator.jaxexport.md").read_text()
  assert "text, 8 entries, numbers of words, their places in generator.words.json" in card

  weights = exported(texts, tmp_path / "model.safetensors")
  assert not (tmp_path / "model.words.json").exists()
  names = followed(weights, monkeypatch)
  assert (np.asarray(names["z"])[:, 6:] == own).all()
  assert names["images"].shape == (16, 8, 8, 3)
  with safetensors.safe_open(weights, framework="numpy") as file:
    metadata = str(file.metadata())
  for text in (card, metadata):  # of a flag that is a path
    assert "/secret" not in text


def test_the_card_and_the_metadata_tell_what_it_is(workdir, tmp_path):
  path = exported(workdir, tmp_path / "model.safetensors", "--license=cc0-1.0")
  card = (tmp_path / "model.safetensors.md").read_text()
  assert card.startswith("---\nlicense: cc0-1.0\n")
  for text in (
    "# dcgan on digits",
    "float32 [n, 6]: normal",
    "| FD (net) | 3.25 | 0.5 | net abc, 100 real (), 50 samples |",
    '"latent_dim": 6',
    "classes ant, bee, cat",
    'run.load_generator("model.safetensors")',
  ):
    assert text in card, text
  with safetensors.safe_open(path, framework="numpy") as file:
    metadata = file.metadata()
  assert json.loads(metadata["scores"])[0]["value"] == 3.25
  for text in (card, str(metadata)):  # what is of this machine stays on it
    assert str(workdir) not in text
    assert "/secret" not in text


def changed(path, arrays=None, **metadata):
  """The file with other arrays or metadata."""
  with safetensors.safe_open(path, framework="numpy") as file:
    found = file.metadata()
  flat = safetensors.numpy.load_file(path)
  flat.update(arrays or {})
  out = path.with_name("changed.safetensors")
  kept = {name: array for name, array in flat.items() if array is not None}
  safetensors.numpy.save_file(kept, out, {**found, **metadata})
  return out


def test_weights_that_do_not_fit_are_refused(workdir, tmp_path):
  path = exported(workdir, tmp_path / "model.safetensors")
  kernel = "params.ConvTranspose_0.kernel"
  whole = safetensors.numpy.load_file(path)[kernel]
  shape = str(list(whole.shape)).replace("[", r"\[").replace("]", r"\]")
  for array, message in [
    (None, f"{kernel} is missing there and float32 {shape} here"),
    (whole[:1], f"{kernel} is float32 .1, .* there and float32 {shape} here"),
    (whole.astype(np.float16), f"{kernel} is float16 .* there"),
  ]:
    with pytest.raises(run.RunError, match=message):
      run.load_generator(changed(path, {kernel: array}))
  with pytest.raises(run.RunError, match=r"params.extra is float32 \[1\] there and missing here"):
    run.load_generator(changed(path, {"params.extra": np.zeros(1, np.float32)}))


@pytest.mark.parametrize(
  ("metadata", "message"),
  [
    ({"format": "other"}, "is of the form 'other'"),
    ({"format": "jaxgan.generator 12"}, "'jaxgan.generator 12', .*: install a newer one"),
    ({"record": "{"}, "is damaged: its metadata tell no run"),
    ({"record": "[]"}, "is damaged: its metadata tell no run"),
    ({"step": "x"}, "is damaged: its metadata tell no run"),
  ],
)
def test_metadata_of_others_are_refused(workdir, tmp_path, metadata, message):
  path = exported(workdir, tmp_path / "model.safetensors")
  with pytest.raises(run.RunError, match=message):
    run.load_generator(changed(path, **metadata))


def test_a_file_does_not_bring_its_experiment_along(workdir, tmp_path, monkeypatch):
  path = exported(workdir, tmp_path / "model.safetensors")
  (tmp_path / "stranger.py").write_text("raise SystemExit('it was executed')")
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [*sys.path])
  record = json.loads(safetensors.safe_open(path, framework="numpy").metadata()["record"])
  for name in ("stranger", "os.path", "jaxgan.losses", "../x"):
    other = changed(path, record=json.dumps({**record, "experiment": name}))
    with pytest.raises(run.RunError, match="no experiment"):
      run.load_generator(other)


def test_programs_want_flatbuffers(workdir, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "flatbuffers", None)
  with pytest.raises(run.RunError, match="flatbuffers, which is not installed: pip install"):
    exported(workdir, tmp_path / "a.jaxexport")


def test_what_is_no_such_file_is_refused(tmp_path):
  bad = tmp_path / "bad.safetensors"
  bad.write_bytes(b"\xff" * 100)
  with pytest.raises(run.RunError, match="cannot be read as safetensors"):
    run.load_generator(bad)
  with pytest.raises(run.RunError, match="cannot be read as safetensors"):
    run.load_generator(tmp_path / "none.safetensors")
  for name, kind in (("", "a folder"), ("a.jaxexport", "a program")):
    with pytest.raises(run.RunError, match=f"is {kind} and not a file of weights"):
      run.load_generator(tmp_path / name)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--out=a.onnx"], "--out=a.onnx must end in"),
    (["--batch=0"], "--batch=0 must be at least 1"),
    (["--platforms=cpu,metal"], "--platforms=cpu,metal must be a list of"),
    (["--truncation=1"], "--truncation=1.0 must be positive, and is of --part=seeds"),
    (["--truncation-psi=0.5", "--part=synthesis"], "--truncation-psi=0.5 is of programs"),
    (["--out=a.safetensors", "--part=seeds"], "--part and --batch are of .jaxexport files"),
    (["--license=a b"], "--license='a b' must be an identifier"),
    (["--standing=-1"], "--standing=-1 must be 0 or more"),
    (["--part=mapping"], "has no styles"),
    (["--out=a.jaxexport"], r"would replace a\.jaxexport\.md"),
  ],
)
def test_flags_that_fit_no_file_are_refused(workdir, tmp_path, monkeypatch, flags, message):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("a.jaxexport.md").write_text("# of something else\n")
  with pytest.raises(run.RunError, match=message):
    export.main(export.parse([f"--workdir={workdir}", *flags]))
  assert [each.name for each in tmp_path.iterdir()] == ["a.jaxexport.md"]


FAMILIES = {
  "acgan": {},
  "began": {},
  "biggan": {},
  "cgan": {},
  "cyclegan": {"channels": 3, "blocks": 1, "patch_layers": 1},
  "dcgan": {"dtype": "bfloat16"},
  "dragan": {},
  "ebgan": {},
  "fgan": {},
  "gan": {},
  "gigagan": {"max_width": 8, "style_dim": 8, "text_width": 8, "depth": 1, "head_width": 8},
  "improved_gan": {"all_techniques": True, "virtual_batch_norm": 4},
  "infogan": {},
  "lsgan": {},
  "pacgan": {},
  "pix2pix": {"channels": 3, "patch_layers": 1},
  "progan": {},
  "r3gan": {"group_size": 16},
  "sagan": {"attention": 8, "resolution": 16},
  "sngan": {},
  "sngan_projection": {},
  "stylegan": {"style_dim": 8, "depth": 2},
  "stylegan2": {"style_dim": 8, "depth": 2, "conditional": True},
  "unit": {"channels": 3, "blocks": 1, "scales": 1, "patch_layers": 2},
  "wgan": {},
  "wgan_gp": {},
}
QUICK = {"biggan", "infogan"}  # beside the DCGAN and the StyleGAN2 above


def test_no_experiment_is_forgotten():
  trained = {program.name for program in __main__.programs() if program.trains}
  assert set(FAMILIES) == trained - {"mixtures"}  # of points, no pictures


@pytest.mark.parametrize(
  "name",
  [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES],
)
def test_every_generator_is_a_program_for_any_batch(name):
  module = importlib.import_module(f"experiments.{name}")
  flags = {"resolution": 16, "width": 8, "batch_size": 16, **FAMILIES[name]}
  shape = (flags["resolution"], flags["resolution"], 3)
  spec = ImageSpec(shape, SPEC.classes, shape, ("red heart", "blue heart", "red circle"))
  system = module.build(module.Config(workdir="", **flags), spec)
  variables = jax.jit(system.init)(jax.random.key(0)).generator.variables
  variables = {**variables, "params": scaled(variables["params"], 3.0)}
  z = system.latents(jax.random.key(1), 3)
  if z.shape[1:] == shape:  # a blank picture to translate
    z = jax.random.uniform(jax.random.key(1), z.shape, z.dtype, -1.0, 1.0)
  example = jax.ShapeDtypeStruct(z.shape[1:], z.dtype)
  written = sampling.exported(lambda z: system.generate(variables, z), example).serialize()
  program = jax_export.deserialize(written)
  assert set(program.platforms) == {"cpu", "cuda", "tpu"}
  wanted = np.asarray(jax.jit(system.generate)(variables, z))
  tolerance = 0.05 if flags.get("dtype") == "bfloat16" else 1e-4
  for count in (1, 3):
    made = np.asarray(program.call(z[:count]))
    assert wanted.std() > 1e-3
    np.testing.assert_allclose(
      made, wanted[:count], rtol=0.0, atol=tolerance * wanted.std(), err_msg=str(count)
    )
