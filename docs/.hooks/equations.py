"""Equations as MathML, made when the pages are built: no script, no font, nothing is fetched.

Browsers lay MathML out themselves, in the colours of the page, and screen readers read it. A
command that `math_core` does not know, or an equation that was not taken for one, ends the build.
"""

import html
import re

from math_core import LatexError, LatexToMathML
from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page

_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_CODE = re.compile(r"<(code|pre)\b.*?</\1>", re.DOTALL)
_LEFT = re.compile(r"\$\$|arithmatex\">\\[(\[]|\$\\")

_converter = LatexToMathML(fancy_error=False)


def rendered(content: str, where: str) -> str:
  """The HTML of a page with its equations in MathML.

  Args:
    content: HTML as Markdown's arithmatex leaves it.
    where: names the page in messages.

  Raises:
    PluginError: an equation cannot be read, or was left as it is.
  """

  def mathml(match: re.Match[str]) -> str:
    tag, latex = match[1], html.unescape(match[2]).strip()
    try:
      made = _converter.convert_with_local_state(latex, displaystyle=tag == "div")
    except LatexError as error:
      raise PluginError(f"{where}: {latex}: {error}") from error
    return f'<{tag} class="equation">{made}</{tag}>'

  content = _EQUATION.sub(mathml, content)
  if left := _LEFT.search(_CODE.sub("", content)):
    raise PluginError(f"{where}: an equation was left as it is, at {left[0]!r}: see its dollars")
  return content


def on_page_content(content: str, page: Page, **_: object) -> str:
  """Called by MkDocs for each page, after Markdown and before the template."""
  return rendered(content, page.file.src_uri)
