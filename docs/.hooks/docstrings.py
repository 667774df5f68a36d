"""Doctests and set-off equations of docstrings as blocks of code: to Markdown they are quotes."""

import re
import textwrap
from typing import Any

import griffe

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")


def marked(text: str) -> str:
  """A docstring whose examples and indented blocks are fenced.

  Args:
    text: without its indentation. Sections such as "Args:" are left as they are.
  """
  blocks = re.split(r"\n\n+", text)
  made = []
  within = False  # a section, whose blocks are indented too
  for block in blocks:
    first = block.split("\n", 1)[0]
    if not first.startswith(" "):
      within = bool(_SECTION.match(first))
    if first.startswith(">>> "):
      block = f"```pycon\n{block}\n```"
    elif first.startswith("  ") and not within:
      block = f"```text\n{textwrap.dedent(block)}\n```"
    made.append(block)
  return "\n\n".join(made)


class Docstrings(griffe.Extension):
  """Marks the docstring of every object."""

  def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
    """Called when the tree of objects is complete."""
    if obj.docstring is not None:
      obj.docstring.value = marked(obj.docstring.value)
