"""From a generator to pictures: batches, truncation, paths, edits, projection, rejection, grids."""

from jaxgan.sampling.calibration import (
  calibration_statistic,
  isotonic_calibration,
  logistic_calibration,
)
from jaxgan.sampling.directions import (
  Directions,
  PrincipalComponents,
  input_kernel,
  layer_outputs,
  principal_components,
  principal_directions,
  semantic_factorisation,
)
from jaxgan.sampling.editing import sweep, sweep_classes, traverse, vector_arithmetic
from jaxgan.sampling.exporting import PLATFORMS, by_seed, exported, save_exported
from jaxgan.sampling.generation import batches, in_batches
from jaxgan.sampling.interpolation import linear, spherical
from jaxgan.sampling.metropolis import metropolis_hastings, metropolis_hastings_sample
from jaxgan.sampling.pictures import (
  grid,
  neighbour_grid,
  pair_grid,
  same_channels,
  save_png,
  to_uint8,
)
from jaxgan.sampling.projection import (
  Inversion,
  invert,
  multi_scale,
  normal_prior,
  projection_schedule,
  psnr,
)
from jaxgan.sampling.rejection import (
  Accepted,
  RejectionError,
  acceptance_probability,
  acceptance_shift,
  rejection_sample,
)
from jaxgan.sampling.standing import standing_statistics
from jaxgan.sampling.style_inversion import (
  StyleInversion,
  StyleStatistics,
  invert_styles,
  noise_correlation,
  style_statistics,
)
from jaxgan.sampling.truncation import mean_latent, normal_coordinates, truncate, truncate_normal

__all__ = [
  "PLATFORMS",
  "Accepted",
  "Directions",
  "Inversion",
  "PrincipalComponents",
  "RejectionError",
  "StyleInversion",
  "StyleStatistics",
  "acceptance_probability",
  "acceptance_shift",
  "batches",
  "by_seed",
  "calibration_statistic",
  "exported",
  "grid",
  "in_batches",
  "input_kernel",
  "invert",
  "invert_styles",
  "isotonic_calibration",
  "layer_outputs",
  "linear",
  "logistic_calibration",
  "mean_latent",
  "metropolis_hastings",
  "metropolis_hastings_sample",
  "multi_scale",
  "neighbour_grid",
  "noise_correlation",
  "normal_coordinates",
  "normal_prior",
  "pair_grid",
  "principal_components",
  "principal_directions",
  "projection_schedule",
  "psnr",
  "rejection_sample",
  "same_channels",
  "save_exported",
  "save_png",
  "semantic_factorisation",
  "spherical",
  "standing_statistics",
  "style_statistics",
  "sweep",
  "sweep_classes",
  "to_uint8",
  "traverse",
  "truncate",
  "truncate_normal",
  "vector_arithmetic",
]
