"""A public name that was there stays, as docs/compatibility.md promises."""

import importlib

from tests import public_names


def test_no_public_name_is_lost():
  lost = sorted(set(public_names.recorded()) - set(public_names.found()))
  assert not lost, (
    f"public names are gone: {', '.join(lost)}. Keep each for two minor versions as another name "
    "of what replaces it, with a DeprecationWarning (docs/compatibility.md); then say so in "
    "CHANGELOG.md under Removed, and record what is left: python -m tests.public_names"
  )


def test_all_recorded_names_can_be_imported():
  for name in public_names.recorded():
    module, _, attribute = name.rpartition(".")
    if module and not hasattr(importlib.import_module(module), attribute):
      importlib.import_module(name)  # a module


def test_a_lost_name_is_found(monkeypatch):
  import jaxgan.losses

  kept = [name for name in jaxgan.losses.__all__ if name != "hinge"]
  monkeypatch.setattr(jaxgan.losses, "__all__", kept)
  assert "jaxgan.losses.hinge" in set(public_names.recorded()) - set(public_names.found())
