"""Executes the notebooks, and stores them with what they print and draw.

python notebooks/execute.py                # all, at the size of this runtime; rewrites the files
python notebooks/execute.py --tiny         # all, at the size of tests; leaves the files alone
python notebooks/execute.py style_editing  # one

What differs between two machines or two runs is not stored: progress bars and other lines of
standard error, clocks, a second copy of each picture as JPEG.
"""

import argparse
import contextlib
import os
import pathlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import nbclient
import nbformat

FOLDER = pathlib.Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
LARGEST = 400_000  # bytes of a file
# Places of one machine; `/content`, where Colab keeps files, is the same on all of them.
PATHS = re.compile(r"(?<![\w.:/])/(?:home|tmp|root|work|Users|usr|opt|var|mnt)/")


def read(name: str) -> nbformat.NotebookNode:
  """A notebook by its name, checked against the format."""
  book = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
  nbformat.validate(book)
  return book


@contextlib.contextmanager
def workplace() -> Iterator[pathlib.Path]:
  """An empty folder inside the checkout, for the runs that notebooks train."""
  with tempfile.TemporaryDirectory(prefix="runs-", dir=FOLDER) as place:
    yield pathlib.Path(place)


def executed(book: nbformat.NotebookNode, *, tiny: bool) -> nbformat.NotebookNode:
  """A copy with the outputs of a kernel of its own.

  Args:
    book: what to execute.
    tiny: at the size of tests.

  Raises:
    CellExecutionError: a cell raised.
  """
  environment = {key: x for key, x in os.environ.items() if key != "MPLBACKEND"}
  environment["JAXGAN_TINY"] = "1" if tiny else ""
  with workplace() as place:
    client = nbclient.NotebookClient(
      nbformat.from_dict(book),
      timeout=None,
      record_timing=False,
      resources={"metadata": {"path": str(place)}},
    )
    return client.execute(env=environment)


def clean(book: nbformat.NotebookNode) -> None:
  """Leaves out what differs between two runs, in place.

  Raises:
    ValueError: an output names a place of this machine.
  """
  for cell in book.cells:
    if cell.cell_type != "code":
      continue
    cell.metadata.pop("execution", None)
    kept: list[nbformat.NotebookNode] = []
    for output in cell.outputs:
      if output.get("name") == "stderr":
        continue
      # Where a stream is cut is a matter of time.
      if kept and output.output_type == kept[-1].output_type == "stream":
        kept[-1].text += output.text
      else:
        kept.append(output)
    for output in kept:
      output.get("data", {}).pop("image/jpeg", None)
      output.get("metadata", {}).pop("image/jpeg", None)
      text = "".join([output.get("text", ""), *output.get("data", {}).get("text/plain", "")])
      if PATHS.search(text):
        raise ValueError(f"a place of this machine in what a cell prints: {text}")
    cell.outputs = kept


def store(name: str, book: nbformat.NotebookNode) -> None:
  """Writes a notebook.

  Raises:
    ValueError: it is too large for a repository.
  """
  text = nbformat.writes(book, indent=1) + "\n"
  if len(text.encode()) > LARGEST:
    raise ValueError(f"{name} would take {len(text):,} bytes, more than {LARGEST:,}")
  (FOLDER / f"{name}.ipynb").write_text(text)


def main(argv: Sequence[str] | None = None) -> None:
  """Executes what is named, one after the other."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}")
  parser.add_argument("--tiny", action="store_true", help="at the size of tests, and store nothing")
  options = parser.parse_args(argv)
  if unknown := set(options.names) - set(NAMES):
    parser.error(f"there is no {', '.join(sorted(unknown))}: give names of {', '.join(NAMES)}")
  for name in options.names or NAMES:
    started = time.perf_counter()
    book = executed(read(name), tiny=options.tiny)
    clean(book)
    if not options.tiny:
      store(name, book)
    print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
  main()
