"""Augmentations `augment(images, key, *, axis_name=None)`: differentiable, keyed per example."""

from jaxgan.augment.ada_state import AdaState, ada_init, ada_update
from jaxgan.augment.adaptive import (
  BGC,
  BGCFNC,
  ada,
  ada_colour,
  ada_corruption,
  ada_cutout,
  ada_filter,
  ada_geometry,
  pixel_blitting,
)
from jaxgan.augment.basic import Augmentation, compose, per_example
from jaxgan.augment.diff_augment import (
  brightness,
  colour,
  contrast,
  cutout,
  saturation,
  translation,
)

__all__ = [
  "BGC",
  "BGCFNC",
  "AdaState",
  "Augmentation",
  "ada",
  "ada_colour",
  "ada_corruption",
  "ada_cutout",
  "ada_filter",
  "ada_geometry",
  "ada_init",
  "ada_update",
  "brightness",
  "colour",
  "compose",
  "contrast",
  "cutout",
  "per_example",
  "pixel_blitting",
  "saturation",
  "translation",
]
