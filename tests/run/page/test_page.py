"""What a report says of made-up workdirs: whole, partly missing, damaged, a stranger's."""

import base64
import html.parser
import io
import json
import os
import re
import time

import numpy as np
import pytest
from PIL import Image

from jaxgan import run, sampling
from jaxgan.run.page import MOST, write_report


class Reader(html.parser.HTMLParser):
  """Tags with their attributes, the text beside scripts and styles, and what is not closed."""

  EMPTY = frozenset({"meta", "img", "input", "use", "link", "br"})

  def __init__(self, text):
    super().__init__()
    self.tags, self.words, self.open, self.scripts = [], [], [], []
    self.feed(text)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in self.EMPTY:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] == "script":
      self.scripts.append((self.tags[-1][1], data))
    elif not self.open or self.open[-1] != "style":
      self.words.append(data)

  @property
  def text(self):
    return re.sub(r"\s+", " ", " ".join(self.words))

  def all(self, tag):
    return [attributes for name, attributes in self.tags if name == tag]


def report(*folders, out):
  path = write_report(folders, out)
  text = path.read_text()
  read = Reader(text)
  assert read.open == []
  _check_closed(text, read)
  return read


def _check_closed(text, read):
  """No element fetches anything, all is reachable, and names are unique."""
  for tag, attributes in read.tags:
    for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
      if name in attributes:
        assert attributes[name].startswith(("data:image/png;base64,", "#")), (tag, name)
    assert not [name for name in attributes if name.startswith("on")]
  assert not re.search(r"url\((?!#)|@import", text)
  assert "link" not in {tag for tag, _ in read.tags}
  ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
  assert len(ids) == len(set(ids))
  targets = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
  assert {a or b for a, b in targets} <= set(ids)
  for image in read.all("img"):
    assert image["alt"]
  for drawing in read.all("svg"):
    assert drawing["role"] == "img"
    assert drawing["aria-label"]


def pixel(uri):
  with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
    return np.asarray(picture)[4, 4, 0]


@pytest.fixture(scope="module")
def whole(make, tmp_path_factory):
  folder = make(tmp_path_factory.mktemp("whole") / "run")
  return report(folder, out=folder / "report.html")


def test_it_tells_what_the_workdir_holds(whole):
  for said in (
    "1,797 pictures of digits", "8 x 8 x 3", "40 steps", "1 verdict",
    "mode collapse at step 30", "all alike", "Try R1.", "KD (net)", "0.025 ± 0.01",
    "100 samples , against 100 real pictures of digits", "k=3", "--batch-size", "0.10.2",
    "loss of D", "sliced Wasserstein distance", "20 s",
  ):  # fmt: skip
    assert said.replace(" ,", ",") in whole.text, said


def test_pictures_are_those_of_the_steps(whole):
  frames = [image for image in whole.all("img") if "data-step" in image]
  assert [int(frame["data-step"]) for frame in frames] == [10, 20, 30, 40]
  assert [pixel(frame["src"]) for frame in frames] == [60, 120, 180, 240]
  assert ["hidden" in frame for frame in frames] == [True, True, True, False]
  others = [pixel(image["src"]) for image in whole.all("img") if "data-step" not in image]
  assert others == [9, 99]


def test_charts_hold_the_values_of_the_log(whole):
  data = [json.loads(text) for kind, text in whole.scripts if kind.get("type")]
  losses = next(each["lines"] for each in data if "lines" in each and len(each["lines"]) == 2)
  assert losses[0]["steps"] == list(range(2, 41, 2))
  np.testing.assert_allclose(losses[0]["values"], [1 / x for x in losses[0]["steps"]], rtol=1e-4)
  labels = [drawing["aria-label"] for drawing in whole.all("svg")]
  assert "Chart of Losses by step: loss of D from 0.5 to 0.025; loss of G from 2 to 2" in labels
  assert "logarithmic" in whole.text  # the gradient norm


def test_runs_are_compared(make, tmp_path):
  one = make(tmp_path / "x" / "run", width=8)
  other = make(tmp_path / "y" / "run", width=16, fake=50)
  (other / "health.jsonl").unlink()
  read = report(one, other, out=tmp_path / "both.html")
  assert {"x/run", "y/run"} <= set(map(str.strip, read.words))
  assert "2 runs compared" in read.text
  assert "flags that differ flag x/run y/run --width 8 16" in read.text
  assert "measured by different protocols" in read.text
  assert "Chart of loss of D by step: x/run from 0.5 to 0.025; y/run from 0.5" in " ".join(
    drawing["aria-label"] for drawing in read.all("svg")
  )
  assert "nothing noted" in read.text


