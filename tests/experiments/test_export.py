"""Generators as files: programs that a process with jax alone runs, weights that are read back."""

import dataclasses
import importlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from jax import export as jax_export

from experiments import dcgan, export, stylegan2
from jaxgan import run, sampling
from jaxgan.metrics import Protocol, Score
from jaxgan.run import artefacts, evaluation
from jaxgan.run.checkpoints import Checkpoints
from jaxgan.types import ImageSpec

SPEC = ImageSpec((8, 8, 1), ("ant", "bee", "cat"))


def scaled(params, factor):
  """Kernels large enough for pictures of some contrast."""
  return jax.tree.map(lambda x: x * factor if x.ndim > 1 else x, params)


def untrained(folder, module, spec=SPEC, **flags):
  """A run of untrained networks whose weights and average differ, and whose pictures do."""
  config = module.Config(
    workdir=str(folder), data_dir="/secret", **{"resolution": 8, "width": 8, **flags}
  )
  system = module.build(config, spec)
  game = jax.jit(system.init)(jax.random.key(0))
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


ALONE = """
import pathlib, sys
import jax
from jax import export
import numpy as np

program = export.deserialize(bytearray(pathlib.Path("generator.jaxexport").read_bytes()))
z = np.load("z.npy")
np.save("images.npy", program.call(z))
np.save("three.npy", program.call(z[:3]))
print(sorted({"jaxgan", "flax", "optax", "experiments"} & set(sys.modules)))
"""


def test_a_process_with_jax_alone_makes_the_same_pictures(workdir, tmp_path):
  exported(workdir, tmp_path / "generator.jaxexport")
  z = np.random.default_rng(0).normal(size=[5, 6]).astype(np.float32)
  np.save(tmp_path / "z.npy", z)
  environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
  result = subprocess.run(
    [sys.executable, "-c", ALONE], cwd=tmp_path, env=environment, capture_output=True, text=True
  )
  assert result.stdout.strip() == "[]", result.stdout + result.stderr
  wanted = painted(workdir, z)
  assert_same(np.load(tmp_path / "images.npy"), wanted)
  assert_same(np.load(tmp_path / "three.npy"), wanted[:3])
  assert np.abs(wanted - painted(workdir, z, average=False)).max() > 1e-3  # they are told apart


def test_seeds_in_place_of_latents(workdir, tmp_path):
  program = loaded(exported(workdir, tmp_path / "a.jaxexport", "--part=seeds", "--platforms=cpu"))
  seeds = np.array([4, 0, 4], np.uint32)
  system = run.restore(str(workdir)).system
  z = np.concatenate([system.latents(jax.random.key(int(seed)), 1) for seed in seeds])
  made = np.asarray(program.call(seeds))
  assert_same(made, painted(workdir, z))
  np.testing.assert_array_equal(made[0], made[2])
  assert program.platforms == ("cpu",)


def test_a_fixed_batch_and_raw_weights(workdir, tmp_path):
  flags = ["--batch=2", "--no-ema", "--platforms=tpu,cpu"]
  program = loaded(exported(workdir, tmp_path / "a.jaxexport", *flags))
  assert program.in_avals[0].shape == (2, 6)
  assert set(program.platforms) == {"cpu", "tpu"}
  z = np.random.default_rng(1).normal(size=[2, 6]).astype(np.float32)
  assert_same(np.asarray(program.call(z)), painted(workdir, z, average=False))
  with pytest.raises(ValueError, match="shape"):
    program.call(z[:1])
  card = (tmp_path / "a.md").read_text()
  assert "its last weights" in card
  assert "n = 2; on tpu, cpu" in card


def test_the_parts_of_a_generator_of_styles(styles, tmp_path):
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
  assert "truncation psi 0.5" in (tmp_path / "g.md").read_text()


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


def test_the_card_and_the_metadata_tell_what_it_is(workdir, tmp_path):
  path = exported(workdir, tmp_path / "model.safetensors", "--license=cc0-1.0")
  card = (tmp_path / "model.md").read_text()
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


def test_what_is_no_such_file_is_refused(tmp_path):
  bad = tmp_path / "bad.safetensors"
  bad.write_bytes(b"\xff" * 100)
  with pytest.raises(run.RunError, match="cannot be read as safetensors"):
    run.load_generator(bad)
  with pytest.raises(run.RunError, match="cannot be read as safetensors"):
    run.load_generator(tmp_path / "none.safetensors")


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
    (["--out=README.jaxexport"], "would replace README.md"),
  ],
)
def test_flags_that_fit_no_file_are_refused(workdir, tmp_path, monkeypatch, flags, message):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("README.md").write_text("# of something else\n")
  with pytest.raises(run.RunError, match=message):
    export.main(export.parse([f"--workdir={workdir}", *flags]))
  assert [each.name for each in tmp_path.iterdir()] == ["README.md"]


FAMILIES = {
  "acgan": {},
  "began": {},
  "biggan": {},
  "cgan": {},
  "dcgan": {"dtype": "bfloat16"},
  "dragan": {},
  "ebgan": {},
  "fgan": {},
  "gan": {},
  "improved_gan": {"all_techniques": True, "virtual_batch_norm": 4},
  "infogan": {},
  "lsgan": {},
  "pacgan": {},
  "progan": {},
  "r3gan": {"group_size": 16},
  "sagan": {"attention": 8, "resolution": 16},
  "sngan": {},
  "sngan_projection": {},
  "stylegan": {"style_dim": 8, "depth": 2},
  "stylegan2": {"style_dim": 8, "depth": 2, "conditional": True},
  "wgan": {},
  "wgan_gp": {},
}
QUICK = {"biggan", "infogan"}  # beside the DCGAN and the StyleGAN2 above


@pytest.mark.parametrize(
  "name",
  [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES],
)
def test_every_generator_is_a_program_for_any_batch(name):
  module = importlib.import_module(f"experiments.{name}")
  flags = {"resolution": 16, "width": 8, "batch_size": 16, **FAMILIES[name]}
  spec = ImageSpec((flags["resolution"], flags["resolution"], 3), SPEC.classes)
  system = module.build(module.Config(workdir="", **flags), spec)
  variables = jax.jit(system.init)(jax.random.key(0)).generator.variables
  variables = {**variables, "params": scaled(variables["params"], 3.0)}
  z = system.latents(jax.random.key(1), 3)
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


def test_latents_in_words():
  from jaxgan import latents

  z = latents.mixed(code=latents.uniform(2), label=latents.categorical(3), noise=latents.normal(1))
  assert artefacts.describe_latents(z) == (
    "float32 [n, 6]: code, 2 entries, uniform in [-1, 1]; label, 3 entries, one-hot; noise, 1 "
    "entries, normal"
  )
  assert artefacts.describe_latents(lambda key, n: jnp.zeros([n, 2, 2])) == "float32 [n, 2, 2]"
  sphere = lambda key, n: 3.0 + latents.uniform(2)(key, n)  # noqa: E731
  assert artefacts.describe_latents(sphere).endswith("from 2 to 4")
