"""A headless Chromium, told what to do through its debugging pipe.

The protocol is JSON with a zero byte behind each message, on descriptors 3 and 4: too little to
bring a driver, and a second browser, into the tests' requirements.
"""

import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE = 60.0  # seconds for an answer


def found() -> str | None:
  """The program: that of `CHROMIUM`, or the first one in the path."""
  named = os.environ.get("CHROMIUM")
  return named or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
  """One page of a browser.

  Args:
    write: descriptor that the browser reads.
    read: descriptor that it writes.

  Attributes:
    events: what the browser told by itself, as name and parameters.
  """

  def __init__(self, write: int, read: int) -> None:
    self._write, self._read, self._rest = write, read, b""
    self._count, self._session = 0, {}
    self.events: list[tuple[str, dict[str, Any]]] = []
    target = self.call("Target.createTarget", url="about:blank")["targetId"]
    session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    self._session = {"sessionId": session}
    for domain in ("Page", "Runtime", "Network", "Log"):
      self.call(f"{domain}.enable")

  def call(self, method: str, **parameters: Any) -> dict[str, Any]:
    """Sends a command and waits for its result."""
    self._count += 1
    message = {"id": self._count, "method": method, "params": parameters, **self._session}
    content = json.dumps(message).encode() + b"\0"
    while content:
      content = content[os.write(self._write, content) :]
    while True:
      answer = self._next()
      if answer.get("id") == self._count:
        if "error" in answer:
          raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

  def open(self, path: pathlib.Path, width: int, height: int, *, dark: bool = False) -> None:
    """Opens a file in a window of that size, and waits until it is loaded."""
    phone = width < 600
    self.call(
      "Emulation.setDeviceMetricsOverride",
      width=width,
      height=height,
      deviceScaleFactor=2 if phone else 1,
      mobile=phone,
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    self.call("Emulation.setEmulatedMedia", features=[scheme])
    self.events.clear()
    self.call("Page.navigate", url=path.resolve().as_uri())
    while not any(name == "Page.loadEventFired" for name, _ in self.events):
      self._next()

  def run(self, script: str) -> Any:
    """The value of an expression in the page."""
    answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
    if "exceptionDetails" in answer:
      raise RuntimeError(answer["exceptionDetails"])
    return answer["result"].get("value")

  def press(self, key: str, code: int) -> None:
    """A key, as a person presses it."""
    for kind in ("keyDown", "keyUp"):
      self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

  def screenshot(self, *, whole: bool = False) -> bytes:
    """A PNG of the window, or of the whole page."""
    return base64.b64decode(
      self.call("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))["data"]
    )

  def _clip(self, whole: bool) -> dict[str, Any]:
    if not whole:
      return {}
    size = self.call("Page.getLayoutMetrics")["cssContentSize"]
    return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

  def _next(self) -> dict[str, Any]:
    """The next message; events are kept."""
    until = time.monotonic() + _PATIENCE
    while b"\0" not in self._rest:
      if not select.select([self._read], [], [], max(until - time.monotonic(), 0.0))[0]:
        raise TimeoutError("the browser does not answer")
      part = os.read(self._read, 1 << 20)
      if not part:
        raise RuntimeError("the browser has ended")
      self._rest += part
    line, _, self._rest = self._rest.partition(b"\0")
    message = json.loads(line)
    if "method" in message:
      self.events.append((message["method"], message["params"]))
    return message


@contextlib.contextmanager
def browser(program: str, profile: pathlib.Path) -> Iterator[Page]:
  """Starts the program with a profile of its own, and ends it.

  Args:
    program: as `found` gives it.
    profile: an empty folder.
  """
  theirs_in, ours_out = os.pipe()
  ours_in, theirs_out = os.pipe()
  # Shells know descriptors of one digit only.
  launcher = (
    "import fcntl, os, sys\n"
    "ends = [fcntl.fcntl(int(x), fcntl.F_DUPFD, 10) for x in sys.argv[1:3]]\n"
    "os.dup2(ends[0], 3), os.dup2(ends[1], 4)\n"
    "os.execv(sys.argv[3], sys.argv[3:])"
  )
  command = [
    sys.executable, "-c", launcher, str(theirs_in), str(theirs_out), program, "--headless",
    "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-sandbox", "--disable-gpu",
    "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
  ]  # fmt: skip
  quiet = subprocess.DEVNULL
  process = subprocess.Popen(
    command, pass_fds=(theirs_in, theirs_out), stdin=quiet, stdout=quiet, stderr=quiet
  )
  for end in (theirs_in, theirs_out):
    os.close(end)
  try:
    yield Page(ours_out, ours_in)
  finally:
    os.close(ours_out)
    process.kill()
    process.wait()
    os.close(ours_in)