def test_members_of_a_population(make, tmp_path):
  folder = make(tmp_path / "many", population=3, width=4)
  for path in [*(folder / "samples").iterdir(), folder / "health.jsonl"]:
    path.unlink()
  rows = [{"seed": 7, "values": {"learning_rate": 0.5}, "score": s} for s in (0.5, 0.25, None)]
  ranking = {"step": 40, "metric": "sliced_wasserstein by pixels", "members": rows}
  (folder / "population.jsonl").write_text(json.dumps(ranking) + "\n")
  for index in range(3):
    make(folder / "members" / str(index))
    (folder / "members" / str(index) / "config.json").unlink()
  (folder / "members" / "1" / "health.jsonl").unlink()
  line = json.dumps({"step": 50, "loss_D": 1.0, "loss_D_std": 0.5})
  (folder / "metrics.jsonl").write_text(f"{line}\n{line}\n")
  read = report(folder, out=tmp_path / "report.html")
  for said in (
    "members 0, 2, of whom the first: all alike", "samples of member 1, the best",
    "learning_rate=0.5 seed=7", "0.25", "diverged, or not scored", "a deviation of the members",
  ):  # fmt: skip
    assert said in read.text, said
  assert len(read.all("img")) == 4 + 1 + 1 + 3  # frames, real ones, the walk, members
  assert "loss_D_std" not in read.text
  alone = report(folder / "members" / "1", out=tmp_path / "member.html")
  assert "There is no config.json." in alone.text


def test_what_is_missing_is_left_out(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1, "x": 1.0}\n')
  read = report(tmp_path, out=tmp_path / "report.html")
  assert "No samples were found." in read.text
  (tmp_path / "metrics.jsonl").unlink()
  (tmp_path / "samples").mkdir()
  read = report(tmp_path, out=tmp_path / "report.html")
  assert "There is no log to judge by." in read.text
  for folders, said in (
    ([tmp_path / "nowhere"], "holds no run"),
    ([tmp_path] * (MOST + 1), f"1 to {MOST} runs"),
    ([], f"1 to {MOST} runs"),
  ):
    with pytest.raises(run.RunError, match=said):
      write_report(folders, tmp_path / "other.html")
  assert not (tmp_path / "other.html").exists()


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>'\"&{{ 7*7 }}$x^2$\ud800"


def test_a_strangers_words_stay_words(make, tmp_path):
  folder = make(tmp_path / "run <script>alert(1)<", **{EVIL: EVIL, "dataset": EVIL})
  record = json.loads((folder / "config.json").read_text())
  record |= {"experiment": f"x.{EVIL}", "pictures": EVIL, "environment": {EVIL: EVIL}}
  record["spec"]["shape"] = [EVIL] * 3
  (folder / "config.json").write_text(json.dumps(record))
  protocol = {"features": EVIL, "real": 1, "fake": 1, "resize": EVIL, "dataset": EVIL}
  score = {"name": EVIL, "value": 1.0, "standard_error": None}
  verdict = dict.fromkeys(("name", "evidence", "advice"), EVIL)
  first = json.loads((folder / "scores.jsonl").read_text().splitlines()[0])
  first |= {"name": EVIL, "protocol": first["protocol"] | protocol}
  ranking = {"step": 1, "metric": EVIL, "members": [{"seed": 1, "values": {EVIL: 1}, "score": 1}]}
  for name, row in (
    ("metrics.jsonl", {"step": 1, EVIL: 1.0}),
    ("scores.jsonl", first | score),
    ("health.jsonl", verdict | {"step": 1}),
    ("population.jsonl", ranking),
  ):
    (folder / name).write_text(json.dumps(row) + "\n")
  read = report(folder, folder, out=tmp_path / "report.html")
  assert read.text.count("alert(1)") > 10
  assert "49" not in read.text
  policy = next(meta["content"] for meta in read.all("meta") if "http-equiv" in meta)
  assert policy.startswith("default-src 'none'; img-src data:;")
  assert "script-src 'sha256-" in policy
  programs = [text for kind, text in read.scripts if not kind.get("type")]
  assert len(programs) == 1
  assert "alert" not in programs[0]


