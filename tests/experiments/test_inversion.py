"""Inversion by its command, of a generator that has not learnt anything."""

import json
import signal
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import inversion, stylegan2
from jaxgan import latents, run, training
from jaxgan.run.config import Record
from jaxgan.run.state import Restored
from jaxgan.types import ImageSpec

SPEC = ImageSpec((8, 8, 1))


def trained():
  """A StyleGAN2 before its first step."""
  flags = dict(resolution=8, width=4, max_width=4, latent_dim=6, style_dim=6, depth=1, limit=20)
  config = stylegan2.Config(workdir="x", **flags)
  system = stylegan2.build(config, SPEC)
  game = jax.jit(system.init)(jax.random.key(0))
  return Restored(Record("experiments.stylegan2", {}, SPEC, 20), config, system, game)


def linear():
  """A generator of the same form that compiles in no time."""
  rng = np.random.default_rng(0)
  params = {"w": jnp.asarray(rng.normal(size=(4, 6, 64)), jnp.float32) / 10.0}

  def synthesis(variables, styles):
    (noise,) = jax.tree.leaves(variables["noise"])
    picture = jnp.einsum("nld,ldp->np", styles, variables["params"]["w"]).reshape(-1, 8, 8)
    return (picture + 0.1 * noise.reshape(-1, 8, 8))[..., None]

  style = training.Style(
    mapping=lambda variables, z: 2.0 * z,
    synthesis=synthesis,
    mean=lambda variables: jnp.zeros(6),
    layers=4,
  )
  system = training.System(None, None, latents.normal(6), None, 1, style=style)
  variables = {"params": params, "noise": {"fixed": jnp.ones([8, 8])}}
  player = SimpleNamespace(evaluated=lambda average: variables)
  config = run.Config(workdir="x", resolution=8, limit=20)
  game = SimpleNamespace(step=0, generator=player)
  return Restored(Record("experiments.stylegan2", {}, SPEC, 20), config, system, game)


@pytest.fixture(params=[linear, pytest.param(trained, marks=pytest.mark.slow)])
def restored(request):
  return request.param()


@pytest.fixture
def options(tmp_path, restored, monkeypatch):
  monkeypatch.setattr(run, "restore", lambda workdir, checkpoint: restored)
  pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
  np.savez(tmp_path / "held_out.npz", pictures)
  flags = dict(steps=30, encoder_steps=4, encoder_batch=4, encoder_width=2, encoder_max_width=4)
  more = dict(directions=2, edited=2, columns=3, unlock_from=0.25, noise=True, noise_weight=0.0)

  def make(**changed):
    named = dict(workdir=str(tmp_path / "out"), generator="run")
    images = str(tmp_path / "held_out.npz")
    return inversion.Options(**{**named, "images": images, **flags, **more, **changed})

  return make


def test_it_scores_draws_and_keeps_its_encoder(options, tmp_path, capsys, monkeypatch):
  content = inversion.main(options())
  out = tmp_path / "out"
  assert [row["method"] for row in content["rows"]] == ["w", "w_plus", "encoder"]
  errors = {row["method"]: row["mse"] for row in content["rows"]}
  assert errors["w_plus"] <= errors["w"] * 1.01
  assert json.loads((out / "inversion.json").read_text())["rows"] == content["rows"]
  with np.load(out / "styles.npz") as styles:
    assert {name: styles[name].shape for name in styles} == {
      name: (3, 4, 6) for name in ("w", "w_plus", "encoder")
    }
    first = styles["encoder"]
  from PIL import Image

  with Image.open(out / "reconstructions.png") as grid:
    assert grid.width // 3 == grid.height // 4  # three pictures, then three ways
  for name in ("w", "w_plus", "encoder"):
    with Image.open(out / f"edits_{name}.png") as grid:
      assert grid.width // 3 == grid.height // 4  # two pictures, two directions
  assert "| w_plus |" in capsys.readouterr().out

  monkeypatch.setattr(inversion, "train_encoder", None)  # it is not trained again
  again = inversion.main(options(methods="encoder", directions=0))
  assert again["rows"] == content["rows"][2:]
  with np.load(out / "styles.npz") as styles:
    np.testing.assert_array_equal(styles["encoder"], first)


def test_a_stopped_training_goes_on_and_gives_the_same(options, tmp_path, capsys, monkeypatch):
  class Stopping(inversion.Interruption):
    """Asked to stop in the third step."""

    def __init__(self):
      super().__init__()
      self.asked = 0

    @property
    def signal(self):
      self.asked += 1
      return signal.SIGTERM if self.asked >= 3 else None

    @signal.setter
    def signal(self, value):
      pass

  struck = dict(methods="encoder", directions=0, workdir=str(tmp_path / "struck"))
  with monkeypatch.context() as patch:
    patch.setattr(inversion, "Interruption", Stopping)
    with pytest.raises(SystemExit) as stopped:
      inversion.main(options(**struck))
  assert stopped.value.code == 128 + signal.SIGTERM
  said = capsys.readouterr().err
  assert "stopped and saved at step 3 of the encoder's training; the same command goes on" in said
  assert not (tmp_path / "struck" / "inversion.json").exists()
  inversion.main(options(**struck))
  assert "the encoder's training goes on at step 3 of 4" in capsys.readouterr().err
  inversion.main(options(**{**struck, "workdir": str(tmp_path / "whole")}))
  files = [tmp_path / name / "encoder.msgpack" for name in ("struck", "whole")]
  assert files[0].read_bytes() == files[1].read_bytes()

  # A changed setting of the encoder starts anew, one of the savings does not.
  capsys.readouterr()
  inversion.main(options(**struck, encoder_save_every=1))
  assert "encoder" not in capsys.readouterr().err.replace(str(tmp_path), "")
  inversion.main(options(**struck, pool=7, encoder_rate=1e-4))
  said = capsys.readouterr().err
  assert "encoder.msgpack is of other settings (encoder_rate, pool): trained anew" in said
  assert files[0].read_bytes() != files[1].read_bytes()


def test_the_encoder_of_another_generator_of_that_name_is_not_taken(options, capsys, monkeypatch):
  inversion.main(options(methods="encoder", directions=0))
  digest = inversion.digest_of

  def moved(variables):
    return digest(jax.tree.map(lambda x: x + 1.0, variables))

  monkeypatch.setattr(inversion, "digest_of", moved)
  inversion.main(options(methods="encoder", directions=0))
  assert "is of other settings (generator): trained anew" in capsys.readouterr().err


def test_a_training_that_diverges_is_not_saved(options, tmp_path):
  with pytest.raises(run.RunError, match="the encoder has diverged by step 4"):
    inversion.main(options(methods="encoder", pixel_weight=float("nan")))
  assert not (tmp_path / "out" / "encoder.msgpack").exists()


@pytest.mark.parametrize(
  ("changed", "said"),
  [
    (dict(methods="w,x"), "--methods=w,x must be a list of w, w_plus, encoder"),
    (dict(steps=0), "--steps=0 must be positive"),
    (dict(columns=1), "--columns=1"),
    (dict(pool=-1), "--pool=-1 must be 0"),
    (dict(encoder_save_every=0), "--encoder-save-every=0 must be positive"),
    (dict(unlock_from=0.9), "--unlock-from=0.9"),
    (dict(features="vgg"), "--features=vgg"),
    (dict(images="digits"), "--images=digits --split=train is what the run learnt from"),
  ],
)
def test_what_cannot_be_is_refused(options, changed, said):
  with pytest.raises(run.RunError, match=said):
    inversion.main(options(**changed))
