import errno
import json
import shutil

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan import run, training
from jaxgan.run import checkpoints, stored
from jaxgan.run.checkpoints import Checkpoints, Note, Ranked


class Dense(nn.Module):
  features: int = 3

  @nn.compact
  def __call__(self, x, *, train):
    return nn.Dense(self.features)(x)


def game(step=0, features=3):
  x = jax.numpy.ones([1, 2])
  players = [
    training.new_player(Dense(features), optax.adam(1e-3), jax.random.key(i), x, average=i == 1)
    for i in range(2)
  ]
  new = training.Game.new(jax.random.key(7), *players, extra={"mean": jax.numpy.float32(2.5)})
  return new.replace(step=jax.numpy.int32(step))


def abstract(game):
  mesh = training.data_mesh(jax.devices()[:1])
  sharding = training.replicated(mesh)
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), game)


def test_the_latest_two_and_the_best_are_kept(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest is None
    for step, score in enumerate([5.0, 1.0, 4.0, 3.0, None, 2.0], start=1):
      checkpoints.save(game(step), score and Ranked("kid", score))
  with Checkpoints(tmp_path, read_only=True) as checkpoints:
    assert checkpoints.steps == [2, 5, 6]
    assert (checkpoints.latest, checkpoints.best) == (6, 2)


def test_every_leaf_comes_back(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(game(4), Ranked("kid", 1.0))
  with Checkpoints(tmp_path) as checkpoints:
    back = checkpoints.restore(abstract(game()), "best")
  got, expected = (
    jax.tree.leaves(x.replace(key=jax.random.key_data(x.key))) for x in (back, game(4))
  )
  assert len(got) == len(expected)
  for a, b in zip(got, expected, strict=True):
    np.testing.assert_array_equal(a, b)


def test_what_cannot_be_restored_is_said(tmp_path):
  with pytest.raises(run.RunError, match="has not come to its first one"):
    Checkpoints(tmp_path, read_only=True)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(game(4), None)
    with pytest.raises(run.RunError, match=r"no checkpoint 'best'.*found: 4"):
      checkpoints.restore(abstract(game()), "best")
    with pytest.raises(
      run.RunError, match=r"does not fit.*bias is float32\[3\] there and float32\[5\]"
    ):
      checkpoints.restore(abstract(game(features=5)))


def test_a_damaged_checkpoint_is_named(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(game(4), None)
  for file in (tmp_path / "checkpoints" / "step_4" / "default").rglob("*"):
    if file.is_file() and file.stat().st_size > 100:
      file.write_bytes(file.read_bytes()[:50])
  with (
    Checkpoints(tmp_path, read_only=True) as checkpoints,
    pytest.raises(run.RunError, match=r"checkpoint 4 .* is damaged"),
  ):
    checkpoints.restore(abstract(game()))


def flip_a_bit(folder):
  """In the largest file of a checkpoint's arrays."""
  files = [file for file in (folder / "default").rglob("*") if file.is_file()]
  path = max(files, key=lambda file: file.stat().st_size)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 16
  path.write_bytes(content)


def lose_half(folder):
  for file in sorted((folder / "default").rglob("*"))[::2]:
    if file.is_file():
      file.unlink()


def cut(folder):
  for file in (folder / "default").rglob("*"):
    if file.is_file():
      file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lose_arrays(folder):
  shutil.rmtree(folder / "default")


def lose_metadata(folder):
  (folder / "_CHECKPOINT_METADATA").unlink()


def change_the_note(folder):
  path = folder / "_CHECKPOINT_METADATA"
  path.write_text(path.read_text().replace('"owed": false', '"owed": true'))


def rename_a_leaf(folder):
  path = folder / "default" / "_METADATA"
  path.write_text(path.read_text().replace('"mean"', '"meen"'))


DAMAGES = [
  *(flip_a_bit, lose_half, cut, lose_arrays),
  *(lose_metadata, change_the_note, rename_a_leaf),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_and_the_one_before_goes_on(tmp_path, damage, capfd):
  with Checkpoints(tmp_path) as checkpoints:
    for step in (2, 4, 6):
      checkpoints.save(game(step), None)
  damage(tmp_path / "checkpoints" / "step_6")
  with Checkpoints(tmp_path) as checkpoints:
    back = checkpoints.restore_newest(abstract(game()))
    assert int(back.step) == 4
    said = capfd.readouterr().err
    assert "checkpoint 6" in said
    assert "Traceback" not in said
    assert checkpoints.latest == 4
    checkpoints.save(game(6), None)  # the place is free
  assert [path.name for path in (tmp_path / "damaged").iterdir()] == ["step_6_0"]
  with Checkpoints(tmp_path) as checkpoints:
    assert int(checkpoints.restore_newest(abstract(game())).step) == 6


def test_the_checksum_is_compared_where_there_is_one(tmp_path, monkeypatch):
  with Checkpoints(tmp_path) as saved:
    saved.save(game(2), None)
    monkeypatch.setattr(checkpoints, "metadata", lambda *_: {})
    saved.save(game(4), None)
  monkeypatch.setattr(stored, "checksum", lambda *_: "another")
  with Checkpoints(tmp_path) as saved:
    assert int(saved.restore(abstract(game()), 4).step) == 4  # from before checksums
    with pytest.raises(run.RunError, match=r"its checksum is another.*; another, 4, may be whole"):
      saved.restore(abstract(game()), 2)


def test_a_bit_in_any_leaf_changes_the_checksum():
  leaves = jax.tree.leaves(stored.storable(game(2)))
  sums = {stored.checksum(leaves, None), stored.checksum(leaves, {"lines": 1})}
  for i, leaf in enumerate(leaves):
    changed = np.array(leaf)
    changed.reshape(-1).view(np.uint8)[0] ^= 1
    sums.add(stored.checksum([*leaves[:i], changed, *leaves[i + 1 :]], None))
  assert len(sums) == len(leaves) + 2


@pytest.mark.parametrize("content", ["", "\0\0\0"])
def test_a_damaged_score_costs_that_score_alone(tmp_path, content, capsys):
  with Checkpoints(tmp_path) as saved:
    for step in (2, 4):
      saved.save(game(step), Ranked("kid", float(step)))
  (tmp_path / "checkpoints" / "step_2" / "metrics" / "metrics").write_text(content)
  with pytest.raises(run.RunError, match="is damaged: delete its folder"):
    Checkpoints(tmp_path, read_only=True)
  with Checkpoints(tmp_path) as saved:
    assert (saved.steps, saved.best) == ([2, 4], 4)
    assert int(saved.restore(abstract(game()), 2).step) == 2
  assert "that score is lost" in capsys.readouterr().err


def test_where_all_are_damaged_nothing_is_moved(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    for step in (2, 4):
      checkpoints.save(game(step), None)
  for step in (2, 4):
    flip_a_bit(tmp_path / "checkpoints" / f"step_{step}")
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(run.RunError, match=r"checkpoint 2 in .* is damaged"),
  ):
    checkpoints.restore_newest(abstract(game()))
  assert not (tmp_path / "damaged").exists()


def test_a_reader_leaves_a_write_in_progress_alone(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(game(1), None)
  pending = tmp_path / "checkpoints" / "step_2.orbax-checkpoint-tmp-1"
  pending.mkdir()
  with Checkpoints(tmp_path, read_only=True):
    assert pending.exists()


def test_scores_of_one_measure_are_compared(tmp_path):
  """Another measure's numbers are no rivals: the newest score names the measure."""
  scores = [("swd", 0.1), ("swd", 0.3), ("kid", 5.0), ("kid", 9.0), ("kid", 7.0)]
  with Checkpoints(tmp_path) as saved:
    for step, score in enumerate(scores, start=1):
      saved.save(game(step), Ranked(*score))
      if step == 2:
        assert saved.best == 1
  with Checkpoints(tmp_path, read_only=True) as saved:
    assert (saved.steps, saved.best) == ([3, 4, 5], 3)


def test_what_was_noted_comes_back_and_a_score_can_be_given_later(tmp_path):
  note = Note({"loss_D": [0.1, 1e-7]}, lines=3, owed=True)
  with Checkpoints(tmp_path) as saved:
    saved.save(game(1), Ranked("swd", 2.0))
    saved.save(game(2), None, note)
  with Checkpoints(tmp_path) as saved:
    assert saved.note(2) == note
    assert saved.best == 1
    saved.rank(2, Ranked("swd", 1.0))
    assert saved.best == 2
    saved.restore(abstract(game()), 2)


def test_another_dtype_is_refused(tmp_path):
  with Checkpoints(tmp_path) as saved:
    saved.save(game(2), None)
    other = game()
    other = other.replace(extra={"mean": jax.numpy.int32(2)})
    with pytest.raises(run.RunError, match=r"extra.mean is float32\[\] there and int32\[\] here"):
      saved.restore(abstract(other))


@pytest.mark.parametrize(
  ("error", "proved"),
  [
    (OSError(errno.EMFILE, "Too many open files"), False),
    (OSError(errno.ESTALE, "Stale file handle"), False),
    (PermissionError(errno.EACCES, "Permission denied"), False),
    (ValueError("RESOURCE_EXHAUSTED: Error reading local file"), False),
    (ValueError("PERMISSION_DENIED: Error opening local file"), False),
    (FileNotFoundError(errno.ENOENT, "No such file or directory"), True),
    (ValueError("OUT_OF_RANGE: Error opening"), True),
    (ValueError("DATA_LOSS: crc32c"), True),
  ],
)
def test_only_what_proves_other_content_condemns(tmp_path, monkeypatch, error, proved):
  def fail(folder):
    raise error

  with Checkpoints(tmp_path) as saved:
    for step in (2, 4):
      saved.save(game(step), None)
  read = stored.leaves_of
  monkeypatch.setattr(stored, "leaves_of", lambda f: fail(f) if f.name == "step_4" else read(f))
  with Checkpoints(tmp_path) as saved:
    if proved:
      assert int(saved.restore_newest(abstract(game())).step) == 2
    else:
      with pytest.raises(run.RunError, match=r"checkpoint 4 .* cannot be read now"):
        saved.restore_newest(abstract(game()))
      assert saved.steps == [2, 4]
      assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize(
  ("elsewhere", "moved"),
  [(["damaged", "the same"], True), (["", ""], False), (["refused", "no right"], False)],
)
def test_processes_go_back_together_or_not_at_all(tmp_path, monkeypatch, elsewhere, moved):
  """What another process says of a checkpoint that is damaged for this one."""
  with Checkpoints(tmp_path) as saved:
    for step in (2, 4):
      saved.save(game(step), None)
  flip_a_bit(tmp_path / "checkpoints" / "step_4")

  def gather(text):
    return [text, json.dumps(elsewhere) if "damaged" in text else text]

  monkeypatch.setattr(checkpoints, "gather", gather)
  with Checkpoints(tmp_path) as saved:
    if moved:
      assert int(saved.restore_newest(abstract(game())).step) == 2
    else:
      with pytest.raises(run.RunError, match="checkpoint 4"):
        saved.restore_newest(abstract(game()))
    assert saved.steps == ([2] if moved else [2, 4])
