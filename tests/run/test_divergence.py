"""Figures that are not numbers: found at their step, and tried again with other noise."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import gan
from jaxgan import run
from jaxgan.run.checkpoints import Checkpoints
from jaxgan.run.logs import DivergedError, Window

FLAGS = [
  "--resolution=8",
  "--width=4",
  "--batch-size=8",
  "--log-every=3",
  "--sample-every=6",
  "--checkpoint-every=2",
  "--parzen-samples=8",
  "--no-compilation-cache",
]


@pytest.mark.parametrize(
  ("bad", "said"),
  [
    ({"loss_D": jnp.nan}, "loss_D not finite at step 9, first in the discriminator's update"),
    ({"loss_G": jnp.inf}, "loss_G not finite at step 9, first in the generator's update"),
    ({"loss_G": jnp.inf, "loss_D": jnp.nan}, "loss_D, loss_G .* in the discriminator's update"),
  ],
)
@pytest.mark.parametrize("by_call", [False, True])
def test_the_first_bad_step_and_player_are_named(bad, said, by_call):
  window = Window(lambda: 0.0)
  rows = [{"loss_D": jnp.ones([]), "loss_G": jnp.ones([])} for _ in range(5)]
  rows[2] |= {name: jnp.asarray(value) for name, value in bad.items()}
  rows[4] = {"loss_D": jnp.asarray(jnp.nan), "loss_G": jnp.asarray(jnp.nan)}
  if by_call:
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *rows[1:])
    window.add(rows[0], 1)
    window.add(stacked, 4)
  else:
    for row in rows:
      window.add(row, 1)
  for look in (window.check, window.means):  # steps 7 to 11
    with pytest.raises(DivergedError, match=said):
      look(11)


def main(workdir, poison, *argv):
  """Runs the GAN with a NaN at step 5, of the noise that `poison` chooses."""

  def build(config, spec):
    system = gan.build(config, spec)

    def step(game, batch):
      after, metrics = system.step(game, batch)
      bad = (after.step == 5) & poison(jax.random.key_data(game.key))
      spoil = jnp.where(bad, jnp.nan, 0.0)
      params = jax.tree.map(lambda x: x + spoil.astype(x.dtype), after.generator.params)
      metrics = {**metrics, "loss_G": metrics["loss_G"] + spoil}
      return after.replace(generator=after.generator.replace(params=params)), metrics

    return system._replace(step=step)

  build.__module__ = gan.__name__
  flags = [f"--workdir={workdir}", *FLAGS, "--steps=6", *argv]
  with pytest.raises(SystemExit) as end:
    run.main(build, gan.Config, gan.PRESETS, flags)
  return end.value.code


def first_noise(key):
  """Whether the key is that of a first try."""
  data = jax.random.key_data(jax.random.split(jax.random.key(0), 4)[0])
  return (key == data).all()


def test_a_rollback_goes_on_with_other_noise(tmp_path, capsys):
  assert main(tmp_path, first_noise) == 2
  said = capsys.readouterr().err
  assert "loss_G not finite at step 5, first in the generator's update" in said
  assert "in the generator's update (parameters from Dense_0.bias on)" in said
  with Checkpoints(tmp_path, read_only=True) as checkpoints:
    assert checkpoints.latest == 4

  assert main(tmp_path, first_noise, "--on-nan=rollback") == 0
  assert "going back, 1 of 3" in capsys.readouterr().err
  lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
  assert [line["step"] for line in lines if "loss_G" in line] == [3, 6]
  assert all(np.isfinite(value) for line in lines for value in line.values())
  game = run.restore(str(tmp_path)).game
  assert int(game.step) == 6
  assert not first_noise(jax.random.key_data(game.key))


def test_a_run_that_always_diverges_ends(tmp_path, capsys):
  assert main(tmp_path, lambda key: jnp.asarray(True), "--on-nan=rollback") == 2
  said = capsys.readouterr().err
  assert "going back, 3 of 3" in said
  assert "going back, 4" not in said
  assert "error: loss_G not finite at step 5" in said
