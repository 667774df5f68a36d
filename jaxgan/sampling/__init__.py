"""From a generator to pictures: batches of samples, paths between latents, grids."""

from jaxgan.sampling.generation import in_batches
from jaxgan.sampling.interpolation import linear, spherical
from jaxgan.sampling.pictures import grid, save_png, to_uint8

__all__ = ["grid", "in_batches", "linear", "save_png", "spherical", "to_uint8"]
