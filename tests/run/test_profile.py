"""`--profile-steps`: which steps are traced, and that the game does not notice."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import dcgan
from jaxgan import run
from jaxgan.run.config import Config, span_of
from jaxgan.run.profile import Profile

SMALL = dict(
  resolution=8, width=2, latent_dim=4, batch_size=8, limit=64, log_every=2, checkpoint_every=3
)


def train(workdir, **flags):
  return run.train(dcgan.build, dcgan.Config(workdir=str(workdir), **SMALL, **flags))


def traced(workdir):
  """First steps of the calls in a workdir's traces, one list for each trace."""
  found = []
  for path in sorted(workdir.glob("tensorboard/plugins/profile/*/*.xplane.pb")):
    planes = jax.profiler.ProfileData.from_file(str(path)).planes
    events = [e for plane in planes for line in plane.lines for e in line.events]
    found.append(sorted(dict(e.stats)["step_num"] for e in events if e.name == "train"))
  return found


def leaves(workdir):
  game = run.restore(str(workdir)).game
  return jax.tree.leaves(game.replace(key=jax.random.key_data(game.key)))


def test_a_trace_changes_nothing_of_the_game(tmp_path, capsys):
  """One run is stopped, and traced from its next start on; the other is neither."""
  assert train(tmp_path / "traced", steps=3) == 0
  assert train(tmp_path / "traced", steps=6, profile_steps="4:6") == 0
  assert f"tensorboard --logdir={tmp_path}/traced/tensorboard" in capsys.readouterr().err
  assert train(tmp_path / "whole", steps=6) == 0
  assert traced(tmp_path / "traced") == [[4, 5]]
  assert traced(tmp_path / "whole") == []
  for a, b in zip(leaves(tmp_path / "traced"), leaves(tmp_path / "whole"), strict=True):
    np.testing.assert_array_equal(a, b)


def test_calls_of_several_steps_and_an_end_within_are_traced(tmp_path):
  """The call that has the first of the steps begins before it, and an error ends the last."""
  config = dcgan.Config(workdir=str(tmp_path), steps=20, profile_steps="5:20")
  said = []

  def play():
    with Profile(config, 0, said.append) as profile:
      assert not profile.begins(0, 4)
      assert profile.begins(4, 4)
      profile.start(jax.numpy.ones(3))
      with profile.step(4):
        game = jax.numpy.ones(3) + 1
      assert not profile.ends(8)
      assert not profile.begins(8, 4)
      raise KeyError(game)

  with pytest.raises(KeyError):
    play()
  assert traced(tmp_path) == [[4]]
  assert len(said) == 1


def test_steps_that_were_not_asked_for_or_are_over_are_not_traced():
  said = []
  config = dcgan.Config(workdir="", steps=20)
  for text, step in ((None, 0), ("4:6", 6)):
    with Profile(dataclasses.replace(config, profile_steps=text), step, said.append) as profile:
      assert not any(profile.begins(at, 1) or profile.ends(at) for at in range(step, 20))
  assert said == ["--profile-steps=4:6: played before this start, so none is traced"]


@pytest.mark.parametrize(
  "text", ["", "5", "5:", ":5", "5:5", "9:5", "-1:5", "a:b", "1:2:3", "0:1001", "1.0:2", "²:5"]
)
def test_what_is_no_span_is_refused(text):
  with pytest.raises(run.RunError, match=r"--profile-steps=.* must be FIRST:LAST, 100:110 for"):
    Config(workdir="", steps=5000, profile_steps=text)


def test_spans():
  assert span_of("0:1") == range(1)
  assert span_of("100:1100") == range(100, 1100)
  with pytest.raises(run.RunError, match=r"--profile-steps=8:12 goes on behind .* --steps=11"):
    Config(workdir="", steps=11, profile_steps="8:12")
