"""Pictures for training: any data set by name or path, and batches as a function of the step."""

from jaxgan.data.batches import Batches
from jaxgan.data.dataset import Dataset, load
from jaxgan.data.errors import DataError
from jaxgan.data.feeds import assemble
from jaxgan.data.order import Schedule
from jaxgan.data.pairs import load_pairs, outlines

__all__ = [
  "Batches",
  "DataError",
  "Dataset",
  "Schedule",
  "assemble",
  "load",
  "load_pairs",
  "outlines",
]