@pytest.mark.parametrize(
  "content",
  [
    b"", b"[]\n1\n", b"\xff\xfe\x00" * 99, b"[" * 10_000 + b"\n", b'{"step": -1}\n', b"\0" * 99,
    b'{"step": 1, "x": NaN, "y": 1e999, "z": true, "w": ' + b"9" * 400 + b"}\n",
    b'{"step": 1, "x": 1e300, "y": -1e99, "z": 1e99}\n{"step": 2, "y": 1e99, "z": 5e-324}\n',
    b'{"step": 9007199254740991, "x": 0}\n{"step": 3, "x": 1}\n',
    b'{"step": 1, "members": {"a": 1}, "metric": []}\n{"step": 1, "members": [1]}\n',
    b'{"step": 1, "name": {}, "value": 1, "standard_error": 1, "protocol": {}}\n',
    b'{"step": 1, "scores": [1, {}], "config": [], "spec": [], "environment": 5, "pictures": {}}',
    b'{"config": {"steps": ' + b"9" * 4000 + b', "batch_size": true, "population": "x"}}',
  ],
  ids=range(13),
)  # fmt: skip
def test_damaged_files(make, tmp_path, content):
  folder = make(tmp_path / "run")
  for name in ("config", "metrics", "scores", "health", "population", "evaluation_000001"):
    (folder / f"{name}.json").write_bytes(content)
    (folder / f"{name}.jsonl").write_bytes(content)
  (folder / "samples" / "step_000040.png").write_bytes(content)
  read = report(folder, out=tmp_path / "report.html")
  assert "Samples" in read.text
  assert len(read.all("img")) == 5
  if content:
    assert "damaged" in read.text or "config" in read.text


def test_good_lines_among_damaged_ones(make, tmp_path):
  folder = make(tmp_path / "run")
  with (folder / "metrics.jsonl").open("a") as file:
    file.write('{"step": 12, "loss_D": 1}\n{"step": 50, "loss_D": 77.5}\n{"step": 60, "lo')
  read = report(folder, out=tmp_path / "report.html")
  assert "metrics.jsonl: 2 damaged lines left out" in read.text
  assert "loss of D 77.5" in read.text


def test_pipes_and_folders_are_not_waited_for(make, tmp_path):
  folder = make(tmp_path / "run")
  for name in ("metrics.jsonl", "config.json"):
    (folder / name).unlink()
    os.mkfifo(folder / name)
  (folder / "health.jsonl").unlink()
  (folder / "health.jsonl").mkdir()
  (folder / "samples" / "step_000050.png").mkdir()
  read = report(folder, out=tmp_path / "report.html")
  assert "metrics.jsonl is damaged" in read.text
  assert len([image for image in read.all("img") if "data-step" in image]) == 4


def test_what_is_read_and_written_is_bounded(make, tmp_path):
  folder = make(tmp_path / "run")
  line = '{"step": %d, "loss_D": %f, "other": 0.123456789012345}\n'
  with (folder / "metrics.jsonl").open("w") as file:
    file.writelines(line % (step, step / 1e6) for step in range(0, 400_000))
  noise = np.random.default_rng(0).integers(0, 256, [1200, 1200, 3], np.uint8)
  sampling.save_png(tmp_path / "noise.png", noise)
  huge = (tmp_path / "noise.png").read_bytes()
  for step in range(50, 80):
    (folder / "samples" / f"step_{step:06d}.png").write_bytes(huge)
  declared = b"\x7f\xff\xff\xff" * 2  # pixels of a side
  (folder / "samples" / "step_000090.png").write_bytes(huge[:16] + declared + huge[24:])
  started = time.process_time()
  read = report(folder, out=tmp_path / "report.html")
  assert time.process_time() - started < 10.0
  assert (tmp_path / "report.html").stat().st_size < 10e6
  assert "2,000 of its lines were read" in read.text
  frames = [image for image in read.all("img") if "data-step" in image]
  assert len(frames) >= 3
  assert max(int(frame["width"]) for frame in frames) <= 1100
  data = [json.loads(text) for kind, text in read.scripts if kind.get("type")]
  lines = [line for each in data if "lines" in each for line in each["lines"]]
  losses = next(line for line in lines if len(line["steps"]) > 2)
  assert 300 <= len(losses["steps"]) <= 400
  assert losses["steps"][-1] > 390_000
  np.testing.assert_allclose(
    losses["values"], [x / 1e6 for x in losses["steps"]], atol=1e-3
  )  # means of five lines, of 2,000 in 400,000
