"""BigGAN: Brock, Donahue and Simonyan 2018 (arXiv 1809.11096).

A class-conditional residual GAN with a shared embedding of the class, a latent that enters at every
resolution, orthogonal regularisation for truncation, a slow moving average, and large batches,
which `--accumulate` takes in pieces. Rates and numbers of updates are those of the authors' code
for CIFAR-10; `--preset=paper` has its width and average too.
"""

import dataclasses
from typing import Annotated

import optax

from experiments import choices
from jaxgan import latents, losses, models, regularizers, run, training
from jaxgan.training import objectives
from jaxgan.types import Array, ImageSpec, PyTree


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of BigGAN."""

  batch_size: run.Count = 50
  learning_rate: run.Rate = 2e-4
  """Of the generator's Adam."""
  d_learning_rate: run.Rate = 2e-4
  """Of the discriminator's."""
  adam_b2: run.Decay = 0.999
  """Decay of Adam's second moment; that of the first is 0."""
  n_dis: Annotated[run.Updates, choices.also("--d-steps")] = 4
  """Discriminator updates to each of the generator's."""
  latent_dim: run.Width = 128
  """Dimensions of the normal latent; it divides by the blocks and one where it is hierarchical."""
  shared: run.Size = 0
  """Dimension of the embedding of the class that all blocks share; 0 for a table in each."""
  hierarchical: bool = False
  """Give each block a part of the latent; needs `--shared`."""
  deep: bool = False
  """BigGAN-deep's blocks, which all get the whole latent; needs `--shared`."""
  attention: run.Resolution | None = None
  """Resolution at which positions attend to each other; none by default."""
  orthogonal_weight: run.Weight = 0.0
  """beta of equation 3, on the generator's kernels; the paper's is 1e-4."""
  accumulate: run.Updates = 1
  """Pieces in which a batch is taken; the batch of a device divides by it."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have."""
    super().__post_init__()
    if (self.hierarchical or self.deep) and not self.shared:
      raise run.RunError("--hierarchical and --deep need a shared embedding: give --shared=128")


PRESETS: run.Presets = {
  "quick": dict(width=16, n_dis=1, steps=1000, batch_size=64),
  "measured": dict(
    dataset="fashion_mnist", width=16, n_dis=1, steps=600, batch_size=64, shared=32,
    hierarchical=True, latent_dim=80, orthogonal_weight=1e-4,
  ),
  "paper": dict(dataset="cifar10", width=256, ema_decay=0.9999, steps=125_000),
}  # fmt: skip


def orthogonality(weight: float, params: PyTree) -> Array:
  """Equation 3, of all kernels but the shared embedding."""
  return weight * regularizers.off_diagonal_orthogonal(
    regularizers.kernels({name: x for name, x in params.items() if name != "shared"})
  )


def build(config: Config, spec: ImageSpec) -> training.System:
  """The BigGAN of a config for pictures of a shape."""
  resolution, _, channels = spec.shape
  parts = (resolution // 4).bit_length()  # of a hierarchical latent: the blocks' and the first
  if config.hierarchical and config.latent_dim % parts:
    raise run.RunError(
      f"--latent-dim={config.latent_dim} must be a multiple of {parts}, a part for each block and "
      f"one for the first layer: give {-(-config.latent_dim // parts) * parts}"
    )
  z, conditions = choices.labelled(latents.normal(config.latent_dim), spec)
  classes = len(spec.classes)
  options = dict(
    width=config.width, attention=config.attention, deep=config.deep, dtype=config.jax_dtype
  )
  generator = models.biggan.Generator(
    classes,
    resolution,
    channels,
    shared=config.shared or None,
    hierarchical=config.hierarchical,
    axis_name=training.AXIS,
    **options,
  )
  weight = config.orthogonal_weight
  return training.system(
    generator,
    models.biggan.Discriminator(classes, resolution, **options),
    optax.adam(config.learning_rate, b1=0.0, b2=config.adam_b2),
    optax.adam(config.d_learning_rate, b1=0.0, b2=config.adam_b2),
    objectives.adversarial(
      losses.hinge(),
      z,
      conditions=conditions,
      g_regularizers=[lambda params: orthogonality(weight, params)] if weight else [],
      score=lambda logits: logits,
      axis_name=training.AXIS,
    ),
    latents=z,
    conditions=conditions,
    spec=spec,
    d_steps=config.n_dis,
    ema_decay=config.ema_decay,
    accumulate=config.accumulate,
    probabilities=False,
  )


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
