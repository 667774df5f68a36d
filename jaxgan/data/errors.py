"""The one error of the data package, and the door to its optional packages."""

import importlib
import types

__all__ = ["DataError", "require"]


class DataError(Exception):
  """Pictures cannot be had as asked; the message says why and what to do about it."""


def require(module: str, purpose: str) -> types.ModuleType:
  """Imports an optional package, or says how to get it.

  Args:
    module: the name to import.
    purpose: what needs it, to open the message: "reading pictures".

  Returns:
    The imported module.

  Raises:
    DataError: it is not installed.

  >>> require("json", "this example").dumps([1])
  '[1]'
  """
  try:
    return importlib.import_module(module)
  except ImportError as error:
    raise DataError(
      f"{purpose} needs the package '{module}', which does not import ({error}). "
      "Install what experiments need: pip install 'jaxgan[experiments]'"
    ) from error
