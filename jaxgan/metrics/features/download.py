"""Weight files from the network, checked and kept in the user's cache."""

import hashlib
import http.client
import logging
import os
import pathlib
import shutil
import urllib.request

from jaxgan._files import replacing, user_cache
from jaxgan.metrics.features.weights import WeightsError

__all__ = ["fetch", "sha256"]

_TIMEOUT = 60.0  # seconds without a byte


def sha256(path: str | os.PathLike[str]) -> str:
  """The SHA-256 of a file, in hexadecimal."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(url: str, digest: str, *, folder: str | os.PathLike[str] | None = None) -> pathlib.Path:
  """A file from the network, downloaded once.

  Args:
    url: where it lies; its last part names the file.
    digest: how the file's SHA-256 begins, in hexadecimal.
    folder: where it is kept; None for `$XDG_CACHE_HOME/jaxgan/weights` or the like below
      `~/.cache`.

  Returns:
    The path of the file, which appears whole or not at all.

  Raises:
    WeightsError: it cannot be had, or it is another file; the message says where to put it by hand.
  """
  path = (pathlib.Path(folder) if folder else user_cache("weights")) / url.rpartition("/")[2]
  by_hand = f"download it by other means and put it there as '{path}', or give its place as path="
  try:
    if path.exists():
      if not sha256(path).startswith(digest):
        raise WeightsError(
          f"'{path}' is damaged or another file: its SHA-256 does not begin with {digest}. Remove "
          f"it to have it downloaded again from {url}"
        )
      return path
    logging.getLogger(__name__).info("downloading %s to %s", url, path)
    with replacing(path) as temporary:
      with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, temporary.open("wb") as file:
        shutil.copyfileobj(response, file, 1 << 20)
      if not sha256(temporary).startswith(digest):
        raise WeightsError(
          f"what came from {url} is damaged or another file: its SHA-256 does not begin with "
          f"{digest}. Try again, or {by_hand}"
        )
  except (OSError, http.client.HTTPException) as error:
    raise WeightsError(f"cannot fetch {url} ({error}): {by_hand}") from error
  return path
