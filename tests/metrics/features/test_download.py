import hashlib
import http.server
import threading

import pytest

from jaxgan.metrics.features import download
from jaxgan.metrics.features.weights import WeightsError

CONTENT = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
  """A server of this machine; yields its address and the paths that were asked for."""
  asked = []

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      asked.append(self.path)
      if self.path == "/none.pth":
        self.send_error(404)
        return
      self.send_response(200)
      self.send_header("Content-Length", str(len(CONTENT)))
      self.end_headers()
      self.wfile.write(CONTENT[:-1] if self.path == "/short.pth" else CONTENT)

    def log_message(self, *_):
      pass

  for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    monkeypatch.delenv(name, raising=False)
  with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", asked
    running.shutdown()
    thread.join()


def test_a_file_is_downloaded_once_to_the_cache(server, monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  url, asked = server
  for _ in range(2):
    path = download.fetch(f"{url}/net.pth", DIGEST[:8])
    assert path == tmp_path / "jaxgan" / "weights" / "net.pth"
    assert path.read_bytes() == CONTENT
  assert asked == ["/net.pth"]
  assert [p.name for p in path.parent.iterdir()] == ["net.pth"]


def test_a_short_or_other_file_is_refused_and_not_kept(server, tmp_path):
  url, _ = server
  for name, digest in (("short.pth", DIGEST[:8]), ("net.pth", "00000000")):
    with pytest.raises(WeightsError, match=r"another file.*put it there as .* path="):
      download.fetch(f"{url}/{name}", digest, folder=tmp_path)
  assert list(tmp_path.iterdir()) == []


def test_without_network_the_message_says_where_to_put_the_file(server, tmp_path):
  url, _ = server
  with pytest.raises(WeightsError, match=rf"404.*put it there as '{tmp_path}/none.pth'.*path="):
    download.fetch(f"{url}/none.pth", DIGEST, folder=tmp_path)
  nowhere = (tmp_path / "nowhere.pth").as_uri()
  with pytest.raises(WeightsError, match=r"cannot fetch file:.*put it there as"):
    download.fetch(nowhere, DIGEST, folder=tmp_path / "cache")
  (tmp_path / "cache" / "nowhere.pth").write_bytes(CONTENT)
  assert download.fetch(nowhere, DIGEST, folder=tmp_path / "cache").read_bytes() == CONTENT


def test_a_damaged_cached_file_is_an_error_and_not_overwritten(tmp_path):
  (tmp_path / "net.pth").write_bytes(CONTENT[:-1])
  with pytest.raises(WeightsError, match=r"net\.pth' is damaged or another file.*Remove it"):
    download.fetch("http://127.0.0.1:1/net.pth", DIGEST, folder=tmp_path)
  assert (tmp_path / "net.pth").read_bytes() == CONTENT[:-1]


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
  url, _ = server

  def interrupted(response, file, length):
    file.write(response.read(10))
    raise KeyboardInterrupt

  monkeypatch.setattr(download.shutil, "copyfileobj", interrupted)
  with pytest.raises(KeyboardInterrupt):
    download.fetch(f"{url}/net.pth", DIGEST, folder=tmp_path)
  assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path):
  source = tmp_path / "net.pth"
  source.write_bytes(CONTENT)
  with pytest.raises(WeightsError, match="path="):
    download.fetch(source.as_uri(), DIGEST, folder=source)
