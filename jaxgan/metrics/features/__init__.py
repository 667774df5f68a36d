"""Feature networks, on which distances between real and generated pictures are measured.

`inception_v3` for the published FID, `efficientnet_lite0` for colour pictures without a download,
`classifier` for digits and clothes, and `of_function` for anything else. `extract` runs one over
any number of pictures.
"""

from jaxgan.metrics.features import classifier, preprocessing
from jaxgan.metrics.features.efficientnet import efficientnet_lite0
from jaxgan.metrics.features.extraction import extract, extract_all, generated
from jaxgan.metrics.features.inception import inception_v3
from jaxgan.metrics.features.network import Features, Outputs, of_function
from jaxgan.metrics.features.weights import WeightsError

__all__ = [
  "Features",
  "Outputs",
  "WeightsError",
  "classifier",
  "efficientnet_lite0",
  "extract",
  "extract_all",
  "generated",
  "inception_v3",
  "of_function",
  "preprocessing",
]
