"""The report in a browser: it loads from disk, moves, fits a phone, and asks for nothing else."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxgan.run.page import write_report
from tests.run.page import browser

PROGRAM = browser.found()
pytestmark = pytest.mark.skipif(
  PROGRAM is None,
  reason=f"needs a Chromium: none of {', '.join(browser.NAMES)} is in the path, see CHROMIUM",
)
DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  with browser.browser(PROGRAM, tmp_path_factory.mktemp("profile")) as opened:
    yield opened


@pytest.fixture(scope="module")
def one(make, tmp_path_factory):
  folder = make(tmp_path_factory.mktemp("one") / "run")
  return write_report([folder], folder / "report.html")


@pytest.fixture(scope="module")
def several(make, tmp_path_factory):
  root = tmp_path_factory.mktemp("several")
  folders = [make(root / f"a_run_with_quite_a_long_name_{i}", width=i) for i in range(5)]
  return write_report(folders, root / "report.html")


@pytest.fixture(autouse=True)
def closed(page):
  """After each test: no request but for the file, no error, no word on the console."""
  yield
  for name, told in page.events:
    assert name not in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"), told
    assert name != "Log.entryAdded", told
    if name == "Network.requestWillBeSent":
      assert told["request"]["url"].startswith(("file:///", "data:image/png")), told


SHOWN = "[...document.querySelectorAll('.frames img')].filter(x => x.checkVisibility())"
STEPS = f"{SHOWN}.map(x => Number(x.dataset.step))"
VALUES = "[...document.querySelectorAll('#curves [data-value]')].map(x => x.textContent)"
CURSORS = "[...document.querySelectorAll('.cursor')].map(x => Number(x.getAttribute('x1')))"


def sample(page):
  """The colour that a person sees in the middle of the first sample."""
  page.run("document.querySelector('#samples').scrollIntoView()")
  box = page.run(f"(b => [b.x, b.y, b.width])({SHOWN}[0].getBoundingClientRect())")
  with Image.open(io.BytesIO(page.screenshot())) as picture:
    scale = picture.width / page.run("innerWidth")
    x, y = (round(scale * (start + 0.25 * box[2])) for start in box[:2])
    return np.asarray(picture.convert("RGB"))[y, x].tolist()


def test_the_slider_changes_pictures_and_values(page, one):
  page.open(one, *DESKTOP)
  assert page.run(STEPS) == [40]
  assert sample(page) == [240] * 3
  assert page.run(VALUES)[:2] == ["0.025", "2"]
  ends = page.run(CURSORS)
  page.run("document.querySelector('#slider').focus()")
  page.press("ArrowLeft", 37)
  assert page.run(STEPS) == [30]
  assert sample(page) == [180] * 3
  assert page.run("document.querySelector('#at').textContent") == "30"
  assert page.run("document.querySelector('#slider').getAttribute('aria-valuetext')") == "step 30"
  assert page.run("document.querySelector('[data-shown]').textContent") == "30"
  assert page.run(VALUES)[:2] == ["0.03333", "2"]
  moved = page.run(CURSORS)
  assert len(moved) == len(ends) >= 5
  assert all(a < b for a, b in zip(moved, ends, strict=True))
  page.press("Home", 36)
  assert page.run(STEPS) == [10]


def test_a_pointer_reads_a_chart(page, one):
  page.open(one, *DESKTOP)
  page.run("document.querySelector('#curves').scrollIntoView()")
  x, y, width, height = page.run(
    "(b => [b.x, b.y, b.width, b.height])(document.querySelector('#curves svg')"
    ".getBoundingClientRect())"
  )
  for at, value in ((0.135 + 0.835 / 2, "0.05"), (0.99, "0.025")):
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + at * width, y=y + height / 2)
    assert page.run(VALUES)[0] == value
  page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
  assert page.run(STEPS) == [40]


def test_it_plays(page, one):
  page.open(one, *DESKTOP)
  page.run("document.querySelector('#play').click()")
  assert page.run(STEPS) == [10]
  assert page.run("document.querySelector('#play').getAttribute('aria-label')") == "Pause"
  finished = "document.querySelector('#play').getAttribute('aria-label') !== 'Pause'"
  page.run(
    "new Promise(done => { const wait = () => "
    f"{finished} ? done() : setTimeout(wait, 50); wait(); }})"
  )
  assert page.run(STEPS) == [40]


@pytest.mark.parametrize("size", [DESKTOP, PHONE, (320, 568)])
def test_nothing_is_wider_than_the_window(page, one, several, size):
  for path, count in ((one, 1), (several, 5)):
    page.open(path, *size)
    assert page.run(STEPS) == [40] * count
    assert page.run("document.querySelectorAll('details').forEach(x => x.open = true)") is None
    assert page.run("document.documentElement.scrollWidth") <= size[0]
    assert page.run("[...document.images].every(x => x.complete && x.naturalWidth > 0)")


def test_a_dark_page_is_dark(page, one):
  inks = []
  for dark in (False, True):
    page.open(one, *PHONE, dark=dark)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
      ground = np.asarray(picture.convert("L"))[5, 5]
    assert (ground < 40) == dark
    text, line = page.run(
      "['#curves svg text', '#curves svg path[style*=\"--c0\"]']"
      ".map(x => document.querySelector(x))"
      ".map((x, i) => getComputedStyle(x)[i ? 'stroke' : 'fill'])"
    )
    inks.append((text, line, page.run("getComputedStyle(document.body).color")))
  assert all(a != b for a, b in zip(*inks, strict=True))


def test_it_can_be_read_without_a_script(page, one):
  page.call("Emulation.setScriptExecutionDisabled", value=True)
  try:
    page.open(one, *PHONE)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
      assert np.asarray(picture.convert("L"))[-40].std() < 80  # no bar that does nothing
    assert page.call("DOM.getDocument")["root"]["nodeName"] == "#document"
    shown = page.call("Accessibility.getFullAXTree")["nodes"]
    names = [node.get("name", {}).get("value", "") for node in shown if not node["ignored"]]
    assert "Grid of samples after step 40" in names
    assert not any("step 10" in name or "Play" in name for name in names)
  finally:
    page.call("Emulation.setScriptExecutionDisabled", value=False)


def test_every_control_has_a_name(page, one):
  page.open(one, *DESKTOP)
  nodes = page.call("Accessibility.getFullAXTree")["nodes"]
  named = {"button", "slider", "image", "img", "link", "region"}
  told = [
    (node["role"]["value"], node.get("name", {}).get("value", ""))
    for node in nodes
    if not node["ignored"] and node["role"]["value"] in named
  ]
  assert ("slider", "step") in told
  assert ("button", "Play the training") in told
  assert all(name for _, name in told), told


def test_what_slipped_through_would_not_run(page, one, tmp_path):
  path = tmp_path / "report.html"
  evil = "<script>window.run = 1</script><img src=x onerror='window.run = 2' alt=x><main>"
  path.write_text(one.read_text().replace("<main>", evil))
  page.open(path, *DESKTOP)
  assert page.run("window.run === undefined")
  assert page.run(STEPS) == [40]
  said = [told["entry"]["text"] for name, told in page.events if name == "Log.entryAdded"]
  assert said
  assert all("Content Security Policy" in text for text in said)
  page.events.clear()
