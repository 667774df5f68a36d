import json
import re

import numpy as np
import pytest
from PIL import Image

from jaxgan import data
from jaxgan.data import DataError, Dataset
from jaxgan.data.captions import (
  Vocabulary,
  attach,
  captions_of,
  emoji_name,
  held_out,
  length_of,
  split_words,
  take,
)


def folder_of(path, names):
  path.mkdir(parents=True, exist_ok=True)
  for i, name in enumerate(names):
    file = path / name
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full([8, 8, 3], 10 * i, np.uint8)).save(file)
  return data.load(path, resolution=8, cache_dir=path.parent / "cache")


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("keycap #", ["keycap", "#"]),
    ("Man\u2019s shoe, T-shirt (new)", ["man\u2019s", "shoe", "t-shirt", "new"]),
    ("  ", []),
  ],
)
def test_words(text, words):
  assert split_words(text) == words


def test_tokens_tell_texts_apart_and_lose_nothing_but_what_is_too_long():
  captions = ["red heart", "heart red", "a b c d"]
  vocabulary = Vocabulary.of(captions)
  tokens = vocabulary.encode(captions, length_of(captions, 3))
  assert tokens.shape == (3, 4)
  said = [[vocabulary.words[t] for t in row if t] for row in tokens]
  assert said == [["red", "heart", "<end>"], ["heart", "red", "<end>"], ["a", "b", "c", "<end>"]]
  assert vocabulary.unknown("blue haert") == {"blue": [], "haert": ["heart"]}


@pytest.mark.parametrize(
  ("stem", "name"),
  [
    ("1f469-1f3fd-200d-1f33e", "woman farmer medium skin tone"),
    ("2764-fe0f", "red heart"),
    ("2764", "red heart"),
    ("0023-fe0f-20e3", "keycap #"),
    ("1f3f4-e0067_e0062_e0065_e006e_e0067", "England"),  # without the end of its tags
    ("feed", None),
    ("ffffff", None),
    ("heart", None),
  ],
)
def test_names_of_emoji(stem, name):
  assert emoji_name(stem) == name


def test_texts_of_digits_and_of_classes(tmp_path):
  digits = data.load("digits", resolution=8)
  assert captions_of(digits)[:10] == (
    *("zero", "one", "two", "three", "four"),
    *("five", "six", "seven", "eight", "nine"),
  )
  classes = folder_of(tmp_path / "set", ["tabby_cat/1.png", "dog/1.png"])
  assert captions_of(classes) == ("dog", "tabby cat")


def test_texts_of_files(tmp_path):
  dataset = folder_of(tmp_path / "set", ["2764-fe0f.png", "1f431.png"])
  assert dataset.folder == str(tmp_path / "set")
  assert captions_of(dataset) == ("cat face", "red heart")
  for name, text in (("1f431", "a cat\nmore\n"), ("2764-fe0f", "love")):
    (tmp_path / "set" / f"{name}.txt").write_text(text)
  assert captions_of(dataset) == ("a cat", "love")
  table = tmp_path / "set" / "metadata.csv"
  table.write_text('file_name,text\n1f431.png,"one, two"\n2764-fe0f.png, three\n')
  assert captions_of(dataset) == ("one, two", "three")
  lines = [{"file_name": name, "caption": name[::-1]} for name in dataset.names]
  other = tmp_path / "other.jsonl"
  other.write_text("\n".join(map(json.dumps, lines)))
  assert captions_of(dataset, str(other)) == ("gnp.134f1", "gnp.f0ef-4672")


@pytest.mark.parametrize(
  ("file", "content", "said"),
  [
    ("captions.csv", "file_name,text\n0.png,one\n", "no text for 1 of 2 pictures, such as '1.png'"),
    ("captions.csv", "name,text\n0.png,one\n", "columns file_name and text"),
    ("captions.csv", "", "columns file_name and text"),
    ("captions.jsonl", "{", "columns file_name and text"),
    ("0.txt", "one", "cannot read the text of a picture"),
    ("0.txt", "", "is empty"),
    ("other", "", "has no texts"),
  ],
)
def test_texts_that_are_missing(file, content, said, tmp_path):
  dataset = folder_of(tmp_path / "set", ["0.png", "1.png"])
  (tmp_path / "set" / file).write_text(content)
  with pytest.raises(DataError, match=re.escape(said)):
    captions_of(dataset)


def test_emoji_that_are_none(tmp_path):
  with pytest.raises(DataError, match="1 of 2 files are none that is known, such as '1f43100'"):
    captions_of(folder_of(tmp_path / "set", ["1f431.png", "1f43100.png"]))


@pytest.mark.parametrize("every", [1, 2, 3])
def test_words_of_held_out_texts_are_learned_from_others(every):
  rng = np.random.default_rng(0)
  texts = [f"w{a} w{b}" for a, b in rng.integers(0, 12, [80, 2])] + ["alone", "alone"]
  out = held_out(texts, every)
  kept = Vocabulary.of(text for text, held in zip(texts, out, strict=True) if not held)
  assert out.any()
  for text, held in zip(texts, out, strict=True):
    assert not kept.unknown(text)
    assert held == out[texts.index(text)]
  assert not held_out(texts, 0).any()


def test_parts_keep_what_belongs_together():
  images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones([1, 8, 8, 1], np.uint8)
  whole = Dataset("x", images, np.arange(5, dtype=np.int32), tuple("abcde"), names=tuple("vwxyz"))
  whole = attach(whole, ["one", "two", "one", "three", "two words"])
  part = take(whole, np.array([0, 1, 0, 0, 1], bool))
  assert part.names == ("w", "z")
  for row, index in enumerate([1, 4]):
    assert part[row]["label"] == index
    np.testing.assert_array_equal(part[row]["image"], images[index])
    np.testing.assert_array_equal(part[row]["text"], whole[index]["text"])
  with pytest.raises(DataError, match="no picture"):
    take(whole, np.zeros(5, bool))


def test_a_streamed_part_reads_its_own_pictures(tmp_path):
  folder_of(tmp_path / "set", [f"{i}.png" for i in range(4)])
  streamed = data.load(tmp_path / "set", resolution=8, cache_limit=0)
  part = take(streamed, np.array([0, 1, 0, 1], bool))
  assert [part[i]["image"][0, 0, 0] for i in range(len(part))] == [10, 30]


def test_texts_go_into_batches():
  dataset = attach(data.load("digits", resolution=8), captions_of(data.load("digits")))
  with data.Batches(dataset, 6) as batches:
    batch = batches(0)
  assert batch["text"].shape == (1, 6, 2)
  assert batch["text"].dtype == np.int32
  expected = Vocabulary.of(dataset.captions).encode(
    [captions_of(dataset)[i] for i in batches.indices(0)[0][0]], 2
  )
  np.testing.assert_array_equal(batch["text"][0], expected)


@pytest.mark.parametrize(
  ("texts", "said"), [(["a"], "1 texts for 2 pictures"), (["a", "..."], "has no words: '...'")]
)
def test_texts_that_do_not_fit(texts, said):
  with pytest.raises(DataError, match=re.escape(said)):
    attach(Dataset("x", np.zeros([2, 8, 8, 3], np.uint8)), texts)
